//! The functions as programs, over the Lambda Runtime API, against a DynamoDB-compatible engine and an EC2 server: every
//! trigger and every fault that rivals fall to, and what a move costs.
//!
//! [`rig`] is the world, [`runtime`] invokes a function in it, [`scenario`] plays what can happen and says what came of
//! it, [`doctor`] breaks each requirement and has it found and mended, and [`bench`] counts and times moves.

pub mod bench;
mod counter;
pub mod doctor;
pub mod rig;
pub mod runtime;
pub mod scenario;
