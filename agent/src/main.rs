//! `baton-agent`: the agent on each node, and what can be asked of it and about it without running it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baton_agent::arguments::{Arguments, Command};
use baton_agent::config::{self, Config, Environment, Need};
use baton_agent::explain::{self, Named};
use baton_agent::{clock, packet_fence, status};
use clap::Parser;

/// The exit code for wrong usage, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Validate { file, no_environment }) => {
            let environment = if no_environment { Environment::none() } else { Environment::here() };
            let file = file.unwrap_or(arguments.config);
            match read(&file, &environment) {
                Ok(config) => {
                    let warning = config.imds.warning().map(|text| format!("warning: {text}\n"));
                    let (file, summary) = (file.display(), config.summary());
                    talk(&format!("{file} is valid: {summary}\n{}", warning.unwrap_or_default()))
                }
                Err(refused) => refused,
            }
        }
        Some(Command::Fence { remove: true }) => unfence(),
        // Users and commands may not be there yet, early in a boot.
        Some(Command::Fence { remove: false }) => match read(&arguments.config, &Environment::none()) {
            Ok(config) => fence(&config),
            Err(refused) => refused,
        },
        Some(Command::Status { socket, json }) => status(&arguments.config, socket, json),
        Some(Command::Explain { timing, json }) => explain(&arguments.config, timing.as_deref(), json),
        None => match read(&arguments.config, &Environment::here()) {
            Ok(config) => baton_agent::run(config, arguments.config),
            Err(refused) => refused,
        },
    }
}

/// A configuration that is not there, or that is refused, is no reason to explain nothing.
fn explain(file: &Path, timing: Option<&str>, json: bool) -> ExitCode {
    let asked = match timing.map(Named::read).transpose() {
        Ok(asked) => asked.map_or_else(|| Named::PROFILES.to_vec(), |timing| vec![timing]),
        Err(error) => {
            talk(&format!("error: {error}\n"));
            return ExitCode::from(USAGE);
        }
    };
    let config = config::load(file, &Environment::none()).ok();
    let explained: Vec<_> = asked.iter().map(|timing| explain::explain(timing, config.as_ref())).collect();
    if !json {
        return say(&explain::in_words(&explained));
    }
    let text = serde_json::to_string_pretty(&serde_json::json!({ "timings": explained }));
    say(&(text.expect("numbers and texts are always JSON") + "\n"))
}

/// Whoever cannot read the configuration finds the agent where it listens by default.
fn status(file: &Path, socket: Option<PathBuf>, json: bool) -> ExitCode {
    let configured = || config::load(file, &Environment::none()).ok().map(|config| status::path(&config));
    let socket = socket.or_else(configured).unwrap_or_else(status::default_path);
    match status::ask::ask(&socket) {
        Ok((text, _)) if json => say(&text),
        Ok((_, status)) => say(&status::ask::in_words(&status, clock::wall())),
        Err(error) => {
            talk(&format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn read(file: &Path, environment: &Environment) -> Result<Config, ExitCode> {
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

/// A result, which may go on to another program. A reader who has left is no reason to fail.
fn say(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
