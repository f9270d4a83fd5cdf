//! The registrar function: registers, changes and retires clusters for CloudFormation's `Custom::BatonCluster`.
//!
//! It reads what was asked for ([`property`]), looks at EC2, at the network and at the other clusters ([`observe`]), refuses everything
//! that a move could founder on in one answer, and writes the lease on conditions that no other stack can meet
//! ([`register`], [`retire`]). It never moves an address and never deletes a lease. Every request of CloudFormation gets
//! an answer ([`respond`]), since a stack that gets none hangs for as long as an hour ([`handler`]).

pub mod handler;
pub mod identity;
pub mod observe;
pub mod patience;
mod predecessor;
pub mod property;
pub mod refusal;
pub mod register;
pub mod request;
pub mod respond;
pub mod retire;
mod roster;
mod surround;
mod wake;

pub use wake::Waker;
