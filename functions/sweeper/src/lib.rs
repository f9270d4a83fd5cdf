//! The sweeper function: every minute it looks at every cluster and wakes the arbiter for those with unfinished business.
//!
//! Wakes get lost, agents die before they send one, and an invocation of the arbiter can end at any line. The sweep is
//! the third way to be woken, and the one that needs nobody. It decides nothing: `baton_protocol::sweep` says whether the
//! arbiter ought to look, and a wake too many costs the arbiter two reads. It asks EC2 nothing and writes nothing.

mod news;
pub mod sweep;
