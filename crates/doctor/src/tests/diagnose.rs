//! The diagnosis of a registered cluster, each check broken by itself.

mod caution;
mod doubt;
mod way;

use std::time::Duration;

use baton_protocol::heartbeat::{Health, Heartbeat};
use baton_protocol::ids::{Epoch, InstanceArn, RegistrationUid, Seq};
use baton_protocol::lease::{Lease, LeaseState, Member, Mode};
use baton_protocol::probe::{Obstacle, Probe};
use baton_protocol::resource::{Address, Resources};
use baton_protocol::time::WallTime;
use baton_protocol::timing::Timing;

use super::*;
use crate::policy::Policy;
use crate::survey::*;

/// The account of the nodes.
const OWN: &str = "123456789012";
const NOW: WallTime = WallTime(1_800_000_000_000);

fn arn(n: usize) -> InstanceArn {
    let text = format!("arn:aws:ec2:eu-west-1:123456789012:instance/{}", instance(n));
    InstanceArn::new(text).expect("valid")
}

fn member(n: usize) -> Member {
    Member {
        node: node(n).node,
        instance: arn(n),
        zone: format!("euw1-az{n}"),
        interface: interface(n),
        placements: BTreeMap::from([(allocation(1), seat(n, 0)), (allocation(2), seat(n, 1))]),
        priority: 10,
    }
}

fn lease() -> Lease {
    let address = |n| Address { allocation: allocation(n), public_ip: Ipv4Addr::new(198, 51, 100, n as u8) };
    Lease {
        cluster: ClusterName::new("orders").expect("valid"),
        uid: RegistrationUid::new("u-1").expect("valid"),
        state: LeaseState::Active,
        epoch: Epoch(7),
        holder: Some(arn(1)),
        mode: Mode::Strict,
        rules: 0,
        takeover: Default::default(),
        cool_down_ms: 0,
        fencing: Default::default(),
        failback: Default::default(),
        timing: Timing::DEFAULT,
        members: vec![member(1), member(2)],
        roster: None,
        resources: Resources {
            addresses: vec![address(1), address(2)],
            routes: vec![route(1)],
            ..Resources::default()
        },
        intent: None,
        paused: None,
        excluded: None,
        fence: None,
        restore: None,
        moved: Epoch(7),
        verify_at: None,
        rotated: BTreeMap::new(),
        observed: Default::default(),
        last_grant: None,
        recent_grants: Vec::new(),
        revision: 1,
        schema: 1,
    }
}

fn heartbeat(n: usize, seq: u64, beat_at: WallTime) -> Heartbeat {
    Heartbeat {
        cluster: lease().cluster,
        instance: arn(n),
        incarnation: baton_protocol::ids::Incarnation::new("run").expect("valid"),
        seq: Seq(seq),
        boot_id: "boot".to_owned(),
        health: Health::Ok,
        healthy_since: None,
        released: Epoch(0),
        claim: None,
        serving_epoch: (n == 1).then_some(Epoch(7)),
        serving_since: None,
        ahead: None,
        findings: None,
        validity_ms: 4_000,
        seen: Vec::new(),
        beat_at,
        agent_version: "0.1.0".to_owned(),
        schema: 1,
    }
}

fn rule(peer: &str) -> Rule {
    Rule { protocol: "-1".to_owned(), from: -1, to: -1, peer: peer.to_owned() }
}

fn entry(number: i32, egress: bool, allow: bool, ports: Option<(i32, i32)>) -> AclEntry {
    let (protocol, network) = (if ports.is_some() { "6" } else { "-1" }, "0.0.0.0/0");
    AclEntry { number, egress, allow, protocol: protocol.to_owned(), ports, network: network.to_owned() }
}

