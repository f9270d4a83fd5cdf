//! Whatever happens, in whatever order: the onlooker of the rig checks each command. The driver of this test is the worst
//! that is allowed: it answers late and out of order, looks at the timer when it likes, and everything may be lost.

use proptest::prelude::*;

use super::super::*;
use super::rig::{Fate, Kind, Rig, at};
use crate::lease::{Intent, LeaseState, Mode, Pause};
use crate::testing::{arn, incarnation};
use crate::timing::Durations;

#[derive(Debug, Clone)]
enum Event {
    /// Time passes; whether the timer is looked at afterwards.
    Pass(u16, bool),
    /// One open command is answered.
    Answer(u8, Fate),
    /// All that is open is answered well, as in a quiet second.
    Quiet,
    Grant(u8),
    Retire,
    Register,
    Vacate,
    Intend(u8),
    Pause(bool),
    Timing(bool),
    Mode(bool),
    Health(Health),
    PeerBeats(u8),
    PeerReleases,
    Fenced,
    Usurp,
    Shutdown(bool),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        12 => Just(Fate::Done),
        2 => Just(Fate::LostAnswer),
        2 => Just(Fate::LostRequest),
        1 => Just(Fate::Throttled),
        1 => Just(Fate::Denied),
        1 => Just(Fate::Fails),
    ];
    let health = prop_oneof![Just(Health::Ok), Just(Health::Bad), Just(Health::Unknown)];
    prop_oneof![
        40 => (0u16..2_500, prop::bool::weighted(0.8)).prop_map(|(ms, timer)| Event::Pass(ms, timer)),
        80 => (any::<u8>(), fate).prop_map(|(which, fate)| Event::Answer(which, fate)),
        10 => Just(Event::Quiet),
        6 => (1u8..=3).prop_map(Event::Grant),
        1 => Just(Event::Retire),
        1 => Just(Event::Register),
        1 => Just(Event::Vacate),
        3 => (1u8..=3).prop_map(Event::Intend),
        1 => any::<bool>().prop_map(Event::Pause),
        2 => any::<bool>().prop_map(Event::Timing),
        2 => any::<bool>().prop_map(Event::Mode),
        4 => health.prop_map(Event::Health),
        10 => (2u8..=3).prop_map(Event::PeerBeats),
        1 => Just(Event::PeerReleases),
        2 => Just(Event::Fenced),
        1 => Just(Event::Usurp),
        1 => any::<bool>().prop_map(Event::Shutdown),
        2 => Just(Event::Restart),
    ]
}

const ALL: [Kind; 8] = [
    Kind::Own,
    Kind::Announce,
    Kind::Beat,
    Kind::Lease,
    Kind::Heartbeats,
    Kind::Release,
    Kind::Promote,
    Kind::Demote,
];

/// The wish that node `to` hold next; anybody, where that is the node itself.
fn intent(epoch: Epoch, to: u8, until: WallTime) -> Intent {
    let to = Some(arn(to)).filter(|to| *to != arn(1));
    Intent { to, reason: "x".to_owned(), epoch, until, request: None, failover: false, asked: None }
}

