//! What a run will be: the cluster, its clocks, how long calls take, and what goes wrong when. All of it follows from the
//! seed and is fixed before the run begins.

mod adversary;
mod story;

use baton_protocol::failback::{Failback, Window};
use baton_protocol::fence::Fencing;
use baton_protocol::lease::Mode;
use baton_protocol::policy::Takeover;
use baton_protocol::timing::{Durations, Timing};

use crate::clock::{MS, Real, SECOND};
use crate::fault::{Fault, Kind, Whom};

pub use adversary::{adversarial, at_the_bound};

/// How the moments of a run are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// By chance.
    Random,
    /// At the limits that the protocol promises to bear: clocks as wrong as they may be, fences as late, answers when they
    /// do the most harm.
    Adversarial,
}

/// From the least to the most, in nanoseconds.
pub type Range = (u64, u64);

/// How long things take while nothing is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    /// A request to the table, or an answer of it.
    pub table: Range,
    /// A call to EC2 or its answer.
    pub ec2: Range,
    /// An event to its function, the start of the function included.
    pub bus: Range,
    /// A hook.
    pub hook: Range,
    /// From the end of validity until the dead-man has stopped the service. At most D.
    pub fence: Range,
}

/// One machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// The error of the length of its seconds, in parts per million.
    pub ppm: i64,
    /// By how much its wall clock is off, in milliseconds.
    pub wall_ms: i64,
}

/// A run before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How its moments are chosen.
    pub style: Style,
    /// The cluster's mode.
    pub mode: Mode,
    /// Who decides that a silent holder is taken over from.
    pub takeover: Takeover,
    /// For how long after a takeover on silence there is no other by itself, in milliseconds.
    pub cool_down_ms: u64,
    /// What is done about a silent holder before it is taken over from.
    pub fencing: Fencing,
    /// Whether the lease goes back to a preferred node by itself.
    pub failback: Failback,
    /// Where the control plane has a brake: when so many other clusters suspect their holders that it is to act.
    pub alarmed: Option<std::ops::Range<Real>>,
    /// Its timing.
    pub timing: Timing,
    /// The timing's name in reports.
    pub profile: &'static str,
    /// What a [`Kind::Timing`] changes it to.
    pub other_timing: Timing,
    /// One for each node.
    pub clocks: Vec<Clocks>,
    /// How many Elastic IPs.
    pub addresses: usize,
    /// How many route tables.
    pub tables: usize,
    /// Whether their routes may be taken from a gateway.
    pub from_gateways: bool,
    /// How many subnets whose route table is swapped.
    pub subnets: usize,
    /// Whether its nodes are named by a tag, and the arbiter follows it.
    pub by_tag: bool,
    /// How long things take.
    pub delays: Delays,
    /// Whether nodes read their neighbours' heartbeats along with the lease.
    pub reads_along: bool,
    /// Whether nodes are kept out of step.
    pub jitter: bool,
    /// The one promise that is looked at; none: all of them.
    pub only: Option<&'static str>,
    /// How many of a million calls of nodes are lost though nothing is wrong.
    pub lost_per_million: u32,
    /// When the sweep comes first.
    pub sweep_at: Real,
    /// What goes wrong, by its beginning.
    pub faults: Vec<Fault>,
    /// The first fault, if what follows it is measured.
    pub headline: Option<Kind>,
    /// When the last fault has ended.
    pub quiet_from: Real,
    /// When the run ends if all is well then.
    pub ends: Real,
}

impl Plan {
    /// Whether anything may be left to an operator; how long that takes is not the protocol's.
    pub fn has_policy(&self) -> bool {
        !self.takeover.is_automatic()
            || self.cool_down_ms > 0
            || self.alarmed.is_some()
            || self.fencing == Fencing::Stop
    }
}

/// A run has at least this length.
pub const SHORTEST: Real = 100 * SECOND;

/// Draws from the range.
pub fn draw(rng: &mut fastrand::Rng, (least, most): Range) -> u64 {
    if least >= most { least } else { rng.u64(least..=most) }
}

