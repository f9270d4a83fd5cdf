//! Two worlds, one sequence of looks and calls, the same answers.
//!
//! Ids differ between worlds, so each is spoken of by what it stands for ("address 1", "association 3"), and a
//! sight by its lines in an order of their own. Where the server is known to differ from EC2 ([`super::MOTO`]) the
//! difference has to show exactly as listed; the server is then put where EC2 would be, so that the sequence goes
//! on. Every other difference fails.

mod difference;
pub mod operation;
mod spoken;

use std::collections::BTreeSet;

use baton_cloud::Cloud;
use baton_protocol::ec2::{Call, Look, Sight};
use baton_protocol::ids::{
    AllocationId, AssociationId, InterfaceId, RouteTableId, SubnetId, TableAssociationId,
};
use baton_protocol::resource::{Address, Destination, Placement, Route};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{NETWORK, Node, World, destination, nobody};
use difference::{compare, sitting};
use operation::{Act, Seat};
use spoken::{Names, kind, spoken};

/// How many nodes, addresses and tables a stage has.
const NODES: usize = 2;

/// Where routes lead, one of each family.
const DESTINATIONS: [&str; 2] = ["192.168.9.1/32", "2001:db8:9::/56"];

/// What a sequence is played on: the same things in either world.
struct Stage<'a, W> {
    world: &'a W,
    nodes: Vec<Node>,
    addresses: Vec<Address>,
    tables: Vec<RouteTableId>,
    /// A subnet, with the first table when it begins.
    subnet: SubnetId,
    /// Every association of that subnet so far, in the order in which they were made.
    swaps: Vec<TableAssociationId>,
    /// Every association so far, in the order in which they were made.
    associations: Vec<AssociationId>,
    names: Names,
}

