//! Times, durations and foreign texts, as people read them.

use std::time::Duration;

use baton_protocol::findings::steers;
use baton_protocol::time::WallTime;
use jiff::{SignedDuration, Timestamp};

/// A moment as RFC 3339 in UTC, to the millisecond: the stages of a takeover lie less than a second apart.
pub fn rfc3339(at: WallTime) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    // A moment past the year 9999 can only come from a broken clock; its number says more than no answer.
    moment.map_or_else(
        || format!("{} ms", at.0),
        |moment| moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    )
}

/// A moment as [`rfc3339`] wrote it, to the second, where a fraction would only be noise.
pub fn to_second(written: &str) -> String {
    written.split_once('.').map_or_else(|| written.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// A moment as people read it: RFC 3339 in UTC, to the second.
pub fn moment(at: WallTime) -> String {
    to_second(&rfc3339(at))
}

/// A length of time with one or two units: `1.2s`, `42s`, `3m 5s`, `2h 4m`, `3d 4h`.
pub fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..10 => format!("{}.{}s", seconds, length.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit} {small}{small_unit}")
    }
}

/// Milliseconds as seconds with at most three decimals and no trailing zeros: `6s`, `3.5s`.
pub fn seconds(ms: u64) -> String {
    let fraction = format!("{:03}", ms % 1_000);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{}s", ms / 1_000) } else { format!("{}.{fraction}s", ms / 1_000) }
}

/// How long ago a moment was, or how far ahead it is.
pub fn ago(at: WallTime, now: WallTime) -> String {
    if at <= now { format!("{} ago", length(now.since(at))) } else { format!("in {}", length(at.since(now))) }
}

/// A text from the table or from AWS, without what could steer a terminal or break a line.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Parses a duration that an operator typed: `10s`, `1m30s`, `2 hours`, `PT5M`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration such as `10s`, `1m30s` or `2h`";
    let signed: SignedDuration = text.parse().map_err(|_| format!("{expected}, found `{text}`"))?;
    let length =
        Duration::try_from(signed).map_err(|_| format!("{expected}, found the negative `{text}`"))?;
    if length < Duration::from_secs(1) {
        return Err(format!("expected at least one second, found `{text}`"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc() {
        assert_eq!(rfc3339(WallTime(1_790_000_000_007)), "2026-09-21T14:13:20.007Z");
        assert_eq!(to_second(&rfc3339(WallTime(1_790_000_000_007))), "2026-09-21T14:13:20Z");
        assert_eq!(rfc3339(WallTime(u64::MAX)), "18446744073709551615 ms");
    }

    #[test]
    fn a_length_has_the_two_units_that_matter() {
        for (ms, text) in [
            (0, "0.0s"),
            (1_250, "1.2s"),
            (9_999, "9.9s"),
            (42_900, "42s"),
            (60_000, "1m"),
            (185_000, "3m 5s"),
            (7_440_000, "2h 4m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(length(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn seconds_keep_what_they_need_and_no_more() {
        assert_eq!(
            [seconds(6_000), seconds(3_500), seconds(5_849), seconds(40)],
            ["6s", "3.5s", "5.849s", "0.04s"]
        );
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, length) in [("10s", 10), ("1m30s", 90), ("2h", 7_200), ("2 hours", 7_200), ("PT5M", 300)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(length)), "{text}");
        }
        for text in ["", "10", "-5s", "0s", "200ms", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_foreign_text_cannot_steer_the_terminal() {
        assert_eq!(printable("\u{1b}[2Jkernel\nupdate\u{9b}"), "[2Jkernel update");
    }
}
