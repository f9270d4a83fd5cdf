//! The protocol, walked through every order of events within stated bounds.
//!
//! Tests try schedules that somebody thought of, and a simulator those that chance brings. Here every one is tried, in a world
//! small enough for that: a few nodes, a few epochs, time in steps of a heartbeat. What decides is the code that ships, node,
//! decision and the conditions of the table's twin; what surrounds it ([`steps`]) lets everything happen at every moment at
//! which it can. The naive walk would never end, since time and numbers grow for ever; [`shape`] tells when two states are one.
//!
//! [`rules`] says what is looked for, [`configurations`] what bounds each walk.

pub mod bounds;
pub mod configurations;
mod drive;
pub mod effects;
pub mod machine;
#[cfg(feature = "mutants")]
pub mod mutants;
mod ready;
pub mod report;
pub mod rules;
pub mod setup;
pub mod shape;
mod start;
pub mod steps;
pub mod table;
pub mod walk;
pub mod world;

#[cfg(test)]
mod tests;
