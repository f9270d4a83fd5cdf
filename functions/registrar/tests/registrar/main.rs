//! Whole requests of CloudFormation, from the event to the answer, over EC2 and the table in memory.

mod answer;
mod create;
mod delete;
mod place;
mod roster;
mod shared;
mod support;
mod surround;
mod table;
mod update;
