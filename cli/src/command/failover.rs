//! `baton failover`: an operator's word that a silent holder be taken over from. It lifts what the cluster's policy holds
//! back, and is no ground: the standbys must have seen the silence all the same.

use baton_protocol::ids::ClusterName;
use baton_store::Store;

use crate::args::{Failover, Switchover};
use crate::clock::Clock;
use crate::command::Session;
use crate::command::switchover::{self, Asked};
use crate::console::Console;
use crate::eligibility::Kind;
use crate::exit::Exit;
use crate::trouble::Trouble;
use crate::waker::Waker;

/// Runs the command.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Failover,
) -> Result<Exit, Trouble> {
    let Failover { cluster, to, how } = args.clone();
    switchover::ask_for(
        session,
        console,
        named,
        &Switchover { cluster, to, how },
        Asked { kind: Kind::Failover, of: None },
    )
    .await
}
