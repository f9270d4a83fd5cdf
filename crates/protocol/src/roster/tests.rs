use std::net::Ipv4Addr;

use super::*;
use crate::choice::{self, InterfaceChoice, SeatChoice};
use crate::ids::InterfaceId;
use crate::tables::{TableChoice, Which};
use crate::testing::{arn, heartbeat, interface, lease};

const NOW: WallTime = WallTime(100_000_000);
const LONG_AGO: WallTime = WallTime(NOW.0 - 3_600_000);

/// Node 1 holds; nodes 1 to 3 are members of a cluster whose nodes are those of a group, and there is room for a fourth.
struct Case {
    lease: Lease,
    seen: Seen,
    heartbeats: BTreeMap<InstanceArn, Heartbeat>,
}

fn id(n: u8) -> InstanceId {
    arn(n).instance_id()
}

fn shown(n: u8) -> Shown {
    let ips = vec![Ipv4Addr::new(10, 0, n, 10), Ipv4Addr::new(10, 0, n, 11)];
    let tags = [(GROUP, "nat"), (CONSENT, "other orders")];
    Shown {
        instance: arn(n),
        state: InstanceState::Other("running".to_owned()),
        zone: format!("euw1-az{n}"),
        vpc: "vpc-1".to_owned(),
        interfaces: vec![on(interface(n), 0, ips)],
        hibernates: false,
        tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

fn on(id: InterfaceId, device_index: i32, private_ips: Vec<Ipv4Addr>) -> Interface {
    Interface { id, device_index, private_ips, tags: BTreeMap::new() }
}

fn beating(n: u8, ago_ms: u64) -> (InstanceArn, Heartbeat) {
    (arn(n), Heartbeat { beat_at: WallTime(NOW.0 - ago_ms), ..heartbeat(&arn(n), 7) })
}

fn case() -> Case {
    let tag = Tag::of_group("nat").expect("valid");
    let roster = Roster { tag, most: 4, priority: 70, changed: LONG_AGO };
    let all: BTreeMap<_, _> = (1..=3).map(|n| (id(n), shown(n))).collect();
    Case {
        lease: Lease { roster: Some(roster), ..lease() },
        seen: Seen { tagged: all.clone(), members: all },
        heartbeats: (1..=3).map(|n| beating(n, 500)).collect(),
    }
}

impl Case {
    /// Node `n` runs with the tag, changed by this.
    fn comes(&mut self, n: u8, change: impl FnOnce(&mut Shown)) {
        let mut shown = shown(n);
        change(&mut shown);
        self.seen.tagged.insert(id(n), shown);
    }

    fn member(&mut self, n: u8, change: impl FnOnce(&mut Shown)) {
        change(self.seen.members.get_mut(&id(n)).expect("a member"));
        self.seen.tagged.remove(&id(n));
    }

    /// Takes the tag of member `n` away.
    fn untag(&mut self, n: u8) {
        self.member(n, |shown| drop(shown.tags.remove(GROUP)));
    }

    fn judge(&self) -> Judgement<'_> {
        let standing = Standing::of(&self.lease).expect("a roster");
        judge(&standing, &self.seen, &self.heartbeats, NOW)
    }

    /// Who stays, who is retired and why, and who joins.
    fn outcome(&self) -> (Vec<InstanceId>, Vec<(InstanceId, Why)>, Vec<InstanceId>) {
        let judgement = self.judge();
        let stay = judgement.stay.iter().map(|member| member.instance.instance_id());
        let retire = judgement.retire.iter().map(|(member, why)| (member.instance.instance_id(), *why));
        let join = judgement.join.iter().map(|shown| shown.instance.instance_id());
        (stay.collect(), retire.collect(), join.collect())
    }
}

fn ids<const N: usize>(numbers: [u8; N]) -> Vec<InstanceId> {
    numbers.map(id).to_vec()
}

#[test]
fn where_everybody_is_as_the_tag_says_nothing_follows() {
    let case = case();
    assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], vec![]));
    assert_eq!(change(&case.lease, &case.judge()), None);
    assert!(!case.judge().hand_over);
}

