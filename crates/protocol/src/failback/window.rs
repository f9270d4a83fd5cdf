//! A window: when in the week something may happen, in UTC, which has no summer time to move it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// What a window has to look like, for whoever tells of one that does not.
pub const EXPECTED: &str =
    "a time of the day in UTC as `02:00-04:00`, with days before it or not as `Sat,Sun 22:00-02:00`";

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// The day at which civil time begins, a Thursday.
const FIRST_DAY: u64 = 3;
const MINUTE_MS: u64 = 60_000;
/// Minutes of a day.
const DAY: u64 = 24 * 60;
/// All seven days and the longest times are shorter.
const LONGEST: usize = 40;

/// A span of some days of the week, or of each. One that passes midnight belongs to the day at which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// One bit for each day, from Monday on.
    days: u8,
    /// Minutes of the day.
    from: u16,
    until: u16,
}

impl Window {
    /// Reads one; none: it does not look as [`EXPECTED`] says, or is empty.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (days, times) = match text.split_once(' ') {
            Some((days, times)) => (bits(days)?, times),
            None => (0b111_1111, text),
        };
        let (from, until) = times.split_once('-')?;
        let (from, until) = (minute(from)?, minute(until)?);
        (from != until).then_some(Self { days, from, until })
    }

    /// For how long it is still open; none: it is not.
    pub fn left(self, now: WallTime) -> Option<Duration> {
        let minutes = now.0 / MINUTE_MS;
        let (day, of_day) = ((minutes / DAY + FIRST_DAY) % 7, minutes % DAY);
        let (from, until) = (u64::from(self.from), u64::from(self.until));
        let length = (until + DAY - from) % DAY;
        // Begun today, or yesterday.
        let since =
            [(day, of_day), ((day + 6) % 7, of_day + DAY)].into_iter().find_map(|(begun, minute)| {
                let since = minute.checked_sub(from).filter(|since| *since < length)?;
                (self.days & (1 << begun) != 0).then_some(since)
            })?;
        Some(Duration::from_millis((length - since) * MINUTE_MS - now.0 % MINUTE_MS))
    }
}

fn bits(days: &str) -> Option<u8> {
    days.split(',').try_fold(0u8, |bits, day| {
        let bit = 1 << DAYS.iter().position(|known| *known == day)?;
        (bits & bit == 0).then_some(bits | bit)
    })
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, most: u16| -> Option<u16> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number <= most)
    };
    let (hour, minute) = (number(hour, 23)?, number(minute, 59)?);
    Some(60 * hour + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0b111_1111 {
            let days: Vec<_> =
                (0..7).filter(|day| self.days & (1 << day) != 0).map(|day| DAYS[day]).collect();
            write!(f, "{} ", days.join(","))?;
        }
        let (from, until) = (self.from, self.until);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl TryFrom<String> for Window {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            let found: String = text.chars().take(LONGEST).collect();
            format!("expected {EXPECTED}, found `{found}`")
        })
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28 00:00 UTC, a Saturday.
    const SATURDAY: u64 = 20_785 * 86_400_000;

    fn left(window: &str, day: u64, hour: u64, minute: u64) -> Option<u64> {
        let at = WallTime(SATURDAY + ((day * 24 + hour) * 60 + minute) * MINUTE_MS);
        Window::parse(window).expect(window).left(at).map(|left| left.as_secs() / 60)
    }

    #[test]
    fn a_window_is_open_from_its_beginning_on_and_closed_at_its_end() {
        assert_eq!(left("02:00-04:00", 0, 1, 59), None);
        assert_eq!(left("02:00-04:00", 0, 2, 0), Some(120));
        assert_eq!(left("02:00-04:00", 3, 3, 59), Some(1));
        assert_eq!(left("02:00-04:00", 0, 4, 0), None);
        let almost = WallTime(SATURDAY + 4 * 3_600_000 - 1);
        let left = Window::parse("02:00-04:00").and_then(|window| window.left(almost));
        assert_eq!(left, Some(Duration::from_millis(1)));
    }

    #[test]
    fn a_window_of_some_days_is_closed_on_the_others() {
        for (day, open) in [(0, true), (1, true), (2, false), (6, false), (7, true)] {
            assert_eq!(left("Sat,Sun 02:00-04:00", day, 3, 0).is_some(), open, "{day}");
            assert_eq!(left("02:00-04:00", day, 3, 0), Some(60));
        }
        assert_eq!(left("Mon 02:00-04:00", 2, 3, 0), Some(60));
    }

    #[test]
    fn a_window_that_passes_midnight_belongs_to_the_day_at_which_it_begins() {
        assert_eq!(left("Sat 22:00-02:00", 0, 1, 0), None, "begun on Friday");
        assert_eq!(left("Sat 22:00-02:00", 0, 23, 0), Some(180));
        assert_eq!(left("Sat 22:00-02:00", 1, 1, 59), Some(1));
        assert_eq!(left("Sat 22:00-02:00", 1, 2, 0), None);
        assert_eq!(left("Sat 22:00-02:00", 1, 23, 0), None);
        assert_eq!(left("Sun 23:00-00:00", 1, 23, 30), Some(30), "until midnight");
        assert_eq!(left("Sun 23:00-00:00", 2, 0, 0), None);
    }

    #[test]
    fn what_is_no_window_is_told_with_what_was_expected() {
        for text in [
            "",
            " ",
            "02:00",
            "2:00-4:00",
            "02:00-24:00",
            "02:60-03:00",
            "02:00-02:00",
            "Sat",
            "Sat 02:00",
            "sat 02:00-04:00",
            "Sat,Sat 02:00-04:00",
            "Sat, 02:00-04:00",
            "Sat  02:00-04:00",
            "+2:00-04:00",
            "02:00-04:00 Sat",
            "Fri-Sun 02:00-04:00",
        ] {
            assert_eq!(Window::parse(text), None, "{text:?}");
        }
        let refused = serde_json::from_str::<Window>("\"soon\"").expect_err("no window").to_string();
        assert_eq!(
            refused,
            "expected a time of the day in UTC as `02:00-04:00`, with days before it or not as `Sat,Sun 22:00-02:00`, \
             found `soon`"
        );
        assert!(Window::try_from("x".repeat(1_000)).expect_err("too long").len() < 200);
    }

    #[test]
    fn a_window_is_written_as_it_is_read() {
        for text in ["02:00-04:00", "Sat,Sun 22:30-02:05", "Mon,Tue,Wed,Thu,Fri,Sat 00:00-23:59"] {
            let window = Window::parse(text).expect(text);
            assert_eq!(window.to_string(), text);
            let json = serde_json::to_string(&window).expect("can be written");
            assert_eq!(serde_json::from_str::<Window>(&json).expect("can be read"), window);
        }
        let all = Window::parse("Mon,Tue,Wed,Thu,Fri,Sat,Sun 01:00-02:00").expect("a window");
        assert_eq!(all.to_string(), "01:00-02:00");
    }
}
