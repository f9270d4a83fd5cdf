//! Writes the agent's manual pages and completions into a directory, for `cargo xtask package`.
//!
//! An example, since those who run an agent need no code that makes manuals in it.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use baton_agent::arguments::Arguments;
use baton_agent::status;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).ok_or("expected a directory")?;
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for directory in [&man, &completions] {
        std::fs::create_dir_all(directory)?;
    }
    let mut command = Arguments::command().disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "baton-agent", &completions)?;
    }
    command.build();
    page(&command, &man)
}

/// The page of a command and those of its subcommands.
fn page(command: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        page(inner, directory)?;
    }
    let page = Man::new(command.clone()).section("8").manual("Baton");
    let mut file = File::create(directory.join(page.get_filename()))?;
    page.render(&mut file)?;
    if command.get_name() == "baton-agent" {
        file.write_all(fields().as_bytes())?;
    }
    Ok(())
}

/// What `baton-agent status --json` and the socket say.
fn fields() -> String {
    let mut text =
        ".SH STATUS\nWhoever connects to the socket is told one JSON object, and the connection is closed.\n"
            .to_owned();
    for (name, meaning) in status::MANUAL {
        text += &format!(".TP\n.B {}\n{}\n", name.replace('-', "\\-"), meaning.replace('-', "\\-"));
    }
    text
}
