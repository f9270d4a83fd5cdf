//! The nodes' way to the table: routes and endpoints, and what security groups and network ACLs let out.
//!
//! Only what certainly keeps a node from the table is a violation. Where another way may be open it is unknown, and told.

mod acl;
mod group;

use std::collections::BTreeMap;

use baton_protocol::lease::Member;

use super::named;
use super::notes::{Finding, Notes};
use crate::change::Change;
use crate::check;
use crate::finding::Severity;
use crate::policy::{Ruling, TABLE_ACTIONS};
use crate::row::Row;
use crate::site::Site;
use crate::survey::{EndpointDetail, InterfaceDetail, TableDetail};
use crate::world::Seen;

/// Of HTTPS, by which everything at AWS is asked.
const HTTPS: i32 = 443;
const EVERYWHERE: &str = "0.0.0.0/0";

/// Looks at the way of each node.
pub(super) fn examine(site: &Site<'_>, notes: &mut Notes) {
    let mut way = Way { site: *site, notes };
    way.ways();
    way.groups();
    way.acls();
}

struct Way<'a, 'n> {
    site: Site<'a>,
    notes: &'n mut Notes,
}

/// By what a node may go.
struct Road<'a> {
    node: String,
    table: &'a TableDetail,
    /// The account that owns the VPC, if it is another one.
    owner: Option<&'a str>,
    /// Whether the VPC is certainly of the nodes' account, which is shown every endpoint of it then.
    is_own: bool,
    /// The gateway endpoints that the table leads to.
    gateways: Vec<&'a EndpointDetail>,
    /// The endpoints with an interface. Which of them an agent asks is a matter of its settings.
    interfaces: Vec<&'a EndpointDetail>,
    /// Where a route leads that may be a way besides endpoints and the default route.
    further: Option<&'a str>,
}

/// Why a table needs a word.
enum Lack<'a> {
    /// The way is a default route, to this target.
    Internet(&'a str),
    /// The only way is this endpoint, which has no name that an agent asks for by itself.
    Nameless(&'a str),
    /// A route that leads to this target may be a way, as to another VPC with an endpoint.
    Doubtful(&'a str),
    /// An endpoint of the VPC's owner may not be shown.
    Hidden,
    /// There is no way.
    Nothing,
}

/// An endpoint whose policy matters.
struct Judged<'a> {
    endpoint: &'a EndpointDetail,
    node: String,
    owner: Option<&'a str>,
    /// Whether what it denies reaches the table by no other way.
    is_only: bool,
}

impl<'a> Road<'a> {
    /// The endpoints that DynamoDB's own name leads to, which is the name that an agent asks for unless it is told of another.
    fn by_name(&self) -> impl Iterator<Item = &'a EndpointDetail> {
        let of = |endpoint: &&EndpointDetail| endpoint.private_dns && !endpoint.service.ends_with(FIPS);
        self.interfaces.iter().copied().filter(of)
    }

    fn lack(&self) -> Option<Lack<'a>> {
        if self.by_name().next().is_some() {
            return None;
        }
        let first = self.interfaces.first().map(|endpoint| endpoint.id.as_str());
        Some(match (self.table.default.as_deref(), first, self.further) {
            (Some(default), ..) => Lack::Internet(default),
            (None, Some(endpoint), _) => Lack::Nameless(endpoint),
            (None, None, Some(target)) => Lack::Doubtful(target),
            (None, None, None) if !self.is_own => Lack::Hidden,
            (None, None, None) => Lack::Nothing,
        })
    }

    /// The endpoints whose policies matter to the node, and whether it has no other way than endpoints that are shown.
    fn judged(&self) -> (Vec<&'a EndpointDetail>, bool) {
        let by_name: Vec<_> = self.by_name().collect();
        // A gateway endpoint goes before a default route, since its networks are smaller.
        if !self.gateways.is_empty() {
            let judged = self.gateways.iter().copied().chain(by_name).collect();
            return (judged, self.further.is_none() && self.is_own);
        }
        let has_route = self.table.default.is_some() || self.further.is_some();
        let judged = if by_name.is_empty() && !has_route { self.interfaces.clone() } else { by_name };
        (judged, !has_route && self.is_own)
    }
}

