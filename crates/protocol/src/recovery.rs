//! Local recovery: whether a node may try to mend its service where it runs before the lease goes elsewhere, and what it says
//! meanwhile.
//!
//! The naive agent restarts a service for as long as it is broken, and holds the lease meanwhile: an outage without an end,
//! behind a standby that could have ended it. So each recovery has a limit: the hook's timeout, and then the time that the
//! checks need to judge what it did. One that fails is the last until the service has been well again, and only so many may
//! begin within so long; after that the node is bad, and the protocol decides as if there were no local recovery.
//!
//! While one is under way the health is not known. That is no ground to release the lease, and no ground to be granted it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::findings::{Ended, RECOVERIES_KEPT, Recovery, Remark};
use crate::heartbeat::Health;
use crate::time::{BootTime, Now};

/// How many local recoveries may begin within which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many.
    pub times: u32,
    /// Within so long.
    pub within: Duration,
}

/// What the checks of the service say, all together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Not all of them have spoken, and none is bad.
    Undecided,
    /// Each is good.
    Good,
    /// At least one is bad: which, and why.
    Bad(String),
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Nothing is wrong, or nothing may be tried.
    Watching,
    /// The hook runs.
    Running,
    /// The hook is done, and the checks judge anew. What is not good by then has failed.
    Judging { until: BootTime },
    /// It was tried in vain, or may not be tried so often. Why.
    GivenUp(String),
}

/// The local recovery of one service. See the module's introduction.
#[derive(Debug, Clone)]
pub struct LocalRecovery {
    limit: Limit,
    judging: Duration,
    stage: Stage,
    /// When the last ones began, no more than the limit counts.
    begun: VecDeque<BootTime>,
    number: u32,
    kept: VecDeque<Recovery>,
}

impl LocalRecovery {
    /// One that has tried nothing. The checks judge within `judging`.
    pub fn new(limit: Limit, judging: Duration) -> Self {
        let stage = Stage::Watching;
        Self { limit, judging, stage, begun: VecDeque::new(), number: 0, kept: VecDeque::new() }
    }

    /// Takes in what the checks of the service say. `may` tells whether the node may recover now
    /// ([`crate::node::Node::may_recover`]). Returns whether the hook is to be run.
    pub fn handle_said(&mut self, now: Now, said: &Said, may: bool) -> bool {
        match (&self.stage, said) {
            (Stage::Watching, Said::Bad(what)) if may => return self.begin_if_room(now, what),
            (Stage::Judging { .. }, Said::Good) => {
                self.end(now, None);
                self.stage = Stage::Watching;
            }
            (Stage::Judging { .. }, Said::Bad(what)) => self.fail(now, &format!("still bad: {what}")),
            (Stage::GivenUp(_), Said::Good) => self.stage = Stage::Watching,
            _ => {}
        }
        false
    }

    /// Takes in the hook's end; `failed` says why it was no good one. From here on the checks have to judge anew.
    pub fn handle_ended(&mut self, now: Now, failed: Option<&str>) {
        if self.stage != Stage::Running {
            return;
        }
        match failed {
            None => self.stage = Stage::Judging { until: now.boot + self.judging },
            Some(why) => self.fail(now, why),
        }
    }

    /// Takes in that the node does not serve, or no longer: whatever was under way is over, and the next service begins anew.
    pub fn handle_stopped(&mut self, now: Now) {
        if self.is_under_way() {
            self.end(now, Some("this node serves no longer"));
        }
        self.stage = Stage::Watching;
    }

    /// Takes in that time has passed; early calls do nothing.
    pub fn handle_timer(&mut self, now: Now) {
        if let Stage::Judging { until } = self.stage
            && now.boot >= until
        {
            self.fail(now, "not every check was good in time");
        }
    }

    /// When [`Self::handle_timer`] is due.
    pub fn next_deadline(&self) -> Option<BootTime> {
        match self.stage {
            Stage::Judging { until } => Some(until),
            _ => None,
        }
    }

    /// Whether the hook runs. The checks of the service rest meanwhile, and start from a clean slate afterwards.
    pub fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    /// Whether a recovery is under way: its hook runs, or the checks judge what it did.
    pub fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Judging { .. })
    }

    /// Why nothing more is tried for a service that is bad.
    pub fn given_up(&self) -> Option<&str> {
        match &self.stage {
            Stage::GivenUp(why) => Some(why),
            _ => None,
        }
    }

    /// What the node says of itself, where its checks together come to `checks`, and those that have nothing to do with the
    /// service to `others`. What was given up is bad until every check of the service is good: they began anew after the hook,
    /// and what they have not said yet is no good word.
    pub fn health(&self, checks: Health, others: Health) -> Health {
        match (&self.stage, others) {
            (Stage::Watching, _) => checks,
            (Stage::GivenUp(_), _) | (_, Health::Bad) => Health::Bad,
            (Stage::Running | Stage::Judging { .. }, _) => Health::Unknown,
        }
    }

    /// The last ones, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Recovery> {
        self.kept.iter()
    }

    fn begin_if_room(&mut self, now: Now, what: &str) -> bool {
        let Limit { times, within } = self.limit;
        let recent = self.begun.iter().filter(|begun| now.boot.since(**begun) < within).count();
        if recent >= times as usize {
            self.stage = Stage::GivenUp(format!("{recent} local recoveries within {} s", within.as_secs()));
            return false;
        }
        self.begun.push_back(now.boot);
        while self.begun.len() > times as usize {
            self.begun.pop_front();
        }
        self.number = self.number.saturating_add(1);
        self.kept.push_back(Recovery {
            number: self.number,
            begun: now.wall,
            what: Remark::from(what),
            ended: None,
        });
        while self.kept.len() > RECOVERIES_KEPT {
            self.kept.pop_front();
        }
        self.stage = Stage::Running;
        true
    }

    fn fail(&mut self, now: Now, why: &str) {
        self.end(now, Some(why));
        self.stage = Stage::GivenUp(format!("local recovery failed: {why}"));
    }

    fn end(&mut self, now: Now, failed: Option<&str>) {
        if let Some(last) = self.kept.back_mut() {
            last.ended = Some(Ended { at: now.wall, failed: failed.map(Remark::from) });
        }
    }
}

#[cfg(test)]
mod tests;
