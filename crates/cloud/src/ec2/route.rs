//! Route tables: what they say, and the two calls that point a destination at an interface.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Route as Row, RouteState, RouteTable, Tag};
use baton_protocol::ec2::{CloudFailure, Effect, RouteSeen, RouteTarget};
use baton_protocol::ids::{InterfaceId, RouteTableId};
use baton_protocol::resource::{Destination, Family, Route};
use baton_protocol::tables::{TableSeen, Tables};
use futures_util::future::try_join_all;

use super::{Mode, asked_for, filter, filters, optional, pages, required, text};
use crate::error::{failure, unreadable};

const DESCRIBE: &str = "DescribeRouteTables";

/// The largest page EC2 gives of route tables.
const PAGE: i32 = 100;

/// What these tables say.
pub(super) async fn tables(
    client: &Client,
    ids: &[RouteTableId],
) -> Result<BTreeMap<RouteTableId, Vec<RouteSeen>>, CloudFailure> {
    let mut seen = BTreeMap::new();
    let rows =
        try_join_all(filters("route-table-id", ids).into_iter().map(|filter| described(client, filter)));
    for row in rows.await?.into_iter().flatten() {
        if let Some(id) = asked_for(DESCRIBE, ids, row.route_table_id()) {
            let routes = self::seen(&id, &row)?;
            seen.insert(id, routes);
        }
    }
    Ok(seen)
}

/// The routes of a table.
pub(super) fn seen(id: &RouteTableId, row: &RouteTable) -> Result<Vec<RouteSeen>, CloudFailure> {
    let mut routes = Vec::new();
    for route in row.routes() {
        routes.extend(route_seen(id, route)?);
    }
    Ok(routes)
}

/// Every route table of a VPC, with its tags. A row that cannot be told from others makes the whole answer unknown, since
/// its table would pass for one that is gone.
pub(super) async fn tables_of(client: &Client, vpc: &str) -> Result<Tables, CloudFailure> {
    let mut shown = Tables::new();
    for row in described(client, filter("vpc-id", &[vpc])).await? {
        if text(row.vpc_id()) != Some(vpc) {
            return Err(unreadable(DESCRIBE, format_args!("a table of another VPC than {vpc}, or of none")));
        }
        let id: RouteTableId = required(DESCRIBE, "a route table", row.route_table_id())?;
        let routes = seen(&id, &row)?;
        shown.insert(id, TableSeen { tags: tags(&row), routes });
    }
    Ok(shown)
}

fn tags(row: &RouteTable) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    row.tags().iter().filter_map(pair).collect()
}

pub(super) async fn described(client: &Client, filter: Filter) -> Result<Vec<RouteTable>, CloudFailure> {
    let pages = pages!(DESCRIBE, client.describe_route_tables().filters(filter), PAGE);
    Ok(pages.into_iter().flat_map(|page| page.route_tables.unwrap_or_default()).collect())
}

fn route_seen(table: &RouteTableId, row: &Row) -> Result<Option<RouteSeen>, CloudFailure> {
    let named =
        [row.destination_cidr_block(), row.destination_ipv6_cidr_block(), row.destination_prefix_list_id()];
    let Some(named) = named.into_iter().find_map(text) else { return Ok(None) };
    let destination = match Destination::new(named) {
        Ok(destination) => destination,
        // At worst a declared route looks missing, and creating it is refused because it exists.
        Err(error) => {
            tracing::warn!(action = DESCRIBE, %table, %error, "a route has no readable destination; left out");
            return Ok(None);
        }
    };
    let target = match optional(DESCRIBE, "the interface of a route", row.network_interface_id())? {
        Some(interface) => RouteTarget::Interface(interface),
        None => RouteTarget::Other(other_target(row).unwrap_or("none").to_owned()),
    };
    Ok(Some(RouteSeen { destination, target, blackhole: row.state() == Some(&RouteState::Blackhole) }))
}

/// What a route goes through that is not an interface. EC2 fills one of these.
fn other_target(row: &Row) -> Option<&str> {
    [
        row.gateway_id(),
        row.nat_gateway_id(),
        row.transit_gateway_id(),
        row.vpc_peering_connection_id(),
        row.egress_only_internet_gateway_id(),
        row.local_gateway_id(),
        row.carrier_gateway_id(),
        row.core_network_arn(),
        row.odb_network_arn(),
        row.instance_id(),
        row.ip_address(),
    ]
    .into_iter()
    .find_map(text)
}

/// Points an existing route at an interface.
pub(super) async fn replace(
    client: &Client,
    route: &Route,
    to: &InterfaceId,
    mode: Mode,
) -> Result<Effect, CloudFailure> {
    let Named { v4, v6, list } = named(&route.destination);
    client
        .replace_route()
        .route_table_id(route.table.as_str())
        .set_destination_cidr_block(v4)
        .set_destination_ipv6_cidr_block(v6)
        .set_destination_prefix_list_id(list)
        .network_interface_id(to.as_str())
        .set_dry_run(mode.dry_run())
        .send()
        .await
        .map(|_| Effect::Done)
        .map_err(|error| failure("ReplaceRoute", error))
}

