//! Runs at the limits. Chance seldom meets them: a seed in thousands has a slow clock at the holder, a fast one at the
//! standby, a pause, a late fence and an answer at the worst moment together, and an error in a timing shows only there.

use baton_protocol::lease::Mode;
use baton_protocol::timing::Timing;

use crate::clock::{MS, SECOND};
use crate::fault::{Kind, Whom};

use super::story::{self, fault};
use super::{Clocks, Plan, Style, add_from_the_menu, cluster, draw, settle};

/// A run at the limits of whatever the protocol promises to bear.
pub fn adversarial(seed: u64) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x6164_7665_7273_6172);
    let mut plan = cluster(&mut rng, seed);
    at_the_limits(&mut rng, &mut plan);
    let begins = 8 * SECOND + draw(&mut rng, (0, 2 * SECOND));
    isolate(&mut rng, &mut plan, begins);
    for again in [30, 46] {
        if rng.bool() {
            let begins = again * SECOND + draw(&mut rng, (0, 2 * SECOND));
            isolate(&mut rng, &mut plan, begins);
        } else {
            story::add(&mut rng, &mut plan, again * SECOND);
        }
    }
    let more = rng.usize(0..5);
    add_from_the_menu(&mut rng, &mut plan, more);
    story::add_late(&mut rng, &mut plan);
    settle(&mut rng, plan)
}

/// The one schedule that the inequality is about, with a timing that may break it: the holder is cut off right after it
/// has extended its validity, and all else is as bad as it may be.
pub fn at_the_bound(seed: u64, timing: Timing) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x626f_756e_6400);
    let mut plan = cluster(&mut rng, seed);
    (plan.mode, plan.timing, plan.other_timing, plan.profile) = (Mode::Strict, timing, timing, "own");
    // The grant itself comes too early then, which another promise would find first.
    plan.only = Some("I1");
    at_the_limits(&mut rng, &mut plan);
    plan.mode = Mode::Strict;
    plan.delays.table = (0, 0);
    plan.delays.bus = (0, 0);
    plan.delays.hook = (0, 0);
    plan.delays.fence = (timing.durations().fence_ms * MS, timing.durations().fence_ms * MS);
    for clocks in &mut plan.clocks {
        clocks.ppm = -10_000;
    }
    // Of the two first nodes by name one holds first: the slow one, and where it does not, nothing can be shown.
    plan.clocks[0].ppm = 10_000;
    let begins = 8 * SECOND + draw(&mut rng, (0, 2 * SECOND));
    isolate(&mut rng, &mut plan, begins);
    settle(&mut rng, plan)
}

fn at_the_limits(rng: &mut fastrand::Rng, plan: &mut Plan) {
    plan.style = Style::Adversarial;
    if rng.u32(..4) > 0 {
        plan.mode = Mode::Strict;
    }
    for clocks in &mut plan.clocks {
        *clocks = Clocks { ppm: if rng.bool() { 10_000 } else { -10_000 }, wall_ms: 0 };
    }
    let quick = rng.u32(..4) > 0;
    plan.delays.table = if quick { (0, 0) } else { (MS, 20 * MS) };
    plan.delays.bus = if quick { (0, 0) } else { plan.delays.bus };
    plan.delays.ec2 = if quick { (0, 20 * MS) } else { plan.delays.ec2 };
    plan.delays.hook = (0, if rng.bool() { 0 } else { 300 * MS });
    let fence = plan.delays.fence.1;
    plan.delays.fence = (fence, fence);
}

/// Cuts the holder off at the worst moment after `from`. The world waits for it, and adds a pause that its clock hides.
fn isolate(rng: &mut fastrand::Rng, plan: &mut Plan, from: u64) {
    let how = if rng.u32(..4) == 0 { Kind::AnswersLost } else { Kind::Partition };
    plan.faults.push(fault(how, Whom::Holder, from, draw(rng, (9_000, 14_000))));
    match rng.u32(..6) {
        0 => {
            let change = from + draw(rng, (0, 3_000)) * MS;
            plan.faults.push(fault(Kind::Timing, Whom::Everybody, change, 1));
        }
        1 => {
            let freeze = from + draw(rng, (1_000, 4_000)) * MS;
            plan.faults.push(fault(Kind::AgentFreeze, Whom::Holder, freeze, draw(rng, (2_000, 12_000))));
        }
        2 => {
            let crash = from + draw(rng, (0, 3_500)) * MS;
            plan.faults.push(fault(Kind::AgentCrash, Whom::Holder, crash, draw(rng, (50, 4_500))));
        }
        _ => {}
    }
}
