//! The packet fence: service traffic passes only while the lease is confirmed, and the kernel sees to it.
//!
//! The dead-man stops a service whose agent cannot. It is a process as well, and needs a moment to be scheduled. So beside it
//! stands a table of nftables, one for each cluster ([`table`]), that drops what is for the service, what comes from it and what is
//! forwarded for it, established connections included. One element in a set lifts that, and it has a timeout: each confirmed
//! heartbeat sets it anew, to end with the validity. A frozen agent sets nothing, and a killed one leaves the table behind.
//!
//! The kernel counts that timeout from the moment it is told, in jiffies. So it would come too late after a machine was
//! suspended, where jiffies stand still, and from an agent that was frozen between its look at the clock and the request. Hence
//! the second condition, an end by the wall clock in a rule: traffic passes while both hold. A wall clock that is set back loosens
//! the second and leaves the first; one that is set forward cuts, until the next heartbeat.
//!
//! Where nothing is guarded, in `available` mode and in a retired cluster, there is no table. What is wanted is kept apart from what
//! is being done, as with the virtual addresses ([`crate::vip`]), since each request blocks for as long as somebody else changes
//! tables; one that was overtaken does what is wanted by then.

mod kernel;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_protocol::ids::ClusterName;
use baton_protocol::time::BootTime;
use nix::errno::Errno;
use tokio::sync::Notify;

use crate::clock;
use crate::config::{Fence, Need, Traffic};
pub use table::Opening;

/// The names of all tables begin so.
const PREFIX: &str = "baton_";

/// Why the fence is not as it should be, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// There is no nf_tables, or one without `meta time`.
    #[error(
        "this kernel cannot fence packets ({0}): it needs nf_tables with the family `inet`, of Linux 5.4 or newer: \
         `modprobe nf_tables`, or set `nftables = \"off\"`"
    )]
    Unsupported(Errno),
    /// EPERM.
    #[error(
        "the kernel does not let this agent fence packets: it needs CAP_NET_ADMIN (`CapabilityBoundingSet=` of its unit)"
    )]
    Denied,
    /// Anything else.
    #[error("could not {what} the table `inet {table}`: {errno}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The table.
        table: String,
        /// The kernel's reason.
        errno: Errno,
    },
}

impl FenceError {
    fn new(what: &'static str, table: &str) -> impl FnOnce(Errno) -> Self {
        let table = table.to_owned();
        move |errno| match errno {
            Errno::EPERM => Self::Denied,
            Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => Self::Unsupported(errno),
            errno => Self::Kernel { what, table, errno },
        }
    }

    pub(crate) fn lost() -> Self {
        Self::Kernel { what: "see through a change of", table: PREFIX.to_owned(), errno: Errno::EIO }
    }

    /// Whether this machine cannot have a fence at all.
    pub fn is_of_the_machine(&self) -> bool {
        matches!(self, Self::Unsupported(_) | Self::Denied)
    }
}

/// What is to become of service traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// Whatever stands, stands.
    #[default]
    AsItIs,
    /// None passes.
    Closed,
    /// It passes until then.
    Open(BootTime),
    /// It passes, and nothing is guarded: there is no table.
    Lifted,
}

/// What had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// As is usual.
    Well,
    /// Somebody had removed the table; it is there again.
    PutBack,
}

/// Looks after the fence of one cluster. Clones look after the same.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    table: String,
    fence: Fence,
    /// And whether it was not looked at since. Held for a moment only.
    wish: Mutex<(Wish, bool)>,
    changed: Notify,
    /// Whether this run has made the table from its configuration. Held while the kernel is at work.
    made: Mutex<bool>,
}

impl Keeper {
    /// The keeper of a cluster's fence, which has done nothing yet.
    pub fn new(cluster: &ClusterName, fence: Fence) -> Self {
        let (wish, changed, made) = (Mutex::default(), Notify::new(), Mutex::default());
        Self(Arc::new(Kept { table: table_of(cluster), fence, wish, changed, made }))
    }

    /// Whether a node without the fence must not serve.
    pub fn is_required(&self) -> bool {
        self.0.fence.need == Need::Required
    }

    /// Says what is wanted from here on. Blocks nobody.
    pub fn wish(&self, wish: Wish) {
        let mut told = locked(&self.0.wish);
        if told.0 != wish {
            *told = (wish, true);
            self.0.changed.notify_one();
        }
    }

    /// What is wanted.
    pub fn wished(&self) -> Wish {
        locked(&self.0.wish).0
    }

    /// Whether something is wanted that nobody has begun to do.
    pub fn is_due(&self) -> bool {
        locked(&self.0.wish).1
    }

    /// Resolves once that is so. For one waiter. Cancel-safe.
    pub async fn due(&self) {
        while !self.is_due() {
            self.0.changed.notified().await;
        }
    }