/// Makes a route that is missing.
pub(super) async fn create(
    client: &Client,
    route: &Route,
    to: &InterfaceId,
    mode: Mode,
) -> Result<Effect, CloudFailure> {
    const ACTION: &str = "CreateRoute";
    let Named { v4, v6, list } = named(&route.destination);
    let answer = client
        .create_route()
        .route_table_id(route.table.as_str())
        .set_destination_cidr_block(v4)
        .set_destination_ipv6_cidr_block(v6)
        .set_destination_prefix_list_id(list)
        .network_interface_id(to.as_str())
        .set_dry_run(mode.dry_run())
        .send()
        .await
        .map_err(|error| failure(ACTION, error))?;
    match answer.r#return() {
        Some(false) => Err(unreadable(ACTION, "`false`, and no error")),
        _ => Ok(Effect::Done),
    }
}

/// EC2 has one parameter for each family of networks, and one for prefix lists.
#[derive(Default)]
struct Named {
    v4: Option<String>,
    v6: Option<String>,
    list: Option<String>,
}

fn named(destination: &Destination) -> Named {
    let text = Some(destination.to_string());
    match destination.family() {
        Family::Ipv4 => Named { v4: text, ..Named::default() },
        Family::Ipv6 => Named { v6: text, ..Named::default() },
        Family::PrefixList => Named { list: text, ..Named::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::canned::{Canned, error_body};

    const TABLE: &str = "rtb-0123456789abcdef0";
    const INTERFACE: &str = "eni-0123456789abcdef0";

    fn table() -> RouteTableId {
        RouteTableId::new(TABLE).expect("valid")
    }

    fn interface() -> InterfaceId {
        InterfaceId::new(INTERFACE).expect("valid")
    }

    fn route(destination: &str) -> Route {
        Route { table: table(), destination: Destination::new(destination).expect("valid") }
    }

    fn body(routes: &str, next: &str) -> String {
        format!(
            "<DescribeRouteTablesResponse><routeTableSet><item><routeTableId>{TABLE}</routeTableId>\
             <routeSet>{routes}</routeSet></item></routeTableSet>{next}</DescribeRouteTablesResponse>"
        )
    }

    #[tokio::test]
    async fn routes_of_every_kind_are_read_and_foreign_kinds_left_out() {
        let routes = format!(
            "<item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId>\
             <state>active</state></item>\
             <item><destinationCidrBlock>10.9.0.1/32</destinationCidrBlock>\
             <instanceId>i-0123456789abcdef0</instanceId>\
             <networkInterfaceId>{INTERFACE}</networkInterfaceId><state>blackhole</state></item>\
             <item><destinationIpv6CidrBlock>::/0</destinationIpv6CidrBlock>\
             <egressOnlyInternetGatewayId>eigw-1</egressOnlyInternetGatewayId><state>active</state></item>\
             <item><destinationPrefixListId>pl-01234567</destinationPrefixListId><gatewayId>vpce-1</gatewayId></item>\
             <item><destinationPrefixListId>pl-1</destinationPrefixListId><gatewayId>vpce-1</gatewayId></item>\
             <item><destinationCidrBlock>10.9.0.1/8</destinationCidrBlock><gatewayId>igw-1</gatewayId></item>\
             <item><destinationCidrBlock>10.8.0.0/16</destinationCidrBlock><state>blackhole</state></item>"
        );
        let canned = Canned::answers([(200, body(&routes, ""))]);
        let seen = tables(&canned.client(), &[table()]).await.expect("readable");
        let expected = |destination: &str, target, blackhole| RouteSeen {
            destination: Destination::new(destination).expect("valid"),
            target,
            blackhole,
        };
        assert_eq!(
            seen[&table()],
            [
                expected("10.0.0.0/16", RouteTarget::Other("local".into()), false),
                expected("10.9.0.1/32", RouteTarget::Interface(interface()), true),
                expected("::/0", RouteTarget::Other("eigw-1".into()), false),
                expected("pl-01234567", RouteTarget::Other("vpce-1".into()), false),
                expected("10.8.0.0/16", RouteTarget::Other("none".into()), true),
            ]
        );
        let request = &canned.requests()[0];
        assert_eq!((&*request["Filter.1.Name"], &*request["Filter.1.Value.1"]), ("route-table-id", TABLE));
        assert_eq!(request["MaxResults"], "100");
    }

    #[tokio::test]
    async fn the_tables_of_a_vpc_are_read_with_their_tags_whole_or_not_at_all() {
        let rest = "<vpcId>vpc-1</vpcId><tagSet><item><key>side</key><value>private</value></item></tagSet>";
        let with = |rest: &str| body("", "").replace("<routeSet>", &format!("{rest}<routeSet>"));
        let canned = Canned::answers([(200, with(rest))]);
        let seen = tables_of(&canned.client(), "vpc-1").await.expect("readable");
        assert_eq!(seen[&table()].tags, [("side".to_owned(), "private".to_owned())].into());
        let request = &canned.requests()[0];
        assert_eq!((&*request["Filter.1.Name"], &*request["Filter.1.Value.1"]), ("vpc-id", "vpc-1"));
        let nameless = with(rest).replace(TABLE, "");
        for odd in [with("<vpcId>vpc-2</vpcId>"), with(""), nameless] {
            let canned = Canned::answers([(200, odd)]);
            let seen = tables_of(&canned.client(), "vpc-1").await;
            assert!(matches!(seen, Err(CloudFailure::Unknown(_))), "{seen:?}");
        }
    }

    #[tokio::test]
    async fn a_route_through_an_unreadable_interface_is_unknown() {
        let routes = "<item><destinationCidrBlock>10.9.0.1/32</destinationCidrBlock>\
             <networkInterfaceId>nonsense</networkInterfaceId></item>";
        let canned = Canned::answers([(200, body(routes, ""))]);
        let seen = tables(&canned.client(), &[table()]).await;
        assert!(matches!(seen, Err(CloudFailure::Unknown(_))), "{seen:?}");
    }

    #[tokio::test]
    async fn pages_are_followed_and_end_at_a_bound() {
        let next = |token: usize| format!("<nextToken>{token}</nextToken>");
        let canned = Canned::answers([(200, body("", &next(1))), (200, body("", ""))]);
        assert!(tables(&canned.client(), &[table()]).await.is_ok());
        assert_eq!(canned.requests()[1]["NextToken"], "1");

        let canned = Canned::answers((0..50).map(|page| (200, body("", &next(page)))));
        let seen = tables(&canned.client(), &[table()]).await;
        assert!(matches!(seen, Err(CloudFailure::Unknown(_))), "{seen:?}");
        assert!(canned.requests().len() <= super::super::PAGES + 1);
    }

    #[tokio::test]
    async fn a_destination_goes_into_the_parameter_of_its_family() {
        let answer = || (200, "<CreateRouteResponse><return>true</return></CreateRouteResponse>".to_owned());
        const PARAMETERS: [&str; 3] =
            ["DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId"];
        for (destination, given) in
            ["10.9.0.1/32", "2001:db8::/56", "pl-01234567"].into_iter().zip(PARAMETERS)
        {
            let canned = Canned::answers([answer(), answer()]);
            let client = canned.client();
            replace(&client, &route(destination), &interface(), Mode::InEarnest).await.expect("applied");
            create(&client, &route(destination), &interface(), Mode::InEarnest).await.expect("applied");
            for (request, action) in canned.requests().iter().zip(["ReplaceRoute", "CreateRoute"]) {
                assert_eq!(request["Action"], action);
                assert_eq!(request[given], destination);
                let there = PARAMETERS.iter().filter(|name| request.contains_key(**name)).count();
                assert_eq!(there, 1, "the others are absent");
                assert_eq!((&*request["RouteTableId"], &*request["NetworkInterfaceId"]), (TABLE, INTERFACE));
            }
        }
    }

    #[tokio::test]
    async fn a_missing_and_an_existing_route_are_told_from_refusals() {
        let missing = error_body("InvalidParameterValue", "There is no route defined for '10.9.0.1/32'.");
        let canned = Canned::answers([(400, missing.clone()), (400, missing)]);
        let client = canned.client();
        let route = route("10.9.0.1/32");
        assert_eq!(
            replace(&client, &route, &interface(), Mode::InEarnest).await,
            Err(CloudFailure::RouteMissing)
        );
        let created = create(&client, &route, &interface(), Mode::InEarnest).await;
        assert!(matches!(created, Err(CloudFailure::Refused(_))), "{created:?}");

        let exists = error_body("RouteAlreadyExists", "The route identified by 10.9.0.1/32 already exists.");
        let canned = Canned::answers([(400, exists)]);
        assert_eq!(
            create(&canned.client(), &route, &interface(), Mode::InEarnest).await,
            Err(CloudFailure::RouteExists)
        );
    }

    #[tokio::test]
    async fn a_route_that_was_not_made_although_nothing_was_wrong_is_unknown() {
        let answer = "<CreateRouteResponse><return>false</return></CreateRouteResponse>".to_owned();
        let canned = Canned::answers([(200, answer)]);
        let created = create(&canned.client(), &route("10.9.0.1/32"), &interface(), Mode::InEarnest).await;
        assert!(matches!(created, Err(CloudFailure::Unknown(_))), "{created:?}");
    }
}
