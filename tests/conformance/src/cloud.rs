//! What every [`Cloud`] does alike, whether it asks a server or keeps EC2 in memory.
//!
//! Each scenario of [`address`], [`route`], [`subnet`], [`shared`] and [`instance`] makes its own part of a [`World`], looks and calls through
//! the trait, and asserts what EC2 documents. Where a world is known to differ it says so ([`World::differs`]), and the
//! scenario then asserts the difference itself: a server that starts to behave like EC2 fails the test that excused it.
//! [`cloud_conformance!`](crate::cloud_conformance) makes one test of each scenario, so that none is forgotten for one
//! of the worlds.

pub mod address;
pub mod instance;
pub mod random;
pub mod route;
pub mod shared;
pub mod subnet;

use std::future::Future;
use std::net::Ipv4Addr;

use baton_cloud::Cloud;
use baton_protocol::access::TableAccess;
use baton_protocol::ec2::{AddressSeen, CloudFailure, Look, RouteSeen, Seat, Sight};
use baton_protocol::ids::{
    AllocationId, AssociationId, ClusterName, InstanceId, InterfaceId, RoleArn, RouteTableId, SubnetId,
    TableAssociationId,
};
use baton_protocol::resource::{Address, Destination, Placement};

/// How a world differs from EC2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// An association lands on the primary private address, whichever was named.
    SeatIgnored,
    /// A private address that the interface does not have is accepted.
    StrangeSeatAccepted,
    /// Two addresses can sit on one private address; EC2 takes the seat from the first.
    SeatsShared,
    /// An address that is on an interface gets a new association with it, although reassociation is forbidden. EC2
    /// documents both a refusal and idempotence for the place where it sits, and nothing for another place there.
    SameInterfaceReassociates,
    /// Ending an association that has ended is refused as not found; EC2 documents success without effect, and has been
    /// seen to refuse.
    EndedAlreadyRefused,
    /// Creating a route that exists succeeds and changes its target; EC2 refuses.
    DuplicateRouteReplaces,
    /// A route may lead to an interface of another VPC; EC2 refuses.
    RouteAcrossVpcs,
    /// A terminated instance keeps its addresses; EC2 frees them.
    TerminationKeepsAddresses,
    /// A terminated instance keeps its interfaces; EC2 deletes those that were made with it.
    TerminationKeepsInterfaces,
    /// A route through an interface that carries nothing stays active; EC2 calls it a black hole.
    NoBlackHoles,
}

/// Where moto 5.2.5 differs from EC2 in what Baton uses, each with why a test against moto still says something, and
/// where the gap is closed.
///
/// Two more are beyond this table. moto carries out `ReplaceRoute` although `DryRun` is set, so what stands before it in the
/// sandbox answers such requests itself; and it reads an absent `AllowReassociation` as false, which at EC2 means true. No
/// scenario can see that: [`Cloud`] always sends `AllowReassociation=false`, which the tests of `baton-cloud` check on the wire.
pub const MOTO: &[(Difference, &str)] = &[
    (
        Difference::SeatIgnored,
        "The interface is still right, so a move between nodes is seen; which private address was asked for is checked \
         on the wire by the tests of baton-cloud, and its effect in memory.",
    ),
    (
        Difference::StrangeSeatAccepted,
        "Baton takes private addresses from EC2's own description of an instance, so it asks for a strange one only \
         after the interface lost it; that refusal is rehearsed in memory.",
    ),
    (
        Difference::SeatsShared,
        "A move that fails to look who sits on its seat would pass against moto. The world in memory evicts, so the \
         careless move is caught there.",
    ),
    (
        Difference::SameInterfaceReassociates,
        "The address stays on its interface, so no other node gets it. A plan has to bear a refusal, the same \
         association and another one; the world in memory gives each of the three where it is told to.",
    ),
    (
        Difference::EndedAlreadyRefused,
        "Neither answer changes anything, and a move looks again after either; the world in memory gives the one or the \
         other as it is told, and every scenario is played in both.",
    ),
    (
        Difference::DuplicateRouteReplaces,
        "A route is created only where none was seen; the race with somebody who creates the same one is rehearsed in \
         memory.",
    ),
    (
        Difference::RouteAcrossVpcs,
        "A registration is refused if its tables and interfaces are not of one VPC, so the call is never made.",
    ),
    (
        Difference::TerminationKeepsAddresses,
        "A move away from a terminated node meets an address that is still associated, which is also what a stale \
         answer of EC2 looks like; the freed address is rehearsed in memory.",
    ),
    (
        Difference::TerminationKeepsInterfaces,
        "Nothing is ever moved to a terminated node. That its interface is gone is rehearsed in memory.",
    ),
    (
        Difference::NoBlackHoles,
        "No decision rests on a black hole, which EC2 reports late; it is shown to people only.",
    ),
];

