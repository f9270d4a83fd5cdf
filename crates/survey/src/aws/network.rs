//! The VPC and everything in it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    IpPermission, NetworkAcl, NetworkInterface, Route, RouteState, RuleAction, VpcEndpoint, VpcEndpointType,
};
use baton_doctor::Seen;
use baton_doctor::survey::{
    AclDetail, AclEntry, EndpointDetail, GroupDetail, InterfaceDetail, Rule, SubnetDetail, TableDetail,
    VpcDetail,
};
use baton_protocol::ids::{InstanceId, InterfaceId};

use super::{Answer, failure, filter, pages, required, tagged, unreadable};
use crate::network::{ACLS, ENDPOINTS, GROUPS, INTERFACES, LISTS, SUBNETS, TABLES, VPCS};
use crate::policy;

/// EC2 takes at most this many values for one filter.
const VALUES_PER_FILTER: usize = 200;
const ZONES: &str = "ec2:DescribeAvailabilityZones";
const EVERYWHERE: &str = "0.0.0.0/0";

fn owned(field: Option<&str>) -> String {
    field.unwrap_or_default().to_owned()
}

/// These interfaces, and every interface of these instances.
pub(super) async fn interfaces(
    ec2: &Client,
    ids: &[InterfaceId],
    instances: &[InstanceId],
) -> Answer<BTreeMap<InterfaceId, InterfaceDetail>> {
    let mut found = BTreeMap::new();
    let named = ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let attached = instances.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, values) in [("network-interface-id", named), ("attachment.instance-id", attached)] {
        for values in values.chunks(VALUES_PER_FILTER) {
            let request = ec2.describe_network_interfaces().filters(filter(name, values));
            let pages = pages!(INTERFACES, request);
            for row in pages.iter().flat_map(|page| page.network_interfaces()) {
                let id: InterfaceId =
                    required(INTERFACES, "the id of an interface", row.network_interface_id())?;
                found.insert(id, interface(row)?);
            }
        }
    }
    Ok(found)
}

fn interface(row: &NetworkInterface) -> Answer<InterfaceDetail> {
    let attachment = row.attachment();
    let instance = attachment.and_then(|attachment| attachment.instance_id()).filter(|id| !id.is_empty());
    Ok(InterfaceDetail {
        instance: instance
            .map(|id| required(INTERFACES, "the instance of an interface", Some(id)))
            .transpose()?,
        device_index: attachment.and_then(|attachment| attachment.device_index()),
        subnet: owned(row.subnet_id()),
        groups: row.groups().iter().filter_map(|group| group.group_id().map(str::to_owned)).collect(),
        source_dest_check: row.source_dest_check().unwrap_or(true),
        tagged: tagged(row.tag_set()),
    })
}

pub(super) async fn vpc(ec2: &Client, id: &str) -> Answer<VpcDetail> {
    let pages = pages!(VPCS, ec2.describe_vpcs().filters(filter("vpc-id", &[id])));
    let row = pages.iter().flat_map(|page| page.vpcs()).find(|row| row.vpc_id() == Some(id));
    let row = row.ok_or_else(|| unreadable(VPCS, format_args!("without {id}")))?;
    let state = row.state().map(|state| state.as_str().to_owned()).unwrap_or_default();
    let (network, owner) = (owned(row.cidr_block()), owned(row.owner_id()));
    Ok(VpcDetail { id: id.to_owned(), state, network, owner })
}

pub(super) async fn subnets(ec2: &Client, vpc: &str) -> Answer<Vec<SubnetDetail>> {
    let pages = pages!(SUBNETS, ec2.describe_subnets().filters(filter("vpc-id", &[vpc])));
    let rows = pages.iter().flat_map(|page| page.subnets());
    let rows = rows.map(|row| SubnetDetail {
        id: owned(row.subnet_id()),
        zone: owned(row.availability_zone_id()),
        network: owned(row.cidr_block()),
        owner: owned(row.owner_id()),
    });
    Ok(rows.collect())
}

pub(super) async fn zones(ec2: &Client) -> Answer<Vec<String>> {
    let request = ec2.describe_availability_zones().filters(filter("state", &["available"]));
    let answer = request.send().await.map_err(|error| failure(ZONES, &error))?;
    // Local zones and the like are no Availability Zones.
    let rows = answer
        .availability_zones()
        .iter()
        .filter(|row| row.zone_type().is_none_or(|kind| kind == "availability-zone" || kind.is_empty()));
    Ok(rows.filter_map(|row| row.zone_id().map(str::to_owned)).collect())
}

pub(super) async fn tables(ec2: &Client, vpc: &str) -> Answer<Vec<TableDetail>> {
    let pages = pages!(TABLES, ec2.describe_route_tables().filters(filter("vpc-id", &[vpc])));
    let rows = pages.iter().flat_map(|page| page.route_tables());
    let rows = rows.map(|row| TableDetail {
        id: owned(row.route_table_id()),
        main: row.associations().iter().any(|at| at.main() == Some(true)),
        subnets: row
            .associations()
            .iter()
            .filter_map(|at| at.subnet_id())
            .filter(|subnet| !subnet.is_empty())
            .map(str::to_owned)
            .collect(),
        default: row.routes().iter().find_map(default),
        further: row.routes().iter().filter_map(further).collect(),
        lists: row.routes().iter().filter_map(list).collect(),
        tagged: tagged(row.tags()),
    });
    Ok(rows.collect())
}

