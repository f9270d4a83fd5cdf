//! What the instance metadata announces of this instance's end: that Spot takes it back, that Auto Scaling terminates it, that
//! a reboot, a stop or its retirement is scheduled. The paths and texts are those of the EC2 User Guide, "Spot Instance
//! interruption notices" and "Scheduled events for your instances", and of the Amazon EC2 Auto Scaling User Guide, "Retrieve
//! the target lifecycle state through instance metadata".
//!
//! The arbiter is told of most of this by EventBridge and asks the holder to hand over. The node knows it without any event,
//! which may be lost, and a standby that will be gone must not be granted the lease, which the arbiter has no event for.
//!
//! A rebalance recommendation is none of it: such an instance may live for days, and if all of a cluster's nodes got one, none
//! of them would be fit to take over. The arbiter asks a holder to hand over for it, and that is all.

use std::time::Duration;

use baton_protocol::time::WallTime;
use serde::Deserialize;

/// Two minutes before Spot takes an instance back this page appears.
pub const SPOT: &str = "meta-data/spot/instance-action";
/// The state that Auto Scaling is bringing an instance to.
pub const LIFECYCLE: &str = "meta-data/autoscaling/target-lifecycle-state";
/// What is scheduled for an instance, often weeks before.
pub const SCHEDULED: &str = "meta-data/events/maintenance/scheduled";

/// A node leaves so long before the moment of what is scheduled, which is the time that Spot gives: enough to hand over, and not
/// so long that nodes which go one after the other are all about to leave at once.
const AHEAD: Duration = Duration::from_secs(120);
/// What is scheduled is awaited for so long after its beginning at most, however long its window is: a node that nothing has
/// happened to until then is of more use as one that may take over.
const LASTS: Duration = Duration::from_secs(600);
/// More events than this are not an answer of the service.
const EVENTS_MOST: usize = 64;
/// No word of a page that is shown is longer.
const SHOWN: usize = 40;

/// Of Spot's page only that it is there counts: whatever the action is, the instance stops serving.
pub fn by_spot(page: &str) -> String {
    #[derive(Deserialize)]
    struct Notice {
        action: String,
        time: String,
    }
    match serde_json::from_str::<Notice>(page) {
        Ok(notice) => format!("Spot: {} at {}", cut(&notice.action), cut(&notice.time)),
        Err(_) => "Spot takes the instance back".to_owned(),
    }
}