fn apply(rig: &mut Rig, event: Event) {
    let now = rig.now;
    match event {
        Event::Pass(ms, timer) => {
            rig.freeze_to(rig.ms() + u64::from(ms));
            if timer {
                rig.node.handle_timer(rig.now);
            }
        }
        Event::Answer(which, fate) if !rig.open.is_empty() => {
            let which = usize::from(which) % rig.open.len();
            rig.answer_at(which, fate);
        }
        Event::Answer(..) => {}
        Event::Quiet => {
            rig.held.clear();
            rig.run_to(rig.ms() + 1_500);
            rig.hold(&ALL);
        }
        Event::Grant(to) => rig.grant(to),
        Event::Retire => rig.lease_mut().state = LeaseState::Retired,
        Event::Register if rig.lease_mut().state == LeaseState::Retired => {
            rig.lease_mut().state = LeaseState::Active;
            rig.lease_mut().epoch = rig.lease_mut().epoch.next();
        }
        Event::Register => {}
        Event::Vacate => {
            rig.grant(1);
            rig.lease_mut().holder = None;
        }
        Event::Intend(to) => {
            let until = now.wall + std::time::Duration::from_secs(20);
            rig.lease_mut().intent = Some(intent(rig.lease_mut().epoch, to, until));
        }
        Event::Pause(paused) => {
            let until = now.wall + std::time::Duration::from_secs(5);
            let pause = Pause { until, by: "op".to_owned(), why: "x".to_owned() };
            rig.lease_mut().paused = paused.then_some(pause);
        }
        Event::Timing(long) => {
            let durations = Timing::DEFAULT.durations();
            let long_one = Durations { validity_ms: 10_000, silence_ms: 14_000, ..durations };
            rig.lease_mut().timing =
                if long { Timing::new(long_one).expect("a timing") } else { Timing::FAST };
        }
        Event::Mode(strict) => rig.lease_mut().mode = if strict { Mode::Strict } else { Mode::Available },
        Event::Health(health) => rig.node.handle_health(now, health),
        Event::PeerBeats(n) => rig.peer_beats(n),
        Event::PeerReleases => {
            let epoch = rig.lease_mut().epoch;
            rig.peers.get_mut(&arn(2)).expect("a peer").released = epoch;
        }
        Event::Fenced => rig.node.handle_fenced(now),
        Event::Usurp => {
            if let Some(own) = rig.own.as_mut() {
                own.incarnation = incarnation(9);
            }
        }
        Event::Shutdown(stay) => {
            rig.node.handle_shutdown(now, if stay { Shutdown::Stay } else { Shutdown::Handover });
        }
        Event::Restart => restart(rig),
    }
}

/// The agent dies and its next run starts from what was kept. A hook that ran is dead, and so is every answer.
fn restart(rig: &mut Rig) {
    rig.take();
    let kept = rig.log.iter().any(|(_, command)| matches!(command, Command::Persist(_)));
    let earlier = kept.then(|| rig.left());
    let mut next = Rig::restarted(earlier, rig.ms());
    next.lease = rig.lease.take();
    next.peers = std::mem::take(&mut rig.peers);
    next.own = rig.own.take().map(|mut own| {
        own.incarnation = incarnation(7);
        own
    });
    next.hold(&ALL);
    *rig = next;
}

/// How many times the hooks are asked for, and in which order, is checked by the onlooker at each command.
fn run(events: Vec<Event>) -> Rig {
    let mut rig = Rig::booted();
    rig.hold(&ALL);
    rig.node.handle_health(rig.now, Health::Ok);
    rig.node.handle_timer(rig.now);
    rig.take();
    for event in events {
        apply(&mut rig, event);
        rig.take();
        rig.check();
    }
    rig
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_breaks_a_rule(events in prop::collection::vec(event(), 1..160)) {
        run(events);
    }

    #[test]
    fn once_faults_stop_a_holder_serves_or_has_sworn_not_to(events in prop::collection::vec(event(), 1..120)) {
        let mut rig = run(events);
        rig.held.clear();
        rig.fate.clear();
        rig.lease_mut().state = LeaseState::Active;
        rig.lease_mut().paused = None;
        rig.node.handle_health(rig.now, Health::Ok);
        let quiet = rig.ms() + 40_000;
        rig.run_to(quiet);
        if rig.node.exited {
            return Ok(());
        }
        let mine = rig.lease_mut().holder == Some(arn(1));
        let epoch = rig.lease_mut().epoch;
        let sworn = rig.own.as_ref().is_some_and(|own| own.released >= epoch);
        // Neither serving nor released would keep everybody from serving.
        prop_assert_eq!(rig.node.serving(), (mine && !sworn).then_some(epoch));
        prop_assert!(rig.node.next_deadline() > Some(at(0).boot));
    }
}
