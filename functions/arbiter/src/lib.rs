//! The arbiter function: woken by every event of a cluster, it decides from the table and moves the address.
//!
//! All decisions stand in `baton_protocol::arbiter`; this crate reads events ([`trigger`]), carries out what an invocation
//! asks for ([`drive`]) and answers Lambda ([`handler`]). No payload of an event decides anything: an event names a
//! cluster or an instance to look at, and that is all that is taken from it. One that announces the end of an instance becomes
//! the request that an operator could have written ([`notice`], and so does a failback that is due, [`failback`]); one that tells of a call to EC2 makes the clusters look
//! whose resources it names ([`trail`]). Where a tag names the nodes, it follows the tag in the end ([`roster`]), and so it does
//! descriptions of route tables ([`tables`]).

pub mod drive;
pub mod failback;
pub mod handler;
pub mod hooks;
pub mod launch;
pub mod notice;
mod others;
pub mod probe;
pub mod roster;
pub mod tables;
pub mod trail;
pub mod trigger;
