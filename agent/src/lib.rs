//! The agent on each node, around the protocol.
//!
//! [`baton_protocol`] decides when a node may serve; this package gives it a machine: clocks, instance
//! metadata, health checks, the hooks that start and stop the service, the state that survives a restart of
//! the agent, and the dead-man that stops the service when the agent cannot. Nothing here decides about the
//! lease, and nothing here calls EC2.

pub mod arguments;
pub mod check;
pub mod clock;
pub mod command;
pub mod config;
pub mod deadman;
pub mod driver;
pub mod explain;
pub mod file;
pub mod hook;
pub mod identity;
pub mod leaving;
pub mod log;
mod machine;
pub mod metrics;
mod netlink;
pub mod notify;
pub mod packet_fence;
pub mod run;
pub mod state;
pub mod status;
pub mod vip;
pub mod watchdog;

pub use run::run;

#[cfg(test)]
mod testing;
