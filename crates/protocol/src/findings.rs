//! What a node says of its checks and of its local recovery, in its heartbeat: for people and their tools. Nothing is decided
//! by it.
//!
//! A node could write anything here, so every text has a limit, and what cannot be understood is taken for nothing said: a
//! remark must never make a heartbeat unreadable.

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::Epoch;
use crate::time::WallTime;

/// The longest remark, in bytes. With [`RECOVERIES_KEPT`] it keeps a heartbeat below 1 KB while nothing is wrong and below 2 KB
/// while everything is; DynamoDB bills writes by the KB.
pub const REMARK_LONGEST: usize = 120;

/// The longest end of a hook's output, in bytes: a heartbeat that carries it costs one write unit more (ADR 0042).
pub const TAIL_LONGEST: usize = 1_024;

/// How many local recoveries a heartbeat tells of, so that whoever looks once a minute misses none of a few quick ones.
pub const RECOVERIES_KEPT: usize = 3;

/// Whether a character steers whatever shows it, and so stands in no text for people that somebody else has written: controls, the
/// separators of lines and paragraphs, and what turns the direction of writing, by which a line can be made to read as another.
pub fn steers(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || turns
}

/// A line for people: printable, of [`REMARK_LONGEST`] bytes at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Remark(String);

impl Remark {
    /// The line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Remark {
    fn from(text: &str) -> Self {
        let line: String = text.chars().map(|c| if steers(c) { ' ' } else { c }).collect();
        if line.len() <= REMARK_LONGEST {
            return Self(line);
        }
        let mut end = REMARK_LONGEST - '…'.len_utf8();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        Self(format!("{}…", &line[..end]))
    }
}

impl From<String> for Remark {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of what a command wrote, where commands put the reason: printable lines, of [`TAIL_LONGEST`] bytes at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Tail(String);

impl Tail {
    /// The lines.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Tail {
    fn from(text: &str) -> Self {
        let lines: String = text.chars().map(|c| if steers(c) && c != '\n' { ' ' } else { c }).collect();
        let lines = without_blank_runs(lines.trim_end());
        if lines.len() <= TAIL_LONGEST {
            return Self(lines);
        }
        let mut begin = lines.len() - (TAIL_LONGEST - '…'.len_utf8());
        while !lines.is_char_boundary(begin) {
            begin += 1;
        }
        Self(format!("…{}", &lines[begin..]))
    }
}

impl From<String> for Tail {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// The lines, with one blank line in place of several, and none at the beginning: they take the place of what was said.
fn without_blank_runs(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.split('\n') {
        let is_blank = line.trim().is_empty();
        if !is_blank || lines.last().is_some_and(|before| !before.trim().is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// Which hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// The one that starts the service.
    Promote,
    /// The one that stops it.
    Demote,
    /// The one that mends it.
    Recover,
}

impl Hook {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Recover => "recover",
        }
    }
}

/// A hook that has failed. Told for a short while after it has, since it makes each heartbeat larger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookFailure {
    /// Which.
    pub hook: Hook,
    /// Of the epoch that it was run for.
    pub epoch: Epoch,
    /// When it ended, by the node's wall clock.
    pub at: WallTime,
    /// How.
    pub how: Remark,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Tail::is_empty")]
    pub output: Tail,
}

/// What a node has found out about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Which checks are bad, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Remark>,
    /// Which checks warn. A warning does no harm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Remark>,
    /// The last local recoveries of this run of the agent, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<Recovery>,
    /// The hook that has failed last, while that is news.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read_hook")]
    pub hook: Option<HookFailure>,
}

impl Findings {
    /// What is written: nothing, where there is nothing to say.
    pub fn to_write(&self) -> Option<Self> {
        (*self != Self::default()).then(|| self.clone())
    }

    /// The local recovery that is under way, if one is.
    pub fn under_way(&self) -> Option<&Recovery> {
        self.recoveries.last().filter(|recovery| recovery.ended.is_none())
    }
}

/// A local recovery: the node has tried to mend its service where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Which one of this run of the agent; the first is 1.
    pub number: u32,
    /// When it began, by the node's wall clock.
    pub begun: WallTime,
    /// What was wrong.
    pub what: Remark,
    /// How it ended; none while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How a local recovery ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When, by the node's wall clock.
    pub at: WallTime,
    /// Why it failed; none: every check of the service is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Remark>,
}

/// Reads a failure of any shape: one of a later version must not take what else is said with it.
fn read_hook<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HookFailure>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Known(HookFailure),
        Other(IgnoredAny),
    }
    Ok(match Any::deserialize(from)? {
        Any::Known(failure) => Some(failure),
        Any::Other(IgnoredAny) => None,
    })
}