/// The kinds whose consequences are measured; each begins on a cluster in good order.
pub const HEADLINES: &[Kind] = &[
    Kind::PowerLoss,
    Kind::Terminate,
    Kind::AgentFreeze,
    Kind::Suspend,
    Kind::Partition,
    Kind::AnswersLost,
    Kind::Unhealthy,
    Kind::Shutdown,
    Kind::Switchover,
    Kind::PromoteFails,
];

/// What a run by chance may meet, with its weight and its length in milliseconds.
const MENU: &[(Kind, Whom, u32, Range)] = &[
    (Kind::PowerLoss, Whom::Holder, 6, (4_000, 20_000)),
    (Kind::PowerLoss, Whom::Standby, 3, (4_000, 20_000)),
    (Kind::Terminate, Whom::Holder, 2, (3_000, 8_000)),
    (Kind::AgentCrash, Whom::Holder, 6, (100, 9_000)),
    (Kind::AgentCrash, Whom::Standby, 2, (100, 9_000)),
    (Kind::AgentFreeze, Whom::Holder, 6, (500, 15_000)),
    (Kind::AgentFreeze, Whom::Standby, 2, (500, 15_000)),
    (Kind::HiddenPause, Whom::Holder, 6, (100, 1_000)),
    (Kind::HiddenPause, Whom::Standby, 2, (100, 1_000)),
    (Kind::Suspend, Whom::Holder, 4, (1_000, 15_000)),
    (Kind::Partition, Whom::Holder, 8, (1_000, 15_000)),
    (Kind::Partition, Whom::Standby, 3, (1_000, 15_000)),
    (Kind::AnswersLost, Whom::Holder, 6, (500, 12_000)),
    (Kind::ReadBlind, Whom::Holder, 3, (500, 10_000)),
    (Kind::ReadBlind, Whom::Standby, 5, (500, 10_000)),
    (Kind::SlowTable, Whom::Holder, 4, (1_000, 10_000)),
    (Kind::SlowTable, Whom::Standby, 2, (1_000, 10_000)),
    (Kind::LateWrites, Whom::Holder, 5, (500, 8_000)),
    (Kind::LateWrites, Whom::Standby, 2, (500, 8_000)),
    (Kind::BusCut, Whom::Standby, 3, (2_000, 20_000)),
    (Kind::Unhealthy, Whom::Holder, 6, (2_000, 20_000)),
    (Kind::Unhealthy, Whom::Standby, 4, (2_000, 20_000)),
    (Kind::Notice, Whom::Holder, 3, (2_000, 20_000)),
    (Kind::Notice, Whom::Standby, 2, (2_000, 20_000)),
    (Kind::PromoteFails, Whom::Standby, 3, (3_000, 20_000)),
    (Kind::PromoteHangs, Whom::Standby, 2, (3_000, 15_000)),
    (Kind::DemoteHangs, Whom::Holder, 3, (3_000, 15_000)),
    (Kind::ArmFails, Whom::Standby, 2, (3_000, 15_000)),
    (Kind::DiskFull, Whom::Holder, 2, (2_000, 20_000)),
    (Kind::ItemLost, Whom::Holder, 2, (1, 2)),
    (Kind::Shutdown, Whom::Holder, 3, (1_000, 10_000)),
    (Kind::TableDown, Whom::Everybody, 4, (500, 12_000)),
    (Kind::TableThrottled, Whom::Everybody, 3, (500, 8_000)),
    (Kind::Conflicts, Whom::Everybody, 3, (1_000, 15_000)),
    (Kind::EventsLost, Whom::Everybody, 4, (5_000, 25_000)),
    (Kind::EventsLate, Whom::Everybody, 4, (5_000, 25_000)),
    (Kind::FunctionsDown, Whom::Everybody, 2, (2_000, 15_000)),
    (Kind::FunctionsKilled, Whom::Everybody, 4, (5_000, 25_000)),
    (Kind::FunctionsSlow, Whom::Everybody, 4, (5_000, 25_000)),
    (Kind::FunctionsCut, Whom::Everybody, 3, (2_000, 15_000)),
    (Kind::Ec2Throttled, Whom::Everybody, 3, (3_000, 20_000)),
    (Kind::Ec2Down, Whom::Everybody, 2, (2_000, 20_000)),
    (Kind::Ec2Stale, Whom::Everybody, 4, (5_000, 30_000)),
    (Kind::Ec2Late, Whom::Everybody, 5, (5_000, 30_000)),
    (Kind::Ec2AnswersLost, Whom::Everybody, 3, (3_000, 20_000)),
    (Kind::SeatTaken, Whom::Standby, 2, (12_000, 30_000)),
    (Kind::Drift, Whom::Everybody, 4, (1, 60_000)),
    (Kind::Switchover, Whom::Everybody, 5, (1, 2)),
    (Kind::Pause, Whom::Everybody, 3, (3_000, 20_000)),
    (Kind::Timing, Whom::Everybody, 4, (1, 2)),
    (Kind::Mode, Whom::Everybody, 1, (1, 2)),
    (Kind::Replay, Whom::Everybody, 3, (1, 2)),
];

