//! Local recovery: what runs, how often, and that something asks for it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use baton_protocol::recovery::Limit;
use toml::Spanned;

use super::{Rules, raw};
use crate::config::{Recover, When};

/// How long a recover hook may take: the lease stays where it is meanwhile.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
/// How many local recoveries may be allowed within the time.
const TIMES: RangeInclusive<u32> = 1..=10;
/// The times within which they are counted.
const WITHIN: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(24 * 3600);
/// Without another: three within ten minutes.
const DEFAULT: Limit = Limit { times: 3, within: Duration::from_secs(600) };

impl Rules {
    pub(super) fn recover(
        &mut self,
        hook: Option<Spanned<raw::Hook>>,
        limit: Option<Spanned<raw::Limit>>,
        checks: &BTreeMap<Spanned<String>, raw::Check>,
    ) -> Option<Recover> {
        let Some(hook) = hook else {
            if let Some(limit) = limit {
                self.refuse(
                    limit.span(),
                    "config::hooks::recover-missing",
                    "there is a `recover-limit` and no recover hook",
                    "limits nothing",
                    "add `recover = { command = [...], timeout = \"...\" }`, or leave the limit out",
                );
            }
            return None;
        };
        if !checks.values().any(|check| check.when == When::Serving) {
            self.refuse(
                hook.span(),
                "config::hooks::recover-unasked",
                "there is a recover hook and no check that asks for it",
                "never runs",
                "add a check with `when = \"serving\"`: the hook runs when such a check becomes bad",
            );
        }
        let limit = limit.map_or(Some(DEFAULT), |limit| self.limit(limit.get_ref()));
        let raw = hook.into_inner();
        let timeout = self.length(&raw.timeout, "the timeout of a recover hook", TIMEOUTS);
        if let Some(unit) = &raw.unit {
            self.refuse(
                unit.span(),
                "config::hooks::recover-unit",
                "a recover hook is a command, and not a unit",
                "this key",
                "write a `command` that stops the unit and then starts it: systemd goes on with a restart whose asker was killed",
            );
            return None;
        }
        let act = self.act(&raw);
        let hook = crate::config::Hook { act: act?, timeout: timeout? };
        Some(Recover { hook, limit: limit? })
    }

    fn limit(&mut self, raw: &raw::Limit) -> Option<Limit> {
        let times = *raw.times.get_ref();
        let fits = TIMES.contains(&times);
        if !fits {
            let (least, most) = (TIMES.start(), TIMES.end());
            self.refuse(
                raw.times.span(),
                "config::hooks::recover-limit",
                format!("expected `times` to be {least} to {most}, found {times}"),
                "out of range",
                "a service that has to be mended more often than that is not mended; to mend none, leave the hook out",
            );
        }
        let within = self.length(&raw.within, "within", WITHIN)?;
        fits.then_some(Limit { times, within })
    }
}