fn survey() -> Survey {
    let detail = InstanceDetail {
        state: "running".to_owned(),
        metadata: true,
        token_required: true,
        auto_recovery: false,
        hibernation: false,
        tagged: true,
    };
    let attached = |n: usize| InterfaceDetail {
        instance: Some(instance(n)),
        device_index: Some(0),
        subnet: format!("subnet-{n}"),
        groups: vec!["sg-1".to_owned()],
        source_dest_check: false,
        tagged: true,
    };
    let subnet = |n: usize| SubnetDetail {
        id: format!("subnet-{n}"),
        zone: format!("euw1-az{n}"),
        network: format!("10.0.{n}.0/24"),
        owner: OWN.to_owned(),
    };
    let both = || (1..=2).map(|n| format!("subnet-{n}")).collect::<BTreeSet<_>>();
    let main = TableDetail { id: "rtb-main".to_owned(), main: true, tagged: true, ..TableDetail::default() };
    let own =
        TableDetail { id: table(1).to_string(), subnets: both(), tagged: true, ..TableDetail::default() };
    let everything = [entry(100, true, true, None), entry(100, false, true, None)];
    let endpoint = EndpointDetail {
        id: "vpce-1".to_owned(),
        service: "com.amazonaws.eu-west-1.dynamodb".to_owned(),
        gateway: true,
        state: "available".to_owned(),
        tables: [table(1).to_string()].into(),
        groups: Vec::new(),
        private_dns: false,
        policy: Seen::Known(Policy::everything()),
    };
    let group = GroupDetail { ingress: [rule("sg-1")].into(), egress: [rule("0.0.0.0/0")].into() };
    Survey {
        instances: Seen::Known((1..=2).map(|n| (instance(n), detail.clone())).collect()),
        statuses: Seen::Known((1..=2).map(|n| (instance(n), StatusDetail::default())).collect()),
        profiles: Seen::Known((1..=2).map(|n| (instance(n), "arn:profile".to_owned())).collect()),
        interfaces: Seen::Known((1..=2).map(|n| (interface(n), attached(n))).collect()),
        vpc: Seen::Known(VpcDetail {
            id: "vpc-1".to_owned(),
            state: "available".to_owned(),
            network: "10.0.0.0/16".to_owned(),
            owner: OWN.to_owned(),
        }),
        table_list: Seen::Known(Some("pl-0table".to_owned())),
        subnets: Seen::Known((1..=2).map(subnet).collect()),
        zones: Seen::Known((1..=3).map(|n| format!("euw1-az{n}")).collect()),
        tables: Seen::Known(vec![main, own]),
        groups: Seen::Known(BTreeMap::from([("sg-1".to_owned(), group)])),
        acls: Seen::Known(vec![AclDetail {
            default: true,
            id: "acl-1".to_owned(),
            subnets: both(),
            entries: everything.into(),
        }]),
        endpoints: Seen::Known(vec![endpoint]),
        addresses: Seen::Known((1..=2).map(|n| (allocation(n), AddressDetail { tagged: true })).collect()),
        address_quota: Seen::Known(5),
        alarms: Seen::Known(Vec::new()),
        without_token: Seen::Known(
            (1..=2).map(|n| (instance(n), TokenUse { calls: 0, untold: 0 })).collect(),
        ),
        trails: Seen::Known(vec![TrailDetail { name: "baton".to_owned(), logging: true, changes: true }]),
    }
}

/// A cluster of two nodes in an account that leaves nothing to be found.
fn case() -> Case {
    let mut world = world();
    edit(&mut world.addresses).insert(allocation(1), at(Some(seat(1, 0))));
    edit(&mut world.addresses).insert(allocation(2), at(Some(seat(1, 1))));
    let beats = |seq, at| (1..=2).map(|n| (arn(n), heartbeat(n, seq, at))).collect();
    let lease = lease();
    let probe = Probe { at: NOW, uid: lease.uid.clone(), revision: lease.revision, obstacles: Vec::new() };
    Case {
        record: Record {
            region: "eu-west-1".to_owned(),
            table: "baton".to_owned(),
            lease,
            before: beats(100, NOW),
            before_at: NOW,
            heartbeats: beats(101, WallTime(NOW.0 + 500)),
            at: WallTime(NOW.0 + 1_000),
            probe: Seen::Known(Some(probe)),
        },
        world,
        survey: survey(),
    }
}

/// What is found where this is broken, with the changes that would mend it.
fn seen_of(break_it: impl FnOnce(&mut Case)) -> Vec<(String, Severity, Vec<String>)> {
    let mut case = case();
    break_it(&mut case);
    let found = diagnose(&case).into_iter();
    found
        .map(|found| (found.id, found.severity, found.changes.iter().map(ToString::to_string).collect()))
        .collect()
}

