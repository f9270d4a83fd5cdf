//! Clusters whose nodes are named by a tag: who joins, who is retired, and what of it an address notices.

use baton_arbiter::roster::{self, Followed};
use baton_cloud::memory::{Asked, Fault, MemoryNode, Trouble};
use baton_protocol::arbiter::Hint;
use baton_protocol::choice::{self, Choices, InterfaceChoice};
use baton_protocol::ec2::RouteTarget;
use baton_protocol::heartbeat::{Beat, Health};
use baton_protocol::history::Happening;
use baton_protocol::ids::{ClusterName, Epoch, InstanceArn, InterfaceId, Seq};
use baton_protocol::lease::{Lease, Mode};
use baton_protocol::resource::{Destination, Resources};
use baton_protocol::roster::{Roster, Tag};
use baton_protocol::tables::{TableChoice, Which};
use baton_protocol::time::WallTime;
use baton_store::{Registration, Start, Store};
use serde_json::json;

use crate::world::{DESTINATION, World, cluster, event, incarnation};

const GROUP: &str = "aws:autoscaling:groupName";

/// The three nodes are those of the group `nat`, and node 0 holds at epoch 1 with everything in place.
async fn settled(most: u16) -> World {
    let world = World::new(1, 1).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    for node in &world.nodes {
        tag(&world, node);
    }
    name_by_tag(&world, most, world.registration().members.len()).await;
    world.told();
    world.parts.cloud.clear_log();
    world
}

fn tag(world: &World, node: &MemoryNode) {
    world.parts.cloud.tag(&node.instance, GROUP, "nat");
    world.parts.cloud.tag(&node.instance, "baton:cluster", "orders");
}

/// The registrar's part: the first `members` are members, and the group names them from then on.
async fn name_by_tag(world: &World, most: u16, members: usize) {
    let lease = world.lease().await;
    let mut registration = world.registration();
    registration.members.truncate(members);
    let tag = Tag::of_group("nat").expect("valid");
    let roster = Some(Roster { tag, most, priority: 100, changed: WallTime(1) });
    let revision = lease.revision + 1;
    let event = event(Happening::Registered { revision, summary: "by tag".to_owned() });
    let registration = Registration { roster, event, ..registration };
    world.parts.store.reconfigure(&registration, lease.holder.as_ref()).await.expect("reconfigured");
}

/// The group launches another instance, whose agent beats.
async fn launch(world: &World) -> MemoryNode {
    launch_in(world, &world.vpc).await
}

async fn launch_in(world: &World, vpc: &str) -> MemoryNode {
    let node = world.parts.cloud.node(vpc, "euw1-az2", 1);
    tag(world, &node);
    let at = world.parts.now().wall;
    let start = Start {
        expected: None,
        incarnation: incarnation(),
        boot_id: "boot".to_owned(),
        agent_version: "test".to_owned(),
        validity_ms: 4_000,
        at,
    };
    world.parts.store.start(&cluster(), &node.arn, &start).await.expect("started");
    let beat = Beat {
        incarnation: incarnation(),
        seq: Seq(9),
        health: Health::Ok,
        claim: None,
        serving_epoch: None,
        healthy_since: None,
        serving_since: None,
        ahead: None,
        findings: None,
        validity_ms: 4_000,
        seen: Vec::new(),
        beat_at: at,
    };
    world.parts.store.beat(&cluster(), &node.arn, &beat).await.expect("beaten");
    node
}

async fn tell_of_launch(world: &World, group: &str) {
    let detail = json!({ "AutoScalingGroupName": group, "EC2InstanceId": "i-0123456789abcdef0" });
    world
        .send(json!({ "source": "aws.autoscaling", "detail-type": "EC2 Instance Launch Successful", "detail": detail }))
        .await;
}

async fn tell_of_state(world: &World, node: &MemoryNode) {
    let detail = json!({ "instance-id": node.instance.to_string(), "state": "terminated" });
    world
        .send(json!({ "source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification", "detail": detail }))
        .await;
}

