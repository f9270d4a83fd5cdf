//! A stand-in for an AWS account on this computer, for the demo, the end-to-end tests and the conformance
//! tests.
//!
//! EC2 is moto, everything else is ministack, and what neither models is closed by small scripts of our own
//! in `python/`. Real functions, agents and templates run against it, without a line of test code in any of
//! them. What a green run here does not prove stands in the package's README.

pub mod account;
pub mod binaries;
mod error;
pub mod http;
pub mod imds;
pub mod machine;
pub mod ministack;
pub mod moto;
pub mod node;
mod package;
mod port;
pub mod prober;
mod sandbox;
pub mod service_log;
pub mod stage;
pub mod venv;
pub mod wait;

pub use account::Account;
pub use error::SandboxError;
pub use imds::Imds;
pub use ministack::{Faults, Ministack};
pub use moto::Moto;
pub use node::{Node, NodeOptions};
pub use package::Package;
pub use prober::Prober;
pub use sandbox::{Options, Sandbox};
pub use stage::{Stage, StageOptions};
pub use venv::Venv;

/// The id of the account.
pub const ACCOUNT_ID: &str = "123456789012";
/// The region of everything in it.
pub const REGION: &str = "eu-west-1";
/// The access key of the administrator; its secret is the same word.
pub const ADMINISTRATOR: &str = "test";