/// The one thing that is found where this is broken: its name, its weight, and what each change begins with.
fn one(break_it: impl FnOnce(&mut Case), id: &str, severity: Severity, changes: &[&str]) {
    let found = seen_of(break_it);
    let [(found_id, found_severity, found_changes)] = &found[..] else { panic!("{id}: {found:?}") };
    assert_eq!((found_id.as_str(), *found_severity), (id, severity));
    assert_eq!(found_changes.len(), changes.len(), "{id}: {found_changes:?}");
    for (found, expected) in found_changes.iter().zip(changes) {
        assert!(found.starts_with(expected), "{id}: {found}");
    }
}

fn first(case: &mut Case) -> &mut InstanceDetail {
    edit(&mut case.survey.instances).get_mut(&instance(1)).expect("there")
}

fn at_first(case: &mut Case) -> &mut InterfaceDetail {
    edit(&mut case.survey.interfaces).get_mut(&interface(1)).expect("there")
}

/// What leads to the second node leads to its second interface, which this is; its first is in the same network.
fn another_first(case: &mut Case) -> &mut InterfaceDetail {
    let interfaces = edit(&mut case.survey.interfaces);
    let first = interfaces[&interface(2)].clone();
    interfaces.insert(interface(20), first);
    let second = interfaces.get_mut(&interface(2)).expect("there");
    second.device_index = Some(1);
    second
}

#[test]
fn a_cluster_in_order_is_clean_and_every_row_is_met_or_not_needed() {
    let case = case();
    let found = diagnose(&case);
    assert_eq!(found, []);
    assert!(is_clean(&found));
    for standing in standings(&case, &found) {
        let expected = if standing.row.not_needed().is_some() { Verdict::NotNeeded } else { Verdict::Met };
        assert_eq!(standing.verdict, expected, "{}", standing.row);
    }
}

#[test]
fn a_cluster_without_addresses_or_without_routes_needs_no_row_about_them() {
    let mut case = case();
    case.record.lease.resources = Resources::default();
    case.world.wanted.addresses.clear();
    let found = diagnose(&case);
    let not_needed: Vec<Row> = standings(&case, &found)
        .into_iter()
        .filter(|standing| standing.verdict == Verdict::NotNeeded && standing.row.not_needed().is_none())
        .map(|standing| standing.row)
        .collect();
    assert_eq!(not_needed, [Row::R4, Row::R8, Row::R16, Row::R17, Row::X1, Row::X4]);
}

#[test]
fn what_is_wrong_with_an_instance_is_found_and_mended() {
    use Severity::{Violation, Warning};
    one(
        |c| first(c).state = "stopped".to_owned(),
        "instance-running",
        Violation,
        &["aws ec2 start-instances"],
    );
    one(|c| first(c).state = "stopping".to_owned(), "instance-running", Violation, &[]);
    one(
        |c| first(c).metadata = false,
        "metadata-served",
        Violation,
        &["aws ec2 modify-instance-metadata-options"],
    );
    let require = "aws ec2 modify-instance-metadata-options --instance-id i-00000001 --http-tokens required";
    one(|c| first(c).token_required = false, "metadata-token", Warning, &[require]);
    one(
        |c| {
            first(c).token_required = false;
            edit(&mut c.survey.without_token).insert(instance(1), TokenUse { calls: 1, untold: 0 });
        },
        "metadata-token",
        Warning,
        &[],
    );
    one(
        |c| first(c).auto_recovery = true,
        "auto-recovery",
        Warning,
        &["aws ec2 modify-instance-maintenance-options --instance-id i-00000001 --auto-recovery disabled"],
    );
    one(|c| first(c).hibernation = true, "hibernation", Warning, &[]);
    one(
        |c| first(c).tagged = false,
        "consent-tag",
        Violation,
        &["aws ec2 create-tags --resources i-00000001"],
    );
    one(
        |c| edit(&mut c.survey.statuses).entry(instance(1)).or_default().failing.push("x".to_owned()),
        "status-checks",
        Warning,
        &[],
    );
    one(
        |c| drop(edit(&mut c.survey.profiles).remove(&instance(1))),
        "node-role",
        Violation,
        &["aws ec2 associate-iam-instance-profile"],
    );
    one(|c| edit(&mut c.survey.alarms).push(alarm(1)), "alarm-action", Warning, &["aws cloudwatch disable"]);
    assert_eq!(seen_of(|c| edit(&mut c.survey.alarms).push(alarm(9))), [], "of another instance");
}