impl<'a, W: World> Stage<'a, W> {
    async fn new(world: &'a W) -> Self {
        let vpc = world.vpc(&[NETWORK]).await;
        let (mut nodes, mut addresses, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = Names::default();
        for number in 0..NODES {
            let node = world.node(&vpc, number).await;
            names.add(&node.instance, format!("instance {number}"));
            names.add(&node.interface, format!("interface {number}"));
            for (k, ip) in node.private_ips.iter().enumerate() {
                names.add(ip, format!("seat {k} of interface {number}"));
            }
            nodes.push(node);
            let address = world.address().await;
            names.add(&address.allocation, format!("address {number}"));
            names.add(&address.public_ip, format!("public address {number}"));
            addresses.push(address);
            let table = world.table(&vpc).await;
            names.add(&table, format!("table {number}"));
            tables.push(table);
        }
        let subnet = world.subnet(&vpc).await;
        names.add(&subnet, "the subnet".to_owned());
        let first = world.associate(&subnet, &tables[0]).await;
        let (associations, swaps) = (Vec::new(), Vec::new());
        let mut stage = Self { world, nodes, addresses, tables, subnet, swaps, associations, names };
        stage.keep_swap(first);
        stage
    }

    fn allocation(&self, number: usize) -> AllocationId {
        self.addresses.get(number).map_or_else(|| nobody("eipalloc-"), |made| made.allocation.clone())
    }

    fn interface(&self, number: usize) -> InterfaceId {
        self.nodes.get(number).map_or_else(|| nobody("eni-"), |node| node.interface.clone())
    }

    fn table(&self, number: usize) -> RouteTableId {
        self.tables.get(number).cloned().unwrap_or_else(|| nobody("rtb-"))
    }

    fn placement(&self, node: usize, seat: Seat) -> Placement {
        let known = self.nodes.get(node).unwrap_or(&self.nodes[0]);
        let private_ip = match seat {
            Seat::Own(k) => known.private_ips[k],
            Seat::Strange => [10, 0, 250, 250].into(),
        };
        Placement { interface: self.interface(node), private_ip }
    }

    fn call(&self, act: &Act) -> Call {
        let route_of = |table, to: usize| Route { table: self.table(table), destination: to_of(to) };
        match *act {
            Act::Associate { address, node, seat } => Call::Associate {
                allocation: self.allocation(address),
                placement: self.placement(node, seat),
            },
            Act::Disassociate { back } => {
                let which = self.associations.iter().rev().nth(back).cloned();
                let association = which.unwrap_or_else(|| nobody("eipassoc-"));
                Call::Disassociate { allocation: self.allocation(0), association }
            }
            Act::CreateRoute { table, to, node } => {
                Call::CreateRoute { route: route_of(table, to), interface: self.interface(node) }
            }
            Act::ReplaceRoute { table, to, node } => {
                Call::ReplaceRoute { route: route_of(table, to), interface: self.interface(node) }
            }
            Act::Swap { back, table } => {
                let which = self.swaps.iter().rev().nth(back).cloned();
                let association = which.unwrap_or_else(|| nobody("rtbassoc-"));
                let (subnet, table) = (self.subnet.clone(), self.table(table));
                Call::ReplaceTableAssociation { subnet, association, table }
            }
            Act::Forward(node) => Call::DisableSourceDestCheck { interface: self.interface(node) },
        }
    }

    /// Everything that a look can show of the stage and of something that does not exist.
    async fn seen(&self) -> Vec<String> {
        let all = 0..=NODES;
        let interfaces: Vec<_> = all.clone().map(|number| self.interface(number)).collect();
        let looks = [
            Look::Addresses(all.clone().map(|number| self.allocation(number)).collect()),
            Look::Seats(interfaces.clone()),
            Look::Tables(all.map(|number| self.table(number)).collect()),
            Look::Subnets(vec![self.subnet.clone(), nobody("subnet-")]),
            Look::Interfaces(interfaces),
            Look::Instance(self.nodes[0].instance.clone()),
        ];
        let mut lines = Vec::new();
        for look in looks {
            let mut sight = self.world.cloud().look(&look).await.expect("a sight");
            self.as_if_by_ec2(&mut sight);
            lines.extend(spoken(&sight, &self.names));
        }
        lines
    }

    /// A world that ignores seats shows every address on the primary one, so seats are left out on both sides.
    fn as_if_by_ec2(&self, sight: &mut Sight) {
        let primary = |placement: &mut Placement| {
            let node = self.nodes.iter().find(|node| node.interface == placement.interface);
            placement.private_ip = node.expect("an interface of the stage").private_ips[0];
        };
        match sight {
            Sight::Addresses(seen) => {
                let placements = seen.values_mut().filter_map(|seen| seen.association.as_mut()?.1.as_mut());
                placements.for_each(primary);
            }
            Sight::Seats(seats) => seats.iter_mut().for_each(|seat| primary(&mut seat.placement)),
            _ => {}
        }
    }

    fn keep(&mut self, association: AssociationId) {
        self.names.add(&association, format!("association {}", self.associations.len()));
        self.associations.push(association);
    }

    /// One that is answered again, as a swap for the same table is, is the one that it was.
    fn keep_swap(&mut self, association: TableAssociationId) {
        if !self.swaps.contains(&association) {
            self.names.add(&association, format!("association {} of the subnet", self.swaps.len()));
            self.swaps.push(association);
        }
    }
}

fn to_of(number: usize) -> Destination {
    destination(DESTINATIONS[number])
}

/// What a run has met: each call with the kind of its answer, and each difference of the server.
pub type Met = BTreeSet<String>;

/// What a run has to meet, so that it cannot come to ask nothing but what is granted.
pub const MET: [&str; 22] = [
    "AssociateAddress Associated",
    "AssociateAddress AlreadyAssociated",
    "AssociateAddress NotFound",
    "AssociateAddress Refused",
    "DisassociateAddress Done",
    "DisassociateAddress AssociationGone",
    "CreateRoute Done",
    "CreateRoute RouteExists",
    "CreateRoute NotFound",
    "ReplaceRoute Done",
    "ReplaceRoute RouteMissing",
    "ReplaceRoute NotFound",
    "ReplaceRouteTableAssociation TableAssociated",
    "ReplaceRouteTableAssociation AssociationGone",
    "ReplaceRouteTableAssociation NotFound",
    "ModifyNetworkInterfaceAttribute Done",
    "ModifyNetworkInterfaceAttribute NotFound",
    "SeatsShared",
    "StrangeSeatAccepted",
    "SameInterfaceReassociates",
    "EndedAlreadyRefused",
    "DuplicateRouteReplaces",
];

/// Plays a sequence on the twin and on a server, and compares every answer and everything that can be seen.
///
/// # Errors
///
/// If they differ in a way that is not listed.
pub async fn agree<T: World, S: World>(twin: &T, server: &S, acts: &[Act]) -> Result<Met, TestCaseError> {
    let (mut twin, mut server, mut met) = (Stage::new(twin).await, Stage::new(server).await, Met::new());
    for (number, act) in acts.iter().enumerate() {
        let (of_twin, of_server) = (twin.call(act), server.call(act));
        let sitting = sitting(&twin, &of_twin).await;
        let left = twin.world.cloud().call(&of_twin).await;
        let right = server.world.cloud().call(&of_server).await;
        met.insert(format!("{} {}", of_twin.action(), kind(&left)));
        match compare(&mut twin, &mut server, &of_server, (&left, &right), sitting).await {
            Ok(difference) => met.extend(difference.map(|difference| format!("{difference:?}"))),
            Err(why) => prop_assert!(false, "act {}, {:?}: {}: {:?} {:?}", number, act, why, left, right),
        }
        let (left, right) = (twin.seen().await, server.seen().await);
        prop_assert_eq!(left, right, "after act {}, {:?}", number, act);
    }
    Ok(met)
}