fn instances(lease: &Lease) -> Vec<InstanceArn> {
    lease.members.iter().map(|member| member.instance.clone()).collect()
}

/// Who joined and who was retired, by the row of the latest change. Rows of one millisecond are in no order.
async fn last_row(world: &World) -> (Vec<InstanceArn>, Vec<InstanceArn>) {
    let rows = world.parts.store.history(&cluster(), 100).await.expect("read");
    let now = world.lease().await.revision;
    let told = rows.iter().find_map(|row| match &row.what {
        Happening::Members { joined, retired, revision } if *revision == now => Some((joined, retired)),
        _ => None,
    });
    let Some((joined, retired)) = told else { panic!("none of revision {now}: {rows:?}") };
    let joined = joined.iter().map(|newcomer| newcomer.instance.clone());
    (joined.collect(), retired.iter().map(|departed| departed.instance.clone()).collect())
}

/// How often EC2 was asked who carries the tag.
fn looks(world: &World) -> usize {
    world.parts.cloud.log().iter().filter(|entry| matches!(entry.asked, Asked::Tagged(_))).count()
}

#[tokio::test]
async fn a_launched_instance_joins_and_no_address_notices() {
    let world = settled(4).await;
    let newcomer = launch(&world).await;
    let before = world.lease().await;
    tell_of_launch(&world, "nat").await;
    let lease = world.lease().await;
    let all: Vec<_> = world.nodes.iter().map(|node| node.arn.clone()).chain([newcomer.arn.clone()]).collect();
    assert_eq!(instances(&lease), all);
    let member = lease.member(&newcomer.arn).expect("it joined");
    assert_eq!((member.node.as_str(), &*member.zone), (newcomer.instance.as_str(), "euw1-az2"));
    assert_eq!(member.placements[&world.addresses[0].allocation], newcomer.seat(0));
    assert_eq!((lease.epoch, lease.moved, lease.revision), (Epoch(1), Epoch(1), before.revision + 1));
    assert_eq!(world.calls(), [], "nothing is moved for it");
    assert_eq!(last_row(&world).await, (vec![newcomer.arn], vec![]));
    assert_eq!(world.told(), ["Members Changed"]);
    tell_of_launch(&world, "nat").await;
    assert_eq!(world.lease().await, lease, "a repeat changes nothing");
}

#[tokio::test]
async fn an_instance_that_can_hibernate_is_left_out_of_a_strict_cluster_and_joins_one_that_is_available() {
    let world = settled(5).await;
    let sleeper = launch(&world).await;
    world.parts.cloud.let_hibernate(&sleeper.instance);
    world.parts.cloud.let_hibernate(&world.nodes[2].instance);
    let before = world.lease().await;
    tell_of_launch(&world, "nat").await;
    assert_eq!(world.lease().await, before, "nobody joins, and the member that can hibernate stays");
    assert_eq!(world.told(), [""; 0]);
    // One that cannot joins past it.
    let other = launch(&world).await;
    tell_of_launch(&world, "nat").await;
    assert_eq!(last_row(&world).await, (vec![other.arn], vec![]));

    let lease = world.lease().await;
    let members = lease.members.clone();
    let event = event(Happening::Registered { revision: lease.revision + 1, summary: "mode".to_owned() });
    let registration =
        Registration { mode: Mode::Available, members, roster: lease.roster, event, ..world.registration() };
    world.parts.store.reconfigure(&registration, lease.holder.as_ref()).await.expect("reconfigured");
    tell_of_launch(&world, "nat").await;
    assert_eq!(last_row(&world).await, (vec![sleeper.arn], vec![]));
}