/// Where a route leads, if it is a default route that leads anywhere.
fn default(route: &Route) -> Option<String> {
    target(route).filter(|_| route.destination_cidr_block() == Some(EVERYWHERE))
}

/// Where a route leads that is neither a default route of IPv4 nor one to a gateway endpoint.
fn further(route: &Route) -> Option<String> {
    let is_further = route.destination_cidr_block() != Some(EVERYWHERE) && list(route).is_none();
    target(route).filter(|_| is_further)
}

/// Where a usable route leads out of the VPC. EC2 may know kinds of targets that are not known here, which lead somewhere as well.
fn target(route: &Route) -> Option<String> {
    let targets = [
        route.gateway_id(),
        route.nat_gateway_id(),
        route.transit_gateway_id(),
        route.vpc_peering_connection_id(),
        route.network_interface_id(),
        route.local_gateway_id(),
        route.carrier_gateway_id(),
        route.egress_only_internet_gateway_id(),
        route.core_network_arn(),
    ];
    let target =
        targets.into_iter().flatten().find(|id| !id.is_empty()).unwrap_or("a target of another kind");
    (target != "local" && route.state() != Some(&RouteState::Blackhole)).then(|| target.to_owned())
}

/// The prefix list that a route leads to a gateway endpoint, if it is such a route.
fn list(route: &Route) -> Option<String> {
    let is_led = route.gateway_id().is_some_and(|id| id.starts_with("vpce-"));
    let usable = is_led && route.state() != Some(&RouteState::Blackhole);
    route.destination_prefix_list_id().filter(|_| usable).map(str::to_owned)
}

/// The prefix list of this name.
pub(super) async fn prefix_list(ec2: &Client, name: &str) -> Answer<Option<String>> {
    let request = ec2.describe_managed_prefix_lists().filters(filter("prefix-list-name", &[name]));
    let pages = pages!(LISTS, request);
    let mut rows = pages.iter().flat_map(|page| page.prefix_lists());
    let found = rows.find(|row| row.prefix_list_name() == Some(name));
    Ok(found.and_then(|row| row.prefix_list_id()).map(str::to_owned))
}

pub(super) async fn groups(ec2: &Client, ids: &[String]) -> Answer<BTreeMap<String, GroupDetail>> {
    let once: Vec<&String> = ids.iter().collect::<BTreeSet<_>>().into_iter().collect();
    if once.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pages = pages!(GROUPS, ec2.describe_security_groups().filters(filter("group-id", &once)));
    let rows = pages.iter().flat_map(|page| page.security_groups());
    let rows = rows.map(|row| {
        let detail =
            GroupDetail { ingress: rules(row.ip_permissions()), egress: rules(row.ip_permissions_egress()) };
        (owned(row.group_id()), detail)
    });
    Ok(rows.collect())
}

/// One rule for each peer.
fn rules(permissions: &[IpPermission]) -> BTreeSet<Rule> {
    let all = permissions.iter().flat_map(|permission| {
        let networks = permission.ip_ranges().iter().filter_map(|range| range.cidr_ip());
        let v6 = permission.ipv6_ranges().iter().filter_map(|range| range.cidr_ipv6());
        let groups = permission.user_id_group_pairs().iter().filter_map(|pair| pair.group_id());
        let lists = permission.prefix_list_ids().iter().filter_map(|list| list.prefix_list_id());
        networks.chain(v6).chain(groups).chain(lists).map(|peer| Rule {
            protocol: owned(permission.ip_protocol()),
            from: permission.from_port().unwrap_or(-1),
            to: permission.to_port().unwrap_or(-1),
            peer: peer.to_owned(),
        })
    });
    all.collect()
}

pub(super) async fn acls(ec2: &Client, vpc: &str) -> Answer<Vec<AclDetail>> {
    let pages = pages!(ACLS, ec2.describe_network_acls().filters(filter("vpc-id", &[vpc])));
    pages.iter().flat_map(|page| page.network_acls()).map(acl).collect()
}

fn acl(row: &NetworkAcl) -> Answer<AclDetail> {
    let mut entries = BTreeSet::new();
    for entry in row.entries() {
        let missing = |what: &str| unreadable(ACLS, format_args!("an entry without {what}"));
        let networks = [entry.cidr_block(), entry.ipv6_cidr_block()];
        let network = networks.into_iter().flatten().find(|network| !network.is_empty());
        let ports = entry.port_range().and_then(|range| range.from().zip(range.to()));
        entries.insert(AclEntry {
            number: entry.rule_number().ok_or_else(|| missing("a number"))?,
            egress: entry.egress().ok_or_else(|| missing("a direction"))?,
            allow: entry.rule_action() == Some(&RuleAction::Allow),
            protocol: owned(entry.protocol()),
            ports,
            network: network.ok_or_else(|| missing("a network"))?.to_owned(),
        });
    }
    let subnets = row.associations().iter().filter_map(|at| at.subnet_id().map(str::to_owned)).collect();
    let default = row.is_default() == Some(true);
    Ok(AclDetail { id: owned(row.network_acl_id()), default, subnets, entries })
}

