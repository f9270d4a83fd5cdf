//! Where a change could undo what somebody wanted, or rests on what nobody knows: it is asked for, or not offered.

use baton_protocol::ids::RequestId;
use baton_protocol::lease::Exclusion;
use baton_protocol::{fence, restored};

use super::*;
use crate::check::Fix;

/// What is found of this name where this is broken.
fn found(break_it: impl FnOnce(&mut Case), id: &str) -> Diagnosis {
    let mut case = case();
    break_it(&mut case);
    let found = diagnose(&case);
    found.into_iter().find(|found| found.id == id).unwrap_or_else(|| panic!("{id} is not found"))
}

/// The metadata of a node is served without a token, and its metric says this.
fn tokenless(n: usize, told: Option<TokenUse>) -> Diagnosis {
    found(
        |c| {
            edit(&mut c.survey.instances).get_mut(&instance(n)).expect("there").token_required = false;
            let all = edit(&mut c.survey.without_token);
            all.remove(&instance(n));
            all.extend(told.map(|told| (instance(n), told)));
        },
        "metadata-token",
    )
}

#[test]
fn a_token_is_required_only_after_a_question_and_where_two_weeks_are_known() {
    let quiet = |untold| Some(TokenUse { calls: 0, untold });
    let require = |n: usize| vec![crate::Change::RequireToken(instance(n))];
    for (n, untold) in [(1, 0), (2, 0), (1, 2)] {
        let found = tokenless(n, quiet(untold));
        assert_eq!((found.fix, &found.changes), (Fix::Consent, &require(n)), "{}", found.what);
    }
    for told in [None, quiet(3), quiet(336), Some(TokenUse { calls: 1, untold: 335 })] {
        let found = tokenless(1, told);
        assert_eq!((found.fix, found.changes), (Fix::Report, Vec::new()), "{}", found.what);
        let used = told.is_some_and(|told| told.calls > 0);
        assert_eq!(found.what.contains("is not known"), !used, "{}", found.what);
    }
    // What a service does shows where it runs only.
    let warned = |n| tokenless(n, quiet(0)).what.contains("what runs at the holder only");
    assert_eq!((warned(1), warned(2)), (false, true));
}

/// What keeps a node down, and how that is said.
type Refusal<'a> = (&'a dyn Fn(&mut Lease), &'a str);

#[test]
fn a_stopped_node_is_started_only_after_a_question_and_never_against_a_word() {
    let (until, by) = (WallTime(NOW.0 + 60_000), "alice".to_owned());
    let request = RequestId::new("r-1").expect("valid");
    let stopped = |word: &dyn Fn(&mut Lease)| {
        found(
            |c| {
                edit(&mut c.survey.instances).get_mut(&instance(2)).expect("there").state =
                    "stopped".to_owned();
                word(&mut c.record.lease);
            },
            "instance-running",
        )
    };
    let fence = |until| fence::Word {
        node: arn(2),
        uid: lease().uid,
        epoch: Epoch(7),
        until,
        by: by.clone(),
        why: String::new(),
        request: request.clone(),
    };
    let exclusion =
        Exclusion { node: arn(2), until, by: by.clone(), why: String::new(), request: request.clone() };
    let restore = restored::Word {
        uid: lease().uid,
        epoch: Epoch(7),
        until,
        by: by.clone(),
        why: String::new(),
        request: request.clone(),
    };
    let start = vec![crate::Change::Start(instance(2))];
    let plain = stopped(&|_| ());
    assert_eq!((plain.fix, &plain.changes), (Fix::Consent, &start));
    let ended = stopped(&|lease| lease.fence = Some(fence(NOW)));
    assert_eq!((ended.fix, &ended.changes), (Fix::Consent, &start), "a word that has ended: {}", ended.what);
    let words: [Refusal<'_>; 4] = [
        (&|lease| lease.state = LeaseState::Retired, "the registration is retired"),
        (&|lease| lease.fence = Some(fence(until)), "alice asked that i-00000002 be stopped"),
        (&|lease| lease.excluded = Some(exclusion.clone()), "alice asked that i-00000002 does not hold"),
        (&|lease| lease.restore = Some(Box::new(restore.clone())), "alice said that the table was restored"),
    ];
    for (word, why) in words {
        let found = stopped(word);
        assert_eq!((found.fix, &found.changes), (Fix::Report, &Vec::new()), "{}", found.what);
        assert!(found.what.contains(why), "{}", found.what);
    }
}
