//! Clusters whose nodes are named by an Auto Scaling group or another tag.

use baton_cloud::memory::{Fault, Trouble as CloudTrouble};
use baton_protocol::history::Happening;
use baton_protocol::ids::InterfaceId;
use baton_protocol::lease::Lease;
use baton_protocol::roster::Tag;
use baton_protocol::time::WallTime;
use baton_store::Store;
use serde_json::{Value, json};

use crate::create::wall_now;
use crate::support::{Bench, OTHER_STACK, STACK, failed, succeeded};

const GROUP: &str = "aws:autoscaling:groupName";

impl Bench {
    /// The properties of `orders`, whose nodes are the instances of the group `nat`.
    fn by_group(&self) -> Value {
        let mut properties = self.properties();
        properties.as_object_mut().expect("a map").remove("Nodes");
        properties["NodesFrom"] = json!({ "AutoScalingGroupName": "nat" });
        properties
    }

    fn launch(&self, number: usize) {
        self.cloud.tag(&self.nodes[number].instance, GROUP, "nat");
    }

    /// The members of `orders`, by the numbers of their instances.
    async fn members(&self) -> Vec<usize> {
        let number = |instance| self.nodes.iter().position(|node| node.arn == instance).expect("a node");
        self.standing().await.members.into_iter().map(|member| number(member.instance)).collect()
    }
}

#[tokio::test]
async fn the_running_instances_of_a_group_are_registered_by_their_ids() {
    let bench = Bench::new().await;
    bench.launch(0);
    bench.launch(2);
    let mut properties = bench.by_group();
    properties["Priority"] = json!("7");
    properties["MaxNodes"] = json!("5");
    succeeded(&bench.create("create-1", STACK, properties).await);
    let lease = bench.standing().await;
    assert_eq!(bench.members().await, [0, 2]);
    for member in &lease.members {
        assert_eq!((member.node.as_str(), member.priority), (member.instance.instance_id().as_str(), 7));
    }
    let roster = lease.roster.expect("kept");
    assert_eq!((roster.tag, roster.most, roster.priority), (Tag::of_group("nat").expect("valid"), 5, 7));
    let entries = bench.record.clusters().await.expect("read");
    assert_eq!(entries[0].group.as_deref(), Some("nat"));
    let rows = bench.record.history(&lease.cluster, 1).await.expect("read");
    let Happening::Registered { summary, .. } = &rows[0].what else { panic!("{rows:?}") };
    assert!(summary.contains("by the Auto Scaling group nat"), "{summary}");
}

#[tokio::test]
async fn a_group_that_has_still_to_launch_is_registered_without_nodes() {
    let bench = Bench::new().await;
    succeeded(&bench.create("create-1", STACK, bench.by_group()).await);
    let lease = bench.standing().await;
    assert_eq!((lease.members, lease.holder, lease.resources.addresses.len()), (vec![], None, 2));
    assert_eq!(bench.bus.sent().len(), 1);
}

#[tokio::test]
async fn any_tag_will_do_and_the_owner_s_consent_is_asked_for() {
    let bench = Bench::new().await;
    for node in &bench.nodes {
        bench.cloud.tag(&node.instance, "role", "nat");
    }
    bench.cloud.tag(&bench.nodes[1].instance, "baton:cluster", "others");
    bench.cloud.tag(&bench.nodes[2].instance, "baton:cluster", "others orders");
    let mut properties = bench.by_group();
    properties["NodesFrom"] = json!({ "Tag": { "Key": "role", "Value": "nat" } });
    succeeded(&bench.create("create-1", STACK, properties).await);
    assert_eq!(bench.members().await, [0, 2]);
}

#[tokio::test]
async fn nothing_is_registered_while_ec2_does_not_say_who_is_there() {
    let bench = Bench::new().await;
    bench.launch(0);
    bench.cloud.fail(Fault::on("DescribeInstances", CloudTrouble::Deny).always());
    let reason = failed(&bench.create("create-1", STACK, bench.by_group()).await);
    assert!(reason.contains("asking EC2 for the Auto Scaling group nat failed"), "{reason}");
    assert_eq!(bench.lease("orders").await, None);
}

