//! The life of the debs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Made;
use super::root::Root;
use super::tally::{Tally, same, want};
use super::test::{
    CONFIGURATION, LATER, after_installation, configure, is_configured, is_enabled, paths, quiet,
    was_left_alone, was_restarted,
};
use crate::tools;

/// Installs, looks at, updates, removes and purges.
pub(super) fn check(tally: &mut Tally, first: &[Made], second: &[Made]) -> Result<(), Box<dyn Error>> {
    let root = Root::fresh("deb")?;
    tally.take(
        "the agent's package asks for what its programs need",
        depends(&first.first().ok_or("no package")?.deb),
    );
    let first = bring(&root, &paths(first, |made| &made.deb))?;
    let second = bring(&root, &paths(second, |made| &made.deb))?;
    // Without these nothing else means anything, so they end it.
    install(&root, &first)?;
    after_installation(tally, &root);
    tally.take("every file is root's and nobody else's to change", files_are_safe(&root));
    tally.take(
        "dpkg finds every file as it was packed",
        quiet(&root, &["dpkg", "--verify", "baton-agent", "baton"]),
    );
    tally.take("every manual page is found and clean", manual_pages(&root));
    tally.take("an operator configures and enables", configure(&root));

    root.pretend_the_agent_runs()?;
    let said = install(&root, &second)?;
    tally.take("an update replaces both packages", versions(&root, &format!("{LATER}-1")));
    tally.take("it restarts the running agent, once", was_restarted(&root.calls()?));
    tally.take("and has nothing to complain of", want(!said.contains("was not restarted"), &said));
    tally.take("it leaves the configuration alone", is_configured(&root));
    tally.take("it leaves the unit enabled", is_enabled(&root, "enabled"));

    root.write(CONFIGURATION, "# Ours.\nno-such-key = 1\n")?;
    let said = install(&root, &second)?;
    tally.take(
        "where the new version refuses the configuration the agent is left running",
        was_left_alone(&root.calls()?, &said),
    );

    root.write("/run/baton/orders/state", "{}")?;
    root.run(&["dpkg", "--remove", "baton-agent", "baton"])?;
    tally.take("a removal stops the agent", stopped(&root.calls()?));
    tally.take("it takes the programs and the unit away", programs_are_gone(&root));
    tally.take("it leaves the configuration", is_configured(&root));
    tally.take("it leaves what the agent kept", want(root.has("/run/baton/orders/state"), "gone"));

    root.run(&["dpkg", "--purge", "baton-agent", "baton"])?;
    tally.take("a purge takes what the agent kept away", want(!root.has("/run/baton"), "it is still there"));
    tally.take("it leaves nothing enabled", nothing_is_enabled(&root));
    tally.take("it leaves the configuration as well", is_configured(&root));
    Ok(())
}

/// What an rpm's `Requires` say as well.
fn depends(agent: &Path) -> Result<(), Box<dyn Error>> {
    let depends = tools::said(Command::new("dpkg-deb").arg("--field").arg(agent).arg("Depends"))?;
    for expected in ["libc6 (>= 2.34)", "libgcc-s1", "systemd"] {
        want(
            depends.trim().split(", ").any(|it| it == expected),
            &format!("{expected} is not in {depends}"),
        )?;
    }
    Ok(())
}

/// Copies packages into the root and gives their paths there.
fn bring(root: &Root, packages: &[PathBuf]) -> Result<Vec<String>, Box<dyn Error>> {
    let into = |package: &PathBuf| {
        let name = package.file_name().ok_or("a package has a name")?.to_string_lossy();
        let inside = format!("/var/tmp/{name}");
        std::fs::copy(package, root.outside(&inside))?;
        Ok(inside)
    };
    packages.iter().map(into).collect()
}

/// Installs with everything that the packages depend on there already; gives what it said.
fn install(root: &Root, packages: &[String]) -> Result<String, Box<dyn Error>> {
    let mut words = vec!["dpkg", "--install"];
    words.extend(packages.iter().map(String::as_str));
    let output = root.command(&words).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("dpkg: {}\n{said}", output.status).into()) }
}

/// The files of both packages, as dpkg lists them.
fn files(root: &Root) -> Result<Vec<String>, Box<dyn Error>> {
    let listed = root.run(&["dpkg", "--listfiles", "baton-agent", "baton"])?;
    Ok(listed.lines().filter(|path| root.outside(path).is_file()).map(str::to_owned).collect())
}

fn files_are_safe(root: &Root) -> Result<(), Box<dyn Error>> {
    let files = files(root)?;
    want(files.len() > super::test::FILES.len(), &format!("only {} files", files.len()))?;
    for path in files {
        let mode = if path.starts_with("/usr/bin/") { 0o755 } else { 0o644 };
        root.want_file(&path, mode)?;
    }
    Ok(())
}

/// Each page is found by its name and section, and troff has no warning about it.
fn manual_pages(root: &Root) -> Result<(), Box<dyn Error>> {
    let files = files(root)?;
    let pages: Vec<&String> = files.iter().filter(|path| path.starts_with("/usr/share/man/")).collect();
    want(pages.len() >= 12, &format!("only {} pages", pages.len()))?;
    for path in pages {
        let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
        let (name, section) = name.rsplit_once('.').ok_or_else(|| format!("{path} has no section"))?;
        same(&root.run(&["man", "-w", section, name])?, path)?;
        let output = root.command(&["man", "--warnings=w", "-E", "UTF-8", section, name]).output()?;
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        want(output.status.success() && warnings.is_empty(), &format!("{path}: {warnings}"))?;
    }
    Ok(())
}

fn versions(root: &Root, expected: &str) -> Result<(), Box<dyn Error>> {
    for package in ["baton-agent", "baton"] {
        same(
            &root.run(&["dpkg-query", "--show", "--showformat=${Version} ${Status}", package])?,
            &format!("{expected} install ok installed"),
        )?;
    }
    Ok(())
}

fn stopped(calls: &str) -> Result<(), Box<dyn Error>> {
    let is_stop = |line: &str| line.split(' ').any(|word| word == "stop");
    want(calls.lines().any(is_stop), &format!("expected a stop, found:\n{calls}"))
}

fn programs_are_gone(root: &Root) -> Result<(), Box<dyn Error>> {
    for (path, _) in super::test::FILES {
        want(!root.has(path), &format!("{path} is still there"))?;
    }
    Ok(())
}

fn nothing_is_enabled(root: &Root) -> Result<(), Box<dyn Error>> {
    for path in [
        "/etc/systemd/system/multi-user.target.wants/baton-agent.service",
        "/etc/systemd/system/baton-agent.service",
    ] {
        want(!root.has(path), &format!("{path} is still there"))?;
    }
    Ok(())
}
