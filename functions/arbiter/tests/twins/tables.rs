//! Route tables that were described: which are taken in, which are let go, and that no answer is taken for more than it is.

use baton_cloud::Cloud;
use baton_cloud::memory::{Fault, Trouble};
use baton_protocol::choice::{Choices, Tag};
use baton_protocol::ec2::RouteTarget;
use baton_protocol::history::Happening;
use baton_protocol::ids::{ClusterName, RegistrationUid, RouteTableId, SubnetId};
use baton_protocol::request::Wish;
use baton_protocol::resource::{Destination, Resources, Route, SubnetTables};
use baton_protocol::tables::{TableChoice, Which};
use baton_store::{Registration, Store};
use serde_json::json;

use crate::drift::called;
use crate::world::{DESTINATION, World, cluster, event};

const CONSENT: &str = "baton:cluster";

fn by_tag() -> Which {
    Which::Tag(Tag::new("side", "private").expect("valid"))
}

pub(crate) async fn vpc(world: &World) -> String {
    let instance = world.nodes[0].instance.clone();
    let seen = world.parts.cloud.instances(std::slice::from_ref(&instance)).await.expect("described");
    seen[&instance].vpc.clone()
}

/// Two tables that were described so, all at node 0 at epoch 1, and looked at.
async fn settled(which: Which) -> World {
    let world = World::new(0, 2).await;
    for table in &world.tables {
        tag(&world, table);
    }
    world.wake().await;
    let destination = Destination::new(DESTINATION).expect("valid");
    let choice = TableChoice { destination, which, from_gateways: false };
    let choices = Choices { tables: vec![choice], vpc: Some(vpc(&world).await), ..Choices::default() };
    let lease = world.lease().await;
    let registration = Registration {
        resources: Resources { choices, ..lease.resources.clone() },
        ..Registration::of(&lease, lease.last_grant.expect("granted"), world.registration().event)
    };
    world.parts.store.reconfigure(&registration, lease.holder.as_ref()).await.expect("described");
    turn(&world).await;
    world.assert_whole_at(0, 1).await;
    world
}

fn tag(world: &World, table: &RouteTableId) {
    world.parts.cloud.tag_table(table, "side", Some("private"));
    world.parts.cloud.tag_table(table, CONSENT, Some("orders"));
}

/// Another table of the VPC with both tags, whose route leads there.
async fn another(world: &World, target: Option<RouteTarget>) -> RouteTableId {
    let table = world.parts.cloud.table(&vpc(world).await);
    if let Some(target) = target {
        world.parts.cloud.put_route(&table, DESTINATION, target);
    }
    tag(world, &table);
    table
}

/// Another cluster has this table too: it has named it, or it describes it as ours does.
async fn another_cluster(world: &World, name: &str, table: &RouteTableId, describes: bool) -> ClusterName {
    let cluster = ClusterName::new(name).expect("valid");
    let mut row = event(Happening::Registered { revision: 1, summary: "test".to_owned() });
    row.cluster = cluster.clone();
    let lease = world.lease().await;
    let destination = Destination::new(DESTINATION).expect("valid");
    let choices = if describes { lease.resources.choices } else { Choices::default() };
    let routes = vec![Route { table: table.clone(), destination }];
    let other = Registration {
        cluster: cluster.clone(),
        uid: RegistrationUid::new("uid-2").expect("valid"),
        resources: Resources { routes, choices, ..Resources::default() },
        event: row,
        ..world.registration()
    };
    world.parts.store.register(&other).await.expect("registered");
    cluster
}

/// The cluster's turn in the sweep.
async fn turn(world: &World) {
    world.wake_for("baton.control-plane", "verify").await;
}

async fn tables(world: &World) -> Vec<RouteTableId> {
    world.lease().await.resources.routes.into_iter().map(|route| route.table).collect()
}

#[tokio::test]
async fn a_table_that_fits_is_taken_in_told_of_and_moved_by_the_successor() {
    for which in [by_tag(), Which::Every] {
        let mut world = settled(which).await;
        let stranger = RouteTarget::Interface(world.nodes[2].interface.clone());
        let table = another(&world, Some(stranger.clone())).await;
        let before = world.lease().await;
        turn(&world).await;
        let lease = world.lease().await;
        assert_eq!((lease.revision, lease.resources.routes.len()), (before.revision + 1, 3));
        assert_eq!((lease.epoch, lease.moved.0), (before.epoch, 0), "the move counts as unfinished");
        assert_eq!(world.woken(), 1, "a successor moves it");
        let rows = world.parts.store.history(&cluster(), 3).await.expect("read");
        let told = format!("taken in: {DESTINATION} in {table}");
        assert!(
            rows.iter()
                .any(|row| matches!(&row.what, Happening::Registered { summary, .. } if *summary == told)),
            "{rows:?}"
        );
        world.wake_for("baton.control-plane", "continue").await;
        world.tables.push(table);
        world.assert_whole_at(0, 1).await;
        turn(&world).await;
        assert_eq!(world.lease().await.revision, before.revision + 1, "nothing more is to be changed");
    }
}