#[tokio::test]
async fn a_change_keeps_who_is_there_takes_in_who_has_come_and_drops_who_is_terminated() {
    let bench = Bench::new().await;
    bench.launch(0);
    bench.launch(1);
    let id = succeeded(&bench.create("create-1", STACK, bench.by_group()).await);
    bench.grant_to(0, wall_now()).await;
    let before = bench.standing().await;
    succeeded(&bench.update("update-0", &id, bench.by_group()).await);
    assert_eq!(bench.standing().await, before, "the same request changes nothing");

    bench.cloud.terminate(&bench.nodes[1].instance);
    bench.launch(2);
    let mut properties = bench.by_group();
    properties["CoolDownSeconds"] = json!("60");
    succeeded(&bench.update("update-1", &id, properties).await);
    let after = bench.standing().await;
    assert_eq!((bench.members().await, after.cool_down_ms), (vec![0, 2], 60_000));
    assert!(after.roster.expect("kept").changed > WallTime(0));
}

#[tokio::test]
async fn an_update_leaves_out_an_instance_that_can_hibernate_and_a_registration_is_refused_for_it() {
    let bench = Bench::new().await;
    bench.launch(0);
    bench.launch(1);
    bench.cloud.let_hibernate(&bench.nodes[1].instance);
    let reason = failed(&bench.create("create-1", STACK, bench.by_group()).await);
    assert!(reason.contains("was launched so that it can hibernate"), "{reason}");
    bench.cloud.untag(&bench.nodes[1].instance, GROUP);
    let id = succeeded(&bench.create("create-2", STACK, bench.by_group()).await);
    bench.grant_to(0, wall_now()).await;
    bench.launch(1);
    bench.launch(2);
    let mut properties = bench.by_group();
    properties["CoolDownSeconds"] = json!("60");
    succeeded(&bench.update("update-1", &id, properties).await);
    assert_eq!(bench.members().await, [0, 2]);
    let mut properties = bench.by_group();
    properties["Mode"] = json!("available");
    succeeded(&bench.update("update-2", &id, properties).await);
    assert_eq!(bench.members().await, [0, 2, 1]);
}

#[tokio::test]
async fn a_holder_that_is_gone_and_a_member_that_ec2_does_not_show_stay_in_an_update() {
    let bench = Bench::new().await;
    bench.launch(0);
    bench.launch(1);
    let id = succeeded(&bench.create("create-1", STACK, bench.by_group()).await);
    bench.grant_to(0, wall_now()).await;
    let before = bench.standing().await;
    let mut properties = bench.by_group();
    bench.cloud.forget(&bench.nodes[1].instance);
    bench.cloud.terminate(&bench.nodes[0].instance);
    properties["CoolDownSeconds"] = json!("60");
    properties["Priority"] = json!("7");
    succeeded(&bench.update("update-1", &id, properties.clone()).await);
    let after = bench.standing().await;
    let placed = |lease: &Lease| {
        let members = lease.members.iter();
        members.map(|m| (m.instance.clone(), m.interface.clone(), m.placements.clone())).collect::<Vec<_>>()
    };
    assert_eq!((placed(&after), after.cool_down_ms), (placed(&before), 60_000));
    assert!(after.members.iter().all(|member| member.priority == 7));
    // Where another address would go on them is not known.
    properties["Addresses"] = json!([bench.addresses[0].allocation.to_string()]);
    let reason = failed(&bench.update("update-2", &id, properties).await);
    assert!(reason.contains("is terminated"), "{reason}");
}

#[tokio::test]
async fn a_newcomer_on_another_cluster_s_seat_keeps_no_update_from_its_end() {
    let bench = Bench::new().await;
    bench.launch(0);
    bench.launch(1);
    let id = succeeded(&bench.create("create-1", STACK, bench.by_group()).await);
    let mut other = bench.properties();
    other["Cluster"] = json!("billing");
    other["Nodes"] = json!([bench.node(2, "c", "10"), {
        "Name": "d", "InstanceId": bench.cloud.node(&bench.vpc, "euw1-az1", 1).instance.to_string(), "Priority": "20"
    }]);
    other["Addresses"] = json!([bench.cloud.address().allocation.to_string()]);
    other["Routes"] = json!([]);
    succeeded(&bench.create("create-2", OTHER_STACK, other).await);
    bench.launch(2);
    let mut properties = bench.by_group();
    properties["CoolDownSeconds"] = json!("60");
    succeeded(&bench.update("update-1", &id, properties).await);
    assert_eq!((bench.members().await, bench.standing().await.cool_down_ms), (vec![0, 1], 60_000));
}

#[tokio::test]
async fn the_rollback_to_what_stands_succeeds_although_ec2_does_not_answer() {
    let bench = Bench::new().await;
    bench.launch(0);
    let id = succeeded(&bench.create("create-1", STACK, bench.by_group()).await);
    let before = bench.standing().await;
    bench.cloud.fail(Fault::on("DescribeInstances", CloudTrouble::Deny).always());
    let mut properties = bench.by_group();
    properties["MaxNodes"] = json!("5");
    failed(&bench.update("update-1", &id, properties).await);
    assert_eq!(succeeded(&bench.update("update-2", &id, bench.by_group()).await), id);
    assert_eq!(bench.standing().await, before);
}

