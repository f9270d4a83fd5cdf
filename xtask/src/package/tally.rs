//! Counts what was looked at, and says each of it.

use std::error::Error;

use crate::output;

/// What was looked at so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Takes in one more: nothing wrong, or what is.
    pub(crate) fn take(&mut self, what: &str, found: Result<(), Box<dyn Error>>) {
        match found {
            Ok(()) => {
                self.passed += 1;
                output::result(&format!("{} {what}", output::verdict(true, "ok")));
            }
            Err(error) => {
                self.failed += 1;
                output::result(&format!("{} {what}: {error}", output::verdict(false, "FAILED")));
            }
        }
    }

    /// Says the sum, in the line that whoever reads the output looks for.
    pub(crate) fn close(&self) -> Result<(), Box<dyn Error>> {
        output::result(&format!("{} passed, {} failed", self.passed, self.failed));
        self.verdict()
    }

    fn verdict(&self) -> Result<(), Box<dyn Error>> {
        match (self.passed, self.failed) {
            (0, 0) => Err("nothing was looked at".into()),
            (_, 0) => Ok(()),
            (passed, failed) => Err(format!("{failed} of {} failed", passed + failed).into()),
        }
    }
}

/// Wants two things to be the same.
pub(crate) fn same(found: &str, expected: &str) -> Result<(), Box<dyn Error>> {
    if found == expected { Ok(()) } else { Err(format!("expected `{expected}`, found `{found}`").into()) }
}

/// Wants something to be so.
pub(crate) fn want(holds: bool, otherwise: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_and_nothing_at_all_are_failures() {
        assert!(Tally { passed: 0, failed: 0 }.verdict().is_err());
        assert!(Tally { passed: 2, failed: 0 }.verdict().is_ok());
        assert!(Tally { passed: 2, failed: 1 }.verdict().is_err());
    }

    #[test]
    fn what_is_not_as_wanted_is_an_error_that_says_so() {
        assert!(same("a", "a").is_ok() && want(true, "no").is_ok());
        assert_eq!(same("a", "b").expect_err("another").to_string(), "expected `b`, found `a`");
        assert_eq!(want(false, "no").expect_err("not so").to_string(), "no");
    }
}
