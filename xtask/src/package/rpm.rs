//! The life of the rpms. Their root is a Debian as well, so what they depend on is not looked for; that it is what the
//! programs need is the gate's affair.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use super::Made;
use super::root::Root;
use super::tally::{Tally, same, want};
use super::test::{
    CONFIGURATION, LATER, after_installation, configure, is_configured, is_enabled, paths, was_left_alone,
    was_restarted,
};
use crate::tools;

/// What a deb's `Depends` says as well.
const REQUIRES: [&str; 3] = ["glibc >= 2.34", "libgcc", "systemd"];

/// Installs, looks at, updates and erases.
pub(super) fn check(tally: &mut Tally, first: &[Made], second: &[Made]) -> Result<(), Box<dyn Error>> {
    let root = Root::fresh("rpm")?;
    let first = paths(first, |made| &made.rpm);
    let second = paths(second, |made| &made.rpm);
    for package in first.iter().chain(&second) {
        let mut whole = Command::new("rpm");
        let found = tools::said(whole.args(["--checksig", "--nosignature"]).arg(package));
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        tally.take(&format!("{name} is whole"), found.map(drop));
    }
    tally.take("the agent's package asks for what its programs need", requires(&first));
    rpm(&root, &["--install"], &first)?;
    after_installation(tally, &root);
    tally.take("rpm finds every file as it was packed", verified(&root));
    tally.take("an operator configures and enables", configure(&root));

    root.pretend_the_agent_runs()?;
    let said = rpm(&root, &["--upgrade"], &second)?;
    tally.take("an update replaces both packages", versions(&root));
    tally.take("it restarts the running agent, once", was_restarted(&root.calls()?));
    tally.take("and has nothing to complain of", want(!said.contains("was not restarted"), &said));
    tally.take("rpm finds every file of the update as well", verified(&root));
    tally.take("it leaves the configuration alone", is_configured(&root));
    tally.take("it leaves the unit enabled", is_enabled(&root, "enabled"));

    root.write(CONFIGURATION, "# Ours.\nno-such-key = 1\n")?;
    let said = rpm(&root, &["--upgrade", "--replacepkgs"], &second)?;
    tally.take(
        "where the new version refuses the configuration the agent is left running",
        was_left_alone(&root.calls()?, &said),
    );

    rpm(&root, &["--erase"], &[PathBuf::from("baton-agent"), PathBuf::from("baton")])?;
    let calls = root.calls()?;
    let in_order = calls.contains("disable --now baton-agent.service");
    tally.take("an erasure stops the agent and enables it no more", want(in_order, &calls));
    tally.take("it takes every file away", files_are_gone(&root));
    tally.take("it leaves the configuration", is_configured(&root));
    Ok(())
}

/// Runs rpm on the root, with its own database in it, and gives what it said.
fn rpm(root: &Root, how: &[&str], packages: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let output = command(root, how).arg("--nodeps").args(packages).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // A scriptlet that fails is a warning to rpm, and a failure to us.
    let is_sound = output.status.success() && !said.contains("scriptlet failed");
    if is_sound { Ok(said) } else { Err(format!("rpm {how:?}: {}\n{said}", output.status).into()) }
}

fn command(root: &Root, how: &[&str]) -> Command {
    let mut command = Command::new("rpm");
    // A Debian's rpm wants to be told that its packages are not for this machine.
    command.args(["--force-debian", "--root"]).arg(root.directory()).args(["--dbpath", "/var/lib/rpm"]);
    command.args(["--define", &format!("_install_script_path {}", Root::script_path())]);
    command.args(how);
    command
}

fn requires(packages: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let agent = packages.first().ok_or("no package")?;
    let listed = tools::said(Command::new("rpm").args(["-qpR", "--nosignature"]).arg(agent))?;
    for expected in REQUIRES {
        want(
            listed.lines().any(|line| line.trim() == expected),
            &format!("{expected} is not in:\n{listed}"),
        )?;
    }
    Ok(())
}

fn verified(root: &Root) -> Result<(), Box<dyn Error>> {
    let said =
        tools::said(command(root, &["--verify", "--nodeps", "baton-agent", "baton"]).arg("--verbose"))?;
    // Verbose, so that a database that knows of no file is not taken for one whose files are all well.
    let lines: Vec<&str> = said.lines().collect();
    want(lines.len() > super::test::FILES.len() / 2, &format!("only {} files", lines.len()))?;
    let changed: Vec<&&str> = lines.iter().filter(|line| !line.starts_with(".........")).collect();
    want(changed.is_empty(), &format!("{changed:?}"))
}

fn versions(root: &Root) -> Result<(), Box<dyn Error>> {
    for package in ["baton-agent", "baton"] {
        let found = tools::said(&mut command(root, &["--query", "--queryformat", "%{VERSION}\\n", package]))?;
        same(found.trim(), LATER)?;
    }
    Ok(())
}

fn files_are_gone(root: &Root) -> Result<(), Box<dyn Error>> {
    for (path, _) in super::test::FILES {
        want(!root.has(path), &format!("{path} is still there"))?;
    }
    Ok(())
}
