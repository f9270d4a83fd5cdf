//! What was asked of the world, by whom, and what they were told.

use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, Sight};
use baton_protocol::ids::{InstanceId, InterfaceId};
use baton_protocol::roster::Tag;

/// One look, call or landing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub number: usize,
    /// The name of the handle that asked.
    pub caller: String,
    /// What was asked.
    pub asked: Asked,
    /// What the caller was told; for a landing, what nobody was told.
    pub answer: Answer,
    /// Whether the call took effect here, whatever the caller was told.
    pub applied: bool,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A question.
    Look(Look),
    /// A change.
    Call(Call),
    /// Whether a change would be allowed.
    Probe(Call),
    /// A change asked for earlier, whose caller was told that the outcome is unknown.
    Landing(Call),
    /// A description of instances.
    Instances(Vec<InstanceId>),
    /// The tags of interfaces.
    InterfaceTags(Vec<InterfaceId>),
    /// Every route table of a VPC.
    TablesOf(String),
    /// A description of the instances that carry a tag.
    Tagged(Tag),
    /// The networks of a VPC.
    VpcNetworks(String),
    /// A description of subnets or route tables.
    Description(Vec<String>),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a look.
    Look(Result<Sight, CloudFailure>),
    /// To a call.
    Call(Result<Effect, CloudFailure>),
    /// To a description, whose text is left out, or to a probe.
    Description(Result<(), CloudFailure>),
}

/// A parked call that has landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// Who made it.
    pub caller: String,
    /// The call.
    pub call: Call,
    /// What came of it, which its caller never learns.
    pub outcome: Result<Effect, CloudFailure>,
}

/// The ids a look is about.
pub(super) fn subjects_of_look(look: &Look) -> Vec<String> {
    fn texts<T: ToString>(ids: &[T]) -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    }
    match look {
        Look::Addresses(ids) => texts(ids),
        Look::Seats(ids) | Look::Interfaces(ids) => texts(ids),
        Look::Tables(ids) => texts(ids),
        Look::Subnets(ids) => texts(ids),
        Look::Instance(id) => vec![id.to_string()],
    }
}

/// The ids a call is about, and the words by which people name its resource.
pub(super) fn subjects_of_call(call: &Call) -> Vec<String> {
    let mut subjects = vec![call.resource()];
    match call {
        Call::Disassociate { association, .. } => subjects.push(association.to_string()),
        Call::Associate { placement, .. } => subjects.push(placement.interface.to_string()),
        Call::ReplaceRoute { route, interface } | Call::CreateRoute { route, interface } => {
            subjects.push(route.table.to_string());
            subjects.push(route.destination.to_string());
            subjects.push(interface.to_string());
        }
        Call::ReplaceTableAssociation { association, table, .. } => {
            subjects.push(association.to_string());
            subjects.push(table.to_string());
        }
        Call::DisableSourceDestCheck { .. } | Call::Stop { .. } => {}
    }
    subjects
}
