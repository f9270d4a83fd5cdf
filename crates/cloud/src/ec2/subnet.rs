//! Subnets and the route tables that are prepared for them: what is associated with what, and the call that swaps it.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{RouteTableAssociation as Row, RouteTableAssociationStateCode as State, Tag};
use baton_protocol::ec2::{CloudFailure, Effect};
use baton_protocol::ids::{RouteTableId, SubnetId, TableAssociationId};
use baton_protocol::resource::TableAssociation;
use futures_util::future::try_join_all;

use super::{Mode, asked_for, filters, pages, required, route, text};
use crate::error::{failure, unreadable};
use crate::{SubnetSeen, TableSeen};

const DESCRIBE: &str = "DescribeSubnets";
const DESCRIBE_TABLES: &str = "DescribeRouteTables";
const REPLACE: &str = "ReplaceRouteTableAssociation";

/// The largest page EC2 gives of subnets.
const PAGE: i32 = 1_000;

/// With which tables these subnets are associated. One without an association of its own is absent.
pub(super) async fn associations(
    client: &Client,
    ids: &[SubnetId],
) -> Result<BTreeMap<SubnetId, TableAssociation>, CloudFailure> {
    let mut seen: BTreeMap<SubnetId, TableAssociation> = BTreeMap::new();
    let tables = filters("association.subnet-id", ids).into_iter();
    let tables = try_join_all(tables.map(|filter| route::described(client, filter))).await?;
    for row in tables.iter().flatten().flat_map(|table| table.associations()).filter(|row| stands(row)) {
        // A table has the associations of every subnet that uses it, and perhaps of a gateway.
        let named = text(row.subnet_id()).and_then(|id| id.parse::<SubnetId>().ok());
        let Some(subnet) = named.filter(|id| ids.contains(id)) else { continue };
        let there = TableAssociation {
            id: required(DESCRIBE_TABLES, "the association", row.route_table_association_id())?,
            table: required(DESCRIBE_TABLES, "the table of an association", row.route_table_id())?,
        };
        if seen.insert(subnet.clone(), there.clone()).is_some_and(|other| other != there) {
            return Err(unreadable(DESCRIBE_TABLES, format_args!("two associations of {subnet}")));
        }
    }
    Ok(seen)
}

/// Whether an association is there, or comes to be.
fn stands(row: &Row) -> bool {
    let state = row.association_state().and_then(|state| state.state());
    !matches!(state, Some(State::Disassociated | State::Disassociating | State::Failed))
}

/// Replaces an association by one with this table.
pub(super) async fn replace(
    client: &Client,
    association: &TableAssociationId,
    table: &RouteTableId,
    mode: Mode,
) -> Result<Effect, CloudFailure> {
    let answer = client
        .replace_route_table_association()
        .association_id(association.as_str())
        .route_table_id(table.as_str())
        .set_dry_run(mode.dry_run())
        .send()
        .await
        .map_err(|error| failure(REPLACE, error))?;
    required(REPLACE, "the new association", answer.new_association_id()).map(Effect::TableAssociated)
}

/// Subnets, for a registration.
pub(super) async fn subnets(
    client: &Client,
    ids: &[SubnetId],
) -> Result<BTreeMap<SubnetId, SubnetSeen>, CloudFailure> {
    let asked = filters("subnet-id", ids).into_iter().map(|filter| async move {
        let pages = pages!(DESCRIBE, client.describe_subnets().filters(filter), PAGE);
        Ok::<_, CloudFailure>(pages)
    });
    let pages = try_join_all(asked).await?.into_iter().flatten();
    let rows = pages.flat_map(|page| page.subnets.unwrap_or_default());
    let seen = rows.filter_map(|row| {
        let id = asked_for(DESCRIBE, ids, row.subnet_id())?;
        let vpc = text(row.vpc_id()).unwrap_or_default().to_owned();
        Some((id, SubnetSeen { vpc, tags: tags(row.tags()) }))
    });
    Ok(seen.collect())
}

/// Route tables, for a registration.
pub(super) async fn tables(
    client: &Client,
    ids: &[RouteTableId],
) -> Result<BTreeMap<RouteTableId, TableSeen>, CloudFailure> {
    let rows = filters("route-table-id", ids).into_iter().map(|filter| route::described(client, filter));
    let mut seen = BTreeMap::new();
    for row in try_join_all(rows).await?.into_iter().flatten() {
        if let Some(id) = asked_for(DESCRIBE_TABLES, ids, row.route_table_id()) {
            let vpc = text(row.vpc_id()).unwrap_or_default().to_owned();
            let routes = route::seen(&id, &row)?;
            seen.insert(id, TableSeen { vpc, tags: tags(row.tags()), routes });
        }
    }
    Ok(seen)
}

