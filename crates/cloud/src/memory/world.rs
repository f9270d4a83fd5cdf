//! The state of the world and what EC2 makes of a look or a call. No faults here: this is EC2 on a good day.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use baton_protocol::ec2::{
    AddressSeen, Call, CloudFailure, Effect, InstanceState, InterfaceSeen, Look, RouteSeen, RouteTarget,
    Seat, Sight,
};
use baton_protocol::ids::{
    AllocationId, AssociationId, InstanceArn, InstanceId, InterfaceId, RouteTableId, SubnetId,
    TableAssociationId,
};
use baton_protocol::mutant;
use baton_protocol::resource::{Destination, Placement, Route, TableAssociation};
use baton_protocol::roster::Tag;
use baton_protocol::tables::{self, Tables};

use super::shared::Sharing;
use crate::{InstanceSeen, InterfaceOnInstance, SubnetSeen, TableSeen};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct World {
    pub(super) vpcs: BTreeMap<String, Vec<Destination>>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) interfaces: BTreeMap<InterfaceId, Interface>,
    pub(super) addresses: BTreeMap<AllocationId, Address>,
    pub(super) tables: BTreeMap<RouteTableId, Table>,
    pub(super) subnets: BTreeMap<SubnetId, Subnet>,
    /// The number in the id made last; ids are never used twice.
    pub(super) made: u64,
    /// How many private and public addresses were made; neither is given twice.
    pub(super) private_ips_made: u32,
    pub(super) public_ips_made: u32,
    pub(super) same_place: SamePlace,
    pub(super) ended_already: EndedAlready,
    pub(super) stops: Stops,
    pub(super) sharing: Sharing,
}

/// What EC2 makes of associating an address, without permission to reassociate, where it sits already. Its
/// documentation says both that this is refused and that the call is idempotent, so callers have to bear every answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SamePlace {
    /// Refused as already associated.
    #[default]
    Refuse,
    /// Done, and the association stays what it was.
    Keep,
    /// Done, with a new association.
    Rotate,
}

/// What EC2 makes of ending an association that has ended. Its documentation calls the action idempotent, and practice shows
/// a refusal, so callers have to bear either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EndedAlready {
    /// Refused as not found.
    #[default]
    Refuse,
    /// Done, without any effect.
    Done,
}

/// How long it takes to stop an instance. There is no clock here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stops {
    /// No time.
    #[default]
    AtOnce,
    /// It is `stopping` until somebody says that it has stopped.
    WhenTold,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) arn: InstanceArn,
    pub(super) state: String,
    pub(super) zone: String,
    pub(super) vpc: String,
    pub(super) hibernates: bool,
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) vpc: String,
    /// The primary first.
    pub(super) private_ips: Vec<Ipv4Addr>,
    pub(super) source_dest_check: bool,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) attachment: Option<Attachment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) instance: InstanceId,
    pub(super) device_index: i32,
    pub(super) delete_on_termination: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) public_ip: Ipv4Addr,
    pub(super) association: Option<(AssociationId, Placement)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) vpc: String,
    pub(super) routes: BTreeMap<Destination, RouteTarget>,
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subnet {
    pub(super) vpc: String,
    pub(super) association: Option<TableAssociation>,
    pub(super) tags: BTreeMap<String, String>,
}

