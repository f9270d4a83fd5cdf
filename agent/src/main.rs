//! `baton-agent`: the agent on each node; `baton-agent validate`, which checks its configuration; and `baton-agent fence`, which
//! cuts the traffic of its services until an agent has confirmed their leases.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use baton_agent::arguments::{Arguments, Command};
use baton_agent::config::{self, Config, Environment, Need};
use baton_agent::packet_fence;
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
        Some(Command::Fence { remove: true }) => unfence(),
        // Users and commands may not be there yet, early in a boot.
        Some(Command::Fence { remove: false }) => match read(&arguments.config, &Environment::none()) {
            Ok(config) => fence(&config),
            Err(refused) => refused,
        },
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

/// Closes what is not fenced yet.
fn fence(config: &Config) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for cluster in &config.clusters {
        let Some(fence) = &cluster.fence else { continue };
        let said = match packet_fence::make(&cluster.name, &fence.traffic) {
            Ok(true) => "no traffic of the service passes until the agent has confirmed the lease".to_owned(),
            Ok(false) => "the fence stands already, and is left as it is".to_owned(),
            Err(error) => {
                if fence.need == Need::Required {
                    code = ExitCode::FAILURE;
                }
                error.to_string()
            }
        };
        talk(&format!("cluster {}: {said}\n", cluster.name));
    }
    code
}

/// Removes every fence.
fn unfence() -> ExitCode {
    match packet_fence::remove_all_but(std::iter::empty()) {
        Ok(tables) if tables.is_empty() => talk("there was no fence\n"),
        Ok(tables) => talk(&format!("removed {}\n", tables.join(", "))),
        Err(error) => {
            talk(&format!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Says something to a person. Nobody listening is no reason to fail.
fn talk(text: &str) -> ExitCode {
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
