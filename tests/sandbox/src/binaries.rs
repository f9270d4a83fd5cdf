//! The programs of the product, built as the workspace builds them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::SandboxError;
use crate::venv::target_directory;

/// Where the programs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
}

/// The programs of the product.
const PROGRAMS: [&str; 6] =
    ["baton", "baton-agent", "baton-deadman", "baton-arbiter", "baton-registrar", "baton-sweeper"];

impl Binaries {
    /// Builds every program, so that none is older than its source. They are built as members of the whole workspace:
    /// their dependencies then have the same features as for any test, and are built only once.
    pub fn build(progress: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        progress("building agent, functions and CLI (minutes the first time, seconds after)");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--workspace", "--quiet"])
            .args(PROGRAMS.iter().flat_map(|program| ["--bin", program]))
            .current_dir(workspace())
            .stdin(Stdio::null())
            .status()
            .map_err(SandboxError::io("running cargo build"))?;
        if !status.success() {
            let what = "cargo build --workspace --bin ...".to_owned();
            let status = i64::from(status.code().unwrap_or(-1));
            let tail = "its messages stand above".to_owned();
            return Err(SandboxError::Ended { what, status, log: PathBuf::from("standard error"), tail });
        }
        Ok(Self { directory: target_directory().join("debug") })
    }

    /// The program of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where all of them lie, for a search path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map_or_else(|| here.to_owned(), Path::to_owned)
}
