//! The packet fence, as the loop sees to it: it opens with each end of validity that the dead-man is told, before anything is
//! started, and is closed when the service is down, or at once where there is no time to wait. The kernel closes it in any case.

use std::time::Duration;

use baton_protocol::node::{Node, Reason};
use baton_protocol::time::BootTime;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Driver;
use crate::clock;
use crate::config::Cluster;
use crate::log::chain;
use crate::packet_fence::{Applied, FenceError, Keeper, Wish};

type Outcome = Result<Applied, FenceError>;

/// A change that fails is tried again, at most this often: a kernel short of memory may have some a moment later.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_millis(20);

/// The same where the service is down and the oath waits for it.
const CLOSE_TRIES: u32 = 5;
const CLOSE_PAUSE: Duration = Duration::from_millis(200);

/// The fence of a cluster, if it has one, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    pub(super) keeper: Option<Keeper>,
    told: Option<FenceError>,
    /// Whether people were told that it stands.
    stands: bool,
}

impl Fencing {
    /// What an earlier run has left is replaced at one moment by what this node may have now.
    pub(super) fn new(cluster: &Cluster, node: &Node) -> Self {
        let keeper = cluster.fence.clone().map(|fence| Keeper::new(&cluster.name, fence));
        if let Some(keeper) = &keeper {
            keeper.wish(as_it_should_be(node));
        }
        Self { keeper, told: None, stands: false }
    }

    fn wish(&self, wish: Wish) {
        if let Some(keeper) = &self.keeper {
            keeper.wish(wish);
        }
    }

    /// Opens until then.
    pub(super) fn open(&self, until: BootTime) {
        self.wish(Wish::Open(until));
    }

    /// What is being stopped may end its conversations where there is time for that, up to the end it had.
    pub(super) fn demote(&self, node: &Node, reason: Reason) {
        if node.is_guarded() && !reason.leaves_time() {
            self.wish(Wish::Closed);
        }
    }

    /// Nothing runs any more, or nothing is guarded.
    pub(super) fn disarm(&self, node: &Node) {
        self.wish(if node.is_guarded() { Wish::Closed } else { unguarded(node) });
    }

    /// Follows the lease's mode, once a lease was read: a fence stands where the end of validity counts, and nowhere else.
    fn follow(&self, node: &Node) {
        let Some(keeper) = &self.keeper else { return };
        if node.lease().is_none() {
            return;
        }
        let wished = keeper.wished();
        if wished == Wish::AsItIs || node.is_guarded() == (wished == Wish::Lifted) {
            keeper.wish(as_it_should_be(node));
        }
    }

    /// Leaves the table to whoever comes next: a check that hangs and comes back late must not make it again. Ends once no
    /// request of this driver is under way.
    pub(super) async fn leave(&self, changes: &mut Changes) {
        self.wish(Wish::AsItIs);
        while !changes.settled() {
            // Nothing is changed any more that could fail.
            let _ = changes.next().await;
        }
    }
}

/// Nothing is guarded, as far as is known. Before a lease was read that is what an earlier run has left, which says so as well
/// where a guard was lost: what stands then is not lifted.
fn unguarded(node: &Node) -> Wish {
    if node.lease().is_none() { Wish::AsItIs } else { Wish::Lifted }
}

/// What a node has a right to, whatever it did last.
fn as_it_should_be(node: &Node) -> Wish {
    match (node.is_guarded(), node.serving(), node.valid_until()) {
        (false, _, _) => unguarded(node),
        (true, Some(_), Some(until)) => Wish::Open(until),
        (true, _, _) => Wish::Closed,
    }
}

impl Driver {
    /// Follows the lease's mode.
    pub(super) fn keep_fence(&self) {
        self.fencing.follow(&self.node);
    }

    /// Takes in what became of a change. A node that needs the fence and has none must not serve.
    pub(super) fn take_fence(&mut self, outcome: Outcome) {
        let Some(keeper) = &self.fencing.keeper else { return };
        match outcome {
            Ok(Applied::Well) => {
                self.fencing.told = None;
                let stands = keeper.wished() != Wish::Lifted;
                if std::mem::replace(&mut self.fencing.stands, stands) != stands {
                    tracing::info!(stands, "packet fence");
                }
            }
            Ok(Applied::PutBack) => {
                self.fencing.told = None;
                tracing::warn!("somebody had removed the table of the packet fence; it is there again");
            }
            Err(error) if keeper.is_required() => {
                tracing::error!(reason = chain(&error), "no packet fence stands; the service must not run");
                if self.node.is_guarded() && matches!(keeper.wished(), Wish::Open(_)) {
                    self.node.handle_fenced(clock::now());
                }
            }
            Err(error) if self.fencing.told.as_ref() != Some(&error) => {
                tracing::warn!(reason = chain(&error), "no packet fence stands; the dead-man does");
                self.fencing.told = Some(error);
            }
            Err(_) => {}
        }
    }
}

/// Opens the fence before anything is started behind it; the error says why nothing may be.
pub(super) async fn opened(keeper: Keeper) -> Result<(), String> {
    let required = keeper.is_required();
    match beside(keeper).await {
        Err(error) if required => Err(format!("no packet fence: {}", chain(&error))),
        _ => Ok(()),
    }
}

