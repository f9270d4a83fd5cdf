//! What a hook does: exactly one of a command and a unit.

use toml::Spanned;

use super::{Asked, Rules, raw};
use crate::config::Act;

/// The longest name of a unit (`UNIT_NAME_MAX` of systemd, without its zero).
const UNIT_LONGEST: usize = 255;
/// What a unit's name may end with: what has a state that says whether something works.
const UNITS: [&str; 7] = [".service", ".socket", ".target", ".mount", ".path", ".timer", ".swap"];

impl Rules {
    pub(super) fn act(&mut self, raw: &raw::Hook) -> Option<Act> {
        match (&raw.command, &raw.unit) {
            (Some(command), None) => self.command(command).map(Act::Command),
            (None, Some(given)) => {
                let unit = self.unit(given)?;
                self.asked.push(Spanned::new(given.span(), Asked::Units));
                Some(Act::Unit(unit))
            }
            (command, _) => {
                let found = if command.is_some() { "both" } else { "neither" };
                self.refuse(
                    raw.timeout.span(),
                    "config::hook",
                    format!("expected exactly one of `command` and `unit`, found {found}"),
                    "of the hook with this timeout",
                    "`unit` starts or stops a unit of systemd and sees to it, `command` runs a program",
                );
                None
            }
        }
    }

    /// The whole name of a unit.
    pub(super) fn unit(&mut self, given: &Spanned<String>) -> Option<String> {
        let unit = given.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let ends = UNITS.iter().any(|end| unit.len() > end.len() && unit.ends_with(end));
        if unit.len() > UNIT_LONGEST || unit.starts_with('-') || !unit.chars().all(plain) || !ends {
            self.refuse(
                given.span(),
                "config::check::unit",
                format!("expected the whole name of a unit of systemd, found `{unit}`"),
                "not a unit",
                "write the name with its ending, as `systemctl list-units` shows it: `\"orders.service\"`",
            );
            return None;
        }
        Some(unit.clone())
    }
}
