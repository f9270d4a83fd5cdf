//! `baton drain`: a node shall not hold the lease for a while, and hands it over first if it does.

use baton_protocol::ids::ClusterName;
use baton_store::Store;

use crate::args::{Drain, Exclude, HandOver, Switchover};
use crate::clock::Clock;
use crate::command::switchover::{self, Asked};
use crate::command::{Session, exclude, must_be_active};
use crate::console::Console;
use crate::eligibility::{Kind, member};
use crate::exit::Exit;
use crate::trouble::Trouble;
use crate::waker::Waker;

/// Runs the command: a holder is asked to hand over and is excluded, in one request; any other node is excluded.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Drain,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let snapshot = session.snapshot(&cluster).await?;
    must_be_active(&snapshot.lease)?;
    let node = member(&snapshot, &args.what.node)?;
    let Drain { what, wait, yes, .. } = args.clone();
    if snapshot.lease.holder.as_ref() != Some(&node.instance) {
        let exclude = Exclude { cluster: Some(cluster.clone()), what };
        return exclude::run(session, console, Some(&cluster), &exclude).await;
    }
    let how = HandOver { reason: what.reason, wait, valid_for: what.length, yes };
    let asked = Switchover { cluster: Some(cluster.clone()), to: None, how };
    let of = Some(&node.instance);
    switchover::ask_for(session, console, Some(&cluster), &asked, Asked { kind: Kind::Drain, of }).await
}