impl<'a> Way<'a, '_> {
    fn ways(&mut self) {
        let survey = self.site.survey;
        let rows = [Row::R10, Row::B1];
        let tables = self.notes.need(&survey.tables, "the route tables of the VPC", &rows);
        let endpoints = self.notes.need(&survey.endpoints, "the endpoints of the VPC", &rows);
        let (Some(tables), Some(endpoints)) = (tables, endpoints) else { return };
        let (mut lacking, mut judged, mut unseen) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for member in self.site.members {
            let Some(road) = self.road(member, tables, endpoints) else { continue };
            let list = self.unshown(road.table, road.owner);
            self.judge(&road, list.is_some(), &mut judged);
            let (id, owner) = (&road.table.id, road.owner);
            if !road.gateways.is_empty() {
                continue;
            }
            if let Some(list) = list {
                unseen.insert(id, (list, owner));
            } else if let Some(lack) = road.lack() {
                lacking.insert(id, (lack, road.node, owner));
            }
        }
        self.lacking(endpoints, &lacking);
        for (table, (list, owner)) in unseen {
            self.unseen(table, list, owner);
        }
        for endpoint in judged.into_values() {
            self.policy(&endpoint);
        }
    }

    /// By what a node may go. What is not shown of that is noted.
    fn road(
        &mut self,
        member: &Member,
        tables: &'a [TableDetail],
        endpoints: &'a [EndpointDetail],
    ) -> Option<Road<'a>> {
        let rows = [Row::R10, Row::B1];
        let subnet = self.own_interface(member, &rows)?.subnet.as_str();
        let Some(table) = self.table_of(subnet, tables) else {
            let why = format!("none is shown for {subnet} of {}", named(member));
            self.notes.unread("the route tables of the nodes' subnets", &why, &rows);
            return None;
        };
        Some(Road {
            node: named(member),
            table,
            owner: self.site.owner_of(subnet),
            is_own: self.site.is_own(subnet),
            gateways: gateways(endpoints).filter(|endpoint| endpoint.tables.contains(&table.id)).collect(),
            interfaces: interfaces(endpoints).collect(),
            further: table.further.iter().map(String::as_str).find(|target| !self.is_of_a_node(target)),
        })
    }

    /// Whether this is an interface of a node, as what the cluster moves leads to. Such a route is no way to the table: it ends with
    /// the node that it leads to.
    fn is_of_a_node(&self, target: &str) -> bool {
        let mut interfaces = self.site.survey.interfaces.known().into_iter().flatten();
        let found =
            interfaces.find(|(id, _)| id.as_str() == target).and_then(|(_, detail)| detail.instance.as_ref());
        found.is_some_and(|found| {
            self.site.members.iter().any(|member| member.instance.instance_id() == *found)
        })
    }

    /// The interface that a node's own calls leave from, in a subnet, or a note that it is not shown.
    fn own_interface(&mut self, member: &Member, rows: &[Row]) -> Option<&'a InterfaceDetail> {
        let own = self.site.own_interface(member).filter(|detail| !detail.subnet.is_empty());
        if own.is_none() {
            let why = format!("none is shown for {}", named(member));
            self.notes.unread("the interfaces that the agents call from", &why, rows);
        }
        own
    }

    /// The table of a subnet: its own, else the main one. Of a VPC that may be another account's, its own may not be shown.
    fn table_of(&self, subnet: &str, tables: &'a [TableDetail]) -> Option<&'a TableDetail> {
        let own = tables.iter().find(|table| table.subnets.contains(subnet));
        own.or_else(|| tables.iter().find(|table| table.main && self.site.is_own(subnet)))
    }

    fn judge(&self, road: &Road<'a>, has_unshown: bool, judged: &mut BTreeMap<&'a str, Judged<'a>>) {
        let (endpoints, without_other) = road.judged();
        let mut usable = road.gateways.iter().chain(&road.interfaces);
        let is_only = without_other && !has_unshown && usable.all(|endpoint| self.denies(endpoint));
        for endpoint in endpoints {
            let (node, owner) = (road.node.clone(), road.owner);
            let this = Judged { endpoint, node, owner, is_only };
            // What is certain for one node is certain.
            if is_only || !judged.contains_key(endpoint.id.as_str()) {
                judged.insert(&endpoint.id, this);
            }
        }
    }

    fn denies(&self, endpoint: &EndpointDetail) -> bool {
        let (Some(policy), Some(table)) = (endpoint.policy.known(), self.site.table_arn()) else {
            return false;
        };
        TABLE_ACTIONS.into_iter().any(|action| policy.ruling(action, &table) == Ruling::Denied)
    }

    /// The prefix list of DynamoDB, if a table leads it to an endpoint of the account that owns the VPC, which is not shown here.
    /// Those of the account itself are.
    fn unshown(&self, table: &TableDetail, owner: Option<&str>) -> Option<&'a str> {
        self.list().filter(|list| owner.is_some() && table.lists.contains(*list))
    }

    /// The prefix list of DynamoDB.
    fn list(&self) -> Option<&'a str> {
        self.site.survey.table_list.known()?.as_deref()
    }

    /// Tables that lead to no endpoint.
    fn lacking(
        &mut self,
        endpoints: &[EndpointDetail],
        tables: &BTreeMap<&String, (Lack<'a>, String, Option<&'a str>)>,
    ) {
        // One change leads all of these tables there.
        let change = self.endpoint(endpoints, tables.keys().map(|table| (*table).clone()).collect());
        for (table, (lack, node, owner)) in tables {
            let goes = format!("{table}, by which {node} goes, leads");
            let unknown =
                |what: String| Finding::of(&check::WAY_TO_TABLE, table, what).weighing(Severity::Unknown);
            let found = match lack {
                Lack::Internet(default) => {
                    let what = format!("{goes} to DynamoDB by {default} only");
                    Finding::of(&check::TABLE_ENDPOINT, table, what)
                }
                Lack::Nameless(endpoint) => unknown(format!(
                    "{goes} neither to DynamoDB nor to the internet, and {endpoint} has no private DNS: the agent has to be told of \
                     its name by AWS_ENDPOINT_URL_DYNAMODB"
                )),
                Lack::Doubtful(target) => unknown(format!(
                    "{goes} to no endpoint for DynamoDB, and whether it leads there by {target} is not known here; heartbeats show it"
                )),
                Lack::Hidden => unknown(format!(
                    "{goes} neither to DynamoDB nor to the internet; an endpoint of the VPC's owner may not be shown here"
                )),
                Lack::Nothing => {
                    let what = format!("{goes} neither to DynamoDB nor to the internet");
                    Finding::of(&check::WAY_TO_TABLE, table, what)
                }
            };
            self.notes.tell(found.mended(change.clone().into_iter().collect()).owned(*owner));
        }
    }

    fn endpoint(&self, endpoints: &[EndpointDetail], tables: Vec<String>) -> Option<Change> {
        if let Some(there) = gateways(endpoints).next() {
            return Some(Change::ExtendEndpoint { endpoint: there.id.clone(), tables });
        }
        let vpc = self.site.survey.vpc.known()?.id.clone();
        Some(Change::CreateEndpoint { vpc, service: service(self.site.region), tables })
    }

    /// An endpoint that only routes show, since another account has made it.
    fn unseen(&mut self, table: &str, list: &str, owner: Option<&str>) {
        let what = format!(
            "{table} leads {list} to an endpoint that is not shown here: what its policy lets through is its owner's to see to"
        );
        self.notes
            .tell(Finding::of(&check::ENDPOINT_POLICY, table, what).weighing(Severity::Info).owned(owner));
    }

    /// Whether the policy of an endpoint lets through what the node's agent asks of the table.
    fn policy(&mut self, judged: &Judged<'a>) {
        let Judged { endpoint, node, owner, is_only } = judged;
        let id = &endpoint.id;
        let unknown = |why: String| {
            let what = format!("{why}; heartbeats show whether the way is open");
            Finding::of(&check::ENDPOINT_POLICY, id, what).weighing(Severity::Unknown).owned(*owner)
        };
        let unread = match &endpoint.policy {
            Seen::Known(_) => "",
            Seen::Unknown(why) => why,
            Seen::Unasked => "nobody asked for it",
        };
        let Some(policy) = endpoint.policy.known() else {
            let why = format!("the policy of {id}, by which {node} goes, is not judged: {unread}");
            return self.notes.tell(unknown(why));
        };
        let Some(table) = self.site.table_arn() else { return };
        let of = |wanted: Ruling| -> Vec<&str> {
            TABLE_ACTIONS.into_iter().filter(|action| policy.ruling(action, &table) == wanted).collect()
        };
        let (denied, unclear) = (of(Ruling::Denied), of(Ruling::Unknown));
        if !denied.is_empty() {
            let denied = denied.join(", ");
            let what = format!("the policy of {id}, by which {node} goes, denies {denied} on {table}");
            self.notes.tell(match is_only {
                true => Finding::of(&check::ENDPOINT_POLICY, id, what).owned(*owner),
                false => unknown(format!("{what}, and {node} may go by another way")),
            });
        } else if !unclear.is_empty() {
            let unclear = unclear.join(", ");
            let why = format!(
                "whether the policy of {id}, by which {node} goes, lets {unclear} through on {table} depends on its conditions and principals"
            );
            self.notes.tell(unknown(why));
        }
    }
}

/// DynamoDB as endpoints and prefix lists name it; the partitions do so alike (`aws ec2 describe-vpc-endpoint-services`).
pub fn service(region: &str) -> String {
    format!("com.amazonaws.{region}.dynamodb")
}

/// How the service is named that asks by FIPS 140-3 alone. It has a name of its own, which agents ask for by
/// `AWS_USE_FIPS_ENDPOINT` only.
const FIPS: &str = ".dynamodb-fips";

fn is_dynamodb(endpoint: &EndpointDetail) -> bool {
    let is_named = endpoint.service.ends_with(".dynamodb") || endpoint.service.ends_with(FIPS);
    is_named && endpoint.state.eq_ignore_ascii_case("available")
}

fn gateways(endpoints: &[EndpointDetail]) -> impl Iterator<Item = &EndpointDetail> {
    endpoints.iter().filter(|endpoint| endpoint.gateway && is_dynamodb(endpoint))
}

/// The endpoints with an interface, which need no route.
fn interfaces(endpoints: &[EndpointDetail]) -> impl Iterator<Item = &EndpointDetail> {
    endpoints.iter().filter(|endpoint| !endpoint.gateway && is_dynamodb(endpoint))
}
