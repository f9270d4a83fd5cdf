//! From the properties of `Custom::BatonCluster`, which anybody may have typed, to a request in types.
//!
//! CloudFormation turns numbers and booleans into text, so both are read. Every mistake is reported, each with the path
//! at which it was found; a property that nobody knows is a mistake as well, since it is most likely a misspelt one.

mod failback;
mod place;
mod route;
mod subnet;

use std::collections::BTreeSet;

use baton_doctor::MOST_NODES;
use baton_protocol::access::TableAccess;
use baton_protocol::choice::Choices;
use baton_protocol::failback::Failback;
use baton_protocol::fence::Fencing;
use baton_protocol::ids::{AllocationId, ClusterName, IdError, InstanceId, NodeName, RoleArn};
use baton_protocol::lease::Mode;
use baton_protocol::policy::{LONGEST_COOL_DOWN, LONGEST_WAIT, SHORTEST_WAIT, Takeover};
use baton_protocol::resource::{Route, SubnetTables};
use baton_protocol::roster::{MOST, Roster, Tag};
use baton_protocol::time::WallTime;
use baton_protocol::timing::{Durations, Timing};
use serde_json::{Map, Value};

/// The priority of a node that names none.
const PRIORITY: u16 = 100;
/// The priorities there are.
const PRIORITIES: std::ops::RangeInclusive<u64> = 1..=999;
/// The most entries of any list that are looked at; what a cluster may have is less.
const LONGEST_LIST: usize = 500;
/// A table is prepared for a node that is known in advance, by its name (ADR 0039).
const BY_TAG_ALONE: &str = "NodesFrom: expected no SubnetTables beside it, as a table is prepared for each node by its name before the \
     node can join; name the nodes one by one in Nodes, or lead routes to the holder with Routes";
/// The longest text that a complaint shows of what it found.
const SHOWN: usize = 60;

/// A node as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredNode {
    /// Its name.
    pub node: NodeName,
    /// Its instance.
    pub instance: InstanceId,
    /// 1 to 999, the smallest is preferred.
    pub priority: u16,
}

/// The cluster as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The cluster.
    pub cluster: ClusterName,
    /// What a node does when it cannot confirm its lease.
    pub mode: Mode,
    /// Who decides that a silent holder is taken over from.
    pub takeover: Takeover,
    /// For how long after a takeover on silence there is no other by itself, in milliseconds.
    pub cool_down_ms: u64,
    /// What is done about a silent holder before it is taken over from.
    pub fencing: Fencing,
    /// Whether the lease goes back to a preferred node by itself.
    pub failback: Failback,
    /// The time budget.
    pub timing: Timing,
    /// The nodes; those that a tag names at this moment, where it is one that names them.
    pub nodes: Vec<DesiredNode>,
    /// What names them, if it is a tag. Since when the members are who they are, only the lease and EC2 tell.
    pub roster: Option<Roster>,
    /// The Elastic IPs.
    pub addresses: Vec<AllocationId>,
    /// The routes in tables that were named, one for each.
    pub routes: Vec<Route>,
    /// Those of the routes that may be taken from a gateway.
    pub from_gateways: BTreeSet<Route>,
    /// The subnets whose route table is swapped.
    pub subnets: Vec<SubnetTables>,
    /// The role of another account through which the route tables are reached.
    pub tables_role: Option<RoleArn>,
    /// Where on each node all of this goes, and the routes whose tables were described.
    pub choices: Choices,
}

impl Desired {
    /// How the route tables are reached, if that is not by the account's own right.
    pub fn table_access(&self) -> Option<TableAccess> {
        let role = self.tables_role.clone()?;
        Some(TableAccess { role, cluster: self.cluster.clone() })
    }
}

/// The name of the cluster, whatever else is wrong.
pub fn cluster(properties: &Value) -> Option<ClusterName> {
    ClusterName::new(properties.get("Cluster")?.as_str()?).ok()
}

/// Parses the properties. What is wrong comes as a list of sentences, each beginning with a path.
pub fn parse(properties: &Value) -> Result<Desired, Vec<String>> {
    let mut wrong = Vec::new();
    let desired = read(properties, &mut wrong);
    match desired {
        Some(desired) if wrong.is_empty() => Ok(desired),
        _ => Err(wrong),
    }
}