/// A run by chance.
pub fn random(seed: u64) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut plan = cluster(&mut rng, seed);
    let headline = HEADLINES[rng.usize(..HEADLINES.len())];
    let begins = 8 * SECOND + draw(&mut rng, (0, 4 * SECOND));
    plan.faults.push(first(&mut rng, headline, begins));
    plan.headline = Some(headline);
    if rng.u32(..100) < 60 {
        story::add(&mut rng, &mut plan, 30 * SECOND);
    }
    let more = rng.usize(2..8);
    add_from_the_menu(&mut rng, &mut plan, more);
    story::add_late(&mut rng, &mut plan);
    settle(&mut rng, plan)
}

fn add_from_the_menu(rng: &mut fastrand::Rng, plan: &mut Plan, more: usize) {
    let total: u32 = MENU.iter().map(|(_, _, weight, _)| weight).sum();
    for _ in 0..more {
        let mut ticket = rng.u32(..total);
        let chosen = MENU.iter().find(|(_, _, weight, _)| {
            let here = ticket < *weight;
            ticket = ticket.wrapping_sub(*weight);
            here
        });
        let (kind, whom, _, length) = chosen.expect("a ticket is of somebody");
        let from = draw(rng, (30 * SECOND, 62 * SECOND));
        let length = draw(rng, *length) * MS;
        plan.faults.push(Fault { kind: *kind, whom: *whom, from, until: from + length });
    }
}

/// The fault that is measured: it strikes the holder while all is well, and lasts until others begin.
fn first(rng: &mut fastrand::Rng, kind: Kind, from: Real) -> Fault {
    let length = draw(rng, (12_000, 18_000)) * MS;
    let whom = match kind {
        Kind::Switchover => Whom::Everybody,
        Kind::PromoteFails => Whom::Standby,
        _ => Whom::Holder,
    };
    Fault { kind, whom, from, until: from + length }
}

/// An hour in which nothing is wrong but that so many of a million calls are lost.
pub fn steady(seed: u64, profile: &'static str, lost_per_million: u32) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x7374_6561_6479);
    let mut plan = cluster(&mut rng, seed);
    let timing = if profile == "fast" { Timing::FAST } else { Timing::DEFAULT };
    (plan.mode, plan.timing, plan.other_timing, plan.profile) = (Mode::Strict, timing, timing, profile);
    (plan.takeover, plan.cool_down_ms, plan.failback) = (Takeover::Automatic, 0, Failback::Manual);
    plan.fencing = Fencing::None;
    plan.alarmed = None;
    plan.by_tag = false;
    plan.lost_per_million = lost_per_million;
    plan.ends = crate::steady::HOUR;
    plan
}