/// A node of a world: an instance with one interface.
#[derive(Debug, Clone)]
pub struct Node {
    /// The instance.
    pub instance: InstanceId,
    /// Its zone, as the world names zones.
    pub zone: String,
    /// Its interface with device index 0.
    pub interface: InterfaceId,
    /// The two private addresses of that interface, the primary first.
    pub private_ips: [Ipv4Addr; 2],
}

impl Node {
    /// Seat 0 or 1 of the node.
    pub fn seat(&self, k: usize) -> Placement {
        Placement { interface: self.interface.clone(), private_ip: self.private_ips[k] }
    }
}

/// EC2, and the means to make what a scenario needs in it.
pub trait World: Sync {
    /// What is tested.
    type Cloud: Cloud;

    /// The cloud over this world.
    fn cloud(&self) -> &Self::Cloud;

    /// Whether this world is known to differ from EC2 in this.
    fn differs(&self, difference: Difference) -> bool;

    /// A VPC with these IPv4 networks.
    fn vpc(&self, networks: &[&str]) -> impl Future<Output = String> + Send;

    /// The world as another account owns it, in what is made from there, and how this one reaches that account's tables.
    fn owner(&self) -> impl Future<Output = (TableAccess, Self)> + Send
    where
        Self: Sized;

    /// A node of this account whose interface routes of that VPC may lead to.
    fn node_in(&self, shared: &str, zone: usize) -> impl Future<Output = Node> + Send;

    /// A running instance in a VPC, in the first, second or third zone, with two private addresses.
    fn node(&self, vpc: &str, zone: usize) -> impl Future<Output = Node> + Send;

    /// A further interface of a node at device index 1, with two private addresses, the primary first.
    fn further(&self, vpc: &str, node: &Node) -> impl Future<Output = (InterfaceId, [Ipv4Addr; 2])> + Send;

    /// An Elastic IP that is free.
    fn address(&self) -> impl Future<Output = Address> + Send;

    /// A route table.
    fn table(&self, vpc: &str) -> impl Future<Output = RouteTableId> + Send;

    /// A subnet of a VPC, in no zone that [`Self::node`] uses there, without a route table of its own.
    fn subnet(&self, vpc: &str) -> impl Future<Output = SubnetId> + Send;

    /// Associates a subnet with a route table, where it has none of its own.
    fn associate(
        &self,
        subnet: &SubnetId,
        table: &RouteTableId,
    ) -> impl Future<Output = TableAssociationId> + Send;

    /// Ends an association of a subnet with a route table.
    fn disassociate(&self, association: &TableAssociationId) -> impl Future<Output = ()> + Send;

    /// Tags an instance, an interface, a subnet or a route table.
    fn tag(&self, id: &str, key: &str, value: &str) -> impl Future<Output = ()> + Send;

    /// A route through a new gateway of the VPC; returns the gateway's id.
    fn route_to_gateway(
        &self,
        vpc: &str,
        table: &RouteTableId,
        destination: &Destination,
    ) -> impl Future<Output = String> + Send;

    /// A prefix list that nothing leads to yet, as a destination.
    fn list(&self) -> impl Future<Output = Destination> + Send;

    /// Terminates an instance, and returns when EC2 says `terminated`.
    fn terminate(&self, instance: &InstanceId) -> impl Future<Output = ()> + Send;
}

/// A VPC's first network in every scenario; routes lead to destinations outside it.
pub const NETWORK: &str = "10.0.0.0/16";

/// An id of each kind that no world has.
fn nobody<T: TryFrom<String, Error: std::fmt::Debug>>(prefix: &str) -> T {
    T::try_from(format!("{prefix}0fffffffffffffff0")).expect("an id")
}

/// A role of the account that owns what is shared.
pub fn access() -> TableAccess {
    TableAccess {
        role: RoleArn::new("arn:aws:iam::210987654321:role/tables").expect("valid"),
        cluster: ClusterName::new("orders").expect("valid"),
    }
}

fn destination(text: &str) -> Destination {
    Destination::new(text).expect("a network")
}

async fn addresses<W: World>(world: &W, ids: &[&AllocationId]) -> Vec<Option<AddressSeen>> {
    let look = Look::Addresses(ids.iter().map(|id| (*id).clone()).collect());
    match world.cloud().look(&look).await {
        Ok(Sight::Addresses(seen)) => ids.iter().map(|id| seen.get(*id).cloned()).collect(),
        other => panic!("expected addresses, found {other:?}"),
    }
}

