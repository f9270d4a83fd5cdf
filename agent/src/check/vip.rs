//! The check of the virtual addresses. It mends what it can, as local recovery does: an address that somebody has removed from
//! the node that serves is put back. It warns then, so that it is seen. Bad is only what could not be mended, and a standby
//! that could not have the addresses.

use super::Try;
use crate::log::chain;
use crate::vip::{Keeper, Look, Shown};

pub(super) fn look(keeper: &Keeper) -> Try {
    match keeper.look() {
        Ok(Look::Well) => Try::good("all as it should be"),
        Ok(Look::LeftAlone) => Try::good("left as it is"),
        Ok(Look::PutBack(addresses)) => Try::warning(format!("had to put back {}", Shown(&addresses))),
        Ok(Look::TakenAway(addresses)) => {
            Try::warning(format!("had to take away {}, which serves elsewhere", Shown(&addresses)))
        }
        Err(error) => Try::bad(chain(&error)),
    }
}
