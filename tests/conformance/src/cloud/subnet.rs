//! Subnets whose route table is swapped: an association is replaced by its id, once.

use std::collections::BTreeMap;

use baton_cloud::Cloud;
use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, Sight};
use baton_protocol::ids::{RouteTableId, SubnetId, TableAssociationId};
use baton_protocol::resource::TableAssociation;

use super::{NETWORK, World, destination, is_not_found, nobody};

fn swap(subnet: &SubnetId, association: &TableAssociationId, table: &RouteTableId) -> Call {
    Call::ReplaceTableAssociation {
        subnet: subnet.clone(),
        association: association.clone(),
        table: table.clone(),
    }
}

async fn seen<W: World>(world: &W, subnets: &[&SubnetId]) -> BTreeMap<SubnetId, TableAssociation> {
    let look = Look::Subnets(subnets.iter().map(|id| (*id).clone()).collect());
    match world.cloud().look(&look).await {
        Ok(Sight::Subnets(seen)) => seen,
        other => panic!("expected subnets, found {other:?}"),
    }
}

/// A subnet that is associated with the first of two tables, and by which association.
async fn associated<W: World>(world: &W) -> (SubnetId, [RouteTableId; 2], TableAssociationId) {
    let vpc = world.vpc(&[NETWORK]).await;
    let tables = [world.table(&vpc).await, world.table(&vpc).await];
    let subnet = world.subnet(&vpc).await;
    let association = world.associate(&subnet, &tables[0]).await;
    (subnet, tables, association)
}

fn at(id: &TableAssociationId, table: &RouteTableId) -> TableAssociation {
    TableAssociation { id: id.clone(), table: table.clone() }
}

/// And a new association is there, with the new table.
pub async fn a_subnet_is_swapped_by_the_association_that_was_seen<W: World>(world: &W) {
    let (subnet, [one, other], first) = associated(world).await;
    assert_eq!(seen(world, &[&subnet]).await[&subnet], at(&first, &one));
    let made = match world.cloud().call(&swap(&subnet, &first, &other)).await {
        Ok(Effect::TableAssociated(made)) => made,
        answer => panic!("expected another association, found {answer:?}"),
    };
    assert_ne!(made, first);
    assert_eq!(seen(world, &[&subnet]).await[&subnet], at(&made, &other));
}

/// This is the compare of compare-and-swap: a late call takes nothing back.
pub async fn an_association_that_was_replaced_replaces_no_other<W: World>(world: &W) {
    let (subnet, [one, other], first) = associated(world).await;
    world.cloud().call(&swap(&subnet, &first, &other)).await.expect("swapped");
    let before = seen(world, &[&subnet]).await;
    for table in [&one, &other] {
        let late = world.cloud().call(&swap(&subnet, &first, table)).await;
        assert_eq!(late, Err(CloudFailure::AssociationGone));
    }
    let nobody: TableAssociationId = nobody("rtbassoc-");
    let late = world.cloud().call(&swap(&subnet, &nobody, &one)).await;
    assert_eq!(late, Err(CloudFailure::AssociationGone));
    assert_eq!(seen(world, &[&subnet]).await, before);
}

/// It goes by the main table of its VPC, and there is nothing to replace.
pub async fn a_subnet_without_a_table_of_its_own_is_absent_and_hides_no_other<W: World>(world: &W) {
    let (subnet, [one, _], first) = associated(world).await;
    let bare = world.subnet(&world.vpc(&[NETWORK]).await).await;
    let unknown: SubnetId = nobody("subnet-");
    let found = seen(world, &[&bare, &unknown, &subnet]).await;
    assert_eq!(found, BTreeMap::from([(subnet.clone(), at(&first, &one))]));
    world.disassociate(&first).await;
    assert_eq!(seen(world, &[&subnet]).await, BTreeMap::new());
    let late = world.cloud().call(&swap(&subnet, &first, &one)).await;
    assert_eq!(late, Err(CloudFailure::AssociationGone));
}

/// So a move does not make an association anew by it.
pub async fn swapping_for_the_same_table_leaves_the_association<W: World>(world: &W) {
    let (subnet, [one, _], first) = associated(world).await;
    let same = world.cloud().call(&swap(&subnet, &first, &one)).await;
    assert_eq!(same, Ok(Effect::TableAssociated(first.clone())));
    assert_eq!(seen(world, &[&subnet]).await[&subnet], at(&first, &one));
}

/// And the subnet stays as it was.
pub async fn swapping_for_what_does_not_exist_is_not_found<W: World>(world: &W) {
    let (subnet, [one, _], first) = associated(world).await;
    let missing = world.cloud().call(&swap(&subnet, &first, &nobody("rtb-"))).await;
    assert!(is_not_found(&missing), "{missing:?}");
    assert_eq!(seen(world, &[&subnet]).await[&subnet], at(&first, &one));
}

/// A probe changes nothing.
pub async fn a_swap_can_be_asked_about_and_is_not_done<W: World>(world: &W) {
    let (subnet, [one, other], first) = associated(world).await;
    assert_eq!(world.cloud().probe(&swap(&subnet, &first, &other)).await, Ok(()));
    assert_eq!(seen(world, &[&subnet]).await[&subnet], at(&first, &one));
}

/// What a registration is checked against.
pub async fn subnets_and_tables_are_described_with_their_tags<W: World>(world: &W) {
    let vpc = world.vpc(&[NETWORK]).await;
    let (table, bare) = (world.table(&vpc).await, world.table(&vpc).await);
    let subnet = world.subnet(&vpc).await;
    for id in [table.as_str(), subnet.as_str()] {
        world.tag(id, "baton:cluster", "orders").await;
    }
    let orders = BTreeMap::from([("baton:cluster".to_owned(), "orders".to_owned())]);
    let unknown = (nobody("subnet-"), nobody("rtb-"));
    let subnets = world.cloud().subnets(&[subnet.clone(), unknown.0]).await.expect("described");
    assert_eq!(subnets.keys().collect::<Vec<_>>(), [&subnet]);
    assert_eq!((&subnets[&subnet].vpc, &subnets[&subnet].tags), (&vpc, &orders));
    let tables = [table.clone(), bare.clone(), unknown.1];
    let tables = world.cloud().tables(&tables).await.expect("described");
    assert_eq!(tables.len(), 2);
    assert_eq!((&tables[&table].vpc, &tables[&table].tags), (&vpc, &orders));
    assert_eq!(tables[&bare].tags, BTreeMap::new());
    let local: Vec<_> = tables[&table].routes.iter().map(|route| route.destination).collect();
    assert_eq!(local, [destination(NETWORK)]);
}