#[tokio::test]
async fn a_call_about_a_table_that_nobody_knows_yet_makes_the_arbiter_look() {
    let world = settled(by_tag()).await;
    let table = another(&world, None).await;
    world.send(called("CreateTags", json!({ "resourcesSet": { "items": [{ "resourceId": table }] } }))).await;
    assert!(tables(&world).await.contains(&table));
}

#[tokio::test]
async fn a_table_without_consent_at_a_gateway_or_of_another_cluster_is_left() {
    let world = settled(by_tag()).await;
    let silent = another(&world, None).await;
    world.parts.cloud.tag_table(&silent, CONSENT, None);
    let gateway = RouteTarget::Other("nat-0123456789abcdef0".to_owned());
    let at_gateway = another(&world, Some(gateway.clone())).await;
    let theirs = another(&world, None).await;
    let prepared = another(&world, None).await;
    let swapped = SubnetTables {
        subnet: SubnetId::new("subnet-0123456789abcdef0").expect("valid"),
        tables: [(world.lease().await.members[0].node.clone(), prepared.clone())].into(),
    };
    let destination = Destination::new(DESTINATION).expect("valid");
    let billing = ClusterName::new("billing").expect("valid");
    let mut row = event(Happening::Registered { revision: 1, summary: "test".to_owned() });
    row.cluster = billing.clone();
    let other = Registration {
        cluster: billing,
        uid: RegistrationUid::new("uid-2").expect("valid"),
        resources: Resources {
            routes: vec![Route { table: theirs.clone(), destination }],
            subnets: vec![swapped],
            ..Resources::default()
        },
        event: row,
        ..world.registration()
    };
    world.parts.store.register(&other).await.expect("registered");
    let before = world.lease().await;
    turn(&world).await;
    assert_eq!(world.lease().await, before);
    assert_eq!(world.parts.cloud.target_of(&at_gateway, DESTINATION), Some(gateway));
    assert_eq!(world.parts.cloud.target_of(&silent, DESTINATION), None);
    // Who owns what is not known where it cannot be read, and then nothing joins: here it can, and the rest does.
    let free = another(&world, None).await;
    turn(&world).await;
    let now = tables(&world).await;
    assert!(now.contains(&free) && !now.contains(&theirs) && !now.contains(&prepared), "{now:?}");
}

#[tokio::test]
async fn a_table_that_two_answers_do_not_show_is_let_go_and_its_routes_stay_as_they_are() {
    for which in [by_tag(), Which::Every] {
        let world = settled(which.clone()).await;
        if which == Which::Every {
            // Its route is gone first, and made again: the table still holds the destination.
            world.parts.cloud.delete_route(&world.tables[1], DESTINATION);
            turn(&world).await;
            world.assert_whole_at(0, 1).await;
            assert_eq!(tables(&world).await, world.tables);
            world.parts.cloud.delete_table(&world.tables[1]);
        } else {
            world.parts.cloud.tag_table(&world.tables[1], "side", None);
        }
        turn(&world).await;
        assert_eq!(tables(&world).await, world.tables[..1]);
        if which != Which::Every {
            let there = RouteTarget::Interface(world.nodes[0].interface.clone());
            assert_eq!(world.parts.cloud.target_of(&world.tables[1], DESTINATION), Some(there));
        }
        world.wake_for("baton.control-plane", "continue").await;
        // The last one stays, whatever is shown.
        world.parts.cloud.tag_table(&world.tables[0], "side", None);
        let before = world.lease().await;
        turn(&world).await;
        assert_eq!(world.lease().await.revision, before.revision);
    }
}

