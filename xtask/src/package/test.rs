//! The packages as an operator meets them: `cargo xtask test package`.
//!
//! Everything is built and packed, in two versions that differ in nothing else, and then installed, looked at, updated and
//! removed, the deb and the rpm each in a root of its own. What only a running systemd can show is not shown here.

use std::error::Error;

use baton_sandbox::venv::target_directory;

use super::root::Root;
use super::tally::{Tally, same, want};
use super::{Made, Profile, VERSION, build, debian, pack, rpm};
use crate::{output, tools};

/// The version that the packages are updated to.
pub(super) const LATER: &str = "999.0.0";

/// How exposed the unit may be, in tenths, as `systemd-analyze security` of Debian 12 counts: docs/PACKAGES.md says why it is
/// no less.
pub(crate) const EXPOSURE: u32 = 33;

/// Files of both packages, with their modes. Where zsh looks is the system's own affair.
pub(super) const FILES: [(&str, u32); 21] = [
    ("/usr/bin/baton-agent", 0o755),
    ("/usr/bin/baton-deadman", 0o755),
    ("/usr/bin/baton", 0o755),
    ("/usr/lib/systemd/system/baton-agent.service", 0o644),
    ("/usr/lib/systemd/system/baton-fence.service", 0o644),
    ("/usr/lib/sysusers.d/baton-agent.conf", 0o644),
    ("/usr/share/man/man8/baton-agent.8.gz", 0o644),
    ("/usr/share/man/man8/baton-agent-fence.8.gz", 0o644),
    ("/usr/share/man/man8/baton-agent-validate.8.gz", 0o644),
    ("/usr/share/man/man5/baton-agent.toml.5.gz", 0o644),
    ("/usr/share/man/man1/baton.1.gz", 0o644),
    ("/usr/share/man/man1/baton-switchover.1.gz", 0o644),
    ("/usr/share/bash-completion/completions/baton", 0o644),
    ("/usr/share/bash-completion/completions/baton-agent", 0o644),
    ("/usr/share/doc/baton-agent/agent.toml", 0o644),
    ("/usr/share/doc/baton-agent/watchdog.conf", 0o644),
    ("/usr/share/doc/baton-agent/copyright", 0o644),
    ("/usr/share/doc/baton-agent/NOTICES", 0o644),
    ("/usr/share/doc/baton/copyright", 0o644),
    ("/usr/share/doc/baton/NOTICES", 0o644),
    ("/usr/share/fish/vendor_completions.d/baton.fish", 0o644),
];

/// What must be there to look at them, each with its Debian package.
const PROGRAMS: [(&str, &str); 3] = [("debootstrap", "debootstrap"), ("rpm", "rpm"), ("objdump", "binutils")];

/// The operator's configuration, which is never the package's.
pub(super) const CONFIGURATION: &str = "/etc/baton/agent.toml";

/// A whole life of both packages.
pub(crate) fn check() -> Result<(), Box<dyn Error>> {
    for (program, package) in PROGRAMS {
        tools::system(program, package)?;
    }
    build(Profile::Dist)?;
    let directory = target_directory().join("package-test");
    let (first, second) =
        (pack(&directory.join("first"), None)?, pack(&directory.join("second"), Some(LATER))?);
    let mut tally = Tally::default();
    output::note("the deb, in a root of its own");
    debian::check(&mut tally, &first, &second)?;
    output::note("the rpm, in a root of its own");
    rpm::check(&mut tally, &first, &second)?;
    tally.close()
}

/// Only one form of each package.
pub(super) fn paths(made: &[Made], of: impl Fn(&Made) -> &std::path::PathBuf) -> Vec<std::path::PathBuf> {
    made.iter().map(|made| of(made).clone()).collect()
}

/// What holds after the first installation, whichever form it had.
pub(super) fn after_installation(tally: &mut Tally, root: &Root) {
    for (path, mode) in FILES {
        tally.take(&format!("{path} is there for all to read"), root.want_file(path, mode));
    }
    tally.take("the programs say their version", programs_say_their_version(root));
    tally.take("the unit is installed and not enabled", is_enabled(root, "disabled"));
    tally.take("no configuration is in place", want(!root.has(CONFIGURATION), CONFIGURATION));
    tally.take("the user for checks exists and cannot log in", user_for_checks(root));
    tally.take("the example is valid where it was installed", example_is_valid(root));
    tally.take("the unit is sound", quiet(root, &["systemd-analyze", "verify", UNIT]));
    tally.take("so is the fence's", quiet(root, &["systemd-analyze", "verify", FENCE_UNIT]));
    tally.take("the unit is not more exposed than it has to be", exposure(root));
    tally.take("notices name what is linked", notices(root));
}

const FENCE_UNIT: &str = "/usr/lib/systemd/system/baton-fence.service";
const UNIT: &str = "/usr/lib/systemd/system/baton-agent.service";