/// A cluster in good order, with nothing planned for it.
fn cluster(rng: &mut fastrand::Rng, seed: u64) -> Plan {
    let nodes = if rng.u32(..100) < 60 { 2 } else { 3 };
    let (timing, profile) = match rng.u32(..100) {
        0..50 => (Timing::DEFAULT, "default"),
        50..85 => (Timing::FAST, "fast"),
        _ => (own(rng), "own"),
    };
    let other_timing = if rng.bool() {
        own(rng)
    } else if profile == "fast" {
        Timing::DEFAULT
    } else {
        Timing::FAST
    };
    let clocks = (0..nodes).map(|_| Clocks { ppm: rng.i64(-10_000..=10_000), wall_ms: wall(rng) }).collect();
    let (addresses, tables) = match rng.u32(..10) {
        0..4 => (1, 0),
        4..6 => (0, 1),
        6..8 => (1, 2),
        8 => (3, 0),
        _ => (2, 3),
    };
    let (takeover, cool_down_ms) = policy(seed);
    let fence = timing.durations().fence_ms.min(other_timing.durations().fence_ms) * MS;
    Plan {
        seed,
        style: Style::Random,
        mode: if rng.u32(..100) < 70 { Mode::Strict } else { Mode::Available },
        takeover,
        cool_down_ms,
        fencing: fencing(seed),
        failback: failback(seed),
        alarmed: alarmed(seed),
        timing,
        profile,
        other_timing,
        clocks,
        addresses,
        tables,
        from_gateways: seed.is_multiple_of(2),
        // What comes and goes has no table prepared for it, and the registrar refuses both together.
        subnets: if by_tag(seed) { 0 } else { subnets(seed) },
        by_tag: by_tag(seed),
        delays: Delays {
            table: (MS, 20 * MS),
            ec2: (50 * MS, 350 * MS),
            bus: (80 * MS, 400 * MS),
            hook: (20 * MS, 500 * MS),
            fence: (0, fence),
        },
        reads_along: fastrand::Rng::with_seed(seed ^ 0x616c_6f6e_6721).bool(),
        jitter: true,
        only: None,
        lost_per_million: 0,
        sweep_at: draw(rng, (0, 60 * SECOND)),
        faults: Vec::new(),
        headline: None,
        quiet_from: 0,
        ends: SHORTEST,
    }
}

/// One cluster in four leaves a silent holder to an operator, for a while or for ever. Drawn apart, so that the others are as they were.
fn policy(seed: u64) -> (Takeover, u64) {
    let confirm = Takeover::Confirm { after_ms: 10_000 };
    match fastrand::Rng::with_seed(seed ^ 0x0070_6f6c_6963_7921).u32(..16) {
        0 => (Takeover::Notify, 0),
        1 => (confirm, 0),
        2 => (Takeover::Automatic, 20_000),
        3 => (confirm, 5_000),
        _ => (Takeover::Automatic, 0),
    }
}

/// One cluster in eight has a silent holder stopped. Drawn apart, so that the others are as they were.
fn fencing(seed: u64) -> Fencing {
    let stop = fastrand::Rng::with_seed(seed ^ 0x0066_656e_6365_2121).u32(..8) == 0;
    if stop { Fencing::Stop } else { Fencing::None }
}

/// One control plane in four has a brake; in most of these many clusters suspect for a while. Drawn apart as well.
fn alarmed(seed: u64) -> Option<std::ops::Range<Real>> {
    match fastrand::Rng::with_seed(seed ^ 0x0062_7261_6b65).u32(..16) {
        0 | 1 => Some(0..60 * SECOND),
        2 => Some(14 * SECOND..45 * SECOND),
        3 => Some(0..0),
        _ => None,
    }
}

/// A run begins at eight on a Friday by the functions' clocks, so the window is open from its second minute to the end of its third.
pub(crate) const WINDOW: &str = "Fri 08:01-08:03";
/// The same in the time of the run.
pub(crate) const WINDOW_OPEN: std::ops::Range<Real> = 60 * SECOND..180 * SECOND;

