//! Writes the command's manual pages and completions into a directory, for `cargo xtask package`.
//!
//! An example, so that what makes manuals is in no program that is shipped.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use baton::args::Cli;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).ok_or("expected a directory")?;
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for directory in [&man, &completions] {
        std::fs::create_dir_all(directory)?;
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "baton", &completions)?;
    }
    command.build();
    page(&command, &man)
}

/// The page of a command and those of its subcommands.
fn page(command: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        page(inner, directory)?;
    }
    let page = Man::new(command.clone()).section("1").manual("Baton");
    page.render(&mut File::create(directory.join(page.get_filename()))?)?;
    Ok(())
}