/// Of all states that Auto Scaling may lead to, one is the end.
pub fn by_auto_scaling(page: &str) -> Option<String> {
    (page.trim() == "Terminated").then(|| "Auto Scaling terminates the instance".to_owned())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scheduled {
    code: String,
    not_before: String,
    #[serde(default)]
    not_after: Option<String>,
    state: String,
}

/// What is scheduled and is about to happen at `now` to an instance that has booted at `booted`. An event that cannot be read hides
/// no other; the error says what could not be read where nothing else counts.
pub fn by_schedule(page: &str, booted: WallTime, now: WallTime) -> Result<Option<String>, &'static str> {
    const LIST: &str = "a list of events with `Code`, `NotBefore` and `State`";
    let events: Vec<serde_json::Value> = serde_json::from_str(page).map_err(|_| LIST)?;
    if events.len() > EVENTS_MOST {
        return Err("a list of at most 64 events");
    }
    let mut unreadable = None;
    for event in events {
        let Ok(event) = serde_json::from_value::<Scheduled>(event) else {
            unreadable = Some(LIST);
            continue;
        };
        if event.state != "active" || !ends_service(&event.code) {
            continue;
        }
        let Some(from) = moment(&event.not_before) else {
            unreadable = Some("`NotBefore` as in `21 Jan 2027 09:00:43 GMT`");
            continue;
        };
        let until = event.not_after.as_deref().and_then(moment).unwrap_or(from + LASTS).min(from + LASTS);
        // The boot that comes with it is over while the event is still told of for a while.
        if now + AHEAD >= from && now < until && booted < from {
            return Ok(Some(format!("{} at {}", cut(&event.code), cut(&event.not_before))));
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// `system-maintenance` is the one of which EC2 says that an instance may live through it.
fn ends_service(code: &str) -> bool {
    matches!(code, "instance-reboot" | "system-reboot" | "instance-retirement" | "instance-stop")
}

fn moment(text: &str) -> Option<WallTime> {
    let text = text.trim().strip_suffix(" GMT")?;
    let civil = jiff::civil::DateTime::strptime("%d %b %Y %H:%M:%S", text).ok()?;
    let at = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    u64::try_from(at).ok().map(WallTime)
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;
    /// 21 January 2027, 09:00:43 UTC.
    const NOT_BEFORE: WallTime = WallTime(1_800_522_043_000);

    fn page(code: &str, state: &str, not_after: Option<&str>) -> String {
        let after = not_after.map(|at| format!(r#","NotAfter":"{at}""#)).unwrap_or_default();
        format!(
            r#"[{{"NotBefore":"21 Jan 2027 09:00:43 GMT","Code":"{code}","Description":"scheduled reboot",
                "EventId":"instance-event-0d59937288b749b32"{after},"State":"{state}"}}]"#
        )
    }

    fn at(page: &str, now: WallTime) -> Option<String> {
        by_schedule(page, WallTime(NOT_BEFORE.0 - DAY), now).expect("it can be read")
    }

    #[test]
    fn what_is_scheduled_counts_from_two_minutes_before_it_for_ten_minutes_or_until_its_end() {
        let reboot = page("system-reboot", "active", Some("21 Jan 2027 09:05:43 GMT"));
        let moment = |ms: i64| WallTime(NOT_BEFORE.0.checked_add_signed(ms).expect("in range"));
        assert_eq!(at(&reboot, moment(-120_001)), None);
        let told = Some("system-reboot at 21 Jan 2027 09:00:43 GMT".to_owned());
        assert_eq!(at(&reboot, moment(-120_000)), told);
        assert_eq!(at(&reboot, moment(299_999)), told);
        assert_eq!(at(&reboot, moment(300_000)), None, "its end is over");
        for after in [None, Some("21 Jan 2027 11:00:43 GMT"), Some("some day")] {
            let long = page("instance-stop", "active", after);
            assert!(
                at(&long, moment(599_999)).is_some() && at(&long, moment(600_000)).is_none(),
                "{after:?}"
            );
        }
    }

    #[test]
    fn what_is_over_or_does_not_end_the_service_does_not_count() {
        for (code, state) in [
            ("system-reboot", "completed"),
            ("system-reboot", "canceled"),
            ("system-maintenance", "active"),
            ("something-new", "active"),
        ] {
            assert_eq!(at(&page(code, state, None), NOT_BEFORE), None, "{code} {state}");
        }
        let reboot = page("system-reboot", "active", None);
        let after = |booted| by_schedule(&reboot, booted, WallTime(NOT_BEFORE.0 + 60_000)).expect("readable");
        assert!(after(WallTime(NOT_BEFORE.0 - 1)).is_some());
        assert_eq!(after(NOT_BEFORE), None, "the boot that came of it");
        assert_eq!(at("[]", NOT_BEFORE), None);
    }

    #[test]
    fn a_page_of_another_shape_says_what_was_expected() {
        let many = format!("[{}]", vec![r#"{"Code":"x","NotBefore":"x","State":"x"}"#; 65].join(","));
        let no_date = page("system-reboot", "active", None).replace("Jan", "Nev");
        for bad in ["", "{}", "<html>", r#"[{"Code":"system-reboot"}]"#, &many, &no_date] {
            assert!(by_schedule(bad, WallTime(0), NOT_BEFORE).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_hides_no_other_event() {
        let good = page("system-reboot", "active", None);
        let no_date = good.replace("Jan", "Nev");
        let inner = |page: &str| page.trim_start_matches('[').trim_end_matches(']').to_owned();
        for bad in [inner(&no_date), r#"{"Code":"system-reboot"}"#.to_owned(), "7".to_owned()] {
            let both = format!("[{bad},{}]", inner(&good));
            assert!(at(&both, NOT_BEFORE).is_some(), "{both}");
        }
    }

    #[test]
    fn of_the_states_of_auto_scaling_one_is_the_end() {
        for state in ["InService", "Standby", "Detached", "Warmed:Stopped", "", "terminated?"] {
            assert_eq!(by_auto_scaling(state), None, "{state}");
        }
        assert!(by_auto_scaling("Terminated\n").is_some());
    }

    #[test]
    fn that_spot_has_a_page_counts_whatever_it_says() {
        let page = r#"{"action": "stop", "time": "2027-09-18T08:22:00Z"}"#;
        assert_eq!(by_spot(page), "Spot: stop at 2027-09-18T08:22:00Z");
        assert_eq!(by_spot("?"), "Spot takes the instance back");
    }
}