pub(super) async fn endpoints(ec2: &Client, vpc: &str) -> Answer<Vec<EndpointDetail>> {
    let pages = pages!(ENDPOINTS, ec2.describe_vpc_endpoints().filters(filter("vpc-id", &[vpc])));
    let rows = pages.iter().flat_map(|page| page.vpc_endpoints());
    let is_gateway = |row: &VpcEndpoint| row.vpc_endpoint_type() == Some(&VpcEndpointType::Gateway);
    let rows = rows.map(|row| EndpointDetail {
        id: owned(row.vpc_endpoint_id()),
        service: owned(row.service_name()),
        gateway: is_gateway(row),
        state: row.state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        tables: row.route_table_ids().iter().cloned().collect(),
        groups: row.groups().iter().filter_map(|group| group.group_id().map(str::to_owned)).collect(),
        private_dns: row.private_dns_enabled() == Some(true) && !is_gateway(row),
        policy: match row.policy_document().map(policy::parse) {
            Some(Ok(policy)) => Seen::Known(policy),
            Some(Err(why)) => Seen::Unknown(why),
            None => Seen::Unknown("EC2 does not show it".to_owned()),
        },
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::builders::RouteBuilder;
    use aws_sdk_ec2::types::{NetworkAclEntry, PortRange};

    use super::*;

    /// The default route, the further one and the list of a gateway endpoint that this route is.
    fn read(route: impl FnOnce(RouteBuilder) -> RouteBuilder) -> [Option<String>; 3] {
        let route = route(Route::builder()).build();
        [default(&route), further(&route), list(&route)]
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn every_usable_route_out_of_the_vpc_is_a_default_one_a_further_one_or_that_of_a_gateway_endpoint() {
        let everywhere = |route: RouteBuilder| route.destination_cidr_block(EVERYWHERE);
        assert_eq!(read(|r| everywhere(r).nat_gateway_id("nat-1")), [some("nat-1"), None, None]);
        assert_eq!(read(|r| everywhere(r).carrier_gateway_id("cagw-1")), [some("cagw-1"), None, None]);
        assert_eq!(read(|r| everywhere(r).gateway_id("vpce-1")), [some("vpce-1"), None, None], "a firewall");
        let blackhole = |r| everywhere(r).nat_gateway_id("nat-1").state(RouteState::Blackhole);
        assert_eq!(read(blackhole), [None, None, None]);
        let hub = |r: RouteBuilder| r.destination_cidr_block("10.0.0.0/8").transit_gateway_id("tgw-1");
        assert_eq!(read(hub), [None, some("tgw-1"), None]);
        let half = |r: RouteBuilder| r.destination_cidr_block("128.0.0.0/1").nat_gateway_id("nat-1");
        assert_eq!(read(half), [None, some("nat-1"), None]);
        let v6 =
            |r: RouteBuilder| r.destination_ipv6_cidr_block("::/0").egress_only_internet_gateway_id("eigw-1");
        assert_eq!(read(v6), [None, some("eigw-1"), None]);
        let peering =
            |r: RouteBuilder| r.destination_prefix_list_id("pl-1").vpc_peering_connection_id("pcx-1");
        assert_eq!(read(peering), [None, some("pcx-1"), None]);
        let unheard_of = |r: RouteBuilder| r.destination_cidr_block("10.0.0.0/8");
        assert_eq!(read(unheard_of), [None, some("a target of another kind"), None]);
        let within = |r: RouteBuilder| r.destination_cidr_block("10.0.0.0/16").gateway_id("local");
        assert_eq!(read(within), [None, None, None]);
        let endpoint = |r: RouteBuilder| r.destination_prefix_list_id("pl-1").gateway_id("vpce-1");
        assert_eq!(read(endpoint), [None, None, some("pl-1")]);
    }

    #[test]
    fn entries_of_both_families_are_read_and_one_without_a_network_makes_the_answer_unreadable() {
        let entry = || {
            let ports = PortRange::builder().from(443).to(443).build();
            let entry = NetworkAclEntry::builder().rule_number(100).egress(true).protocol("6");
            entry.rule_action(RuleAction::Allow).port_range(ports)
        };
        let of = |entry: NetworkAclEntry| acl(&NetworkAcl::builder().entries(entry).build());
        for (row, network) in
            [(entry().cidr_block("10.0.0.0/8"), "10.0.0.0/8"), (entry().ipv6_cidr_block("::/0"), "::/0")]
        {
            let read = of(row.build()).expect("it can be read");
            let networks: Vec<&str> = read.entries.iter().map(|entry| entry.network.as_str()).collect();
            assert_eq!(networks, [network]);
        }
        let nameless = of(entry().build()).expect_err("it cannot be read");
        assert!(nameless.to_string().contains("an entry without a network"), "{nameless}");
    }
}
