//! The check of the packet fence. It mends what it can: a table that somebody has removed is made again. It warns then, and where
//! the machine can have no fence and needs none. Bad is a node that needs one and cannot have it.

use super::Try;
use crate::log::chain;
use crate::packet_fence::{Applied, Keeper, Wish};

pub(super) fn look(keeper: &Keeper) -> Try {
    match (keeper.apply(), keeper.wished()) {
        (Ok(Applied::PutBack), _) => Try::warning("had to put back its table, which somebody had removed"),
        (Ok(_), Wish::AsItIs) => Try::good("left as it is"),
        (Ok(_), Wish::Closed) => Try::good("no service traffic passes"),
        (Ok(_), Wish::Open(_)) => Try::good("service traffic passes while the lease is confirmed"),
        (Ok(_), Wish::Lifted) => Try::good("nothing is guarded"),
        (Err(error), _) if keeper.is_required() => Try::bad(chain(&error)),
        (Err(error), _) => Try::warning(chain(&error)),
    }
}