#[tokio::test]
async fn a_cluster_of_named_nodes_becomes_one_of_a_group_and_keeps_its_holder() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, bench.properties()).await);
    bench.grant_to(0, wall_now()).await;
    let moved = bench.standing().await.moved;
    // Nobody carries the tag: the group has still to launch, and who is there stays.
    succeeded(&bench.update("update-1", &id, bench.by_group()).await);
    assert_eq!(bench.members().await, [0, 1]);
    bench.launch(2);
    succeeded(&bench.update("update-2", &id, bench.by_group()).await);
    assert_eq!(bench.members().await, [0, 2], "the holder stays until another holds");
    let lease = bench.standing().await;
    assert_eq!((lease.member(&bench.nodes[0].arn).expect("there").node.as_str(), lease.moved), ("a", moved));
    succeeded(&bench.update("update-3", &id, bench.properties()).await);
    assert_eq!((bench.members().await, bench.standing().await.roster), (vec![0, 1], None));
}

/// As of the group, with the routes led to the second interface and to every table that carries a tag.
fn described(bench: &Bench) -> Value {
    let mut properties = bench.by_group();
    properties["RouteInterface"] = json!({ "InterfaceTag": { "Key": "side", "Value": "inner" } });
    let side = json!({ "Key": "side", "Value": "private" });
    properties["Routes"] = json!([{ "Destination": "192.0.2.10/32", "RouteTableTag": side }]);
    properties
}

/// A second interface for this node, which carries the tag.
fn with_second_interface(bench: &Bench, number: usize) -> InterfaceId {
    let (interface, _) = bench.cloud.add_interface(&bench.vpc, 1);
    bench.cloud.attach(&interface, &bench.nodes[number].instance, 1, false);
    bench.cloud.tag_interface(&interface, "side", "inner");
    interface
}

#[tokio::test]
async fn interfaces_and_tables_are_described_for_a_group_as_for_named_nodes() {
    let bench = Bench::new().await;
    let table = bench.cloud.table(&bench.vpc);
    bench.cloud.tag_table(&table, "side", Some("private"));
    bench.cloud.tag_table(&table, "baton:cluster", Some("orders"));
    for number in 0..3 {
        bench.launch(number);
    }
    // The second has no such interface, and is no node.
    let inner = [with_second_interface(&bench, 0), with_second_interface(&bench, 2)];
    let id = succeeded(&bench.create("create-1", STACK, described(&bench)).await);
    assert_eq!(bench.members().await, [0, 2]);
    let lease = bench.standing().await;
    let interfaces: Vec<_> = lease.members.iter().map(|member| member.interface.clone()).collect();
    assert_eq!(interfaces, inner);
    assert_eq!(lease.resources.choices.vpc, Some(bench.vpc.clone()));
    let tables: Vec<_> = lease.resources.routes.iter().map(|route| route.table.clone()).collect();
    assert_eq!(tables, [table]);
    bench.grant_to(0, wall_now()).await;
    let before = bench.standing().await;
    succeeded(&bench.update("update-0", &id, described(&bench)).await);
    assert_eq!(bench.standing().await, before, "the same request changes nothing");
    // A member that has lost its interface keeps the place that the lease has, and no change is refused for it.
    bench.cloud.detach(&inner[1]);
    bench.cloud.terminate(&bench.nodes[0].instance);
    let mut properties = described(&bench);
    properties["CoolDownSeconds"] = json!("60");
    succeeded(&bench.update("update-1", &id, properties).await);
    let after = bench.standing().await;
    assert_eq!((&after.members, &after.resources), (&before.members, &before.resources));
    assert_eq!(after.cool_down_ms, 60_000);
}

#[tokio::test]
async fn a_group_that_has_still_to_launch_describes_its_tables_before_it_has_a_vpc() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.create("create-1", STACK, described(&bench)).await);
    let lease = bench.standing().await;
    assert_eq!((lease.members.len(), lease.resources.routes.len()), (0, 0));
    assert_eq!((lease.resources.choices.tables.len(), lease.resources.choices.vpc), (1, None));
    // Once there is a node, a description that comes to nothing is a mistake, as it is of named nodes.
    bench.launch(0);
    with_second_interface(&bench, 0);
    let mut properties = described(&bench);
    properties["CoolDownSeconds"] = json!("60");
    let reason = failed(&bench.update("update-1", &id, properties).await);
    assert!(reason.contains("nothing is found of the tables with the tag side=private"), "{reason}");
}