#[tokio::test]
async fn a_move_under_way_is_not_ended_for_a_member_and_a_change_wakes_a_successor() {
    let world = settled(4).await;
    // Another invocation moves: an address of the cluster was changed, and EC2 has not answered it yet.
    let lease = world.lease().await;
    let mut placed = world.registration();
    placed.members[0].placements.insert(world.addresses[0].allocation.clone(), world.nodes[0].seat(0));
    placed.resources.routes.clear();
    placed.roster = lease.roster.clone();
    world.parts.store.reconfigure(&placed, lease.holder.as_ref()).await.expect("reconfigured");
    let moving = world.lease().await;
    assert!(moving.moved < moving.epoch);
    launch(&world).await;
    let (hint, by) = (Hint::of_instance(cluster()), "arbiter 1");
    assert_eq!(roster::follow(&world.parts, &hint, false, by).await, Followed::NotAsked);
    assert_eq!(world.lease().await, moving, "the other one's writes are as good as before");
    // Where this invocation is stuck, another member may be what helps.
    let changed = Followed::Changed { joined: 1, retired: 0 };
    assert_eq!(roster::follow(&world.parts, &hint, true, by).await, changed);
    world.wake().await;
    world.woken();
    launch(&world).await;
    name_by_tag(&world, 9, 3).await;
    world.wake().await;
    assert_eq!((world.lease().await.members.len(), world.woken()), (5, 1));
}

#[tokio::test]
async fn nobody_joins_on_a_seat_that_another_cluster_s_address_may_take() {
    let world = settled(4).await;
    let newcomer = launch(&world).await;
    let mut other = world.registration();
    other.cluster = ClusterName::new("billing").expect("valid");
    other.event.cluster = other.cluster.clone();
    other.members.truncate(1);
    let seat = newcomer.seat(0);
    other.members[0].placements = [(world.parts.cloud.address().allocation, seat)].into();
    other.resources = Resources::default();
    world.parts.store.register(&other).await.expect("registered");
    let before = world.lease().await;
    tell_of_launch(&world, "nat").await;
    assert_eq!(world.lease().await, before);
    world.parts.store.retire(&other.cluster, &other.uid, &other.event).await.expect("retired");
    tell_of_launch(&world, "nat").await;
    assert!(world.lease().await.member(&newcomer.arn).is_some(), "what is retired has no seats");
}

#[tokio::test]
async fn a_launch_in_another_group_is_no_business_of_the_cluster() {
    let world = settled(4).await;
    launch(&world).await;
    tell_of_launch(&world, "web").await;
    assert_eq!((world.lease().await.members.len(), looks(&world)), (3, 0));
}

#[tokio::test]
async fn a_newcomer_is_known_to_events_and_takes_over() {
    let mut world = settled(4).await;
    let newcomer = launch(&world).await;
    world.wake_for("baton.agent", "hello").await;
    for node in [1, 2] {
        world.parts.cloud.terminate(&world.nodes[node].instance);
        tell_of_state(&world, &world.nodes[node]).await;
    }
    assert_eq!(instances(&world.lease().await), [world.nodes[0].arn.clone(), newcomer.arn.clone()]);
    world.parts.cloud.terminate(&world.nodes[0].instance);
    tell_of_state(&world, &world.nodes[0]).await;
    let lease = world.lease().await;
    assert_eq!((lease.holder, lease.epoch, lease.moved), (Some(newcomer.arn.clone()), Epoch(2), Epoch(2)));
    assert_eq!(world.parts.cloud.seat_of(&world.addresses[0].allocation), Some(newcomer.seat(0)));
    assert_eq!(lease.members.len(), 1, "the one that held is retired in the same invocation");
    // Events about the newcomer find the cluster by now.
    world.nodes.push(newcomer);
    world.parts.cloud.clear_log();
    tell_of_state(&world, &world.nodes[3]).await;
    assert_eq!(looks(&world), 1);
}

#[tokio::test]
async fn one_that_takes_the_place_of_all_joins_and_is_granted_the_lease_at_once() {
    let world = settled(3).await;
    // The others are gone already, and retired.
    name_by_tag(&world, 3, 1).await;
    let newcomer = launch(&world).await;
    for node in &world.nodes {
        world.parts.cloud.terminate(&node.instance);
    }
    tell_of_launch(&world, "nat").await;
    let lease = world.lease().await;
    assert_eq!((&lease.holder, lease.epoch), (&Some(newcomer.arn.clone()), Epoch(2)));
    assert_eq!(instances(&lease), [world.nodes[0].arn.clone(), newcomer.arn]);
    // Whoever held is retired by the next look.
    world.wake_for("baton.control-plane", "verify").await;
    assert_eq!(world.lease().await.members.len(), 1);
}

