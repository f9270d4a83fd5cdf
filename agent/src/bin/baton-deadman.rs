//! The dead-man of one cluster on this node. Started by the agent; see `baton_agent::deadman`.

use std::process::ExitCode;

fn main() -> ExitCode {
    baton_agent::deadman::guard::main(std::env::args_os().skip(1))
}
