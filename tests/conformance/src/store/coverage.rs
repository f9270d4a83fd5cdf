//! Which conditions a run has reached, and how each of their parts came out.
//!
//! A random run proves something about a condition only if the condition both held and failed in it, and about a
//! part of a condition only if that part was once the only one that failed. Otherwise a store that leaves the part
//! out would agree with one that does not. What was reached is read off the wire ([`crate::eavesdropper`]).

pub mod expression;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use baton_store::condition;
use serde_json::Value;

use crate::eavesdropper::Exchange;
use expression::{Judged, clauses};

/// Every condition of the store by its name. `every_condition_is_in_the_catalogue` compares it with the source.
pub const CATALOGUE: &[(&str, &str)] = &[
    ("ABSENT", condition::ABSENT),
    ("EXISTS", condition::EXISTS),
    ("START_AFTER", condition::START_AFTER),
    ("BEAT", condition::BEAT),
    ("RELEASE", condition::RELEASE),
    ("LEASE_AS_READ", condition::LEASE_AS_READ),
    ("NOT_PAUSED", condition::NOT_PAUSED),
    ("NOT_EXCLUDED", condition::NOT_EXCLUDED),
    ("NONE_EXCLUDED", condition::NONE_EXCLUDED),
    ("EXCLUDED_AS_READ", condition::EXCLUDED_AS_READ),
    ("EXCLUDED_BY", condition::EXCLUDED_BY),
    ("DRAINED_BY", condition::DRAINED_BY),
    ("FENCE_ASKED_BY", condition::FENCE_ASKED_BY),
    ("UNANSWERED", condition::UNANSWERED),
    ("INTENT_AS_READ", condition::INTENT_AS_READ),
    ("INTENT_OF_NOBODY", condition::INTENT_OF_NOBODY),
    ("FENCE_AS_READ", condition::FENCE_AS_READ),
    ("NO_FENCE", condition::NO_FENCE),
    ("RESTORE_AS_READ", condition::RESTORE_AS_READ),
    ("NO_RESTORE", condition::NO_RESTORE),
    ("NOTHING_ASKED", condition::NOTHING_ASKED),
    ("ACTIVE", condition::ACTIVE),
    ("HOLDER_UNCHANGED", condition::HOLDER_UNCHANGED),
    ("HOLDER_RELEASED", condition::HOLDER_RELEASED),
    ("CANDIDATE", condition::CANDIDATE),
    ("EPOCH_CURRENT", condition::EPOCH_CURRENT),
    ("UNMARKED", condition::UNMARKED),
    ("MOVE_CURRENT", condition::MOVE_CURRENT),
    ("LOOK_CURRENT", condition::LOOK_CURRENT),
    ("RETIRED_AS_READ", condition::RETIRED_AS_READ),
    ("REGISTERED_AS_READ", condition::REGISTERED_AS_READ),
    ("UID_ACTIVE", condition::UID_ACTIVE),
];

/// The places where a condition stands that many writes share, by what else they demand where they are of one kind: each
/// has to hold and to fail in each of them.
pub const PLACES: &[(&str, &str)] = &[
    ("ABSENT", "UpdateItem HEARTBEAT"),
    ("ABSENT", "ConditionCheck HEARTBEAT"),
    ("ABSENT", "Put LEASE"),
    ("ABSENT", "Put EVENT"),
    ("ABSENT", "PutItem EVENT"),
    ("ABSENT", "Update REQUEST"),
    ("EXISTS", "Update LEASE"),
    ("EXISTS", "UpdateItem REQUEST"),
    ("UNANSWERED", "UpdateItem REQUEST"),
    ("UNANSWERED", "Update REQUEST"),
    ("EPOCH_CURRENT", "Update LEASE"),
    ("INTENT_AS_READ", "Update LEASE beside LEASE_AS_READ"),
    ("INTENT_OF_NOBODY", "Update LEASE beside LEASE_AS_READ"),
    ("DRAINED_BY", "Update LEASE beside EXCLUDED_BY"),
    ("DRAINED_BY", "Update LEASE beside EXCLUDED_AS_READ"),
];