#[test]
fn an_instance_with_the_tag_joins_by_its_id_with_a_place_for_each_address() {
    let mut case = case();
    case.comes(4, |_| {});
    let change = change(&case.lease, &case.judge()).expect("a change");
    assert_eq!(change.members[..3], case.lease.members);
    let newcomer = &change.members[3];
    assert_eq!((newcomer.node.as_str(), newcomer.priority), ("i-00000004", 70));
    assert_eq!(
        (&newcomer.instance, &*newcomer.zone, &newcomer.interface),
        (&arn(4), "euw1-az4", &interface(4))
    );
    let allocation = &case.lease.resources.addresses[0].allocation;
    let expected = Placement { interface: interface(4), private_ip: Ipv4Addr::new(10, 0, 4, 10) };
    assert_eq!(newcomer.placements, BTreeMap::from([(allocation.clone(), expected)]));
    assert_eq!(change.joined, [Newcomer { node: newcomer.node.clone(), instance: arn(4) }]);
    assert_eq!(change.retired, []);
}

#[test]
fn who_could_not_serve_or_was_never_consented_to_does_not_join_and_is_told_of() {
    type Break = fn(&mut Shown);
    let broken: [(Break, &str); 9] = [
        (|shown| drop(shown.tags.remove(CONSENT)), "baton:cluster"),
        (|shown| drop(shown.tags.insert(CONSENT.to_owned(), "orders-2 xorders".to_owned())), "baton:cluster"),
        (|shown| drop(shown.tags.insert(GROUP.to_owned(), "web".to_owned())), "Auto Scaling group nat"),
        (|shown| shown.state = InstanceState::Other("pending".to_owned()), "run"),
        (|shown| shown.zone.clear(), "zone"),
        (|shown| shown.vpc.clear(), "VPC"),
        (|shown| shown.vpc = "vpc-2".to_owned(), "vpc-1"),
        (|shown| shown.interfaces.clear(), "interface"),
        (|shown| shown.interfaces[0].private_ips.clear(), "private addresses"),
    ];
    for (place, (break_it, why)) in broken.into_iter().enumerate() {
        let mut case = case();
        case.comes(4, break_it);
        assert_eq!(case.outcome().2, [], "{place}");
        let unfit = case.judge().unfit;
        assert!(unfit.len() == 1 && unfit[0].0 == id(4) && unfit[0].1.contains(why), "{place}: {unfit:?}");
    }
}

#[test]
fn an_instance_that_can_hibernate_joins_in_available_mode_only_and_a_member_that_can_stays() {
    for (mode, joins) in [(Mode::Strict, vec![]), (Mode::Available, ids([4]))] {
        let mut case = case();
        case.lease.mode = mode;
        case.comes(4, |shown| shown.hibernates = true);
        for n in 1..=3 {
            case.seen.members.get_mut(&id(n)).expect("a member").hibernates = true;
            case.seen.tagged.get_mut(&id(n)).expect("a member").hibernates = true;
        }
        assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], joins.clone()), "{mode:?}");
        let told = case.judge().unfit;
        let expected = (
            id(4),
            "it was launched so that it can hibernate, which strict mode does not allow; \
             launch instances without hibernation, or choose Mode: available"
                .to_owned(),
        );
        assert_eq!(told, if joins.is_empty() { vec![expected] } else { vec![] }, "{mode:?}");
    }
}

#[test]
fn whose_seat_another_cluster_s_address_may_take_does_not_join() {
    let mut case = case();
    for n in 4..=5 {
        case.comes(n, |_| {});
    }
    let seat = |ip: [u8; 4]| Placement { interface: interface(4), private_ip: ip.into() };
    // The cluster has one address, which goes to the first of an instance's.
    for (ip, joins) in [([10, 0, 4, 10], 5), ([10, 0, 4, 11], 4)] {
        let taken = [seat(ip)].into();
        let standing = Standing { taken: &taken, ..Standing::of(&case.lease).expect("a roster") };
        let judgement = judge(&standing, &case.seen, &case.heartbeats, NOW);
        assert_eq!(judgement.join.iter().map(|shown| &shown.instance).collect::<Vec<_>>(), [&arn(joins)]);
        assert_eq!(judgement.unfit.is_empty(), joins == 4, "{:?}", judgement.unfit);
    }
}