impl World {
    /// A new id with this prefix, and a different one each time.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:017x}", self.made)
    }

    // --- looks ---

    pub(super) fn sight(&self, look: &Look) -> Sight {
        match look {
            Look::Addresses(ids) => {
                Sight::Addresses(known(ids, |id| self.addresses.get(id).map(address_seen)))
            }
            Look::Seats(interfaces) => Sight::Seats(self.seats(interfaces)),
            Look::Tables(ids) => {
                Sight::Tables(known(ids, |id| self.tables.get(id).map(|table| self.routes(table))))
            }
            Look::Subnets(ids) => Sight::Subnets(known(ids, |id| self.subnets.get(id)?.association.clone())),
            Look::Interfaces(ids) => {
                Sight::Interfaces(known(ids, |id| self.interfaces.get(id).map(interface_seen)))
            }
            Look::Instance(id) => {
                Sight::Instance(self.instances.get(id).map_or(InstanceState::NotFound, Instance::state_seen))
            }
        }
    }

    fn seats(&self, interfaces: &[InterfaceId]) -> Vec<Seat> {
        let seats = self.addresses.iter().filter_map(|(allocation, address)| {
            let (_, placement) = address.association.clone()?;
            interfaces
                .contains(&placement.interface)
                .then(|| Seat { allocation: allocation.clone(), placement })
        });
        seats.collect()
    }

    fn routes(&self, table: &Table) -> Vec<RouteSeen> {
        let routes = table.routes.iter().map(|(destination, target)| RouteSeen {
            destination: *destination,
            target: target.clone(),
            blackhole: matches!(target, RouteTarget::Interface(interface) if !self.carries(interface)),
        });
        routes.collect()
    }

    /// Whether traffic sent to an interface arrives anywhere.
    fn carries(&self, interface: &InterfaceId) -> bool {
        self.interfaces
            .get(interface)
            .and_then(|interface| interface.attachment.as_ref())
            .and_then(|attachment| self.instances.get(&attachment.instance))
            .is_some_and(|instance| instance.state == "running")
    }

    pub(super) fn instances_seen(&self, ids: &[InstanceId]) -> BTreeMap<InstanceId, InstanceSeen> {
        known(ids, |id| self.instances.get(id).map(|instance| self.instance_seen(id, instance)))
    }

    pub(super) fn subnets_seen(&self, ids: &[SubnetId]) -> BTreeMap<SubnetId, SubnetSeen> {
        let seen = |subnet: &Subnet| SubnetSeen { vpc: subnet.vpc.clone(), tags: subnet.tags.clone() };
        known(ids, |id| self.subnets.get(id).map(seen))
    }

    pub(super) fn tables_seen(&self, ids: &[RouteTableId]) -> BTreeMap<RouteTableId, TableSeen> {
        let seen = |table: &Table| TableSeen {
            vpc: table.vpc.clone(),
            tags: table.tags.clone(),
            routes: self.routes(table),
        };
        known(ids, |id| self.tables.get(id).map(seen))
    }

    pub(super) fn tagged(&self, tag: &Tag) -> BTreeMap<InstanceId, InstanceSeen> {
        let running = self.instances.iter().filter(|(_, instance)| instance.state == "running");
        running
            .filter(|(_, instance)| tag.is_in(&instance.tags))
            .map(|(id, instance)| (id.clone(), self.instance_seen(id, instance)))
            .collect()
    }

    fn instance_seen(&self, id: &InstanceId, instance: &Instance) -> InstanceSeen {
        let mut interfaces: Vec<InterfaceOnInstance> = self
            .interfaces
            .iter()
            .filter_map(|(interface_id, interface)| {
                let attachment =
                    interface.attachment.as_ref().filter(|attachment| attachment.instance == *id)?;
                Some(InterfaceOnInstance {
                    id: interface_id.clone(),
                    device_index: attachment.device_index,
                    private_ips: interface.private_ips.clone(),
                    source_dest_check: interface.source_dest_check,
                })
            })
            .collect();
        interfaces.sort_by_key(|interface| interface.device_index);
        let terminated = instance.state == "terminated";
        InstanceSeen {
            arn: instance.arn.clone(),
            state: instance.state_seen(),
            zone: instance.zone.clone(),
            vpc: if terminated { String::new() } else { instance.vpc.clone() },
            interfaces,
            hibernates: instance.hibernates,
            tags: instance.tags.clone(),
        }
    }

    pub(super) fn interface_tags(
        &self,
        ids: &[InterfaceId],
    ) -> BTreeMap<InterfaceId, BTreeMap<String, String>> {
        known(ids, |id| self.interfaces.get(id).map(|interface| interface.tags.clone()))
    }

    pub(super) fn tables_of(&self, vpc: &str) -> Tables {
        let ours = self.tables.iter().filter(|(_, table)| table.vpc == vpc);
        let shown =
            |table: &Table| tables::TableSeen { tags: table.tags.clone(), routes: self.routes(table) };
        ours.map(|(id, table)| (id.clone(), shown(table))).collect()
    }

    pub(super) fn networks(&self, vpc: &str) -> Result<Vec<Destination>, CloudFailure> {
        self.vpcs.get(vpc).cloned().ok_or_else(|| not_found("InvalidVpcID.NotFound", "VPC", vpc))
    }

    // --- calls ---

    pub(super) fn apply(&mut self, call: &Call) -> Result<Effect, CloudFailure> {
        match call {
            // EC2 is told the association only, so the allocation beside it decides nothing here either.
            #[cfg(feature = "mutants")]
            Call::Disassociate { allocation, .. } if mutant!(EndWhatever) => {
                if let Some(address) = self.addresses.get_mut(allocation) {
                    address.association = None;
                }
                Ok(Effect::Done)
            }
            Call::Disassociate { association, .. } => self.disassociate(association),
            Call::Associate { allocation, placement } => self.associate(allocation, placement),
            Call::ReplaceRoute { route, interface } => self.set_route(route, interface, true),
            Call::CreateRoute { route, interface } => self.set_route(route, interface, false),
            Call::ReplaceTableAssociation { association, table, .. } => self.swap(association, table),
            Call::DisableSourceDestCheck { interface } => {
                self.interface_mut(interface)?.source_dest_check = false;
                Ok(Effect::Done)
            }
            Call::Stop { instance } => self.stop(instance),
        }
    }

    fn stop(&mut self, id: &InstanceId) -> Result<Effect, CloudFailure> {
        let stops = self.stops;
        let instance = self
            .instances
            .get_mut(id)
            .ok_or_else(|| not_found("InvalidInstanceID.NotFound", "instance", id.as_str()))?;
        let began = match instance.state.as_str() {
            "running" => true,
            "stopping" | "stopped" => return Ok(Effect::Stopping { began: false }),
            // "You can't stop" what is pending or terminated.
            state => {
                return Err(CloudFailure::Refused(format!(
                    "IncorrectInstanceState: The instance '{id}' is `{state}`, from which it cannot be stopped"
                )));
            }
        };
        instance.state = if stops == Stops::AtOnce { "stopped" } else { "stopping" }.to_owned();
        Ok(Effect::Stopping { began })
    }

    fn disassociate(&mut self, association: &AssociationId) -> Result<Effect, CloudFailure> {
        let current = self
            .addresses
            .values_mut()
            .find(|address| address.association.as_ref().is_some_and(|(id, _)| id == association));
        match (current, self.ended_already) {
            (Some(current), _) => current.association = None,
            (None, EndedAlready::Done) => {}
            (None, EndedAlready::Refuse) => return Err(CloudFailure::AssociationGone),
        }
        Ok(Effect::Done)
    }

    fn associate(
        &mut self,
        allocation: &AllocationId,
        placement: &Placement,
    ) -> Result<Effect, CloudFailure> {
        let address = self
            .addresses
            .get(allocation)
            .ok_or_else(|| not_found("InvalidAllocationID.NotFound", "allocation", allocation.as_str()))?;
        let interface = self.interface(&placement.interface)?;
        if !interface.private_ips.contains(&placement.private_ip) {
            return Err(CloudFailure::Refused(format!(
                "InvalidParameterValue: {} is not a private address of {}",
                placement.private_ip, placement.interface
            )));
        }
        match (&address.association, self.same_place) {
            (Some((association, taken)), SamePlace::Keep) if taken == placement => {
                Ok(Effect::Associated(association.clone()))
            }
            (Some((_, taken)), SamePlace::Rotate) if taken == placement => {
                Ok(Effect::Associated(self.seat(allocation, placement)))
            }
            (Some(_), _) if mutant!(Reassociate) => Ok(Effect::Associated(self.seat(allocation, placement))),
            (Some(_), _) => Err(CloudFailure::AlreadyAssociated),
            (None, _) => Ok(Effect::Associated(self.seat(allocation, placement))),
        }
    }

    /// Seats an address, whoever sat there or wherever it was. `AllowReassociation=false` guards the address that moves
    /// and not the seat: "the existing address is disassociated", so a careless caller takes a stranger's seat.
    pub(super) fn seat(&mut self, allocation: &AllocationId, placement: &Placement) -> AssociationId {
        let id = self.id("eipassoc-");
        let association = AssociationId::new(id).expect("an id made here fits its pattern");
        for address in self.addresses.values_mut() {
            if address.association.as_ref().is_some_and(|(_, taken)| taken == placement) {
                address.association = None;
            }
        }
        if let Some(address) = self.addresses.get_mut(allocation) {
            address.association = Some((association.clone(), placement.clone()));
        }
        association
    }

    fn set_route(&mut self, route: &Route, to: &InterfaceId, replace: bool) -> Result<Effect, CloudFailure> {
        let vpc = self.interface(to)?.vpc.clone();
        let table = self
            .tables
            .get_mut(&route.table)
            .ok_or_else(|| not_found("InvalidRouteTableID.NotFound", "route table", route.table.as_str()))?;
        if table.vpc != vpc {
            return Err(CloudFailure::Refused(format!(
                "InvalidParameterValue: route table {} and network interface {to} belong to different networks",
                route.table
            )));
        }
        match (replace, table.routes.contains_key(&route.destination)) {
            (true, false) => Err(CloudFailure::RouteMissing),
            (false, true) => Err(CloudFailure::RouteExists),
            _ => {
                table.routes.insert(route.destination, RouteTarget::Interface(to.clone()));
                Ok(Effect::Done)
            }
        }
    }

    /// EC2 is told the association only. One that is with this table already stays what it is, and is answered.
    fn swap(
        &mut self,
        association: &TableAssociationId,
        table: &RouteTableId,
    ) -> Result<Effect, CloudFailure> {
        let there = self
            .tables
            .get(table)
            .ok_or_else(|| not_found("InvalidRouteTableID.NotFound", "route table", table.as_str()))?;
        let current = |subnet: &Subnet| subnet.association.as_ref().is_some_and(|at| at.id == *association);
        let Some((id, subnet)) = self.subnets.iter().find(|(_, subnet)| current(subnet)) else {
            return Err(CloudFailure::AssociationGone);
        };
        if subnet.vpc != there.vpc {
            return Err(CloudFailure::Refused(format!(
                "InvalidParameterValue: route table {table} and subnet {id} belong to different networks"
            )));
        }
        if subnet.association.as_ref().is_some_and(|at| at.table == *table) {
            return Ok(Effect::TableAssociated(association.clone()));
        }
        let id = id.clone();
        Ok(Effect::TableAssociated(self.associate_table(&id, table)))
    }

    /// Associates a subnet with a table, whatever it was associated with.
    pub(super) fn associate_table(&mut self, subnet: &SubnetId, table: &RouteTableId) -> TableAssociationId {
        let id = self.id("rtbassoc-");
        let id = TableAssociationId::new(id).expect("an id made here fits its pattern");
        if let Some(subnet) = self.subnets.get_mut(subnet) {
            subnet.association = Some(TableAssociation { id: id.clone(), table: table.clone() });
        }
        id
    }

    fn interface(&self, id: &InterfaceId) -> Result<&Interface, CloudFailure> {
        self.interfaces.get(id).ok_or_else(|| no_interface(id))
    }

    fn interface_mut(&mut self, id: &InterfaceId) -> Result<&mut Interface, CloudFailure> {
        self.interfaces.get_mut(id).ok_or_else(|| no_interface(id))
    }

    // --- what happens to instances and interfaces ---

    /// EC2 frees the addresses of a terminated instance, deletes the interfaces that were made with it and detaches
    /// the others.
    pub(super) fn terminate(&mut self, instance: &InstanceId) {
        let attached: Vec<(InterfaceId, bool)> = self
            .interfaces
            .iter()
            .filter_map(|(id, interface)| {
                let attachment = interface.attachment.as_ref().filter(|it| it.instance == *instance)?;
                Some((id.clone(), attachment.delete_on_termination))
            })
            .collect();
        for (id, delete) in attached {
            self.free_seats(&id);
            if delete {
                self.interfaces.remove(&id);
            } else if let Some(interface) = self.interfaces.get_mut(&id) {
                interface.attachment = None;
            }
        }
        if let Some(instance) = self.instances.get_mut(instance) {
            instance.state = "terminated".into();
        }
    }

    /// Frees every address on an interface.
    pub(super) fn free_seats(&mut self, interface: &InterfaceId) {
        for address in self.addresses.values_mut() {
            if address.association.as_ref().is_some_and(|(_, placement)| placement.interface == *interface) {
                address.association = None;
            }
        }
    }
}