/// The association of an address and where it leads.
async fn association<W: World>(world: &W, id: &AllocationId) -> Option<(AssociationId, Option<Placement>)> {
    let seen = addresses(world, &[id]).await.remove(0);
    seen.unwrap_or_else(|| panic!("expected {id}, found no such address")).association
}

async fn seats<W: World>(world: &W, interfaces: &[&InterfaceId]) -> Vec<Seat> {
    let look = Look::Seats(interfaces.iter().map(|id| (*id).clone()).collect());
    match world.cloud().look(&look).await {
        Ok(Sight::Seats(mut seats)) => {
            seats.sort_by(|a, b| a.allocation.cmp(&b.allocation));
            seats
        }
        other => panic!("expected seats, found {other:?}"),
    }
}

async fn routes<W: World>(world: &W, table: &RouteTableId) -> Vec<RouteSeen> {
    match world.cloud().look(&Look::Tables(vec![table.clone()])).await {
        Ok(Sight::Tables(mut seen)) => {
            seen.remove(table).unwrap_or_else(|| panic!("expected {table}, found none"))
        }
        other => panic!("expected tables, found {other:?}"),
    }
}

async fn route<W: World>(world: &W, table: &RouteTableId, to: &Destination) -> Option<RouteSeen> {
    routes(world, table).await.into_iter().find(|route| route.destination == *to)
}

fn is_not_found<T>(answer: &Result<T, CloudFailure>) -> bool {
    matches!(answer, Err(CloudFailure::NotFound(_)))
}

/// Makes one test of every scenario for the world that an async function makes.
#[macro_export]
macro_rules! cloud_conformance {
    ($world:path) => {
        $crate::cloud_conformance! { $world;
            address: a_free_address_is_seen_free_and_an_unknown_one_is_absent,
            address: an_associated_address_is_seen_where_it_was_put,
            address: an_address_goes_to_the_private_address_that_was_named,
            address: an_associated_address_is_never_taken_from_anybody,
            address: of_several_that_want_a_free_address_one_gets_it,
            address: an_association_that_has_ended_ends_no_other,
            address: an_association_to_the_same_place_leaves_the_address_there,
            address: an_address_changes_its_seat_only_when_it_is_free,
            address: a_private_address_of_nobody_is_refused,
            address: a_taken_seat_is_taken_from_who_sits_there,
            address: associating_what_does_not_exist_is_not_found,
            route: a_route_is_created_seen_and_replaced,
            route: a_route_through_a_gateway_is_seen_and_can_be_replaced,
            route: replacing_a_missing_route_makes_none,
            route: creating_an_existing_route_changes_nothing,
            route: a_route_to_another_vpc_is_refused,
            route: what_is_only_asked_about_is_not_done,
            route: routes_of_what_does_not_exist_are_not_found,
            route: an_unknown_table_is_absent_and_hides_no_other,
            subnet: a_subnet_is_swapped_by_the_association_that_was_seen,
            subnet: an_association_that_was_replaced_replaces_no_other,
            subnet: a_subnet_without_a_table_of_its_own_is_absent_and_hides_no_other,
            subnet: swapping_for_the_same_table_leaves_the_association,
            subnet: swapping_for_what_does_not_exist_is_not_found,
            subnet: a_swap_can_be_asked_about_and_is_not_done,
            subnet: subnets_and_tables_are_described_with_their_tags,
            route: every_table_of_a_vpc_is_seen_with_its_tags_and_no_other_vpcs,
            shared: a_table_of_another_account_is_seen_and_changed_through_its_role_alone,
            shared: a_subnet_of_another_account_is_swapped_through_its_role_alone,
            shared: what_is_not_of_tables_stays_the_accounts_own,
            instance: an_instance_is_described_with_its_interface,
            instance: a_further_interface_is_described_takes_an_address_and_forwards,
            instance: an_interface_has_the_tags_it_was_given,
            instance: an_unknown_instance_is_not_found_and_not_terminated,
            instance: a_terminated_instance_is_seen_terminated,
            instance: instances_are_found_by_their_tag_while_they_run,
            instance: a_terminated_instance_gives_up_what_it_had,
            instance: the_source_destination_check_is_switched_off_and_stays_off,
            instance: an_instance_is_stopped_and_stopping_it_again_changes_nothing,
            instance: a_vpc_has_the_networks_it_was_given,
            instance: a_question_about_nothing_has_an_empty_answer,
        }
    };
    ($world:path; $($module:ident: $scenario:ident,)*) => {
        $(
            #[tokio::test]
            async fn $scenario() {
                $crate::cloud::$module::$scenario(&$world().await).await;
            }
        )*
    };
}