/// Node 4 has a second interface, which carries a tag.
fn with_two_sides() -> Case {
    let mut case = case();
    case.comes(4, |shown| {
        let mut inner = on(interface(9), 1, vec![Ipv4Addr::new(10, 0, 9, 10), Ipv4Addr::new(10, 0, 9, 11)]);
        inner.tags.insert("side".to_owned(), "inner".to_owned());
        shown.interfaces.insert(0, inner);
    });
    case
}

fn inner() -> InterfaceChoice {
    InterfaceChoice::Tag(choice::Tag::new("side", "inner").expect("valid"))
}

#[test]
fn a_newcomer_has_the_places_that_were_chosen_by_device_index_and_by_tag() {
    for chosen in [InterfaceChoice::Device(1), inner()] {
        let mut case = with_two_sides();
        let allocation = case.lease.resources.addresses[0].allocation.clone();
        let choices = &mut case.lease.resources.choices;
        choices.routes = Some(chosen.clone());
        choices.seats.insert(allocation.clone(), SeatChoice { interface: chosen.clone(), private_ip: 1 });
        assert_eq!(Standing::of(&case.lease).expect("a roster").asks_for_tags(), chosen == inner());
        let change = change(&case.lease, &case.judge()).expect("a change");
        let expected = Placement { interface: interface(9), private_ip: Ipv4Addr::new(10, 0, 9, 11) };
        assert_eq!(change.members[3].interface, interface(9));
        assert_eq!(change.members[3].placements, BTreeMap::from([(allocation, expected.clone())]));
        // The seat that counts is that one, and not one of the primary interface.
        let primary = Placement { interface: interface(4), private_ip: Ipv4Addr::new(10, 0, 4, 10) };
        for (seat, joins) in [(expected, 0), (primary, 1)] {
            let taken = [seat].into();
            let standing = Standing { taken: &taken, ..Standing::of(&case.lease).expect("a roster") };
            assert_eq!(judge(&standing, &case.seen, &case.heartbeats, NOW).join.len(), joins);
        }
    }
}

#[test]
fn who_has_not_the_interface_that_was_chosen_does_not_join_by_another() {
    let mut case = with_two_sides();
    case.lease.resources.choices.routes = Some(InterfaceChoice::Device(2));
    assert_eq!(case.outcome().2, []);
    assert_eq!(case.judge().unfit, [(id(4), "it has no interface with device index 2".to_owned())]);
    case.lease.resources.choices.routes = Some(inner());
    let shown = case.seen.tagged.get_mut(&id(4)).expect("there");
    shown.interfaces[1].tags = shown.interfaces[0].tags.clone();
    assert_eq!(case.outcome().2, []);
    assert!(case.judge().unfit[0].1.starts_with("several of its interfaces have the tag side=inner: "));
}

#[test]
fn the_first_node_says_in_which_vpc_described_tables_are_and_the_next_are_of_that_one() {
    let mut case = case();
    let destination = case.lease.resources.routes[0].destination;
    let every = TableChoice { destination, which: Which::Every, from_gateways: false };
    case.lease.resources.choices.tables.push(every);
    case.lease.members.clear();
    case.lease.holder = None;
    let vpc = |case: &Case| change(&case.lease, &case.judge()).and_then(|change| change.vpc);
    assert_eq!(vpc(&case), Some("vpc-1".to_owned()));
    // It is known, and everybody who was there is gone.
    case.lease.resources.choices.vpc = Some("vpc-2".to_owned());
    assert_eq!((case.outcome().2, vpc(&case)), (vec![], None));
    assert!(case.judge().unfit.iter().all(|(_, why)| why == "it is in vpc-1, and the others are in vpc-2"));
    case.lease.resources.choices = Default::default();
    assert_eq!((case.outcome().2.len(), vpc(&case)), (3, None), "no tables are described");
}

