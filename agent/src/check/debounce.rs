//! From tries to a verdict: `rise` successes in a row make a check good, `fall` failures in a row make it
//! bad.
//!
//! A check that has not spoken yet is neither. Pure: no clock, no I/O.

/// What a check has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing yet, or nothing for long enough.
    #[default]
    Unknown,
    /// `rise` tries in a row have succeeded since the last time it was bad.
    Good,
    /// `fall` tries in a row have failed since the last time it was good.
    Bad,
}

/// Counts the tries of one check.
#[derive(Debug, Clone)]
pub struct Debounce {
    rise: u32,
    fall: u32,
    verdict: Verdict,
    /// The outcome of the last try, and how many in a row had it.
    run: Option<(bool, u32)>,
}

impl Debounce {
    /// A check that has not spoken. Zero counts as one: a single try then decides.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), verdict: Verdict::Unknown, run: None }
    }

    /// Takes in the outcome of a try; the new verdict, if it has changed.
    pub fn handle(&mut self, success: bool) -> Option<Verdict> {
        let length = match self.run {
            Some((last, length)) if last == success => length.saturating_add(1),
            _ => 1,
        };
        self.run = Some((success, length));
        let (needed, verdict) = if success { (self.rise, Verdict::Good) } else { (self.fall, Verdict::Bad) };
        if length < needed || self.verdict == verdict {
            return None;
        }
        self.verdict = verdict;
        Some(verdict)
    }

    /// What the check has come to.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(rise: u32, fall: u32, tries: &str) -> Vec<(usize, Verdict)> {
        let mut debounce = Debounce::new(rise, fall);
        let outcomes = tries.chars().map(|c| c == '+');
        outcomes.enumerate().filter_map(|(n, success)| Some((n + 1, debounce.handle(success)?))).collect()
    }

    #[test]
    fn a_check_that_has_not_spoken_is_unknown() {
        assert_eq!(Debounce::new(1, 1).verdict(), Verdict::Unknown);
        assert_eq!(changes(2, 3, "+-+--+-"), []);
    }

    #[test]
    fn rise_successes_make_it_good_and_fall_failures_make_it_bad() {
        assert_eq!(changes(2, 3, "++"), [(2, Verdict::Good)]);
        assert_eq!(changes(2, 3, "---"), [(3, Verdict::Bad)]);
        assert_eq!(changes(1, 1, "+-"), [(1, Verdict::Good), (2, Verdict::Bad)]);
    }

    #[test]
    fn a_run_that_is_interrupted_starts_again() {
        assert_eq!(changes(2, 3, "++--+--+---"), [(2, Verdict::Good), (11, Verdict::Bad)]);
        assert_eq!(changes(3, 1, "-++-++-+++"), [(1, Verdict::Bad), (10, Verdict::Good)]);
    }

    #[test]
    fn a_verdict_that_stands_is_reported_once() {
        assert_eq!(changes(1, 2, "+++++----"), [(1, Verdict::Good), (7, Verdict::Bad)]);
    }

    #[test]
    fn the_verdict_is_what_the_last_long_enough_run_says() {
        // Every sequence of eight tries, against a rereading of the whole history.
        for (rise, fall) in [(1, 1), (1, 3), (2, 2), (3, 2)] {
            for bits in 0u32..256 {
                let tries: Vec<bool> = (0..8).map(|n| bits >> n & 1 == 1).collect();
                let mut debounce = Debounce::new(rise, fall);
                for (n, success) in tries.iter().enumerate() {
                    debounce.handle(*success);
                    let expected = reread(&tries[..=n], rise as usize, fall as usize);
                    assert_eq!(debounce.verdict(), expected, "{tries:?} {rise} {fall}");
                }
            }
        }
    }

    /// The verdict of the most recent place at which a run was long enough.
    fn reread(tries: &[bool], rise: usize, fall: usize) -> Verdict {
        (1..=tries.len())
            .rev()
            .find_map(|end| {
                let ends_with = |count: usize, success: bool| {
                    end >= count && tries[end - count..end].iter().all(|t| *t == success)
                };
                match (ends_with(rise, true), ends_with(fall, false)) {
                    (true, _) => Some(Verdict::Good),
                    (_, true) => Some(Verdict::Bad),
                    _ => None,
                }
            })
            .unwrap_or(Verdict::Unknown)
    }
}
