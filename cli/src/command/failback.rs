//! `baton failback`: a switchover to the node that the operator prefers, once it is well again. The arbiter asks for it by itself
//! where the cluster is registered so.

use baton_protocol::ids::ClusterName;
use baton_protocol::lease::{Lease, Member};
use baton_store::Store;

use crate::args::{Failback, Format, Switchover};
use crate::clock::Clock;
use crate::command::{Session, must_be_active, switchover};
use crate::console::Console;
use crate::exit::Exit;
use crate::output;
use crate::trouble::{Trouble, join};
use crate::waker::Waker;

/// Runs the command.
pub async fn run<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    named: Option<&ClusterName>,
    args: &Failback,
) -> Result<Exit, Trouble> {
    let cluster = session.cluster(named).await?;
    let snapshot = session.snapshot(&cluster).await?;
    must_be_active(&snapshot.lease)?;
    let preferred = preferred(&snapshot.lease)?;
    if snapshot.lease.holder.as_ref() == Some(&preferred.instance) {
        if session.format != Format::Json {
            console
                .talk(&format!("{} holds the lease of `{cluster}` already; nothing to do", preferred.node));
        }
        console.data(&output::status(&snapshot.view(), session.format, console.look)?)?;
        return Ok(Exit::Done);
    }
    let mut how = args.how.clone();
    how.reason.get_or_insert_with(|| "failback".to_owned());
    let asked = Switchover { cluster: Some(cluster.clone()), to: Some(preferred.node.to_string()), how };
    switchover::run(session, console, Some(&cluster), &asked).await
}

/// The member with the smallest priority, if one alone has it.
fn preferred(lease: &Lease) -> Result<&Member, Trouble> {
    let smallest = lease.members.iter().map(|member| member.priority).min();
    let members: Vec<_> = lease.members.iter().filter(|member| Some(member.priority) == smallest).collect();
    match members.as_slice() {
        [one] => Ok(one),
        several => {
            let names: Vec<String> = several.iter().map(|member| member.node.to_string()).collect();
            Err(Trouble::refused(format!("`{}` prefers no node: {} have one priority", lease.cluster, join(&names)))
                .help("give the nodes different priorities in the cluster's stack, or name one with `baton switchover --to`"))
        }
    }
}
