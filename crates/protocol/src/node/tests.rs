//! The rules of a node, each as a schedule: what happened, and what the node did about it.

mod address;
mod chaos;
mod driver;
mod duty;
mod hand_over;
mod health;
mod missing;
mod restored;
mod rig;
mod standby;
mod start;
mod table;
mod unguarded;
mod validity;