/// Parts that never fail alone, and why.
pub const NEVER_ALONE: &[(&str, &str, &str)] = &[
    ("RETIRED_AS_READ", "#uid = :was_uid", "another uid comes with another epoch and revision"),
    ("RETIRED_AS_READ", "#state = :retired", "what is registered again has another epoch and revision"),
    ("RETIRED_AS_READ", "#epoch = :was_epoch", "a retired lease gets an epoch and a revision together"),
    ("RETIRED_AS_READ", "#revision = :was_revision", "a retired lease gets an epoch and a revision together"),
    ("REGISTERED_AS_READ", "#uid = :uid", "another uid comes with another epoch and revision"),
    ("REGISTERED_AS_READ", "#holder = :holder", "another holder comes with another epoch"),
];

/// How often a condition, or a condition in one place, held and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verdicts {
    /// The write was applied.
    pub held: usize,
    /// The write was refused for it.
    pub failed: usize,
}

/// What was reached.
#[derive(Debug, Default)]
pub struct Coverage {
    conditions: BTreeMap<&'static str, Verdicts>,
    places: BTreeMap<(&'static str, String), Verdicts>,
    /// Each part of a condition that was once the only one of its write to fail.
    alone: BTreeMap<(&'static str, String), usize>,
    /// Tokens of transactions that were applied: sent again, they are not judged again.
    applied: BTreeSet<String>,
}

impl Coverage {
    /// Takes in what went over the wire.
    ///
    /// # Panics
    ///
    /// If the engine refused a write although every part of its condition holds on the item that it returned.
    pub fn take_in(&mut self, heard: &[Exchange]) {
        for Exchange { sent, answer } in heard {
            let failed = answer["__type"].is_string();
            match sent.operation.as_str() {
                "UpdateItem" | "PutItem" => {
                    let refused = kind_of(answer).ends_with("ConditionalCheckFailedException");
                    if refused || !failed {
                        self.judge(&sent.operation, &sent.body, refused.then_some(&answer["Item"]));
                    }
                }
                "TransactWriteItems" => self.take_in_transaction(&sent.body, answer, failed),
                _ => {}
            }
        }
    }

    fn take_in_transaction(&mut self, body: &Value, answer: &Value, failed: bool) {
        let token = body["ClientRequestToken"].as_str().unwrap_or_default().to_owned();
        if !failed && !self.applied.insert(token) {
            return;
        }
        for (number, action) in body["TransactItems"].as_array().into_iter().flatten().enumerate() {
            let Some((verb, write)) = action.as_object().and_then(|action| action.iter().next()) else {
                continue;
            };
            let reason = &answer["CancellationReasons"][number];
            if !failed {
                self.judge(verb, write, None);
            } else if reason["Code"] == "ConditionalCheckFailed" {
                self.judge(verb, write, Some(&reason["Item"]));
            }
        }
    }

    /// Counts one write: applied, or refused with this item, which is null where there was none.
    fn judge(&mut self, verb: &str, write: &Value, refused: Option<&Value>) {
        let Some(text) = write["ConditionExpression"].as_str() else { return };
        let place = format!("{verb} {}", item_kind(write));
        let mut failing = Vec::new();
        let names = names_of(text);
        for (name, condition) in &names {
            let item = refused.filter(|item| !item.is_null());
            let judged = Judged {
                item,
                names: &write["ExpressionAttributeNames"],
                values: &write["ExpressionAttributeValues"],
            };
            let broken = |clause: &expression::Clause| refused.is_some() && !judged.holds(clause);
            let broken: Vec<_> = clauses(condition).into_iter().filter(broken).collect();
            let beside = names.iter().map(|(other, _)| format!("{place} beside {other}"));
            let beside = beside.filter(|place| PLACES.contains(&(*name, place.as_str())));
            let count = |verdicts: &mut Verdicts| {
                verdicts.held += usize::from(broken.is_empty());
                verdicts.failed += usize::from(!broken.is_empty());
            };
            count(self.conditions.entry(name).or_default());
            for place in beside.chain([place.clone()]) {
                count(self.places.entry((name, place)).or_default());
            }
            failing.extend(broken.into_iter().map(|clause| (*name, clause.0)));
        }
        assert!(
            refused.is_none() || !failing.is_empty(),
            "refused for no reason: {write}\nfound {refused:?}"
        );
        if let [only] = &failing[..] {
            *self.alone.entry(only.clone()).or_default() += 1;
        }
    }

    /// What the run did not reach, in words.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut want = |what: String, verdicts: Option<&Verdicts>| {
            let found = verdicts.copied().unwrap_or_default();
            if found.held == 0 || found.failed == 0 {
                missing.push(format!("{what} has to hold and to fail: {found:?}"));
            }
        };
        for (name, _) in CATALOGUE {
            want((*name).to_owned(), self.conditions.get(name));
        }
        for (name, place) in PLACES {
            want(format!("{name} of {place}"), self.places.get(&(*name, (*place).to_owned())));
        }
        for (name, condition) in CATALOGUE {
            for clause in clauses(condition) {
                let excused = NEVER_ALONE.iter().any(|(of, part, _)| of == name && *part == clause.0);
                let found = self.alone.contains_key(&(*name, clause.0.clone()));
                if found == excused {
                    missing.push(format!("`{}` of {name}: fails alone {found}, excused {excused}", clause.0));
                }
            }
        }
        missing
    }
}

