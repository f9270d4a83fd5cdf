//! What the agent tells systemd: that it is ready, what it is doing, that its loop turns, that it stops.
//!
//! Without `NOTIFY_SOCKET` every call does nothing. A message that cannot be sent is logged and otherwise
//! ignored: no service depends on it, and systemd draws its own conclusion from a watchdog that falls silent.

use std::time::Duration;

use sd_notify::NotifyState;

/// The agent is up: its configuration is read and it has read a lease.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The line that `systemctl status` shows. Cut to one line of at most 200 characters.
pub fn status(text: &str) {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    send(&[NotifyState::Status(&line)]);
}

/// The driver has completed a cycle. To be called from that loop and nowhere else: a timer of its own would
/// only prove that the runtime lives.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// The agent is going down on purpose.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Within which time systemd expects a sign from [`watchdog`], if it does. Half of it is a good pace.
pub fn watchdog_limit() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "could not notify systemd");
    }
}
