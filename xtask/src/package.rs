//! Packages of the agent and of the command line, as deb and rpm: `cargo xtask package`.
//!
//! The programs are built once, held to what the packages promise, and then packed twice, from lists of files that
//! `package_lists_agree` of `tests/tidy` compares. What is made along the way, manuals, completions and notices, lies in
//! `package` beside the programs, which is where both tools look for what was built.

mod debian;
mod gate;
mod notices;
pub(crate) mod root;
mod rpm;
pub(crate) mod tally;
mod test;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use baton_sandbox::binaries::workspace;
use baton_sandbox::venv::target_directory;

use crate::{output, tools};

pub(crate) use test::{EXPOSURE, check};

/// One package in both forms.
struct Package {
    name: &'static str,
    /// Of its manifest, from the root of the workspace.
    directory: &'static str,
    programs: &'static [Program],
    /// Pages that are written by hand, from `directory`.
    pages: &'static [&'static str],
}

/// A program, and how large it may become, stripped as it is shipped: what it was when the limit was last thought about, and a
/// little more. Whoever comes to it asks what made it grow.
#[derive(Debug, Clone, Copy)]
struct Program {
    name: &'static str,
    /// In MB, of 1,000,000 bytes.
    most: u64,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "baton-agent",
        directory: "agent",
        programs: &[Program { name: "baton-agent", most: 8 }, Program { name: "baton-deadman", most: 1 }],
        pages: &["dist/baton-agent.toml.5"],
    },
    Package { name: "baton", directory: "cli", programs: &[Program { name: "baton", most: 10 }], pages: &[] },
];

/// What programs are built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What nodes get.
    Dist,
    /// What tests are built with, so that trying a change costs seconds. Such packages are handed to nobody.
    Dev,
}

impl Profile {
    /// As cargo and the packers call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Dev => "dev",
        }
    }

    /// How they are packed: what nodes get is stripped already, and what nobody gets is large.
    fn packing(self) -> &'static [&'static str] {
        match self {
            Self::Dist => &["--no-strip"],
            Self::Dev => &["--strip", "--fast", "--compress-system"],
        }
    }

    /// Where cargo puts the programs.
    fn directory(self) -> PathBuf {
        target_directory().join(match self {
            Self::Dist => "dist",
            Self::Dev => "debug",
        })
    }
}

/// The files of one version of a package.
struct Made {
    deb: PathBuf,
    rpm: PathBuf,
}