impl fmt::Display for Coverage {
    /// How often each condition held and failed, and each of its parts failed alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((name, place), Verdicts { held, failed }) in &self.places {
            writeln!(f, "{name} of {place}: held {held}, failed {failed}")?;
        }
        self.alone.iter().try_for_each(|((name, clause), times)| {
            writeln!(f, "`{clause}` of {name}: failed alone {times} times")
        })
    }
}

fn kind_of(answer: &Value) -> &str {
    answer["__type"].as_str().unwrap_or_default()
}

/// The kind of item that a write is about: what its sort key begins with.
fn item_kind(write: &Value) -> String {
    let sk = write["Key"]["sk"]["S"].as_str().or_else(|| write["Item"]["sk"]["S"].as_str());
    sk.and_then(|sk| sk.split('#').next()).unwrap_or_default().to_owned()
}

/// The conditions of the catalogue that a text joins by `AND`.
///
/// # Panics
///
/// If the text is not made of them alone.
fn names_of(text: &str) -> Vec<(&'static str, &'static str)> {
    let (mut rest, mut names) = (text, Vec::new());
    while !rest.is_empty() {
        let fits = |(_, condition): &&(&str, &str)| {
            let after = rest.strip_prefix(condition);
            after.is_some_and(|after| after.is_empty() || after.starts_with(" AND "))
        };
        // One condition can begin with another one: the longest is meant.
        let longest = CATALOGUE.iter().filter(fits).max_by_key(|(_, condition)| condition.len());
        let (name, condition) = longest.unwrap_or_else(|| panic!("no condition of the catalogue: `{rest}`"));
        names.push((*name, *condition));
        rest = rest[condition.len()..].trim_start_matches(" AND ");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_in_the_catalogue() {
        let source = include_str!("../../../../crates/store/src/condition.rs");
        let declared = source.lines().filter_map(|line| line.strip_prefix("pub const "));
        let declared = declared.filter_map(|line| line.split_once(": &str =")).map(|(name, _)| name);
        let listed = CATALOGUE.iter().map(|(name, _)| *name);
        assert_eq!(declared.collect::<Vec<_>>(), listed.collect::<Vec<_>>());
    }

    #[test]
    fn joined_conditions_are_told_apart() {
        let names = |text: &str| names_of(text).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        for (name, condition) in CATALOGUE {
            assert_eq!(names(condition), [*name]);
        }
        let joined = format!("{} AND {}", condition::LEASE_AS_READ, condition::NOT_PAUSED);
        assert_eq!(names(&joined), ["LEASE_AS_READ", "NOT_PAUSED"]);
        let joined = format!("{} AND {}", condition::HOLDER_UNCHANGED, condition::CANDIDATE);
        assert_eq!(names(&joined), ["HOLDER_UNCHANGED", "CANDIDATE"]);
    }

    #[test]
    fn a_run_that_reaches_nothing_misses_everything() {
        let missing = Coverage::default().missing();
        let parts: usize = CATALOGUE.iter().map(|(_, condition)| clauses(condition).len()).sum();
        assert_eq!(missing.len(), CATALOGUE.len() + PLACES.len() + parts - NEVER_ALONE.len());
    }
}
