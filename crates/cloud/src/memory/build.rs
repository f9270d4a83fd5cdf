//! Making a world, and what befalls it from outside: what a test does that Baton never asks of EC2.
//!
//! Ids are made from one counter, so a world built in the same order has the same ids. A method that is given an id
//! this world does not have panics: the test is wrong, and going on would hide it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use baton_protocol::ec2::RouteTarget;
use baton_protocol::ids::{
    AllocationId, AssociationId, InstanceArn, InstanceId, InterfaceId, RouteTableId, SubnetId,
    TableAssociationId,
};
use baton_protocol::resource::{Address, Destination, Placement, TableAssociation};

use super::MemoryCloud;
use super::world::{self, Attachment, EndedAlready, Instance, Interface, SamePlace, Stops, Subnet, Table};

/// The account, partition and region of every world in memory.
const PLACE: (&str, &str, &str) = ("aws", "eu-west-1", "123456789012");

/// An instance made by [`MemoryCloud::node`], with its primary interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryNode {
    /// The instance.
    pub instance: InstanceId,
    /// Its ARN.
    pub arn: InstanceArn,
    /// Its interface with device index 0.
    pub interface: InterfaceId,
    /// The private addresses of that interface, the primary first.
    pub private_ips: Vec<Ipv4Addr>,
}

impl MemoryNode {
    /// Seat `k` of the primary interface.
    pub fn seat(&self, k: usize) -> Placement {
        Placement { interface: self.interface.clone(), private_ip: self.private_ips[k] }
    }
}

impl MemoryCloud {
    // --- making things ---

    /// A VPC with these networks.
    pub fn vpc(&self, networks: &[&str]) -> String {
        let networks = networks.iter().map(|text| destination(text)).collect();
        self.state().mutate(|world| {
            let id = world.id("vpc-");
            world.vpcs.insert(id.clone(), networks);
            id
        })
    }

    /// A running instance in a VPC and zone, whose primary interface has so many private addresses and goes when the
    /// instance does.
    pub fn node(&self, vpc: &str, zone: &str, private_ips: usize) -> MemoryNode {
        self.launch(vpc, zone, private_ips, BTreeMap::new())
    }

    /// The same with tags that it has from its launch on: no look ever shows it without them.
    pub fn launch(
        &self,
        vpc: &str,
        zone: &str,
        private_ips: usize,
        tags: BTreeMap<String, String>,
    ) -> MemoryNode {
        let (partition, region, account) = PLACE;
        let (instance, arn) = self.state().mutate(|world| {
            assert!(world.vpcs.contains_key(vpc), "no VPC {vpc} in this world");
            let instance = InstanceId::new(world.id("i-")).expect("an id made here fits its pattern");
            let arn =
                InstanceArn::of(partition, region, account, &instance).expect("the parts fit the pattern");
            let made = Instance {
                arn: arn.clone(),
                state: "running".into(),
                zone: zone.to_owned(),
                vpc: vpc.to_owned(),
                hibernates: false,
                tags,
            };
            world.instances.insert(instance.clone(), made);
            (instance, arn)
        });
        let (interface, private_ips) = self.add_interface(vpc, private_ips);
        self.attach(&interface, &instance, 0, true);
        MemoryNode { instance, arn, interface, private_ips }
    }

    /// A free interface with so many private addresses, which are its own in the whole world.
    pub fn add_interface(&self, vpc: &str, private_ips: usize) -> (InterfaceId, Vec<Ipv4Addr>) {
        self.state().mutate(|world| {
            let id = InterfaceId::new(world.id("eni-")).expect("an id made here fits its pattern");
            let first = u32::from(Ipv4Addr::new(10, 0, 0, 10)) + world.private_ips_made;
            let count = u32::try_from(private_ips).expect("a world is small");
            world.private_ips_made += count;
            let private_ips: Vec<Ipv4Addr> = (first..first + count).map(Ipv4Addr::from).collect();
            let made = Interface {
                vpc: vpc.to_owned(),
                private_ips: private_ips.clone(),
                source_dest_check: true,
                tags: BTreeMap::new(),
                attachment: None,
            };
            world.interfaces.insert(id.clone(), made);
            (id, private_ips)
        })
    }

    /// An Elastic IP that is free.
    pub fn address(&self) -> Address {
        self.state().mutate(|world| {
            let allocation =
                AllocationId::new(world.id("eipalloc-")).expect("an id made here fits its pattern");
            let first = u32::from(Ipv4Addr::new(198, 18, 0, 1));
            let public_ip = Ipv4Addr::from(first + world.public_ips_made);
            world.public_ips_made += 1;
            world.addresses.insert(allocation.clone(), world::Address { public_ip, association: None });
            Address { allocation, public_ip }
        })
    }