#[test]
fn no_more_join_than_there_is_room_for_and_whoever_sits_keeps_its_seat() {
    let mut case = case();
    for n in 4..=6 {
        case.comes(n, |_| {});
    }
    assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], ids([4])));
    case.lease.roster.as_mut().expect("there").most = 2;
    assert_eq!(
        case.outcome(),
        (ids([1, 2, 3]), vec![], vec![]),
        "fewer are asked for, and nobody is retired"
    );
    assert!(!case.lease.has_room());
}

#[test]
fn who_beats_joins_before_others_and_then_who_is_in_a_zone_of_its_own() {
    let mut case = case();
    case.comes(4, |shown| shown.zone = "euw1-az1".to_owned());
    case.comes(5, |_| {});
    case.comes(6, |shown| shown.zone = "euw1-az1".to_owned());
    assert_eq!(case.outcome().2, ids([5]));
    case.heartbeats.extend([beating(6, 60_000)]);
    assert_eq!(case.outcome().2, ids([6]));
    case.heartbeats.extend([beating(6, 60_001)]);
    assert_eq!(case.outcome().2, ids([5]), "that is long ago");
}

#[test]
fn whoever_ec2_calls_terminated_is_retired_and_makes_room() {
    let mut case = case();
    case.lease.roster.as_mut().expect("there").most = 3;
    case.comes(4, |_| {});
    assert_eq!(case.outcome().2, [], "no room");
    case.member(2, |shown| shown.state = InstanceState::Terminated);
    assert_eq!(case.outcome(), (ids([1, 3]), vec![(id(2), Why::Terminated)], ids([4])));
    let change = change(&case.lease, &case.judge()).expect("a change");
    assert_eq!((&*change.retired[0].node.to_string(), &change.retired[0].instance), ("node-b", &arn(2)));
    for state in ["stopped", "shutting-down", "stopping", "pending"] {
        case.member(2, |shown| shown.state = InstanceState::Other(state.to_owned()));
        assert_eq!(case.outcome().1, [], "{state} may change back");
    }
}

#[test]
fn whom_ec2_does_not_show_stays_until_it_has_shown_nobody_terminated_for_so_long() {
    let mut case = case();
    case.member(2, |_| {});
    case.seen.members.remove(&id(2));
    assert_eq!(case.outcome().1, [], "it beats");
    case.heartbeats.extend([beating(2, 3_599_999)]);
    assert_eq!(case.outcome().1, [], "the answer may be a stale one");
    case.heartbeats.extend([beating(2, 3_600_000)]);
    assert_eq!(case.outcome().1, [(id(2), Why::Forgotten)]);
    case.heartbeats.remove(&arn(2));
    assert_eq!(case.outcome().1, [(id(2), Why::Forgotten)], "it has never beaten");
    case.lease.roster.as_mut().expect("there").changed = WallTime(LONG_AGO.0 + 1);
    assert_eq!(case.outcome().1, [], "it may have joined just now");
}

#[test]
fn an_answer_that_shows_nobody_retires_nobody() {
    let mut case = case();
    case.heartbeats.clear();
    case.seen = Seen::default();
    assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], vec![]));
    // Misspelt or renamed: all run, and none carries it.
    case.seen.members = (1..=3).map(|n| (id(n), Shown { tags: BTreeMap::new(), ..shown(n) })).collect();
    assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], vec![]));
}

#[test]
fn a_standby_without_its_tag_is_retired_while_another_beats() {
    for key in [GROUP, CONSENT] {
        let mut case = case();
        case.member(3, |shown| drop(shown.tags.remove(key)));
        assert_eq!(case.outcome(), (ids([1, 2]), vec![(id(3), Why::Untagged)], vec![]), "{key}");
        // The other standby is silent: better one that should go than none.
        case.heartbeats.extend([beating(2, 60_001)]);
        assert_eq!(case.outcome().1, [], "{key}");
        // It does not answer either, so that nobody is lost with it.
        case.heartbeats.remove(&arn(3));
        assert_eq!(case.outcome().1, [(id(3), Why::Untagged)], "{key}");
    }
}