fn programs_say_their_version(root: &Root) -> Result<(), Box<dyn Error>> {
    for program in ["baton-agent", "baton"] {
        same(&root.run(&[program, "--version"])?, &format!("{program} {VERSION}"))?;
    }
    // Without arguments it has nobody to guard: wrong usage, and so it has been started at all.
    want(root.command(&["baton-deadman"]).output()?.status.code() == Some(2), "the dead-man does not start")
}

/// Whether the unit is enabled, as systemd's own tool reads it from the files.
pub(super) fn is_enabled(root: &Root, expected: &str) -> Result<(), Box<dyn Error>> {
    same(
        root.ask(&["systemctl", "--root=/", "is-enabled", "baton-agent.service"])?
            .lines()
            .last()
            .unwrap_or_default(),
        expected,
    )
}

fn user_for_checks(root: &Root) -> Result<(), Box<dyn Error>> {
    let entry = root.run(&["getent", "passwd", "baton-check"])?;
    want(entry.ends_with("/nologin"), &format!("expected a shell that is none, found `{entry}`"))
}

fn example_is_valid(root: &Root) -> Result<(), Box<dyn Error>> {
    // With everything that is looked at on a node: the commands that it names are there, and root may trust them.
    let said = root.ask(&["baton-agent", "validate", "/usr/share/doc/baton-agent/agent.toml"])?;
    want(said.contains("is valid"), &said)
}

/// Wants a command that succeeds and has nothing to say.
pub(super) fn quiet(root: &Root, words: &[&str]) -> Result<(), Box<dyn Error>> {
    root.run(words)?;
    same(&root.ask(words)?, "")
}

fn exposure(root: &Root) -> Result<(), Box<dyn Error>> {
    let limit = format!("--threshold={EXPOSURE}");
    let said = root.run(&["systemd-analyze", "security", "--offline=true", "--no-pager", &limit, UNIT])?;
    let sum = said.lines().last().unwrap_or_default();
    output::note(&output::dim(sum.trim_start_matches("→ ")));
    want(sum.contains("exposure level"), sum)
}

fn notices(root: &Root) -> Result<(), Box<dyn Error>> {
    for package in ["baton-agent", "baton"] {
        let text = std::fs::read_to_string(root.outside(&format!("/usr/share/doc/{package}/NOTICES")))?;
        for expected in ["aws-sdk-dynamodb ", "rustls ", "ring ", "the standard library of Rust "] {
            want(text.contains(&format!("\n  {expected}")), &format!("{package}: nothing about {expected}"))?;
        }
        want(!text.contains("\n  syn "), "a crate that is only there while building is named")?;
    }
    Ok(())
}

/// Puts the example in place as the operator's, and enables the unit as an operator does.
pub(super) fn configure(root: &Root) -> Result<(), Box<dyn Error>> {
    let example = std::fs::read_to_string(root.outside("/usr/share/doc/baton-agent/agent.toml"))?;
    root.write(CONFIGURATION, &format!("# Ours.\n{example}"))?;
    root.run(&["systemctl", "enable", "baton-agent.service"])?;
    is_enabled(root, "enabled")
}

/// Whether the configuration is as [`configure`] has left it.
pub(super) fn is_configured(root: &Root) -> Result<(), Box<dyn Error>> {
    let text = std::fs::read_to_string(root.outside(CONFIGURATION))?;
    want(text.starts_with("# Ours.\n"), "the operator's configuration was replaced")
}

/// An update has restarted the agent that runs, once, and has neither stopped nor started it by itself.
pub(super) fn was_restarted(calls: &str) -> Result<(), Box<dyn Error>> {
    let asks = |what: &str| calls.lines().filter(|line| line.split(' ').any(|word| word == what)).count();
    let counts = (asks("try-restart"), asks("stop"), asks("start"), asks("restart"));
    want(counts == (1, 0, 0, 0), &format!("expected one try-restart and nothing else, found:\n{calls}"))
}

/// An update that refuses the configuration has left the agent alone.
pub(super) fn was_left_alone(calls: &str, said: &str) -> Result<(), Box<dyn Error>> {
    let touched = ["restart", "stop", "start"].iter().any(|word| calls.contains(word));
    want(!touched, &format!("the agent was not to be touched, and was:\n{calls}"))?;
    want(said.contains("was not restarted"), &format!("nobody was told; it said:\n{said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_told_from_a_stop() {
        assert!(was_restarted("--system daemon-reload\n--quiet try-restart baton-agent.service\n").is_ok());
        for wrong in
            ["", "stop baton-agent.service\ntry-restart x\n", "try-restart x\ntry-restart x\n", "restart x\n"]
        {
            assert!(was_restarted(wrong).is_err(), "{wrong}");
        }
        assert!(was_left_alone("--system daemon-reload\n", "the agent was not restarted").is_ok());
        assert!(was_left_alone("try-restart x\n", "the agent was not restarted").is_err());
        assert!(was_left_alone("", "").is_err());
    }
}