    /// A route table with the local routes of its VPC.
    pub fn table(&self, vpc: &str) -> RouteTableId {
        self.state().mutate(|world| {
            let id = RouteTableId::new(world.id("rtb-")).expect("an id made here fits its pattern");
            let networks = world.vpcs.get(vpc).unwrap_or_else(|| panic!("no VPC {vpc} in this world"));
            let routes =
                networks.iter().map(|network| (*network, RouteTarget::Other("local".into()))).collect();
            world.tables.insert(id.clone(), Table { vpc: vpc.to_owned(), routes, tags: BTreeMap::new() });
            id
        })
    }

    /// A subnet without a route table of its own.
    pub fn subnet(&self, vpc: &str) -> SubnetId {
        self.state().mutate(|world| {
            assert!(world.vpcs.contains_key(vpc), "no VPC {vpc} in this world");
            let id = SubnetId::new(world.id("subnet-")).expect("an id made here fits its pattern");
            let made = Subnet { vpc: vpc.to_owned(), association: None, tags: BTreeMap::new() };
            world.subnets.insert(id.clone(), made);
            id
        })
    }

    // --- what others do ---

    /// Associates a subnet with a table, whatever it was associated with.
    pub fn associate_table(&self, subnet: &SubnetId, table: &RouteTableId) -> TableAssociationId {
        self.state().mutate(|world| {
            assert!(world.subnets.contains_key(subnet), "no subnet {subnet} in this world");
            world.associate_table(subnet, table)
        })
    }

    /// Leaves a subnet to the main table of its VPC.
    pub fn disassociate_table(&self, subnet: &SubnetId) {
        self.state().mutate(|world| {
            let subnet = world.subnets.get_mut(subnet);
            subnet.unwrap_or_else(|| panic!("no such subnet in this world")).association = None;
        });
    }

    /// Ends an association of a subnet with a table.
    pub fn end_table_association(&self, association: &TableAssociationId) {
        self.state().mutate(|world| {
            let current = |at: &TableAssociation| at.id == *association;
            let ends =
                world.subnets.values_mut().find(|subnet| subnet.association.as_ref().is_some_and(current));
            ends.unwrap_or_else(|| panic!("no such association in this world")).association = None;
        });
    }