fn read(properties: &Value, wrong: &mut Vec<String>) -> Option<Desired> {
    let root = At { path: String::new(), value: Some(properties) };
    let known = [
        "ServiceToken",
        "ServiceTimeout",
        "Cluster",
        "Mode",
        "Takeover",
        "ConfirmAfterSeconds",
        "CoolDownSeconds",
        "Fencing",
        "Failback",
        "FailbackHoldSeconds",
        "FailbackWindow",
        "Timing",
        "Nodes",
        "NodesFrom",
        "MaxNodes",
        "Priority",
        "Addresses",
        "AddressInterface",
        "Routes",
        "SubnetTables",
        "RouteInterface",
        "RouteTablesRoleArn",
    ];
    root.object(&known, wrong)?;
    let cluster = root.field("Cluster").id(wrong);
    let mode = mode(&root.field("Mode"), wrong);
    let takeover = takeover(&root.field("Takeover"), &root.field("ConfirmAfterSeconds"), wrong);
    let cool_down = cool_down(&root.field("CoolDownSeconds"), wrong);
    let fencing = fencing(&root.field("Fencing"), wrong);
    let failback = failback::read(&root, wrong);
    let timing = timing(&root.field("Timing"), wrong);
    let (nodes, roster) = nodes(&root, wrong)?;
    let (addresses, choices) = place::addresses_and_choices(&root, wrong);
    let route::Routes { named: routes, from_gateways, described } = route::routes(&root, wrong);
    let choices = Choices { tables: described, ..choices };
    let subnets = root.field("SubnetTables").optional_list(wrong);
    if roster.is_some() && !subnets.is_empty() {
        wrong.push(BY_TAG_ALONE.to_owned());
        return None;
    }
    let subnets: Vec<_> = subnets.iter().filter_map(|entry| subnet::read(entry, &nodes, wrong)).collect();
    let has_tables = !(routes.is_empty() && choices.tables.is_empty() && subnets.is_empty());
    let tables_role = tables_role(&root.field("RouteTablesRoleArn"), has_tables, wrong)?;
    Some(Desired {
        cluster: cluster?,
        mode: mode?,
        takeover: takeover?,
        cool_down_ms: cool_down?,
        fencing: fencing?,
        failback: failback?,
        timing: timing?,
        nodes,
        roster,
        addresses,
        routes,
        from_gateways,
        subnets,
        tables_role,
        choices,
    })
}

/// The outer `None`: it cannot be read. A role without tables would be asked for nothing, and most likely they are missing.
fn tables_role(at: &At<'_>, has_tables: bool, wrong: &mut Vec<String>) -> Option<Option<RoleArn>> {
    if at.value.is_none() {
        return Some(None);
    }
    let role = at.id(wrong)?;
    if !has_tables {
        return at.expected("nothing, as the cluster has no route table", wrong);
    }
    Some(Some(role))
}