#[test]
fn one_that_is_to_go_makes_room_for_a_newcomer_that_beats() {
    let mut case = case();
    case.lease.roster.as_mut().expect("there").most = 3;
    for n in [2, 3] {
        case.untag(n);
    }
    case.comes(4, |_| {});
    assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], vec![]), "nobody else beats");
    case.heartbeats.extend([beating(4, 0)]);
    assert_eq!(case.outcome(), (ids([1]), vec![(id(2), Why::Untagged), (id(3), Why::Untagged)], ids([4])));
}

#[test]
fn the_holder_is_never_retired_while_it_holds() {
    let mut terminated = case();
    terminated.member(1, |shown| shown.state = InstanceState::Terminated);
    let mut forgotten = case();
    forgotten.member(1, |_| {});
    forgotten.seen.members.remove(&id(1));
    forgotten.heartbeats.remove(&arn(1));
    let mut untagged = case();
    untagged.untag(1);
    for (name, mut case) in [("terminated", terminated), ("forgotten", forgotten), ("untagged", untagged)] {
        assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], vec![]), "{name}");
        assert_eq!(case.judge().hand_over, name == "untagged", "{name}");
        case.lease.holder = Some(arn(2));
        assert_eq!(case.outcome().1.len(), 1, "{name}: another holds");
    }
}

#[test]
fn a_holder_that_is_gone_takes_no_newcomer_s_seat() {
    let mut case = case();
    case.lease.roster.as_mut().expect("there").most = 3;
    case.comes(4, |_| {});
    case.untag(1);
    assert_eq!(case.outcome().2, [], "it may serve for long");
    case.member(1, |shown| shown.state = InstanceState::Terminated);
    assert_eq!(case.outcome(), (ids([1, 2, 3]), vec![], ids([4])));
}

#[test]
fn a_holder_without_its_tag_is_asked_to_hand_over_once_another_beats() {
    let mut case = case();
    case.untag(1);
    case.heartbeats = BTreeMap::from([beating(1, 0)]);
    assert!(!case.judge().hand_over);
    case.comes(4, |_| {});
    case.heartbeats.extend([beating(4, 0)]);
    assert!(case.judge().hand_over);
}

#[test]
fn the_first_nodes_of_a_cluster_join_at_once_and_are_of_one_vpc() {
    let mut case = case();
    (case.lease.members, case.lease.holder) = (Vec::new(), None);
    (case.seen, case.heartbeats) = (Seen::default(), BTreeMap::new());
    assert_eq!(case.outcome(), (vec![], vec![], vec![]));
    case.comes(4, |_| {});
    case.comes(5, |shown| shown.vpc = "vpc-2".to_owned());
    case.comes(6, |_| {});
    assert_eq!(case.outcome(), (vec![], vec![], ids([4, 6])));
}

#[test]
fn a_tag_is_exactly_what_carries_it() {
    for (key, value) in
        [("role", "nat"), ("a b", "x=y/z@+:"), (&*"k".repeat(128), &*"v".repeat(256)), ("é", "ü")]
    {
        let tag = Tag::new(key, value).expect("valid");
        let stored = serde_json::to_string(&tag).expect("can be written");
        assert_eq!(serde_json::from_str::<Tag>(&stored).expect("can be read"), tag);
    }
    let long = ["k".repeat(129), "v".repeat(257)];
    for (key, value) in [
        ("", "x"),
        ("x", ""),
        ("x", "*"),
        ("x?", "y"),
        ("x", "a\\b"),
        ("x", "a\nb"),
        (&*long[0], "x"),
        ("x", &*long[1]),
    ] {
        assert!(Tag::new(key, value).is_err(), "{key:.9} {value:.9}");
    }
    assert!(serde_json::from_str::<Tag>(r#"{"key": "x", "value": "*"}"#).is_err());
    assert_eq!(
        (Tag::of_group("nat").expect("valid").group(), Tag::new("a", "b").expect("valid").group()),
        (Some("nat"), None)
    );
}

#[test]
fn a_lease_without_a_roster_is_written_and_read_as_before() {
    let text = serde_json::to_string(&lease()).expect("can be written");
    assert!(!text.contains("roster"));
    assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read").roster, None);
    let case = case();
    let text = serde_json::to_string(&case.lease).expect("can be written");
    assert_eq!(serde_json::from_str::<Lease>(&text).expect("can be read"), case.lease);
}
