//! [`MemoryCloud`]: EC2 in memory, deterministic, with the faults of the real one as data.
//!
//! It keeps to what AWS documents where test servers do not: an address that arrives at a taken seat evicts whoever sat
//! there, a terminated instance frees its addresses, a route through a lost interface is a black hole. It has no clock,
//! no randomness and no tasks of its own: the same calls in the same order give the same ids, answers and log.
//! Handles are cheap clones of one world; a handle with a name ([`MemoryCloud::named`]) shows in the log who asked.

mod build;
mod fault;
mod log;
mod shared;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_protocol::access::TableAccess;
use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, Sight};
use baton_protocol::ids::{InstanceId, InterfaceId, RouteTableId, SubnetId};
use baton_protocol::resource::Destination;
use baton_protocol::roster::Tag;
use baton_protocol::tables::Tables;

use crate::permission::{bare, call_action, look_action};
use crate::{Cloud, InstanceSeen, SubnetSeen, TableSeen};
use fault::FaultTable;
use world::World;

pub use build::MemoryNode;
pub use fault::{Fault, Trouble};
pub use log::{Answer, Asked, Entry, Landed};
pub use world::{EndedAlready, SamePlace, Stops};

/// How many former states of the world are kept for stale looks.
const REMEMBERED: usize = 64;

/// A handle to a world of EC2 in memory.
#[derive(Debug, Clone)]
pub struct MemoryCloud {
    state: Arc<Mutex<State>>,
    caller: Arc<str>,
    access: Option<Arc<TableAccess>>,
}

/// Everything that the handles of one world share.
#[derive(Debug, Default)]
struct State {
    world: World,
    /// Former states, the latest first.
    past: VecDeque<World>,
    faults: FaultTable,
    parked: VecDeque<(Arc<str>, Call)>,
    log: Vec<Entry>,
}

impl State {
    /// Changes the world, and remembers how it was.
    fn mutate<T>(&mut self, change: impl FnOnce(&mut World) -> T) -> T {
        let before = self.world.clone();
        let result = change(&mut self.world);
        if before != self.world {
            self.past.push_front(before);
            self.past.truncate(REMEMBERED);
        }
        result
    }

    /// The world as it was `mutations` changes ago, or as far back as is remembered.
    fn as_of(&self, mutations: usize) -> &World {
        match mutations.min(self.past.len()) {
            0 => &self.world,
            back => &self.past[back - 1],
        }
    }

    /// Answers a question, from the present or the past or not at all.
    fn answer<T>(
        &mut self,
        asker: &MemoryCloud,
        action: &'static str,
        subjects: &[String],
        answer: impl FnOnce(&World) -> Result<T, CloudFailure>,
    ) -> Result<T, CloudFailure> {
        let access = asker.access.as_deref();
        match self.faults.strike(&asker.caller, action, subjects) {
            None => answer(&self.world.seen_by(access)),
            Some(Trouble::Stale(mutations)) => answer(&self.as_of(mutations).seen_by(access)),
            Some(trouble) => Err(trouble.failure(action)),
        }
    }

    /// Carries out a change, or does not, and says what the caller learns of it.
    fn carry_out(&mut self, asker: &MemoryCloud, call: &Call) -> (Result<Effect, CloudFailure>, bool) {
        let action = bare(call_action(call));
        let caller = &asker.caller;
        if let Err(failure) = self.enter(asker, call) {
            return (Err(failure), false);
        }
        match self.faults.strike(caller, action, &log::subjects_of_call(call)) {
            None => {
                let answer = self.mutate(|world| world.apply(call));
                let applied = answer.is_ok();
                (answer, applied)
            }
            Some(trouble @ Trouble::FailUnknownAfter) => {
                let applied = self.mutate(|world| world.apply(call)).is_ok();
                (Err(trouble.failure(action)), applied)
            }
            Some(trouble @ Trouble::LandLate) => {
                self.parked.push_back((Arc::clone(caller), call.clone()));
                (Err(trouble.failure(action)), false)
            }
            Some(trouble) => (Err(trouble.failure(action)), false),
        }
    }