#[tokio::test]
async fn the_first_node_of_a_group_joins_by_its_hello_and_is_granted_the_lease() {
    let world = World::new(1, 1).await;
    name_by_tag(&world, 3, 0).await;
    let newcomer = launch(&world).await;
    world.wake_for("baton.agent", "hello").await;
    let lease = world.lease().await;
    assert_eq!((lease.holder, lease.epoch, lease.moved), (Some(newcomer.arn), Epoch(1), Epoch(1)));
}

#[tokio::test]
async fn a_look_that_fails_changes_nobody() {
    for trouble in [Trouble::Throttle, Trouble::Deny, Trouble::FailUnknownBefore] {
        let world = settled(4).await;
        world.parts.cloud.terminate(&world.nodes[1].instance);
        launch(&world).await;
        world.parts.cloud.fail(Fault::on("DescribeInstances", trouble).always());
        world.wake_for("baton.control-plane", "verify").await;
        assert_eq!(world.lease().await.members.len(), 3, "{trouble:?}");
        world.parts.cloud.heal();
        world.wake_for("baton.control-plane", "verify").await;
        assert_eq!(last_row(&world).await.1, [world.nodes[1].arn.clone()], "{trouble:?}");
    }
}

#[tokio::test]
async fn ec2_is_asked_in_the_cluster_s_turn_and_by_agents_only_while_there_is_room() {
    let world = settled(3).await;
    for (source, why, looked) in [
        ("baton.agent", "hello", 0),
        ("baton.agent", "claim", 0),
        ("baton.control-plane", "verify", 1),
        ("baton.control-plane", "registered", 2),
    ] {
        world.wake_for(source, why).await;
        assert_eq!(looks(&world), looked, "{why}");
    }
    world.parts.cloud.terminate(&world.nodes[2].instance);
    tell_of_state(&world, &world.nodes[2]).await;
    world.wake_for("baton.agent", "hello").await;
    assert_eq!(looks(&world), 4);
}