/// One cluster in four goes back to a preferred node by itself, half of these within a window. Drawn apart as well.
fn failback(seed: u64) -> Failback {
    let automatic = |window| Failback::Automatic { hold_ms: 15_000, window };
    match fastrand::Rng::with_seed(seed ^ 0x6661_696c_6261_636b).u32(..8) {
        0 => automatic(None),
        1 => automatic(Window::parse(WINDOW)),
        _ => Failback::Manual,
    }
}

/// One cluster in four has a subnet whose route table is swapped. Drawn apart, so that the others are as they were.
fn subnets(seed: u64) -> usize {
    usize::from(fastrand::Rng::with_seed(seed ^ 0x7375_626e_6574_0001).u32(..4) == 0)
}

/// One cluster in four names its nodes by a tag. Drawn apart as well.
fn by_tag(seed: u64) -> bool {
    fastrand::Rng::with_seed(seed ^ 0x0062_795f_7461_6721).u32(..4) == 0
}

/// Most wall clocks are a little off, and a few by minutes.
fn wall(rng: &mut fastrand::Rng) -> i64 {
    if rng.u32(..10) == 0 { rng.i64(-600_000..=600_000) } else { rng.i64(-1_500..=1_500) }
}

/// A timing of an operator's own, which keeps the inequality just so.
fn own(rng: &mut fastrand::Rng) -> Timing {
    let heartbeat_ms = rng.u64(3..=15) * 100;
    let attempt_timeout_ms = rng.u64(2..=9) * 100;
    let validity_ms = 3 * attempt_timeout_ms + heartbeat_ms + rng.u64(0..=20) * 100;
    let durations = Durations {
        heartbeat_ms,
        attempt_timeout_ms,
        validity_ms,
        fence_ms: rng.u64(2..=10) * 100,
        hidden_pause_ms: rng.u64(2..=10) * 100,
        clock_error_ppm: 10_000,
        silence_ms: 600_000,
    };
    // The smallest that is accepted: nothing is to spare.
    match Timing::new(Durations { silence_ms: 500, ..durations }) {
        Err(baton_protocol::timing::TimingError::SilenceTooShort { required, .. }) => {
            Timing::new(Durations { silence_ms: required, ..durations }).expect("the bound itself is safe")
        }
        other => other.expect("a timing within its ranges"),
    }
}

/// Puts the faults in order, keeps them within what the protocol promises to bear, and says when all is quiet.
fn settle(rng: &mut fastrand::Rng, mut plan: Plan) -> Plan {
    plan.faults.sort_by_key(|fault| (fault.from, fault.kind));
    let pause =
        plan.timing.durations().hidden_pause_ms.min(plan.other_timing.durations().hidden_pause_ms) * MS;
    let latest = 68 * SECOND + draw(rng, (0, 2 * SECOND));
    for fault in &mut plan.faults {
        if fault.kind == Kind::HiddenPause {
            fault.until = fault.until.min(fault.from + pause);
        }
        // What comes later still comes alone, and is short.
        if fault.from < latest {
            fault.until = fault.until.min(latest);
        }
    }
    plan.quiet_from = plan.faults.iter().map(|fault| fault.until).max().unwrap_or(0);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_by_chance_has_at_least_three_faults_in_order_and_ends_quietly() {
        for seed in 0..500 {
            let plan = random(seed);
            assert!(plan.faults.len() >= 3, "{seed}");
            assert!(plan.faults.is_sorted_by_key(|fault| fault.from), "{seed}");
            assert!(plan.faults.iter().all(|fault| fault.until <= plan.quiet_from), "{seed}");
            let late = plan.faults.last().is_some_and(|fault| fault.from > 75 * SECOND);
            assert!(plan.quiet_from < plan.ends || late, "{seed}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_plan_and_another_another() {
        assert_eq!(format!("{:?}", random(7)), format!("{:?}", random(7)));
        assert_ne!(format!("{:?}", random(7)), format!("{:?}", random(8)));
    }
}