fn alarm(n: usize) -> AlarmDetail {
    let actions = vec!["arn:aws:automate:eu-west-1:ec2:recover".to_owned()];
    AlarmDetail { name: "a".to_owned(), instance: instance(n), actions }
}

#[test]
fn what_is_wrong_with_the_network_is_found_and_mended() {
    use Severity::{Violation, Warning};
    one(|c| edit(&mut c.survey.vpc).state = "pending".to_owned(), "vpc-available", Violation, &[]);
    one(
        |c| edit(&mut c.survey.subnets).iter_mut().for_each(|subnet| subnet.zone = "euw1-az1".to_owned()),
        "subnet-zones",
        Violation,
        &["aws ec2 create-subnet --vpc-id vpc-1 --availability-zone-id euw1-az2 --cidr-block 10.0.0.0/24"],
    );
    one(
        |c| {
            edit(&mut c.survey.tables)[1].subnets.remove("subnet-2");
            edit(&mut c.survey.endpoints)[0].tables.insert("rtb-main".to_owned());
        },
        "subnet-table",
        Warning,
        &["aws ec2 associate-route-table --subnet-id subnet-2 --route-table-id rtb-main"],
    );
    one(
        |c| another_first(c).instance = None,
        "interface-attached",
        Violation,
        &["aws ec2 attach-network-interface --network-interface-id eni-00000002 --instance-id i-00000002"],
    );
    one(|c| another_first(c).instance = Some(instance(9)), "interface-attached", Violation, &[]);
    one(
        |c| at_first(c).source_dest_check = true,
        "source-dest-check",
        Violation,
        &["aws ec2 modify-network-interface-attribute"],
    );
    let standby = |c: &mut Case| {
        edit(&mut c.survey.interfaces).get_mut(&interface(2)).expect("there").source_dest_check = true;
    };
    assert_eq!(seen_of(standby), [], "the arbiter turns a standby's check off before it leads a route there");
    one(
        |c| {
            let more = GroupDetail { ingress: [rule("10.9.0.0/16")].into(), ..GroupDetail::default() };
            edit(&mut c.survey.groups).insert("sg-2".to_owned(), more);
            at_first(c).groups.push("sg-2".to_owned());
        },
        "group-parity",
        Warning,
        &["aws ec2 authorize-security-group-ingress --group-id sg-1"],
    );
}

#[test]
fn the_way_to_the_table_is_an_endpoint_and_port_443_is_open() {
    use Severity::{Violation, Warning};
    let create = "aws ec2 create-vpc-endpoint --vpc-endpoint-type Gateway --vpc-id vpc-1 --service-name \
                  com.amazonaws.eu-west-1.dynamodb --route-table-ids rtb-00000001";
    one(|c| edit(&mut c.survey.endpoints).clear(), "way-to-table", Violation, &[create]);
    one(
        |c| {
            edit(&mut c.survey.endpoints).clear();
            edit(&mut c.survey.tables)[1].default = Some("igw-1".to_owned());
        },
        "table-endpoint",
        Warning,
        &[create],
    );
    let extend = "aws ec2 modify-vpc-endpoint --vpc-endpoint-id vpce-1 --add-route-table-ids rtb-00000001";
    one(|c| edit(&mut c.survey.endpoints)[0].tables.clear(), "way-to-table", Violation, &[extend]);
    let by_interface = |c: &mut Case| {
        let endpoint = &mut edit(&mut c.survey.endpoints)[0];
        (endpoint.gateway, endpoint.private_dns) = (false, true);
    };
    assert_eq!(seen_of(by_interface), [], "an interface endpoint");
    let out = |peer: Option<&str>| {
        let egress: BTreeSet<Rule> = peer.map(rule).into_iter().collect();
        move |c: &mut Case| edit(&mut c.survey.groups).get_mut("sg-1").expect("there").egress = egress
    };
    let allow = "aws ec2 authorize-security-group-egress --group-id sg-1";
    one(out(None), "port-443-group", Violation, &[allow]);
    one(out(Some("10.0.0.0/8")), "port-443-group", Warning, &[allow]);
    assert_eq!(seen_of(out(Some("pl-0table"))), [], "a prefix list is how an endpoint is named");
    one(out(Some("pl-1")), "port-443-group", Warning, &[allow]);
    let acl =
        |entries: Vec<AclEntry>| move |c: &mut Case| edit(&mut c.survey.acls)[0].entries.extend(entries);
    one(
        acl(vec![entry(50, true, false, Some((1, 1_000)))]),
        "port-443-acl",
        Violation,
        &["aws ec2 create-network-acl-entry --network-acl-id acl-1 --rule-number 49 --egress"],
    );
    one(
        acl(vec![entry(1, false, false, None)]),
        "port-443-acl",
        Violation,
        // Nothing comes before the first.
        &[],
    );
    let passed = acl(vec![entry(40, true, true, Some((443, 443))), entry(50, true, false, Some((1, 1_000)))]);
    assert_eq!(seen_of(passed), [], "the first entry that fits decides");
}

