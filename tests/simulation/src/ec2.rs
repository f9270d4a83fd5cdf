//! A function's looks and calls to EC2: how long they take, what becomes of them, and when they really land.

use baton_cloud::Cloud;
use baton_cloud::memory::{Fault as CloudFault, Trouble};
use baton_protocol::arbiter::Action;
use baton_protocol::ec2::{Call, CloudFailure, Effect, InstanceState, Look, Sight};
use baton_protocol::outcome::Failure;

use crate::clock::{Real, SECOND};
use crate::event::{Event, FunctionAnswer, Origin};
use crate::fault::Kind;
use crate::plan::draw;
use crate::sometimes::Sometimes;
use crate::world::{Sim, ready};

/// The limit of one call to EC2.
const EC2_TIMEOUT: Real = 3 * SECOND;
/// The oldest state that EC2 answers a look from.
pub(crate) const STALEST: Real = 3 * SECOND;
/// The longest that a call to EC2 may be on its way when its caller has long given up.
const LATEST: Real = 30 * SECOND;

/// A call, for a person.
pub(crate) fn told(call: &Call) -> String {
    let what = match call {
        Call::Disassociate { association, .. } => format!(" by {association}"),
        Call::ReplaceTableAssociation { association, table, .. } => format!(" by {association} for {table}"),
        _ => String::new(),
    };
    format!("{} {}{what}", call.action(), call.resource())
}

impl Sim<'_> {
    pub(crate) fn look_ec2(&mut self, function: usize, action: Action) {
        let sent = self.now;
        let (there, back) = self.ec2_delays();
        if self.network.has(Kind::Ec2Throttled) && self.chance(50) {
            let Action::Look(look) = action else { return };
            return self.tell_function(
                function,
                sent + there,
                FunctionAnswer::Sight(look, Err(CloudFailure::Throttled)),
            );
        }
        if self.network.has(Kind::Ec2Down) {
            let unknown = FunctionAnswer::failed(&action, sent, Failure::Unknown(String::new()));
            return self.tell_function(function, sent + EC2_TIMEOUT, unknown);
        }
        let answer_at = Some(sent + there + back);
        self.queue
            .push(sent + there, Event::FunctionApply { function, action: Box::new(action), answer_at, sent });
    }

    fn ec2_delays(&mut self) -> (Real, Real) {
        let there = draw(&mut self.rng, self.plan.delays.ec2);
        (there, draw(&mut self.rng, self.plan.delays.ec2))
    }

    pub(crate) fn sight(&mut self, look: &Look) -> Result<Sight, CloudFailure> {
        if self.network.has(Kind::Ec2Stale) && self.chance(50) {
            let since = self.now.saturating_sub(self.rng.u64(0..STALEST));
            let changes = self.watch.mutations.iter().rev().take_while(|at| **at > since).count();
            if let Look::Instance(_) = look {
                return Ok(Sight::Instance(InstanceState::NotFound));
            }
            if changes > 0 {
                self.see(Sometimes::StaleLook);
                self.cloud.fail(CloudFault::on_anything(Trouble::Stale(changes)));
            }
        }
        ready(self.cloud.look(look))
    }

    pub(crate) fn call_ec2(&mut self, function: usize, call: Call) {
        self.watch_call_ec2(function, &call);
        let sent = self.now;
        let (there, back) = self.ec2_delays();
        let sight = self.functions[function].as_ref().and_then(|f| f.sight.as_ref());
        let Some(epoch) = sight.map(|sight| sight.epoch) else { return };
        let began = self.functions[function].as_ref().map_or(sent, |running| running.started);
        let origin = Origin { epoch, began, sent };
        self.say_function(function, || told(&call));
        let unknown = || Err(CloudFailure::Unknown("no answer".to_owned()));
        if self.network.has(Kind::Ec2Throttled) && self.chance(50) {
            self.see(Sometimes::CallThrottled);
            let answer = FunctionAnswer::Effect(call, Err(CloudFailure::Throttled));
            return self.tell_function(function, sent + there, answer);
        }
        if self.network.has(Kind::Ec2Down) {
            return self.tell_function(function, sent + EC2_TIMEOUT, FunctionAnswer::Effect(call, unknown()));
        }
        let land =
            |at, answer_at, call| (at, Event::Land { function, call: Box::new(call), answer_at, origin });
        let (at, event) = if self.network.has(Kind::Ec2Late) && self.chance(45) {
            let late = self.rng.u64(SECOND..LATEST);
            let answer_at = (late + back < EC2_TIMEOUT).then_some(sent + late + back);
            if answer_at.is_none() {
                self.tell_function(
                    function,
                    sent + EC2_TIMEOUT,
                    FunctionAnswer::Effect(call.clone(), unknown()),
                );
            }
            land(sent + late, answer_at, call)
        } else if self.network.has(Kind::Ec2AnswersLost) && self.chance(50) {
            self.see(Sometimes::CallUnknownApplied);
            self.tell_function(function, sent + EC2_TIMEOUT, FunctionAnswer::Effect(call.clone(), unknown()));
            land(sent + there, None, call)
        } else {
            land(sent + there, Some(sent + there + back), call)
        };
        self.queue.push(at, event);
    }

    /// A call reaches EC2, whatever has become of its caller.
    pub(crate) fn land(&mut self, function: usize, call: &Call, answer_at: Option<Real>, origin: Origin) {
        let before = self.places();
        let answer = ready(self.cloud.call(call));
        self.watch_landing(call, answer.is_ok(), origin, &before);
        if let (Call::Stop { instance }, Ok(Effect::Stopping { began: true })) = (call, &answer) {
            self.begins_to_stop(instance);
        }
        if let Some(at) = answer_at {
            self.tell_function(function, at, FunctionAnswer::Effect(call.clone(), answer));
        }
    }
}