    /// Makes it so, as it is wanted by now. Blocks.
    pub fn apply(&self) -> Result<Applied, FenceError> {
        let mut made = locked(&self.0.made);
        let Kept { table, fence, .. } = &*self.0;
        let wish = {
            let mut told = locked(&self.0.wish);
            told.1 = false;
            told.0
        };
        let opening = match wish {
            Wish::AsItIs => return Ok(Applied::Well),
            Wish::Lifted => {
                *made = false;
                return remove(table).map(|()| Applied::Well);
            }
            Wish::Closed => None,
            Wish::Open(until) => opening(until),
        };
        let usual = match opening {
            _ if !*made => Err(Errno::ENOENT),
            Some(opening) => kernel::commit(&table::confirm(table, opening)),
            None => kernel::commit(&table::close(table)),
        };
        match usual {
            Ok(()) => Ok(Applied::Well),
            Err(Errno::ENOENT) => {
                let replaced = kernel::commit(&table::replace(table, &fence.traffic, opening));
                replaced.map_err(FenceError::new("make", table))?;
                Ok(if std::mem::replace(&mut *made, true) { Applied::PutBack } else { Applied::Well })
            }
            Err(errno) => Err(FenceError::new("change", table)(errno)),
        }
    }
}

/// What is left until then, by both counts; nothing if nothing is. The wall clock is read first: whatever passes between the two
/// looks makes the end by it earlier.
fn opening(until: BootTime) -> Option<Opening> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let lasts = until.since(clock::boot());
    let ends = u64::try_from((wall + lasts).as_nanos()).ok()?;
    (lasts >= Duration::from_millis(1)).then_some(Opening { lasts, until: ends })
}

/// Lets the service traffic of a cluster pass, by both counts as they are given. Blocks.
pub fn let_pass(cluster: &ClusterName, opening: Opening) -> Result<(), FenceError> {
    let table = table_of(cluster);
    kernel::commit(&table::confirm(&table, opening)).map_err(FenceError::new("change", &table))
}

/// Makes the fence of a cluster, closed, where there is none; whether there was none. Blocks.
pub fn make(cluster: &ClusterName, traffic: &Traffic) -> Result<bool, FenceError> {
    let table = table_of(cluster);
    match kernel::commit(&table::make(&table, traffic)) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(FenceError::new("make", &table)(errno)),
    }
}

/// Removes the fence of a cluster, if there is one. Blocks.
pub fn remove_of(cluster: &ClusterName) -> Result<(), FenceError> {
    remove(&table_of(cluster))
}

/// Removes the fences of all clusters but these; the tables. Where there can be none, there is none. Blocks.
pub fn remove_all_but<'a>(
    clusters: impl Iterator<Item = &'a ClusterName>,
) -> Result<Vec<String>, FenceError> {
    let kept: Vec<_> = clusters.map(table_of).collect();
    let tables = match kernel::tables().map_err(FenceError::new("list", PREFIX)) {
        Err(error) if error.is_of_the_machine() => return Ok(Vec::new()),
        tables => tables?,
    };
    let strays = tables.into_iter().filter(|table| table.starts_with(PREFIX) && !kept.contains(table));
    let strays: Vec<_> = strays.collect();
    strays.iter().try_for_each(|table| remove(table))?;
    Ok(strays)
}

fn remove(table: &str) -> Result<(), FenceError> {
    match kernel::commit(&[table::remove(table)]) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => match FenceError::new("remove", table)(errno) {
            // What cannot be there needs not be removed.
            FenceError::Unsupported(_) => Ok(()),
            error => Err(error),
        },
    }
}

/// nft's own words have no `-` in a name, and a cluster's has no `_`.
fn table_of(cluster: &ClusterName) -> String {
    format!("{PREFIX}{}", cluster.as_str().replace('-', "_"))
}

/// A panic while it was held leaves nothing half done that the next call would not put right.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_validity_ends_by_both_clocks_at_the_same_moment_and_never_later() {
        // In this order, so that what passes between the two is no more than what is left.
        let boot = clock::boot();
        let wall = SystemTime::now();
        let opening = opening(boot + Duration::from_secs(3)).expect("some is left");
        let ends = UNIX_EPOCH + Duration::from_nanos(opening.until);
        assert!(opening.lasts <= Duration::from_secs(3) && ends >= wall + opening.lasts);
        let passed = clock::boot().since(boot);
        assert!(ends <= wall + Duration::from_secs(3) + passed, "{ends:?} {wall:?} {passed:?}");
        for over in [BootTime(0), boot, clock::boot()] {
            assert_eq!(super::opening(over), None);
        }
    }

    #[test]
    fn a_table_is_named_as_nft_can_say_it() {
        let cluster = ClusterName::new("orders-2-eu").expect("valid");
        assert_eq!(table_of(&cluster), "baton_orders_2_eu");
    }
}
