//! How `baton` ends: one number per meaning, documented and stable, so that scripts can tell outcomes apart.

use std::process::ExitCode;

/// What the exit code of `baton` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `status --exit-code`: healthy and protected.
    Done = 0,
    /// Something that was not expected.
    Unexpected = 1,
    /// Wrong usage.
    Usage = 2,
    /// Refused, since it is not safe now; nothing was changed.
    Refused = 10,
    /// Another action or a newer epoch won.
    Lost = 11,
    /// The time of `--wait` is over, the action goes on.
    Waiting = 12,
    /// The table, cluster or node is not known.
    Missing = 13,
    /// IAM refused.
    Denied = 14,
    /// `status --exit-code`: something is wrong, or no standby could take over.
    Degraded = 20,
    /// `status --exit-code`: nobody may serve.
    NoHolder = 21,
    /// `status --exit-code`: automatic action is paused.
    Paused = 22,
    /// `doctor`: something was found, or could not be looked at.
    Found = 23,
    /// The configuration is invalid.
    Configuration = 78,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The numbers and their meanings, for `--help`.
pub const LEGEND: &str = "\
Exit codes:
   0  done; for `status --exit-code`: healthy and protected
   1  unexpected error
   2  wrong usage
  10  refused, not safe now; nothing was changed
  11  lost the race: another action or a newer epoch won
  12  the time of --wait is over, the action goes on
  13  unknown table, cluster or node
  14  denied by IAM; the missing action is named
  20  `status --exit-code`: degraded or unprotected
  21  `status --exit-code`: no holder
  22  `status --exit-code`: paused
  23  `doctor`: something was found, or could not be looked at
  78  invalid configuration";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_stands_in_the_legend_with_its_number() {
        use Exit::*;
        let all = [
            (Done, 0),
            (Unexpected, 1),
            (Usage, 2),
            (Refused, 10),
            (Lost, 11),
            (Waiting, 12),
            (Missing, 13),
            (Denied, 14),
            (Degraded, 20),
            (NoHolder, 21),
            (Paused, 22),
            (Found, 23),
            (Configuration, 78),
        ];
        for (exit, number) in all {
            assert_eq!(exit.code(), number);
            assert!(LEGEND.contains(&format!("\n  {number:>2}  ")), "{number}");
        }
        assert_eq!(LEGEND.lines().count(), all.len() + 1);
    }
}
