//! The Python environment that the stand-ins for AWS are installed in.
//!
//! It is made once per content of `python/requirements.txt`, under the workspace's target directory, and is
//! shared by all tests: whoever comes first makes it in a directory beside and renames it into place, the
//! others wait at a file lock. Nothing is installed outside the target directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::SandboxError;

/// Written last, so that an environment without it was never finished.
const STAMP: &str = "baton-complete";

/// A complete virtual environment.
#[derive(Debug, Clone)]
pub struct Venv {
    root: PathBuf,
}

impl Venv {
    /// The environment for the pinned requirements, made if it is missing; says on stderr what takes long.
    pub fn ensure() -> Result<Self, SandboxError> {
        Self::ensure_with(&mut |line| eprintln!("{line}"))
    }

    /// Like [`Venv::ensure`], with the reports going to `progress`.
    pub fn ensure_with(progress: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        Self::ensure_in(&target_directory().join("sandbox"), &python_file("requirements.txt"), progress)
    }

    /// An environment with the AWS CLI and nothing else, for whoever compares with it.
    pub fn with_aws_cli(progress: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        let requirements = python_file("requirements-aws-cli.txt");
        Self::ensure_in(&target_directory().join("sandbox"), &requirements, progress)
    }

    /// An environment with checkov and nothing else, for whoever holds templates to its rules.
    pub fn with_checkov(progress: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        let requirements = python_file("requirements-checkov.txt");
        Self::ensure_in(&target_directory().join("sandbox"), &requirements, progress)
    }

    /// The environment for `requirements` under `directory`.
    fn ensure_in(
        directory: &Path,
        requirements: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, SandboxError> {
        let text = fs::read(requirements)
            .map_err(SandboxError::io(format!("reading {}", requirements.display())))?;
        let digest = Sha256::digest(&text);
        let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let root = directory.join(format!("venv-{hash}"));
        let venv = Self { root };
        if venv.is_complete() {
            return Ok(venv);
        }
        fs::create_dir_all(directory).map_err(SandboxError::io(format!("making {}", directory.display())))?;
        let path = directory.join(format!("venv-{hash}.lock"));
        let lock = File::create(&path).map_err(SandboxError::io(format!("making {}", path.display())))?;
        if lock.try_lock().is_err() {
            progress("waiting for another process that makes the sandbox's Python environment");
            lock.lock().map_err(SandboxError::io(format!("locking {}", path.display())))?;
        }
        // Whoever held the lock before us has usually finished it.
        if !venv.is_complete() {
            venv.make(requirements, progress)?;
        }
        Ok(venv)
    }

    /// The environment's interpreter.
    pub fn python(&self) -> PathBuf {
        self.root.join("bin/python")
    }

    /// A command that runs a file of `tests/sandbox/python`.
    pub(crate) fn script(&self, name: &str) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![text(self.python()), text(python_file(name))]
    }

    /// A command that runs a tool of the environment by the name of its console script, such as `cfn-lint`.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.python());
        command.arg("-I").arg(python_file("tool.py")).arg(name).stdin(Stdio::null());
        command
    }

    /// A command that runs a module of the environment, for a tool that has no console script of that kind.
    pub fn module(&self, name: &str) -> Command {
        let mut command = Command::new(self.python());
        command.args(["-I", "-m", name]).stdin(Stdio::null());
        command
    }

    fn is_complete(&self) -> bool {
        // The interpreter is a link into the Python that made it, which may have been removed since.
        self.root.join(STAMP).is_file() && self.python().exists()
    }

    fn make(&self, requirements: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), SandboxError> {
        progress(&format!(
            "making the sandbox's Python environment {} (once; about a minute)",
            self.root.display()
        ));
        let beside = PathBuf::from(format!("{}.part", self.root.display()));
        for stale in [&beside, &self.root] {
            if stale.exists() {
                fs::remove_dir_all(stale)
                    .map_err(SandboxError::io(format!("removing the unfinished {}", stale.display())))?;
            }
        }
        let made = Command::new("python3").args(["-m", "venv"]).arg(&beside).stdin(Stdio::null()).output();
        let made =
            made.map_err(|error| SandboxError::Python(format!("python3 could not be run: {error}")))?;
        if !made.status.success() {
            let said = last_lines(&[made.stdout, made.stderr].concat());
            return Err(SandboxError::Python(format!("`python3 -m venv` failed: {said}")));
        }
        let shown = requirements.display();
        progress(&format!("installing what {shown} names into it"));
        let installed = Command::new(beside.join("bin/python"))
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet", "-r"])
            .arg(requirements)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                SandboxError::Python(format!("the new environment's pip did not run: {error}"))
            })?;
        if !installed.status.success() {
            let said = last_lines(&[installed.stdout, installed.stderr].concat());
            return Err(SandboxError::Packages { requirements: requirements.to_owned(), said });
        }
        let stamp = beside.join(STAMP);
        fs::write(&stamp, "").map_err(SandboxError::io(format!("writing {}", stamp.display())))?;
        fs::rename(&beside, &self.root)
            .map_err(SandboxError::io(format!("renaming {} into place", beside.display())))
    }
}

/// A file of this package's `python` directory.
pub(crate) fn python_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

/// The directory cargo builds into. It carries a tag file, so it is found from the running test or binary
/// however it was configured; elsewhere the configuration's usual places are taken.
pub fn target_directory() -> PathBuf {
    let tagged = std::env::current_exe().ok().and_then(|exe| {
        exe.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
    });
    let configured = || std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    tagged.or_else(configured).unwrap_or_else(|| crate::binaries::workspace().join("target"))
}

fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
