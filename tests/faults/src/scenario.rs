//! Everything that can happen to a cluster from the cloud's side, one after the other: what happened, what is expected, and
//! what EC2 and the table show afterwards.
//!
//! Each scenario begins with everything at the holder and everybody beating. The triggers are events in the shape in which
//! AWS sends them. The faults are those that other tools were seen to fall to, under the numbers of the study that found
//! them; F2, F5 and F11 are of no cloud's side.

mod fault;
mod fence;
mod group;
mod shared;
mod swap;
mod table;
mod trigger;

use baton_protocol::history::Happening;
use serde::Serialize;
use serde_json::Value;

use crate::rig::{Rig, Trouble};
use crate::runtime::Invoked;

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What happened.
    pub what: &'static str,
    /// What is to be seen afterwards.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// What answered for EC2: `server`.
    pub read_from: &'static str,
    /// The epoch afterwards.
    pub epoch: u64,
    /// How many rows the history has gained.
    pub history_rows: usize,
    /// Whether the two agree.
    pub agrees: bool,
}

/// What is to be seen, and what was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) expected: String,
    pub(crate) observed: String,
}

macro_rules! scenarios {
    ($($name:literal $module:ident::$play:ident $what:literal;)*) => {
        /// Every scenario's name, in the order in which they are played.
        pub const NAMES: &[&str] = &[$($name),*];

        async fn play_in(rig: &mut Rig, name: &str) -> Result<(&'static str, &'static str, Seen), Trouble> {
            match name {
                $($name => Ok(($name, $what, $module::$play(rig).await?)),)*
                other => Err(format!("no scenario is called {other}; there are {}", NAMES.join(", ")).into()),
            }
        }
    };
}

scenarios! {
    "wake" trigger::wake "an agent claims that the holder is silent, and wakes the arbiter by the bus";
    "stream" trigger::stream "the same, and only the table's stream tells of it";
    "release" trigger::release "the holder releases the lease";
    "switchover" trigger::switchover "an operator asks for a switchover";
    "drain" trigger::drain "an operator drains the holder, and the next one releases as well";
    "failover" trigger::failover "the holder is silent, and its policy leaves it to an operator to say what follows";
    "fence" fence::silent "the holder of a cluster that asks for a fence is silent; at first the arbiter may not stop it";
    "fence-asked" fence::asked "an operator has a standby stopped, and somebody starts it again";
    "spot" trigger::spot "EC2 will interrupt the holder's Spot Instance";
    "rebalance" trigger::rebalance "EC2 recommends to rebalance the holder's Spot Instance";
    "health" trigger::health "AWS Health tells of a retirement of the holder's instance";
    "lifecycle" trigger::lifecycle "Auto Scaling waits at a hook to terminate the holder's instance";
    "alarm" trigger::alarm "an alarm rings on the status checks of the holder's instance, which beats";
    "stopped" trigger::stopped "EC2 tells that the holder's instance is stopping, which beats";
    "drift-address" trigger::drift_address "somebody associates the address elsewhere, and a trail tells of it";
    "drift-free" trigger::drift_free "somebody frees the address, and a trail tells of it";
    "drift-route" trigger::drift_route "somebody deletes a route and leads another away, and a trail tells of it";
    "swap" swap::swap "the holder of a cluster with a subnet of prepared tables is silent, and then somebody swaps its table back";
    "shared-vpc" shared::shared "the route tables are another account's, reached through its role, which is then refused and allowed again";
    "table" table::tagged "somebody makes a route table and tags it, and a trail tells of the tag; then the tag is taken off";
    "turn" trigger::turn "somebody frees the address, nothing tells of it, and the cluster's turn comes";
    "sweep" trigger::sweep "the arbiter is killed after its grant, and the sweep finds the unfinished move";
    "unprotected" trigger::unprotected "every standby falls silent, and the sweep counts";
    "probe" trigger::probe "the arbiter may not associate the address with a standby, and nobody has tried yet";
    "garbage" trigger::garbage "unknown, malformed, oversized, forged and hours-old events come";
    "replay" trigger::replay "every wake comes three times, at once and later";
    "F1" fault::similar_address "an address that begins like the cluster's sits on the next holder's instance";
    "F3" fault::one_table_denied "one of three tables cannot be changed (also F7)";
    "F4" fault::stale_answers "EC2 shows the tables as they were before, after they were changed";
    "F6" fault::failure_is_told "a change of a route fails for lack of a permission";
    "F8" fault::nothing_goes_back "after a table that failed the arbiter runs again and again";
    "F9" fault::both_down "nobody is alive to take over, and the arbiter runs again and again";
    "F10" fault::throttled_association "the association of the address is throttled five times";
    "F12" fault::throttled_everything "every change is throttled six times";
    "F13" fault::throttled_looks "EC2 throttles whoever looks at a healthy holder";
    "lost" fault::lost_answers "changes are made and their answers lost";
    "group" group::replaced "an Auto Scaling group replaces a standby's instance, and tells so";
    "F14" fault::terminated "EC2 has terminated the holder's instance, and tells so";
}

