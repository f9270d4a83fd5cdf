//! Where a change could undo what somebody wanted, or rests on what nobody knows: it is asked for, or not offered.

use baton_protocol::ids::{RequestId, RoleArn};
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

fn of(network: &str, entry: AclEntry) -> AclEntry {
    AclEntry { network: network.to_owned(), ..entry }
}

#[test]
fn a_network_acl_that_lets_out_to_a_part_of_the_internet_is_not_judged_and_not_opened() {
    let acl = |entries: Vec<AclEntry>| {
        move |c: &mut Case| edit(&mut c.survey.acls)[0].entries = entries.into_iter().collect()
    };
    let open = || entry(100, false, true, None);
    let https = |number, allow| entry(number, true, allow, Some((443, 443)));
    let narrow = found(acl(vec![of("52.94.0.0/16", https(90, true)), open()]), "port-443-acl");
    assert_eq!((narrow.severity, narrow.fix), (Severity::Unknown, Fix::Report));
    assert_eq!(narrow.changes, []);
    assert!(narrow.what.contains("HTTPS out, for 52.94.0.0/16 only"), "{}", narrow.what);
    // Nor is it called shut where a denial of everything else follows.
    let closed = vec![of("52.94.0.0/16", https(90, true)), entry(200, true, false, None), open()];
    one(acl(closed), "port-443-acl", Severity::Unknown, &[]);
    // Where the narrow entry comes too late, is of another port, or denies, nothing passes.
    let aws = "aws ec2 create-network-acl-entry";
    for useless in [
        of("52.94.0.0/16", https(210, true)),
        of("52.94.0.0/16", entry(90, true, true, Some((80, 80)))),
        of("52.94.0.0/16", https(90, false)),
    ] {
        let entries = vec![useless, entry(200, true, false, None), open()];
        one(acl(entries), "port-443-acl", Severity::Violation, &[aws]);
    }
    // What is shut is a violation, even if the other way is narrow; but it is not opened.
    let both = vec![of("52.94.0.0/16", https(90, true)), entry(200, false, false, None)];
    let found = found(acl(both), "port-443-acl");
    assert_eq!((found.severity, found.changes.len()), (Severity::Violation, 0), "{}", found.what);
    assert!(found.what.contains("lets no answers in") && found.what.contains("for 52.94"), "{}", found.what);
    // A part of the ports for a part of the internet may be enough.
    let half = of("52.94.0.0/16", entry(90, false, true, Some((32_768, 40_000))));
    let some = acl(vec![half, entry(100, true, true, None)]);
    one(some, "port-443-acl", Severity::Unknown, &[]);
}

#[test]
fn the_route_tables_of_another_account_are_their_owners_to_see_to() {
    let mut case = case();
    let role = "arn:aws:iam::210987654321:role/tables";
    case.record.lease.resources.tables_role = Some(RoleArn::new(role).expect("valid"));
    // As such tables look from here: without tags, and with associations of whoever they are shown to.
    for table in edit(&mut case.survey.tables) {
        table.tagged = false;
        table.subnets.remove("subnet-2");
    }
    edit(&mut case.survey.endpoints)[0].tables.insert("rtb-main".to_owned());
    let found = diagnose(&case);
    let told: Vec<_> = found.iter().map(|found| (found.id.as_str(), found.severity, found.fix)).collect();
    let info = |id| (id, Severity::Info, Fix::Report);
    assert_eq!(told, [info("subnet-table"), info("consent-tag")], "{found:?}");
    assert!(found.iter().all(|found| found.what.contains(role) && found.what.contains("their owner's")));
    assert!(is_clean(&found));
    let standings = standings(&case, &found);
    let verdict = |row| standings.iter().find(|standing| standing.row == row).map(|found| found.verdict);
    assert_eq!((verdict(Row::R3), verdict(Row::B2)), (Some(Verdict::NotNeeded), Some(Verdict::Met)));
    // What is this account's own is looked at as ever.
    first(&mut case).tagged = false;
    let tags = diagnose(&case).into_iter().filter(|found| found.id == "consent-tag");
    let places: Vec<String> =
        tags.filter(|tag| tag.severity != Severity::Info).map(|tag| tag.place).collect();
    assert_eq!(places, [instance(1).to_string()]);
}