/// Builds everything and puts the packages into `package` below the target directory.
pub(crate) fn run() -> Result<ExitCode, Box<dyn Error>> {
    tools::system("rpm", "rpm")?;
    build(Profile::Dist)?;
    let directory = target_directory().join("package");
    for made in pack(&directory, None)? {
        show(&made.deb, Command::new("dpkg-deb").arg("--contents").arg(&made.deb))?;
        show(&made.rpm, Command::new("rpm").args(["-qplv", "--nosignature"]).arg(&made.rpm))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(package: &Path, contents: &mut Command) -> Result<(), Box<dyn Error>> {
    let size = std::fs::metadata(package)?.len();
    output::result(&output::bold(&format!("{} ({} KB)", package.display(), size / 1024)));
    output::result(tools::said(contents)?.trim_end());
    Ok(())
}

/// Builds the programs and what belongs to them. A program that would not run where the packages say it does is an error.
fn build(profile: Profile) -> Result<(), Box<dyn Error>> {
    let programs = || PACKAGES.iter().flat_map(|package| package.programs);
    output::note(&format!("building with the profile {} (minutes)", profile.name()));
    let mut cargo = tools::cargo();
    cargo.args(["build", "--locked", "--quiet", "--workspace", "--profile", profile.name()]);
    tools::run(cargo.args(programs().flat_map(|program| ["--bin", program.name])))?;
    // What nobody gets promises nothing about where it runs.
    for program in programs().filter(|_| profile == Profile::Dist) {
        let needs = gate::look_at(&profile.directory().join(program.name), program.most * 1_000_000)?;
        output::note(&output::dim(&needs));
    }
    for package in &PACKAGES {
        stage(package, profile)?;
    }
    Ok(())
}

/// Builds and packs the debs into this directory; their paths, the agent's first.
pub(crate) fn debs(profile: Profile, directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    build(profile)?;
    empty(directory)?;
    PACKAGES.iter().map(|package| pack_deb(package, directory, profile, None)).collect()
}

/// Makes the package's manuals, completions and notices.
fn stage(package: &Package, profile: Profile) -> Result<(), Box<dyn Error>> {
    let directory = profile.directory().join("package").join(package.name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let man = directory.join("man");
    std::fs::create_dir_all(&man)?;
    let mut cargo = tools::cargo();
    let manual = format!("{}-manual", package.name);
    cargo.args(["run", "--locked", "--quiet", "--package", package.name, "--example", &manual, "--"]);
    tools::run(cargo.arg(&directory))?;
    for page in package.pages {
        let page = workspace().join(package.directory).join(page);
        std::fs::copy(&page, man.join(page.file_name().ok_or("a page has a name")?))?;
    }
    let mut pages = Vec::new();
    for page in std::fs::read_dir(&man)? {
        pages.push(page?.path());
    }
    pages.sort();
    // Without name and time, so that the same text is the same file.
    tools::run(Command::new("gzip").args(["-9n"]).args(&pages))?;
    std::fs::write(directory.join("NOTICES"), notices::of(package.name)?)?;
    Ok(())
}

/// Packs what was built for nodes, as `version` in place of the workspace's own if there is one.
fn pack(directory: &Path, version: Option<&str>) -> Result<Vec<Made>, Box<dyn Error>> {
    empty(directory)?;
    let both = |package| {
        let deb = pack_deb(package, directory, Profile::Dist, version)?;
        Ok(Made { deb, rpm: pack_rpm(package, directory, version)? })
    };
    PACKAGES.iter().map(both).collect()
}

fn empty(directory: &Path) -> Result<(), Box<dyn Error>> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    Ok(std::fs::create_dir_all(directory)?)
}

fn pack_deb(
    package: &Package,
    directory: &Path,
    profile: Profile,
    version: Option<&str>,
) -> Result<PathBuf, Box<dyn Error>> {
    let mut deb = tools::cargo_deb()?;
    deb.current_dir(workspace()).args(["--package", package.name, "--profile", profile.name(), "--locked"]);
    deb.args(["--no-build", "--quiet", "--output"]).arg(directory);
    deb.args(profile.packing());
    deb.args(version.iter().flat_map(|version| ["--deb-version".to_owned(), format!("{version}-1")]));
    tools::run(deb.envs(commit_time()))?;
    only(directory, &format!("{}_", package.name), ".deb")
}

fn pack_rpm(package: &Package, directory: &Path, version: Option<&str>) -> Result<PathBuf, Box<dyn Error>> {
    let mut rpm = tools::cargo_generate_rpm()?;
    rpm.current_dir(workspace()).args(["--package", package.directory, "--profile", Profile::Dist.name()]);
    rpm.arg("--target-dir").arg(target_directory()).arg("--output").arg(directory);
    rpm.args(version.iter().flat_map(|version| ["-s".to_owned(), format!("version = \"{version}\"")]));
    tools::run(rpm.envs(commit_time()))?;
    only(directory, &format!("{}-{}", package.name, version.unwrap_or(VERSION)), ".rpm")
}

/// Of the workspace, and so of every member.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The one file whose name begins and ends so.
fn only(directory: &Path, begin: &str, end: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(begin) && name.ends_with(end) {
            found.push(entry.path());
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let place = directory.display();
            Err(format!("expected one file {begin}…{end} in {place}, found {}", several.len()).into())
        }
    }
}

/// When the commit was made, for the times in a package; nothing where there is no repository.
fn commit_time() -> Option<(&'static str, String)> {
    let mut git = Command::new("git");
    git.current_dir(workspace()).args(["log", "-1", "--format=%ct"]);
    let seconds = tools::said(&mut git).ok()?.trim().to_owned();
    (!seconds.is_empty()).then_some(("SOURCE_DATE_EPOCH", seconds))
}