impl Instance {
    fn state_seen(&self) -> InstanceState {
        match self.state.as_str() {
            "terminated" => InstanceState::Terminated,
            other => InstanceState::Other(other.to_owned()),
        }
    }
}

/// What is known of these ids; what is not known is absent.
fn known<K: Clone + Ord, V>(ids: &[K], find: impl Fn(&K) -> Option<V>) -> BTreeMap<K, V> {
    ids.iter().filter_map(|id| Some((id.clone(), find(id)?))).collect()
}

fn address_seen(address: &Address) -> AddressSeen {
    let association = address.association.clone().map(|(id, placement)| (id, Some(placement)));
    AddressSeen { public_ip: address.public_ip, association }
}

fn interface_seen(interface: &Interface) -> InterfaceSeen {
    InterfaceSeen {
        source_dest_check: interface.source_dest_check,
        instance: interface.attachment.as_ref().map(|attachment| attachment.instance.clone()),
    }
}

fn no_interface(id: &InterfaceId) -> CloudFailure {
    not_found("InvalidNetworkInterfaceID.NotFound", "network interface", id.as_str())
}

fn not_found(code: &str, what: &str, id: &str) -> CloudFailure {
    CloudFailure::NotFound(format!("{code}: The {what} ID '{id}' does not exist"))
}