fn mode(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Mode> {
    match at.value {
        // Nothing was chosen, so the mode that needs no thought about two nodes serving at once.
        None => Some(Mode::Strict),
        Some(Value::String(text)) if text == "strict" => Some(Mode::Strict),
        Some(Value::String(text)) if text == "available" => Some(Mode::Available),
        Some(_) => at.expected("`strict` or `available`", wrong),
    }
}

fn takeover(at: &At<'_>, after: &At<'_>, wrong: &mut Vec<String>) -> Option<Takeover> {
    let text = at.value.map_or(Some("automatic"), Value::as_str);
    if text != Some("confirm") && after.value.is_some() {
        return after.expected("nothing, as nothing is to be confirmed", wrong);
    }
    match text {
        Some("automatic") => Some(Takeover::Automatic),
        Some("notify") => Some(Takeover::Notify),
        Some("confirm") => {
            let seconds = after.number(wrong)?;
            let (least, most) = (SHORTEST_WAIT.as_secs(), LONGEST_WAIT.as_secs());
            if !(least..=most).contains(&seconds) {
                return after.expected(&format!("{least} to {most} seconds"), wrong);
            }
            Some(Takeover::Confirm { after_ms: 1_000 * seconds })
        }
        _ => at.expected("`automatic`, `confirm` or `notify`", wrong),
    }
}

/// In milliseconds.
fn cool_down(at: &At<'_>, wrong: &mut Vec<String>) -> Option<u64> {
    if at.value.is_none() {
        return Some(0);
    }
    let seconds = at.number(wrong)?;
    let most = LONGEST_COOL_DOWN.as_secs();
    if seconds > most {
        return at.expected(&format!("0 to {most} seconds"), wrong);
    }
    Some(1_000 * seconds)
}

fn fencing(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Fencing> {
    match at.value {
        None => Some(Fencing::None),
        Some(Value::String(text)) if text == "none" => Some(Fencing::None),
        Some(Value::String(text)) if text == "stop" => Some(Fencing::Stop),
        Some(_) => at.expected("`none` or `stop`", wrong),
    }
}

fn timing(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Timing> {
    match at.value {
        None => return Some(Timing::DEFAULT),
        Some(Value::String(text)) if text == "default" => return Some(Timing::DEFAULT),
        Some(Value::String(text)) if text == "fast" => return Some(Timing::FAST),
        Some(Value::Object(_)) => {}
        Some(_) => return at.expected("`default`, `fast` or a map of durations", wrong),
    }
    let known = [
        "heartbeat_ms",
        "attempt_timeout_ms",
        "validity_ms",
        "fence_ms",
        "hidden_pause_ms",
        "clock_error_ppm",
        "silence_ms",
    ];
    at.object(&known, wrong)?;
    let [heartbeat, attempt, validity, fence, pause, error, silence] =
        known.map(|field| at.field(field).number(wrong));
    let durations = Durations {
        heartbeat_ms: heartbeat?,
        attempt_timeout_ms: attempt?,
        validity_ms: validity?,
        fence_ms: fence?,
        hidden_pause_ms: pause?,
        clock_error_ppm: error?,
        silence_ms: silence?,
    };
    Timing::new(durations).map_err(|error| wrong.push(format!("{}: {error}", at.path))).ok()
}

/// The nodes one by one, or what names them.
fn nodes(root: &At<'_>, wrong: &mut Vec<String>) -> Option<(Vec<DesiredNode>, Option<Roster>)> {
    let (nodes, from) = (root.field("Nodes"), root.field("NodesFrom"));
    let (most, default) = (root.field("MaxNodes"), root.field("Priority"));
    if from.value.is_none() {
        for beside in [most, default] {
            if beside.value.is_some() {
                let _: Option<()> = beside.expected("nothing, as the nodes are named one by one", wrong);
            }
        }
        return Some((nodes.list(wrong).iter().filter_map(|entry| node(entry, wrong)).collect(), None));
    }
    if nodes.value.is_some() {
        return nodes.expected("nothing beside NodesFrom: nodes are named one by one or by a tag", wrong);
    }
    let tag = tag(&from, wrong);
    let most = match most.value {
        None => Some(MOST),
        Some(_) => {
            let found = most.number(wrong);
            let fits = found
                .and_then(|found| u16::try_from(found).ok())
                .filter(|n| (2..=MOST_NODES).contains(&usize::from(*n)));
            fits.or_else(|| most.expected(&format!("2 to {MOST_NODES} nodes"), wrong))
        }
    };
    let priority = priority(&default, wrong);
    let changed = WallTime(0);
    Some((Vec::new(), Some(Roster { tag: tag?, most: most?, priority: priority?, changed })))
}

/// The tag of an Auto Scaling group's instances, or another one.
fn tag(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Tag> {
    at.object(&["AutoScalingGroupName", "Tag"], wrong)?;
    let (group, tag) = (at.field("AutoScalingGroupName"), at.field("Tag"));
    let (path, made) = match (group.value.is_some(), tag.value.is_some()) {
        (true, false) => (&group.path, Tag::of_group(group.text(wrong)?)),
        (false, true) => {
            tag.object(&["Key", "Value"], wrong)?;
            (&tag.path, Tag::new(tag.field("Key").text(wrong)?, tag.field("Value").text(wrong)?))
        }
        _ => return at.expected("either AutoScalingGroupName or Tag", wrong),
    };
    made.map_err(|error| wrong.push(format!("{path}: {error}"))).ok()
}

fn priority(at: &At<'_>, wrong: &mut Vec<String>) -> Option<u16> {
    if at.value.is_none() {
        return Some(PRIORITY);
    }
    let found = at.number(wrong)?;
    let fits = u16::try_from(found).ok().filter(|_| PRIORITIES.contains(&found));
    fits.or_else(|| at.expected("a priority from 1 to 999", wrong))
}

fn node(at: &At<'_>, wrong: &mut Vec<String>) -> Option<DesiredNode> {
    at.object(&["Name", "InstanceId", "Priority"], wrong)?;
    let node = at.field("Name").id(wrong);
    let instance = at.field("InstanceId").id(wrong);
    let priority = priority(&at.field("Priority"), wrong);
    Some(DesiredNode { node: node?, instance: instance?, priority: priority? })
}

/// A value, or the lack of one, and where it stands.
struct At<'a> {
    path: String,
    value: Option<&'a Value>,
}

impl<'a> At<'a> {
    fn field(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        // CloudFormation leaves out what is AWS::NoValue; a null can only come by another hand and says as little.
        let value = self.value.and_then(|value| value.get(name)).filter(|value| !value.is_null());
        At { path, value }
    }

    fn expected<T>(&self, what: &str, wrong: &mut Vec<String>) -> Option<T> {
        let path = if self.path.is_empty() { "ResourceProperties" } else { &self.path };
        let found = self.value.map_or_else(|| "nothing".to_owned(), show);
        wrong.push(format!("{path}: expected {what}, found {found}"));
        None
    }

    fn object(&self, known: &[&str], wrong: &mut Vec<String>) -> Option<&'a Map<String, Value>> {
        let Some(Value::Object(map)) = self.value else { return self.expected("a map", wrong) };
        for (name, _) in map.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let at = self.field(&cut(name));
            wrong.push(format!(
                "{}: expected one of {}, found a property of this name",
                at.path,
                known.join(", ")
            ));
        }
        Some(map)
    }

    fn list(&self, wrong: &mut Vec<String>) -> Vec<Self> {
        let Some(Value::Array(entries)) = self.value else {
            let _: Option<()> = self.expected("a list", wrong);
            return Vec::new();
        };
        if entries.len() > LONGEST_LIST {
            wrong.push(format!(
                "{}: expected at most {LONGEST_LIST} entries, found {}",
                self.path,
                entries.len()
            ));
            return Vec::new();
        }
        let entry = |(number, value)| At { path: format!("{}[{number}]", self.path), value: Some(value) };
        entries.iter().enumerate().map(entry).collect()
    }

    fn optional_list(&self, wrong: &mut Vec<String>) -> Vec<Self> {
        if self.value.is_none() { Vec::new() } else { self.list(wrong) }
    }

    fn text(&self, wrong: &mut Vec<String>) -> Option<&'a str> {
        self.value.and_then(Value::as_str).or_else(|| self.expected("text", wrong))
    }

    fn id<T: TryFrom<String, Error = IdError>>(&self, wrong: &mut Vec<String>) -> Option<T> {
        let Some(Value::String(text)) = self.value else { return self.expected("text", wrong) };
        T::try_from(text.clone()).map_err(|error| wrong.push(format!("{}: {error}", self.path))).ok()
    }

    /// Whether the property is there and true.
    fn truth(&self, wrong: &mut Vec<String>) -> bool {
        match self.value {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(Value::String(text)) if text == "true" => true,
            Some(Value::String(text)) if text == "false" => false,
            Some(_) => self.expected("`true` or `false`", wrong).unwrap_or(false),
        }
    }

    fn number(&self, wrong: &mut Vec<String>) -> Option<u64> {
        let found = match self.value {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        found.or_else(|| self.expected("a whole number", wrong))
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", cut(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests;
