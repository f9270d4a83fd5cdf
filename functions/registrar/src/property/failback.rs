//! Whether the lease goes back by itself, of the properties.

use baton_protocol::failback::{
    DEFAULT_HOLD, EXPECTED_WINDOW, Failback, LONGEST_HOLD, SHORTEST_HOLD, Window,
};

use super::At;

/// Reads `Failback` with what belongs to it.
pub(super) fn read(root: &At<'_>, wrong: &mut Vec<String>) -> Option<Failback> {
    let (at, hold, window) =
        (root.field("Failback"), root.field("FailbackHoldSeconds"), root.field("FailbackWindow"));
    match at.value.map_or(Some("manual"), serde_json::Value::as_str) {
        Some("manual") => {
            for at in [hold, window] {
                if at.value.is_some() {
                    let _: Option<()> = at.expected("nothing, as failback is manual", wrong);
                }
            }
            Some(Failback::Manual)
        }
        Some("automatic") => {
            let (hold_ms, window) = (hold_ms(&hold, wrong), window_of(&window, wrong));
            Some(Failback::Automatic { hold_ms: hold_ms?, window: window? })
        }
        _ => at.expected("`manual` or `automatic`", wrong),
    }
}

fn hold_ms(at: &At<'_>, wrong: &mut Vec<String>) -> Option<u64> {
    let seconds = if at.value.is_some() { at.number(wrong)? } else { DEFAULT_HOLD.as_secs() };
    let (least, most) = (SHORTEST_HOLD.as_secs(), LONGEST_HOLD.as_secs());
    if !(least..=most).contains(&seconds) {
        return at.expected(&format!("{least} to {most} seconds"), wrong);
    }
    Some(1_000 * seconds)
}

fn window_of(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Option<Window>> {
    let Some(found) = at.value else { return Some(None) };
    match found.as_str().and_then(Window::parse) {
        Some(window) => Some(Some(window)),
        None => at.expected(EXPECTED_WINDOW, wrong),
    }
}