/// Closes the fence behind a service that is down; an oath must not be sworn over traffic that still passes. Tried for a second:
/// the kernel closes it with the validity in any case.
pub(super) async fn closed(keeper: Keeper) {
    keeper.wish(Wish::Closed);
    for _ in 0..CLOSE_TRIES {
        match beside(keeper.clone()).await {
            Ok(_) => return,
            Err(error) if error.is_of_the_machine() => return,
            Err(error) => {
                tracing::error!(reason = chain(&error), "the packet fence does not close; it is tried again");
            }
        }
        tokio::time::sleep(CLOSE_PAUSE).await;
    }
}

/// The changes to the kernel's tables, one after the other, beside the loop.
pub(super) struct Changes {
    keeper: Option<Keeper>,
    running: Option<BoxFuture<'static, Outcome>>,
}

impl Changes {
    pub(super) fn of(keeper: Option<Keeper>) -> Self {
        Self { keeper, running: None }
    }

    /// Whether all that was wanted has been done, or was tried.
    pub(super) fn settled(&self) -> bool {
        self.running.is_none() && self.keeper.as_ref().is_none_or(|keeper| !keeper.is_due())
    }

    /// What became of the next change; pending for ever while nothing is to be changed. Cancel-safe.
    pub(super) async fn next(&mut self) -> Outcome {
        let Some(keeper) = &self.keeper else { return std::future::pending().await };
        if self.running.is_none() {
            keeper.due().await;
            self.running = Some(beside(keeper.clone()).boxed());
        }
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let outcome = running.await;
        self.running = None;
        outcome
    }
}

/// The kernel works off a request while it is sent, and waits meanwhile for whoever else changes tables.
async fn beside(keeper: Keeper) -> Outcome {
    let apply = move || {
        let mut outcome = keeper.apply();
        for _ in 1..TRIES {
            if outcome.as_ref().err().is_none_or(FenceError::is_of_the_machine) {
                break;
            }
            if clock::block_until(clock::boot() + TRY_PAUSE).is_err() {
                break;
            }
            outcome = keeper.apply();
        }
        outcome
    };
    tokio::task::spawn_blocking(apply).await.unwrap_or_else(|_| Err(FenceError::lost()))
}

#[cfg(test)]
mod tests {
    use baton_protocol::ids::{ClusterName, Epoch, Incarnation, InstanceArn};
    use baton_protocol::node::{NodeConfig, RunState};

    use super::*;
    use crate::config::{Fence, Need, Traffic};
    use crate::testing::namespace::in_namespace;

    fn keeper() -> Keeper {
        let traffic = Traffic { tcp: vec![7000], ..Traffic::default() };
        Keeper::new(&ClusterName::new("orders").expect("valid"), Fence { need: Need::Required, traffic })
    }

    fn fencing() -> Fencing {
        Fencing { keeper: Some(keeper()), ..Fencing::default() }
    }

    /// A node that has read nothing yet, whose earlier run left this.
    fn node(guarded: bool) -> Node {
        let config = NodeConfig {
            cluster: ClusterName::new("orders").expect("valid"),
            instance: InstanceArn::new("arn:aws:ec2:eu-west-1:123456789012:instance/i-00000001".to_owned())
                .expect("valid"),
            incarnation: Incarnation::new("00000000000000000000000000000001".to_owned()).expect("valid"),
            earlier: Some(RunState {
                serving: Some(Epoch(1)),
                serving_since: Some(clock::wall()),
                valid_until: Some(clock::boot() + Duration::from_secs(600)),
                guarded,
                released: Epoch(0),
                known: Epoch(1),
            }),
            jitter_seed: None,
        };
        Node::new(config, clock::now())
    }

    #[test]
    fn what_stands_is_not_lifted_before_a_lease_was_read() {
        let unguarded = node(false);
        assert_eq!(as_it_should_be(&unguarded), Wish::AsItIs);
        let fencing = fencing();
        let wished = || fencing.keeper.as_ref().expect("given").wished();
        fencing.disarm(&unguarded);
        fencing.follow(&unguarded);
        assert_eq!(wished(), Wish::AsItIs);
        let guarded = node(true);
        let until = guarded.valid_until().expect("adopted");
        assert_eq!(as_it_should_be(&guarded), Wish::Open(until));
        fencing.disarm(&guarded);
        assert_eq!(wished(), Wish::Closed);
    }

    #[test]
    fn a_look_that_comes_back_after_the_driver_makes_no_table() {
        let test = "driver::fence::tests::a_look_that_comes_back_after_the_driver_makes_no_table";
        in_namespace(test, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (fencing, orders) = (fencing(), ClusterName::new("orders").expect("valid"));
                let keeper = fencing.keeper.clone().expect("given");
                let mut changes = Changes::of(Some(keeper.clone()));
                fencing.wish(Wish::Closed);
                assert_eq!(changes.next().await, Ok(Applied::Well));
                fencing.leave(&mut changes).await;
                assert!(changes.settled());
                crate::packet_fence::remove_of(&orders).expect("removed");
                assert_eq!(keeper.apply(), Ok(Applied::Well));
                let none = crate::packet_fence::remove_all_but(std::iter::empty());
                assert_eq!(none, Ok(Vec::new()), "nobody would open it again");
            });
        });
    }
}