#[tokio::test]
async fn a_holder_whose_tag_was_taken_away_is_asked_to_hand_over_and_retired_afterwards() {
    let mut world = settled(4).await;
    let holder = world.nodes[0].arn.clone();
    world.parts.cloud.untag(&world.nodes[0].instance, GROUP);
    for _ in 0..2 {
        world.wake_for("baton.control-plane", "verify").await;
    }
    let lease = world.lease().await;
    let intent = lease.intent.clone().expect("it is asked");
    assert_eq!((intent.to, intent.epoch, lease.members.len()), (None, Epoch(1), 3));
    assert_eq!(world.parts.store.requests(&cluster(), 9).await.expect("read").len(), 1, "once");
    world.parts.store.release(&cluster(), &holder, &incarnation(), Epoch(1)).await.expect("released");
    world.beat(&[0, 1, 2], None).await;
    world.wake_for("baton.agent", "release").await;
    let lease = world.lease().await;
    assert_eq!((lease.holder.clone(), lease.epoch), (Some(world.nodes[1].arn.clone()), Epoch(2)));
    assert_eq!(instances(&lease), [world.nodes[1].arn.clone(), world.nodes[2].arn.clone()]);
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn a_cluster_that_names_its_nodes_one_by_one_is_never_asked_about() {
    let world = World::new(1, 0).await;
    world.wake().await;
    world.wake_for("baton.control-plane", "verify").await;
    assert_eq!(looks(&world), 0);
}

/// The cluster is one of no node yet, whose routes lead to the interface with the tag in the tables with another.
async fn described_and_empty() -> World {
    let mut world = World::new(0, 1).await;
    for table in &world.tables {
        world.parts.cloud.tag_table(table, "side", Some("private"));
        world.parts.cloud.tag_table(table, "baton:cluster", Some("orders"));
    }
    let side = |value| choice::Tag::new("side", value).expect("valid");
    let destination = Destination::new(DESTINATION).expect("valid");
    let tables = TableChoice { destination, which: Which::Tag(side("private")), from_gateways: false };
    let choices = Choices {
        routes: Some(InterfaceChoice::Tag(side("inner"))),
        tables: vec![tables],
        ..Choices::default()
    };
    let roster =
        Roster { tag: Tag::of_group("nat").expect("valid"), most: 4, priority: 100, changed: WallTime(1) };
    let before = world.lease().await;
    let registration = Registration {
        members: vec![],
        resources: Resources { choices, ..Resources::default() },
        roster: Some(roster),
        event: event(Happening::Registered { revision: before.revision + 1, summary: "by tag".to_owned() }),
        ..world.registration()
    };
    world.parts.store.reconfigure(&registration, None).await.expect("reconfigured");
    world.nodes.clear();
    world
}

fn attach_inner(world: &World, vpc: &str, node: &MemoryNode) -> InterfaceId {
    let (interface, _) = world.parts.cloud.add_interface(vpc, 1);
    world.parts.cloud.attach(&interface, &node.instance, 1, false);
    world.parts.cloud.tag_interface(&interface, "side", "inner");
    interface
}

#[tokio::test]
async fn the_first_of_a_group_joins_by_the_interface_that_was_chosen_and_described_tables_lead_there() {
    let mut world = described_and_empty().await;
    let vpc = world.vpc.clone();
    let node = launch_in(&world, &vpc).await;
    tell_of_launch(&world, "nat").await;
    assert_eq!(instances(&world.lease().await), [], "it has no such interface yet");
    let inner = attach_inner(&world, &vpc, &node);
    tell_of_launch(&world, "nat").await;
    let lease = world.lease().await;
    assert_eq!(lease.member(&node.arn).expect("it joined").interface, inner);
    assert_eq!((&lease.holder, lease.resources.choices.vpc), (&Some(node.arn.clone()), Some(vpc)));
    let routes: Vec<_> = lease.resources.routes.iter().map(|route| route.table.clone()).collect();
    assert_eq!(routes, world.tables, "the tables are looked for with the first grant");
    world.wake_for("baton.control-plane", "continue").await;
    let lease = world.lease().await;
    assert_eq!((lease.epoch, lease.moved), (Epoch(1), Epoch(1)));
    let target = world.parts.cloud.target_of(&world.tables[0], DESTINATION);
    assert_eq!(target, Some(RouteTarget::Interface(inner.clone())));
    assert_eq!(world.parts.cloud.checks_source_and_destination(&inner), Some(false));
    // A later one is found in the same way, and its membership moves nothing.
    let second = launch_in(&world, &world.vpc).await;
    let its_inner = attach_inner(&world, &world.vpc, &second);
    world.parts.cloud.clear_log();
    tell_of_launch(&world, "nat").await;
    let lease = world.lease().await;
    assert_eq!(lease.member(&second.arn).expect("it joined").interface, its_inner);
    assert_eq!((lease.moved, world.calls()), (Epoch(1), vec![]));
    world.nodes = vec![node, second];
}

#[tokio::test]
async fn where_the_tags_of_interfaces_are_not_told_nobody_joins_and_nobody_is_retired() {
    let world = described_and_empty().await;
    let node = launch_in(&world, &world.vpc).await;
    attach_inner(&world, &world.vpc, &node);
    let before = world.lease().await;
    for trouble in [Trouble::Throttle, Trouble::Deny, Trouble::FailUnknownBefore] {
        world.parts.cloud.fail(Fault::on("DescribeNetworkInterfaces", trouble).always());
        tell_of_launch(&world, "nat").await;
        world.parts.cloud.heal();
        assert_eq!(world.lease().await, before, "{trouble:?}");
    }
    tell_of_launch(&world, "nat").await;
    assert_eq!(instances(&world.lease().await), [node.arn]);
}
