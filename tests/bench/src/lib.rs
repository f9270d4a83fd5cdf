//! What the agent costs a node, measured on the program as it ships.
//!
//! One real agent, a real table behind a way that notes what passes, instance metadata and a bus that answer at once, so
//! that what is measured is the agent and no stand-in of AWS. Times are of this machine; the ratios to a call of the AWS
//! CLI, made in the same run against the same EC2 server, hold on others too.

pub mod agent;
pub mod cli;
pub mod metadata;
pub mod passage;
pub mod process;
pub mod rig;
pub mod sink;
pub mod table;

/// Whatever goes wrong with the servers, and not with what is measured.
pub type Trouble = Box<dyn std::error::Error>;

/// Rounded to so many decimals, for figures that people compare.
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}