    /// Tags a subnet.
    pub fn tag_subnet(&self, subnet: &SubnetId, key: &str, value: &str) {
        self.state().mutate(|world| {
            let made = world.subnets.get_mut(subnet);
            let made = made.unwrap_or_else(|| panic!("no such subnet in this world"));
            made.tags.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Sets a route, whatever it was.
    pub fn put_route(&self, table: &RouteTableId, to: &str, target: RouteTarget) {
        self.state().mutate(|world| {
            let table =
                world.tables.get_mut(table).unwrap_or_else(|| panic!("no table {table} in this world"));
            table.routes.insert(destination(to), target);
        });
    }

    /// Switches the source/destination check of an interface on or off.
    pub fn set_source_dest_check(&self, interface: &InterfaceId, on: bool) {
        self.state().mutate(|world| {
            let interface = world.interfaces.get_mut(interface);
            interface.unwrap_or_else(|| panic!("no such interface in this world")).source_dest_check = on;
        });
    }

    /// Deletes a route.
    pub fn delete_route(&self, table: &RouteTableId, to: &str) {
        self.state().mutate(|world| {
            let table =
                world.tables.get_mut(table).unwrap_or_else(|| panic!("no table {table} in this world"));
            table.routes.remove(&destination(to));
        });
    }

    /// Deletes a route table.
    pub fn delete_table(&self, table: &RouteTableId) {
        self.state().mutate(|world| world.tables.remove(table));
    }

    /// Seats an address as somebody at the console would: wherever it was, whoever sits there.
    pub fn place(&self, allocation: &AllocationId, placement: &Placement) -> AssociationId {
        self.state().mutate(|world| {
            assert!(world.addresses.contains_key(allocation), "no address {allocation} in this world");
            world.seat(allocation, placement)
        })
    }

    /// Frees an address.
    pub fn free(&self, allocation: &AllocationId) {
        self.state().mutate(|world| {
            let address = world.addresses.get_mut(allocation);
            address.unwrap_or_else(|| panic!("no address {allocation} in this world")).association = None;
        });
    }

    /// Gives an address back to Amazon.
    pub fn release_address(&self, allocation: &AllocationId) {
        self.state().mutate(|world| world.addresses.remove(allocation));
    }

    /// Attaches an interface to an instance.
    pub fn attach(
        &self,
        interface: &InterfaceId,
        instance: &InstanceId,
        device_index: i32,
        goes_with_it: bool,
    ) {
        self.state().mutate(|world| {
            assert!(world.instances.contains_key(instance), "no instance {instance} in this world");
            let made = world.interfaces.get_mut(interface);
            let made = made.unwrap_or_else(|| panic!("no interface {interface} in this world"));
            let attachment =
                Attachment { instance: instance.clone(), device_index, delete_on_termination: goes_with_it };
            made.attachment = Some(attachment);
        });
    }

    /// Detaches an interface; its addresses stay with it.
    pub fn detach(&self, interface: &InterfaceId) {
        self.state().mutate(|world| {
            let made = world.interfaces.get_mut(interface);
            made.unwrap_or_else(|| panic!("no interface {interface} in this world")).attachment = None;
        });
    }

    /// Deletes an interface; its addresses are freed.
    pub fn delete_interface(&self, interface: &InterfaceId) {
        self.state().mutate(|world| {
            world.free_seats(interface);
            world.interfaces.remove(interface);
        });
    }

    /// Terminates an instance, with all that follows.
    pub fn terminate(&self, instance: &InstanceId) {
        self.state().mutate(|world| world.terminate(instance));
    }

    /// Sets the state of an instance that is not terminated, such as `stopped` or `running`.
    pub fn set_state(&self, instance: &InstanceId, state: &str) {
        assert_ne!(state, "terminated", "terminate() does this, with all that follows");
        self.state().mutate(|world| {
            let made = world.instances.get_mut(instance);
            made.unwrap_or_else(|| panic!("no instance {instance} in this world")).state = state.to_owned();
        });
    }

    /// Chooses what becomes of an association to where the address sits already.
    pub fn set_same_place(&self, same_place: SamePlace) {
        self.state().world.same_place = same_place;
    }

    /// Chooses what becomes of ending an association that has ended.
    pub fn set_ended_already(&self, ended_already: EndedAlready) {
        self.state().world.ended_already = ended_already;
    }

    /// Chooses how long it takes to stop an instance. [`Self::set_state`] says that it has stopped.
    pub fn set_stops(&self, stops: Stops) {
        self.state().world.stops = stops;
    }

    /// Makes an instance one that was launched so that it can hibernate.
    pub fn let_hibernate(&self, instance: &InstanceId) {
        self.state().mutate(|world| {
            let made = world.instances.get_mut(instance);
            made.unwrap_or_else(|| panic!("no instance {instance} in this world")).hibernates = true;
        });
    }

    /// Makes EC2 forget an instance, as it does an hour or so after it was terminated.
    pub fn forget(&self, instance: &InstanceId) {
        self.state().mutate(|world| world.instances.remove(instance));
    }

    /// Tags an instance.
    pub fn tag(&self, instance: &InstanceId, key: &str, value: &str) {
        self.state().mutate(|world| {
            let made = world.instances.get_mut(instance);
            let made = made.unwrap_or_else(|| panic!("no instance {instance} in this world"));
            made.tags.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Tags an interface.
    pub fn tag_interface(&self, interface: &InterfaceId, key: &str, value: &str) {
        self.state().mutate(|world| {
            let made = world.interfaces.get_mut(interface);
            let made = made.unwrap_or_else(|| panic!("no interface {interface} in this world"));
            made.tags.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Tags a route table, or takes the tag off.
    pub fn tag_table(&self, table: &RouteTableId, key: &str, value: Option<&str>) {
        self.state().mutate(|world| {
            let made =
                world.tables.get_mut(table).unwrap_or_else(|| panic!("no table {table} in this world"));
            match value {
                Some(value) => drop(made.tags.insert(key.to_owned(), value.to_owned())),
                None => drop(made.tags.remove(key)),
            }
        });
    }

    /// Takes a tag away from an instance.
    pub fn untag(&self, instance: &InstanceId, key: &str) {
        self.state().mutate(|world| {
            let made = world.instances.get_mut(instance);
            made.unwrap_or_else(|| panic!("no instance {instance} in this world")).tags.remove(key);
        });
    }

    // --- how the world really is, whatever a look would say ---

    /// The state of an instance; none: there is no such instance any more.
    pub fn state_of(&self, instance: &InstanceId) -> Option<String> {
        Some(self.state().world.instances.get(instance)?.state.clone())
    }

    /// Where an address sits.
    pub fn seat_of(&self, allocation: &AllocationId) -> Option<Placement> {
        Some(self.state().world.addresses.get(allocation)?.association.clone()?.1)
    }

    /// The current association of an address.
    pub fn association_of(&self, allocation: &AllocationId) -> Option<AssociationId> {
        Some(self.state().world.addresses.get(allocation)?.association.clone()?.0)
    }

    /// Through what a table sends a destination.
    pub fn target_of(&self, table: &RouteTableId, to: &str) -> Option<RouteTarget> {
        self.state().world.tables.get(table)?.routes.get(&destination(to)).cloned()
    }

    /// With which table a subnet is associated.
    pub fn table_of(&self, subnet: &SubnetId) -> Option<TableAssociation> {
        self.state().world.subnets.get(subnet)?.association.clone()
    }

    /// Whether an interface forwards nothing that is not its own.
    pub fn checks_source_and_destination(&self, interface: &InterfaceId) -> Option<bool> {
        Some(self.state().world.interfaces.get(interface)?.source_dest_check)
    }
}

fn destination(text: &str) -> Destination {
    Destination::new(text).unwrap_or_else(|error| panic!("a test names a network: {error}"))
}