#[test]
fn what_is_wrong_with_what_is_moved_is_found_and_the_arbiter_woken_for_what_is_its() {
    use Severity::{Violation, Warning};
    let wake = "baton doctor orders --fix, which wakes the arbiter";
    one(
        |c| edit(&mut c.world.tables).get_mut(&table(1)).expect("there").truncate(1),
        "route-at-holder",
        Violation,
        &[wake],
    );
    let astray = |c: &mut Case| {
        let routes = edit(&mut c.world.tables).get_mut(&table(1)).expect("there");
        routes[1].target = RouteTarget::Interface(interface(2));
    };
    one(astray, "route-at-holder", Violation, &[wake]);
    let under_way = |c: &mut Case| {
        astray(c);
        c.record.lease.moved = Epoch(6);
    };
    assert_eq!(seen_of(under_way), [], "a move that is under way is no drift");
    one(swapped_to_the_other, "route-at-holder", Violation, &[wake]);
    one(
        |c| drop(edit(&mut c.world.addresses).insert(allocation(2), at(None))),
        "address-at-holder",
        Violation,
        &[wake],
    );
    one(
        |c| edit(&mut c.survey.addresses).retain(|id, _| *id != allocation(2)),
        "address-allocated",
        Violation,
        &["aws ec2 allocate-address"],
    );
    one(|c| c.survey.address_quota = Seen::Known(2), "address-quota", Warning, &[]);
    one(|c| edit(&mut c.survey.trails)[0].logging = false, "trail", Warning, &[]);
    let obstacle = |resource: &str| {
        let obstacle = Obstacle { node: None, resource: resource.to_owned(), why: "denied".to_owned() };
        move |c: &mut Case| {
            let Some(probe) = edit(&mut c.record.probe) else { panic!("there is one") };
            probe.obstacles.push(obstacle);
        }
    };
    one(obstacle("eipalloc-00000001"), "addresses-permitted", Violation, &[]);
    one(obstacle("192.0.2.10/32 in rtb-00000001"), "routes-permitted", Violation, &[]);
    one(|c| c.record.lease.state = LeaseState::Retired, "lease-active", Violation, &[]);
}

/// A subnet with a table for each node is associated with the standby's.
fn swapped_to_the_other(case: &mut Case) {
    let subnet = baton_protocol::ids::SubnetId::new("subnet-00000001").expect("valid");
    let tables = (1..=2).map(|n| (node(n).node, table(n + 4))).collect();
    case.record.lease.resources.subnets =
        vec![baton_protocol::resource::SubnetTables { subnet: subnet.clone(), tables }];
    let facts = SubnetFacts { vpc: "vpc-1".to_owned(), tagged: true, table: Some(table(6)) };
    edit(&mut case.world.subnets).subnets.insert(subnet, facts);
}