/// Reads findings of any shape; what is none says nothing.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Findings>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Known(Findings),
        Other(IgnoredAny),
    }
    Ok(match Any::deserialize(from)? {
        Any::Known(mut findings) => {
            let excess = findings.recoveries.len().saturating_sub(RECOVERIES_KEPT);
            findings.recoveries.drain(..excess);
            findings.to_write()
        }
        Any::Other(IgnoredAny) => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::heartbeat::Heartbeat;
    use crate::testing::{arn, heartbeat};

    fn read_with(findings: serde_json::Value) -> Option<Findings> {
        let mut item = serde_json::to_value(heartbeat(&arn(1), 1)).expect("can be written");
        assert!(item.get("findings").is_none(), "nothing is written where there is nothing to say");
        item["findings"] = findings;
        serde_json::from_value::<Heartbeat>(item).expect("a remark breaks no heartbeat").findings
    }

    #[test]
    fn findings_are_read_as_they_were_written() {
        let recovery = |number, failed: Option<&str>| Recovery {
            number,
            begun: WallTime(5),
            what: Remark::from("web: no answer"),
            ended: Some(Ended { at: WallTime(9), failed: failed.map(Remark::from) }),
        };
        let findings = Findings {
            failing: Some("web: no answer".into()),
            warning: Some("disk: exit code 1".into()),
            recoveries: vec![recovery(1, None), recovery(2, Some("exit code 3"))],
            hook: Some(HookFailure {
                hook: Hook::Promote,
                epoch: Epoch(7),
                at: WallTime(9),
                how: "promote hook failed with exit code 1".into(),
                output: "starting\nno licence".into(),
            }),
        };
        assert_eq!(read_with(json!(findings)), Some(findings));
    }

    #[test]
    fn what_cannot_be_understood_says_nothing_and_breaks_nothing() {
        for odd in [
            json!(null),
            json!(7),
            json!("text"),
            json!([1, {"a": 2}]),
            json!({}),
            json!({"failing": 5}),
            json!({"recoveries": [{"number": -1}]}),
            json!({"recoveries": {"number": 1}}),
            json!({"of a later version": true}),
        ] {
            assert_eq!(read_with(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn what_is_too_much_is_cut() {
        let long = "ä".repeat(4_000);
        let recovery = |number| json!({"number": number, "begun": 1, "what": long});
        let read = read_with(json!({
            "failing": format!("a\nb\t{long}"),
            "recoveries": (1..=9).map(recovery).collect::<Vec<_>>(),
        }));
        let read = read.expect("readable");
        let failing = read.failing.expect("said");
        assert!(failing.as_str().len() <= REMARK_LONGEST, "{failing}");
        assert!(failing.as_str().starts_with("a b ää") && failing.as_str().ends_with("ä…"), "{failing}");
        let numbers: Vec<_> = read.recoveries.iter().map(|recovery| recovery.number).collect();
        assert_eq!(numbers, [7, 8, 9]);
        assert!(read.recoveries[0].what.as_str().len() <= REMARK_LONGEST);
        assert_eq!(Remark::from("x".repeat(REMARK_LONGEST)).as_str().len(), REMARK_LONGEST);
    }

    #[test]
    fn of_a_long_output_the_end_is_told_and_nothing_that_steers() {
        let long = format!("{}\nlast \u{1b}[2Jline\n\n", "ä".repeat(4_000));
        let read =
            read_with(json!({"hook": {"hook": "demote", "epoch": 1, "at": 2, "how": "x", "output": long}}));
        let output = read.expect("readable").hook.expect("told").output;
        assert!(output.as_str().len() <= TAIL_LONGEST && output.as_str().len() > TAIL_LONGEST - 4);
        assert!(output.as_str().starts_with("…ä") && output.as_str().ends_with("ä\nlast  [2Jline"));
        assert_eq!(Tail::from("x".repeat(TAIL_LONGEST)).as_str().len(), TAIL_LONGEST);
        for odd in [json!({"hook": {"hook": "reboot"}}), json!({"hook": 7})] {
            assert_eq!(read_with(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn a_failure_that_cannot_be_understood_takes_nothing_else_with_it() {
        for odd in [json!({"hook": "reboot"}), json!(7), json!(null), json!({"hook": "demote", "epoch": "x"})]
        {
            let read = read_with(json!({"failing": "web: no answer", "hook": odd})).expect("said");
            assert_eq!((read.failing, read.hook), (Some("web: no answer".into()), None), "{odd}");
        }
    }

    #[test]
    fn what_turns_the_direction_or_breaks_a_line_is_a_space_and_blank_lines_do_not_pile_up() {
        let turned = "a\u{202e}b\u{2066}c\u{2069}d\u{200f}e\u{2028}f\u{2029}g\u{61c}h";
        assert_eq!(Remark::from(turned).as_str(), "a b c d e f g h");
        assert_eq!(Tail::from(turned).as_str(), "a b c d e f g h");
        let tail = Tail::from("\n \nfirst\n\n\t\n\u{2028}\nsecond\n\n\n");
        assert_eq!(tail.as_str(), "first\n\nsecond");
        assert_eq!(Tail::from(tail.as_str()), tail);
        // What was cut is what was said, and not the lines between.
        let long = format!("first{}last", "\n".repeat(2 * TAIL_LONGEST));
        assert_eq!(Tail::from(long).as_str(), "first\n\nlast");
    }

    #[test]
    fn only_the_last_recovery_can_be_under_way() {
        let recovery = |ended| Recovery { number: 1, begun: WallTime(1), what: "x".into(), ended };
        let ended = || recovery(Some(Ended { at: WallTime(2), failed: None }));
        let with = |recoveries| Findings { recoveries, ..Findings::default() };
        assert_eq!(with(vec![]).under_way(), None);
        assert_eq!(with(vec![ended()]).under_way(), None);
        assert_eq!(with(vec![ended(), recovery(None)]).under_way(), Some(&recovery(None)));
    }
}