#[tokio::test]
async fn a_table_that_is_gone_keeps_no_failover_from_its_end() {
    let mut world = settled(Which::Every).await;
    let gone = world.tables.remove(1);
    world.parts.cloud.delete_table(&gone);
    world.claim(0, 1).await;
    world.wake().await;
    assert_eq!(tables(&world).await, world.tables, "the move was stuck at it");
    world.wake_for("baton.control-plane", "continue").await;
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn an_answer_that_failed_or_was_stale_lets_nothing_go() {
    let world = settled(by_tag()).await;
    let before = world.lease().await;
    let vpc = vpc(&world).await;
    // Two tables are there in truth; an answer from before they were tagged shows neither tag.
    world.parts.cloud.fail(Fault::on("DescribeRouteTables", Trouble::Stale(60)).about(&vpc));
    turn(&world).await;
    assert_eq!(world.lease().await, before, "one answer is not enough");
    world.parts.cloud.heal();
    world.parts.cloud.tag_table(&world.tables[1], "side", None);
    for trouble in [Trouble::Throttle, Trouble::Deny, Trouble::FailUnknownBefore] {
        world.parts.cloud.fail(Fault::on("DescribeRouteTables", trouble).about(&vpc).always());
        turn(&world).await;
        world.parts.cloud.heal();
        assert_eq!(world.lease().await, before);
    }
}

#[tokio::test]
async fn during_a_pause_nothing_is_taken_in_or_let_go() {
    let world = settled(by_tag()).await;
    another(&world, None).await;
    world.ask("pause", Wish::Pause { why: "a test by hand".to_owned() }).await;
    let before = world.lease().await;
    turn(&world).await;
    assert_eq!(world.lease().await.resources, before.resources);
}

#[tokio::test]
async fn of_two_clusters_that_took_in_one_table_at_the_same_moment_one_keeps_it_and_the_other_lets_it_go() {
    // Who has named it keeps it, and otherwise whose name is first; ours is `orders`.
    for (name, describes, keeps, why) in [
        ("billing", true, false, "probe"),
        ("web", true, true, "continue"),
        ("billing", false, false, "continue"),
        ("web", false, false, "probe"),
    ] {
        let world = settled(by_tag()).await;
        let shared = world.tables[1].clone();
        let other = another_cluster(&world, name, &shared, describes).await;
        world.woken();
        world.wake_for("baton.control-plane", why).await;
        let now = tables(&world).await;
        assert_eq!(now.contains(&shared), keeps, "{name}, {describes}, {why}");
        assert!(now.contains(&world.tables[0]));
        let told = world.parts.store.history(&cluster(), 3).await.expect("read").into_iter().any(|row| {
            let says = format!("let go: {DESTINATION} in {shared}; another cluster has the same");
            matches!(row.what, Happening::Registered { summary, .. } if summary == says)
        });
        assert_eq!(told, !keeps);
        let woken = world.woken_clusters();
        assert_eq!(woken.contains(&other), keeps, "whoever has to let go is woken: {woken:?}");
        // It stays so, and the route is not turned again.
        let there = world.parts.cloud.target_of(&shared, DESTINATION);
        turn(&world).await;
        assert_eq!(tables(&world).await, now);
        assert_eq!(world.parts.cloud.target_of(&shared, DESTINATION), there);
    }
}

#[tokio::test]
async fn whoever_has_taken_in_a_table_looks_again_for_others_that_have_what_it_has() {
    let world = settled(by_tag()).await;
    let shared = world.tables[1].clone();
    another_cluster(&world, "billing", &shared, true).await;
    turn(&world).await;
    assert!(tables(&world).await.contains(&shared), "nothing was taken in, and the others are many reads");
    let free = another(&world, None).await;
    turn(&world).await;
    let now = tables(&world).await;
    assert!(now.contains(&free) && !now.contains(&shared), "{now:?}");
}

#[tokio::test]
async fn a_table_that_may_not_be_changed_is_told_of_and_leaves_nothing_else_unfinished() {
    let mut world = settled(by_tag()).await;
    let denied = another(&world, None).await;
    world.parts.cloud.fail(Fault::on("CreateRoute", Trouble::Deny).always());
    turn(&world).await;
    world.wake_for("baton.control-plane", "continue").await;
    let lease = world.lease().await;
    assert!(tables(&world).await.contains(&denied));
    assert_eq!(lease.moved, lease.epoch, "the rest is in place, and that is recorded");
    let stuck = |rows: Vec<baton_protocol::history::Event>| {
        rows.into_iter().any(|row| {
            matches!(row.what, Happening::Stuck { resource, why }
                if resource.contains(denied.as_str()) && why.starts_with("CreateRoute: "))
        })
    };
    assert!(stuck(world.parts.store.history(&cluster(), 10).await.expect("read")));
    // A takeover is no other than without it, and what can be moved is.
    world.claim(0, 1).await;
    world.wake().await;
    world.assert_whole_at(1, 2).await;
    // Once it may be changed, the turn leads it to the holder.
    world.parts.cloud.heal();
    turn(&world).await;
    world.tables.push(denied);
    world.assert_whole_at(1, 2).await;
}

#[tokio::test]
async fn a_cluster_that_is_stuck_on_something_else_lets_a_shared_table_go_all_the_same() {
    let world = settled(by_tag()).await;
    let shared = world.tables[1].clone();
    another_cluster(&world, "billing", &shared, true).await;
    let denied = another(&world, None).await;
    world.parts.cloud.fail(Fault::on("CreateRoute", Trouble::Deny).about(denied.as_str()).always());
    for why in ["verify", "continue", "continue"] {
        world.wake_for("baton.control-plane", why).await;
    }
    let now = tables(&world).await;
    assert!(now.contains(&denied) && !now.contains(&shared), "{now:?}");
}