/// Plays one scenario from a cluster in order.
pub async fn play(rig: &mut Rig, name: &str) -> Result<Row, Trouble> {
    ready(rig).await?;
    let before = rig.history().await?.len();
    let (name, what, seen) = play_in(rig, name).await?;
    let Seen { expected, observed } = seen;
    let history_rows = rig.history().await?.len().saturating_sub(before);
    let epoch = rig.lease().await?.epoch.0;
    let agrees = expected == observed;
    Ok(Row { name, what, expected, observed, read_from: "server", epoch, history_rows, agrees })
}

/// Makes the cluster whole, with everybody beating and EC2 in order.
async fn ready(rig: &mut Rig) -> Result<(), Trouble> {
    rig.sandbox().moto().set_faults(&[])?;
    for _ in 0..10 {
        rig.beat(&[0, 1, 2], None).await?;
        rig.wake("verify").await;
        let lease = rig.lease().await?;
        let Some(holder) = rig.holder().await? else { continue };
        if rig.picture().await? == rig.whole_at(holder, lease.epoch.0) && lease.intent.is_none() {
            return Ok(());
        }
    }
    Err(format!("the cluster does not come to order: {}", rig.picture().await?).into())
}

/// Who holds, at which epoch, and who comes next.
pub(crate) async fn standing(rig: &Rig) -> Result<(usize, u64, usize), Trouble> {
    let holder = rig.holder().await?.ok_or("nobody holds")?;
    // By priority, which is the order of the nodes.
    Ok((holder, rig.lease().await?.epoch.0, usize::from(holder == 0)))
}

/// The cluster ought to be whole at this node.
pub(crate) async fn whole(rig: &Rig, node: usize, epoch: u64) -> Result<Seen, Trouble> {
    Ok(Seen { expected: rig.whole_at(node, epoch), observed: rig.picture().await? })
}

/// More that ought to be so, as text on both sides.
pub(crate) fn and(mut seen: Seen, what: &str, expected: impl ToString, observed: impl ToString) -> Seen {
    seen.expected.push_str(&format!("; {what} {}", expected.to_string()));
    seen.observed.push_str(&format!("; {what} {}", observed.to_string()));
    seen
}

/// How many rows of the history from this one on are such.
pub(crate) async fn told(rig: &Rig, from: usize, what: fn(&Happening) -> bool) -> Result<usize, Trouble> {
    Ok(rig.history().await?.iter().skip(from).filter(|row| what(&row.what)).count())
}

/// What the function answered, as text.
pub(crate) fn answer(invoked: &Invoked) -> String {
    match &invoked.answer {
        Ok(value) => Value::to_string(value),
        Err(failed) => format!("{failed:?}"),
    }
}