fn tags(rows: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    rows.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::canned::{Canned, error_body};

    const SUBNET: &str = "subnet-0123456789abcdef0";
    const TABLE: &str = "rtb-0123456789abcdef0";
    const ASSOCIATION: &str = "rtbassoc-0123456789abcdef0";

    fn subnet() -> SubnetId {
        SubnetId::new(SUBNET).expect("valid")
    }

    fn item(association: &str, subnet: &str, state: &str) -> String {
        format!(
            "<item><routeTableAssociationId>{association}</routeTableAssociationId>\
             <routeTableId>{TABLE}</routeTableId>{subnet}\
             <associationState><state>{state}</state></associationState></item>"
        )
    }

    fn body(associations: &str) -> String {
        format!(
            "<DescribeRouteTablesResponse><routeTableSet><item><routeTableId>{TABLE}</routeTableId>\
             <vpcId>vpc-1</vpcId><associationSet>{associations}</associationSet>\
             <tagSet><item><key>baton:cluster</key><value>orders</value></item></tagSet>\
             </item></routeTableSet></DescribeRouteTablesResponse>"
        )
    }

    fn of(subnet: &str) -> String {
        format!("<subnetId>{subnet}</subnetId>")
    }

    #[tokio::test]
    async fn an_association_is_read_and_those_of_others_and_former_ones_are_left_out() {
        let rows = [
            item("rtbassoc-0aaaaaaaaaaaaaaaa", "<main>true</main>", "associated"),
            item("rtbassoc-0bbbbbbbbbbbbbbbb", &of("subnet-0bbbbbbbbbbbbbbbb"), "associated"),
            item("rtbassoc-0cccccccccccccccc", &of(SUBNET), "disassociated"),
            item("rtbassoc-0dddddddddddddddd", &of(SUBNET), "failed"),
            item(ASSOCIATION, &of(SUBNET), "associated"),
        ];
        let canned = Canned::answers([(200, body(&rows.concat()))]);
        let seen = associations(&canned.client(), &[subnet()]).await.expect("readable");
        let there = TableAssociation {
            id: TableAssociationId::new(ASSOCIATION).expect("valid"),
            table: RouteTableId::new(TABLE).expect("valid"),
        };
        assert_eq!(seen, BTreeMap::from([(subnet(), there)]));
        let requests = canned.requests();
        assert_eq!(requests[0]["Filter.1.Name"], "association.subnet-id");
        assert_eq!(requests[0]["Filter.1.Value.1"], SUBNET);
    }

    #[tokio::test]
    async fn a_subnet_of_two_associations_or_a_garbled_one_is_unknown_and_one_without_is_absent() {
        for rows in [
            item(ASSOCIATION, &of(SUBNET), "associated")
                + &item("rtbassoc-0bbbbbbbbbbbbbbbb", &of(SUBNET), "associating"),
            item("assoc", &of(SUBNET), "associated"),
        ] {
            let canned = Canned::answers([(200, body(&rows))]);
            let seen = associations(&canned.client(), &[subnet()]).await;
            assert!(matches!(seen, Err(CloudFailure::Unknown(_))), "{seen:?}");
        }
        let canned = Canned::answers([(200, body(""))]);
        assert_eq!(associations(&canned.client(), &[subnet()]).await, Ok(BTreeMap::new()));
        let canned = Canned::answers([]);
        assert_eq!(associations(&canned.client(), &[]).await, Ok(BTreeMap::new()), "nothing is asked");
    }

    async fn swapped(status: u16, answer: String) -> Result<Effect, CloudFailure> {
        let canned = Canned::answers([(status, answer)]);
        let association = TableAssociationId::new(ASSOCIATION).expect("valid");
        let table = RouteTableId::new(TABLE).expect("valid");
        let effect = replace(&canned.client(), &association, &table, Mode::InEarnest).await;
        let request = &canned.requests()[0];
        assert_eq!(request["Action"], REPLACE);
        assert_eq!((&*request["AssociationId"], &*request["RouteTableId"]), (ASSOCIATION, TABLE));
        assert!(!request.contains_key("DryRun"));
        effect
    }

    #[tokio::test]
    async fn a_swap_names_the_association_and_the_table_and_tells_each_answer_apart() {
        let done = "<ReplaceRouteTableAssociationResponse>\
                    <newAssociationId>rtbassoc-0fedcba9876543210</newAssociationId>\
                    </ReplaceRouteTableAssociationResponse>";
        let made = TableAssociationId::new("rtbassoc-0fedcba9876543210").expect("valid");
        assert_eq!(swapped(200, done.to_owned()).await, Ok(Effect::TableAssociated(made)));
        let mute = "<ReplaceRouteTableAssociationResponse/>".to_owned();
        assert!(matches!(swapped(200, mute).await, Err(CloudFailure::Unknown(_))));
        let refused = async |status, code| swapped(status, error_body(code, "because")).await;
        assert_eq!(refused(400, "InvalidAssociationID.NotFound").await, Err(CloudFailure::AssociationGone));
        assert_eq!(refused(503, "RequestLimitExceeded").await, Err(CloudFailure::Throttled));
        let table = refused(400, "InvalidRouteTableID.NotFound").await;
        assert!(matches!(table, Err(CloudFailure::NotFound(_))), "{table:?}");
        let denied = refused(403, "UnauthorizedOperation").await;
        assert!(matches!(denied, Err(CloudFailure::Denied(_))), "{denied:?}");
        assert!(matches!(refused(500, "InternalError").await, Err(CloudFailure::Unknown(_))));
    }

    #[tokio::test]
    async fn a_registration_reads_the_vpc_and_the_tags() {
        let canned = Canned::answers([
            (200, body("")),
            (
                200,
                format!(
                    "<DescribeSubnetsResponse><subnetSet><item><subnetId>{SUBNET}</subnetId>\
                     <vpcId>vpc-2</vpcId></item></subnetSet></DescribeSubnetsResponse>"
                ),
            ),
        ]);
        let client = canned.client();
        let table = RouteTableId::new(TABLE).expect("valid");
        let seen = tables(&client, std::slice::from_ref(&table))
            .await
            .expect("readable")
            .remove(&table)
            .expect("there");
        assert_eq!((seen.vpc.as_str(), seen.tags["baton:cluster"].as_str()), ("vpc-1", "orders"));
        let seen = subnets(&client, &[subnet()]).await.expect("readable").remove(&subnet()).expect("there");
        assert_eq!(seen, SubnetSeen { vpc: "vpc-2".to_owned(), tags: BTreeMap::new() });
    }
}
