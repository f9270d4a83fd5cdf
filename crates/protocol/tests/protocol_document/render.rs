//! How states, commands and durations are written in the tables.

use baton_protocol::node::{Command, Exit};
use baton_protocol::time::BootTime;
use baton_protocol::timing::Timing;

/// A row of a Markdown table.
pub(crate) fn row<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|cell| cell.as_ref().replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The first two lines of a Markdown table.
pub(crate) fn head<const N: usize>(cells: [&str; N]) -> String {
    format!("{}{}", row(cells), row([" --- "; N].map(str::trim)))
}

/// What was handed out, in order, without the reads that belong to every cycle. `sent` is when the last W was.
pub(crate) fn commands(said: &[Command], sent: BootTime) -> String {
    let mut words: Vec<String> = Vec::new();
    for command in said {
        let word = match command {
            Command::Beat(_) | Command::ReadLease | Command::ReadHeartbeats(_) | Command::LeaveWake(_) => {
                continue;
            }
            Command::Arm { epoch, valid_until } => {
                format!("arm {epoch} until W + {} ms", valid_until.since(sent).as_millis())
            }
            Command::Disarm => "disarm".to_owned(),
            Command::Promote { epoch, guarded: true } => format!("promote {epoch}"),
            Command::Promote { epoch, guarded: false } => format!("promote {epoch}, unguarded"),
            Command::Demote { .. } => "demote".to_owned(),
            Command::Persist(state) => {
                let serving = state.serving.map_or_else(|| "nothing".to_owned(), |epoch| epoch.to_string());
                let sworn =
                    if state.released.0 > 0 { format!(", sworn {}", state.released) } else { String::new() };
                format!("keep: serves {serving}{sworn}")
            }
            Command::Release { epoch } => format!("swear {epoch}"),
            Command::Wake(why) => format!("wake: {}", format!("{why:?}").to_lowercase()),
            Command::Exit(Exit::Orderly) => "leave".to_owned(),
            Command::Exit(Exit::Usurped(_)) => "leave: usurped".to_owned(),
            Command::ReadOwn | Command::Announce { .. } => "start".to_owned(),
        };
        if words.last() != Some(&word) {
            words.push(word);
        }
    }
    words.join("; ")
}

/// Why a service is stopped, as hooks and the history are told.
pub(crate) fn reason(said: &[Command]) -> &'static str {
    let reasons = said.iter().find_map(|command| match command {
        Command::Demote { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    reasons.unwrap_or("")
}

/// Both profiles, with the bound that each must keep.
pub(crate) fn timing() -> String {
    let (default, fast) = (Timing::DEFAULT.durations(), Timing::FAST.durations());
    let ms = |n: u64| format!("{n} ms");
    let percent = |ppm: u64| format!("{} %", ppm / 10_000);
    let bound = |timing: Timing| {
        let durations = timing.durations();
        // The smallest S that the type accepts, found by asking it.
        let least = (500..=durations.silence_ms).find(|&silence_ms| {
            Timing::new(baton_protocol::timing::Durations { silence_ms, ..durations }).is_ok()
        });
        ms(least.expect("a profile keeps its own bound"))
    };
    let mut table = head(["symbol", "name", "default", "fast", "what it is"]);
    for (symbol, name, default, fast, what) in [
        (
            "h",
            "`heartbeat_ms`",
            ms(default.heartbeat_ms),
            ms(fast.heartbeat_ms),
            "from one heartbeat to the next",
        ),
        (
            "",
            "`attempt_timeout_ms`",
            ms(default.attempt_timeout_ms),
            ms(fast.attempt_timeout_ms),
            "for how long one call to the table is waited for",
        ),
        (
            "TTL",
            "`validity_ms`",
            ms(default.validity_ms),
            ms(fast.validity_ms),
            "for how long a confirmed heartbeat lets the holder serve, from its sending, by the holder's clock",
        ),
        (
            "D",
            "`fence_ms`",
            ms(default.fence_ms),
            ms(fast.fence_ms),
            "from the end of validity until the service answers nobody any more",
        ),
        (
            "P",
            "`hidden_pause_ms`",
            ms(default.hidden_pause_ms),
            ms(fast.hidden_pause_ms),
            "how long a machine may stand still without its clock showing it",
        ),
        (
            "ρ",
            "`clock_error_ppm`",
            percent(default.clock_error_ppm),
            percent(fast.clock_error_ppm),
            "how far the rate of a clock may be off, either way",
        ),
        (
            "S",
            "`silence_ms`",
            ms(default.silence_ms),
            ms(fast.silence_ms),
            "how long a standby must have seen nothing new, by its own clock, before it claims",
        ),
        ("", "the least S", bound(Timing::DEFAULT), bound(Timing::FAST), "what the inequality asks for"),
    ] {
        table.push_str(&row([symbol, name, &default, &fast, what]));
    }
    table
}
