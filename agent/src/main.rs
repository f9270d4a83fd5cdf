//! `baton-agent`: the agent on each node, and `baton-agent validate`, which checks its configuration.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use baton_agent::arguments::{Arguments, Command};
use baton_agent::config::{self, Config, Environment};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Validate { file, no_environment }) => {
            let environment = if no_environment { Environment::none() } else { Environment::here() };
            let file = file.unwrap_or(arguments.config);
            match read(&file, &environment) {
                Ok(config) => talk(&format!("{} is valid: {}\n", file.display(), config.summary())),
                Err(refused) => refused,
            }
        }
        None => match read(&arguments.config, &Environment::here()) {
            Ok(config) => baton_agent::run(config),
            Err(refused) => refused,
        },
    }
}

fn read(file: &std::path::Path, environment: &Environment) -> Result<Config, ExitCode> {
    config::load(file, environment).map_err(|error| {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        talk(&config::render(&error, colour));
        ExitCode::from(config::EXIT_CODE)
    })
}

/// Says something to a person. Nobody listening is no reason to fail.
fn talk(text: &str) -> ExitCode {
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
