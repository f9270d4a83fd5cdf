//! Route tables of another account: seen and changed through a role of that account, and not without.

use baton_cloud::Cloud;
use baton_protocol::ec2::{Call, Effect, Look, RouteTarget, Sight};
use baton_protocol::ids::RouteTableId;
use baton_protocol::resource::Route;

use super::{NETWORK, World, destination};

async fn seen<C: Cloud>(cloud: &C, table: &RouteTableId) -> Option<Vec<(String, RouteTarget)>> {
    match cloud.look(&Look::Tables(vec![table.clone()])).await {
        Ok(Sight::Tables(mut seen)) => {
            let routes = seen.remove(table)?.into_iter();
            Some(routes.map(|route| (route.destination.to_string(), route.target)).collect())
        }
        other => panic!("expected tables, found {other:?}"),
    }
}

/// The route leads to an interface of the account's own.
pub async fn a_table_of_another_account_is_seen_and_changed_through_its_role_alone<W: World>(world: &W) {
    let (access, owner) = world.owner().await;
    let vpc = owner.vpc(&[NETWORK]).await;
    let table = owner.table(&vpc).await;
    owner.tag(table.as_str(), "side", "private").await;
    let nodes = [world.node_in(&vpc, 0).await, world.node_in(&vpc, 1).await];
    let (own, by_role) = (world.cloud(), world.cloud().through(Some(&access)));
    let route = Route { table: table.clone(), destination: destination("10.9.0.1/32") };
    let create = Call::CreateRoute { route: route.clone(), interface: nodes[0].interface.clone() };
    let replace = Call::ReplaceRoute { route, interface: nodes[1].interface.clone() };

    assert_eq!(seen(own, &table).await, None);
    assert!(own.call(&create).await.is_err());
    assert_eq!((own.prepare().await, by_role.prepare().await), (Ok(()), Ok(())));
    assert_eq!(by_role.call(&create).await, Ok(Effect::Done));
    assert!(own.call(&replace).await.is_err());
    assert_eq!(by_role.call(&replace).await, Ok(Effect::Done));
    let expected = ("10.9.0.1/32".to_owned(), RouteTarget::Interface(nodes[1].interface.clone()));
    assert!(seen(&by_role, &table).await.expect("seen").contains(&expected));
    assert_eq!(seen(own, &table).await, None);

    let described = by_role.tables_of(&vpc).await.expect("described");
    assert_eq!(described[&table].tags.get("side").map(String::as_str), Some("private"));
    assert!(!own.tables_of(&vpc).await.expect("described").contains_key(&table));
    let ids = std::slice::from_ref(&table);
    assert_eq!(by_role.tables(ids).await.expect("described")[&table].vpc, vpc);
    assert!(own.tables(ids).await.expect("described").is_empty());
}

/// By the association that was seen through it.
pub async fn a_subnet_of_another_account_is_swapped_through_its_role_alone<W: World>(world: &W) {
    let (access, owner) = world.owner().await;
    let vpc = owner.vpc(&[NETWORK]).await;
    let (one, other, subnet) = (owner.table(&vpc).await, owner.table(&vpc).await, owner.subnet(&vpc).await);
    let association = owner.associate(&subnet, &one).await;
    let (own, by_role) = (world.cloud(), world.cloud().through(Some(&access)));
    let look = Look::Subnets(vec![subnet.clone()]);
    let there = async |cloud: &W::Cloud| match cloud.look(&look).await {
        Ok(Sight::Subnets(mut seen)) => seen.remove(&subnet).map(|at| at.table),
        answer => panic!("expected subnets, found {answer:?}"),
    };
    assert_eq!((there(own).await, there(&by_role).await), (None, Some(one)));
    let swap = Call::ReplaceTableAssociation { subnet: subnet.clone(), association, table: other.clone() };
    assert!(own.call(&swap).await.is_err());
    let swapped = by_role.call(&swap).await;
    assert!(matches!(swapped, Ok(Effect::TableAssociated(_))), "{swapped:?}");
    assert_eq!(there(&by_role).await, Some(other));
    let ids = std::slice::from_ref(&subnet);
    assert_eq!(by_role.subnets(ids).await.expect("described")[&subnet].vpc, vpc);
}

/// Whatever role is named.
pub async fn what_is_not_of_tables_stays_the_accounts_own<W: World>(world: &W) {
    let (access, owner) = world.owner().await;
    let vpc = owner.vpc(&[NETWORK]).await;
    let (node, address) = (world.node_in(&vpc, 0).await, world.address().await);
    let by_role = world.cloud().through(Some(&access));
    let looks = [Look::Addresses(vec![address.allocation]), Look::Interfaces(vec![node.interface.clone()])];
    for look in looks {
        assert_eq!(by_role.look(&look).await, world.cloud().look(&look).await, "{look:?}");
    }
    let forward = Call::DisableSourceDestCheck { interface: node.interface.clone() };
    assert_eq!(by_role.call(&forward).await, Ok(Effect::Done));
    match world.cloud().look(&Look::Interfaces(vec![node.interface.clone()])).await {
        Ok(Sight::Interfaces(seen)) => assert!(!seen[&node.interface].source_dest_check),
        other => panic!("expected interfaces, found {other:?}"),
    }
    let instance = std::slice::from_ref(&node.instance);
    assert_eq!(by_role.instances(instance).await, world.cloud().instances(instance).await);
}