    /// What comes before a call, whatever it asks for.
    fn enter(&mut self, asker: &MemoryCloud, call: &Call) -> Result<(), CloudFailure> {
        let access = asker.access.as_deref().filter(|_| call.is_of_tables());
        self.assume(&asker.caller, access)?;
        self.world.permits(call, access)
    }

    fn note(&mut self, caller: &Arc<str>, asked: Asked, answer: Answer, applied: bool) {
        let number = self.log.len();
        self.log.push(Entry { number, caller: caller.to_string(), asked, answer, applied });
    }
}

impl Default for MemoryCloud {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryCloud {
    /// An empty world.
    pub fn new() -> Self {
        Self { state: Arc::default(), caller: Arc::from("anybody"), access: None }
    }

    /// Another handle to the same world, whose looks and calls are logged under this name.
    pub fn named(&self, caller: &str) -> Self {
        Self { caller: Arc::from(caller), ..self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the world says more than a poisoned mutex would.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- faults ---

    /// Adds a fault. Of several that fit a look or call, the one added first strikes.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    /// Takes every fault away. Parked calls stay parked.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Calls that will land late: who made them, in the order they were made.
    pub fn parked(&self) -> Vec<(String, Call)> {
        self.state().parked.iter().map(|(caller, call)| (caller.to_string(), call.clone())).collect()
    }

    /// Lands every parked call, oldest first.
    pub fn land(&self) -> Vec<Landed> {
        std::iter::from_fn(|| self.land_nth(0)).collect()
    }

    /// Lands one parked call by its place in [`Self::parked`], so that calls may land out of order.
    pub fn land_nth(&self, place: usize) -> Option<Landed> {
        let mut state = self.state();
        let (caller, call) = state.parked.remove(place)?;
        let outcome = state.mutate(|world| world.apply(&call));
        let applied = outcome.is_ok();
        state.note(&caller, Asked::Landing(call.clone()), Answer::Call(outcome.clone()), applied);
        Some(Landed { caller: caller.to_string(), call, outcome })
    }

    // --- the log ---

    /// Every look, call and landing so far, in order.
    pub fn log(&self) -> Vec<Entry> {
        self.state().log.clone()
    }

    /// The calls so far, in order, by whomever, with what their callers were told.
    pub fn calls(&self) -> Vec<(Call, Result<Effect, CloudFailure>)> {
        let calls =
            self.state().log.clone().into_iter().filter_map(|entry| match (entry.asked, entry.answer) {
                (Asked::Call(call), Answer::Call(answer)) => Some((call, answer)),
                _ => None,
            });
        calls.collect()
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }
}

impl Cloud for MemoryCloud {
    fn through(&self, access: Option<&TableAccess>) -> Self {
        Self { access: access.cloned().map(Arc::new), ..self.clone() }
    }

    async fn prepare(&self) -> Result<(), CloudFailure> {
        self.state().assume(&self.caller, self.access.as_deref())
    }

    async fn look(&self, look: &Look) -> Result<Sight, CloudFailure> {
        let mut state = self.state();
        let action = bare(look_action(look));
        let subjects = log::subjects_of_look(look);
        let access = self.access.as_deref().filter(|_| look.is_of_tables());
        let entered = state.assume(&self.caller, access);
        let answer =
            entered.and_then(|()| state.answer(self, action, &subjects, |world| Ok(world.sight(look))));
        state.note(&self.caller, Asked::Look(look.clone()), Answer::Look(answer.clone()), false);
        answer
    }

    async fn call(&self, call: &Call) -> Result<Effect, CloudFailure> {
        let mut state = self.state();
        let (answer, applied) = state.carry_out(self, call);
        state.note(&self.caller, Asked::Call(call.clone()), Answer::Call(answer.clone()), applied);
        answer
    }

    async fn probe(&self, call: &Call) -> Result<(), CloudFailure> {
        let mut state = self.state();
        let action = bare(call_action(call));
        let subjects = log::subjects_of_call(call);
        let entered = state.enter(self, call);
        let struck = state.faults.strike(&self.caller, action, &subjects);
        let answer = entered.and_then(|()| struck.map_or(Ok(()), |trouble| Err(trouble.failure(action))));
        state.note(&self.caller, Asked::Probe(call.clone()), Answer::Description(answer.clone()), false);
        answer
    }

    async fn instances(
        &self,
        ids: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
        let mut state = self.state();
        let subjects: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let answer =
            state.answer(self, "DescribeInstances", &subjects, |world| Ok(world.instances_seen(ids)));
        let told = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        state.note(&self.caller, Asked::Instances(ids.to_vec()), Answer::Description(told), false);
        answer
    }

    async fn interface_tags(
        &self,
        ids: &[InterfaceId],
    ) -> Result<BTreeMap<InterfaceId, BTreeMap<String, String>>, CloudFailure> {
        let mut state = self.state();
        let subjects: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let action = "DescribeNetworkInterfaces";
        let answer = state.answer(self, action, &subjects, |world| Ok(world.interface_tags(ids)));
        let told = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        state.note(&self.caller, Asked::InterfaceTags(ids.to_vec()), Answer::Description(told), false);
        answer
    }

    async fn tables_of(&self, vpc: &str) -> Result<Tables, CloudFailure> {
        let mut state = self.state();
        let subjects = [vpc.to_owned()];
        let entered = state.assume(&self.caller, self.access.as_deref());
        let answer = entered.and_then(|()| {
            state.answer(self, "DescribeRouteTables", &subjects, |world| Ok(world.tables_of(vpc)))
        });
        let told = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        state.note(&self.caller, Asked::TablesOf(vpc.to_owned()), Answer::Description(told), false);
        answer
    }

    async fn tagged(&self, tag: &Tag) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
        let mut state = self.state();
        let subjects = [tag.value().to_owned()];
        let answer = state.answer(self, "DescribeInstances", &subjects, |world| Ok(world.tagged(tag)));
        let told = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        state.note(&self.caller, Asked::Tagged(tag.clone()), Answer::Description(told), false);
        answer
    }

    async fn vpc_networks(&self, vpc: &str) -> Result<Vec<Destination>, CloudFailure> {
        let mut state = self.state();
        let entered = state.assume(&self.caller, self.access.as_deref());
        let answer = entered.and_then(|()| {
            state.answer(self, "DescribeVpcs", &[vpc.to_owned()], |world| world.networks(vpc))
        });
        let told = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        state.note(&self.caller, Asked::VpcNetworks(vpc.to_owned()), Answer::Description(told), false);
        answer
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<BTreeMap<SubnetId, SubnetSeen>, CloudFailure> {
        let mut state = self.state();
        let subjects: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let entered = state.assume(&self.caller, self.access.as_deref());
        let answer = entered.and_then(|()| {
            state.answer(self, "DescribeSubnets", &subjects, |world| Ok(world.subnets_seen(ids)))
        });
        let told = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        state.note(&self.caller, Asked::Description(subjects), Answer::Description(told), false);
        answer
    }

    async fn tables(&self, ids: &[RouteTableId]) -> Result<BTreeMap<RouteTableId, TableSeen>, CloudFailure> {
        let mut state = self.state();
        let subjects: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let entered = state.assume(&self.caller, self.access.as_deref());
        let answer = entered.and_then(|()| {
            state.answer(self, "DescribeRouteTables", &subjects, |world| Ok(world.tables_seen(ids)))
        });
        let told = answer.as_ref().map(|_| ()).map_err(Clone::clone);
        state.note(&self.caller, Asked::Description(subjects), Answer::Description(told), false);
        answer
    }
}

#[cfg(test)]
mod tests;