#[test]
fn what_nodes_write_tells_of_their_agents_clocks_and_service() {
    use Severity::{Violation, Warning};
    let beat =
        |c: &mut Case, how: fn(&mut Heartbeat)| how(c.record.heartbeats.get_mut(&arn(2)).expect("there"));
    one(|c| drop(c.record.heartbeats.remove(&arn(2))), "agent-writes", Violation, &[]);
    one(|c| beat(c, |b| b.agent_version = "0.0.9".to_owned()), "agent-version", Warning, &[]);
    one(|c| beat(c, |b| b.serving_epoch = Some(Epoch(6))), "holder-serves", Violation, &[]);
    one(
        |c| c.record.heartbeats.get_mut(&arn(1)).expect("there").serving_epoch = None,
        "holder-serves",
        Warning,
        &[],
    );
    one(|c| beat(c, |b| b.beat_at = WallTime(NOW.0 + 5_000)), "clock", Warning, &[]);
    one(|c| beat(c, |b| b.beat_at = WallTime(NOW.0 - 5_000)), "clock", Warning, &[]);
    let silent = |c: &mut Case| {
        let old = heartbeat(2, 100, WallTime(NOW.0 - 60_000));
        c.record.before.insert(arn(2), old.clone());
        c.record.heartbeats.insert(arn(2), old);
    };
    one(silent, "table-reached", Violation, &[]);
    let down = |c: &mut Case| {
        silent(c);
        edit(&mut c.survey.instances).get_mut(&instance(2)).expect("there").state = "stopped".to_owned();
    };
    one(down, "instance-running", Violation, &["aws ec2 start-instances"]);
    // One that beat a moment ago and not since: its clock is not known, and that is said.
    one(|c| beat(c, |b| b.seq = Seq(100)), "readable", Severity::Unknown, &[]);
}

#[test]
fn what_could_not_be_read_is_unknown_by_name_and_never_met() {
    let denied = || "ec2:DescribeSecurityGroups is denied".to_owned();
    let mut broken = case();
    broken.survey.groups = Seen::Unknown(denied());
    let found = diagnose(&broken);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what.contains(&denied()), "{}", found[0].what);
    assert!(!is_clean(&found));
    let unknown: Vec<Row> = standings(&broken, &found)
        .into_iter()
        .filter(|standing| standing.verdict == Verdict::Unknown)
        .map(|standing| standing.row)
        .collect();
    assert_eq!(unknown, [Row::R12, Row::X6]);
    let mut stale = case();
    let Some(probe) = edit(&mut stale.record.probe) else { panic!("there is one") };
    probe.at = WallTime(NOW.0 - Duration::from_secs(4 * 3_600).as_millis() as u64);
    let found = diagnose(&stale);
    assert_eq!((found[0].severity, found[0].rows.clone()), (Severity::Unknown, vec![Row::R16, Row::R17]));
}

#[test]
fn with_nothing_readable_no_row_is_met_that_rests_on_it() {
    let mut blind = case();
    let survey = &mut blind.survey;
    fn hide<T>(seen: &mut Seen<T>) {
        *seen = Seen::Unknown("denied".to_owned());
    }
    hide(&mut survey.instances);
    hide(&mut survey.statuses);
    hide(&mut survey.profiles);
    hide(&mut survey.interfaces);
    hide(&mut survey.vpc);
    hide(&mut survey.subnets);
    hide(&mut survey.zones);
    hide(&mut survey.tables);
    hide(&mut survey.groups);
    hide(&mut survey.acls);
    hide(&mut survey.endpoints);
    hide(&mut survey.addresses);
    hide(&mut survey.address_quota);
    hide(&mut survey.alarms);
    hide(&mut survey.without_token);
    hide(&mut survey.trails);
    hide(&mut blind.record.probe);
    hide(&mut blind.world.instances);
    hide(&mut blind.world.tables);
    hide(&mut blind.world.addresses);
    hide(&mut blind.world.networks);
    let found = diagnose(&blind);
    let met: Vec<Row> = standings(&blind, &found)
        .into_iter()
        .filter(|standing| standing.verdict == Verdict::Met)
        .map(|standing| standing.row)
        .collect();
    // What the record says is still known.
    assert_eq!(met, [Row::R9, Row::R20, Row::R24, Row::X2, Row::B4]);
}
