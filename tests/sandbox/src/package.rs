//! A function as Lambda takes it: its binary, named `bootstrap`, in a zip.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::SandboxError;

/// A zip with a function in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Package {
    /// Packs `binary` into `directory`, without its symbols where `strip` is installed: they are most of a
    /// debug build, and the function runs the same.
    pub fn of(binary: &Path, directory: &Path) -> Result<Self, SandboxError> {
        Self::labelled(binary, directory, "")
    }

    /// The same with a comment in the zip: another package, by its digest, of the same function.
    pub fn labelled(binary: &Path, directory: &Path, comment: &str) -> Result<Self, SandboxError> {
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = directory.join(format!("{name}.zip"));
        let doing = || SandboxError::io(format!("packing {} into {}", binary.display(), path.display()));
        fs::create_dir_all(directory).map_err(doing())?;
        let stripped = directory.join(format!("{name}.stripped"));
        let is_stripped = strip(binary, &stripped);
        let source = if is_stripped { &stripped } else { binary };
        let mut archive = ZipWriter::new(File::create(&path).map_err(doing())?);
        archive.set_comment(comment).map_err(io::Error::from).map_err(doing())?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(1))
            .unix_permissions(0o755);
        archive.start_file("bootstrap", options).map_err(io::Error::from).map_err(doing())?;
        io::copy(&mut File::open(source).map_err(doing())?, &mut archive).map_err(doing())?;
        let file = archive.finish().map_err(io::Error::from).map_err(doing())?;
        let bytes = file.metadata().map_err(doing())?.len();
        if is_stripped {
            fs::remove_file(&stripped).map_err(doing())?;
        }
        Ok(Self { path, bytes })
    }
}

/// Writes a copy without symbols; `false` where there is no `strip` or it does not know the format.
fn strip(binary: &Path, to: &Path) -> bool {
    let mut command = Command::new("strip");
    command.arg("-o").arg(to).arg(binary);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let done = command.status().is_ok_and(|status| status.success());
    done && to.is_file()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_package_holds_an_executable_bootstrap_that_still_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        let binary = PathBuf::from("/proc/self/exe").canonicalize().expect("this test");
        let package = Package::of(&binary, directory.path()).expect("packed");
        assert_eq!(package.bytes, fs::metadata(&package.path).expect("there").len());
        let mut archive = zip::ZipArchive::new(File::open(&package.path).expect("opens")).expect("a zip");
        assert_eq!(archive.len(), 1);
        let mut entry = archive.by_name("bootstrap").expect("has a bootstrap");
        assert_eq!(entry.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        let mut body = Vec::new();
        entry.read_to_end(&mut body).expect("unpacks");
        let unpacked = directory.path().join("bootstrap");
        fs::write(&unpacked, body).expect("written");
        fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755)).expect("made executable");
        let listed = Command::new(&unpacked).arg("--list").output().expect("runs");
        assert!(listed.status.success());
        assert!(String::from_utf8_lossy(&listed.stdout).contains("a_package_holds_an_executable_bootstrap"));
    }

    #[test]
    fn what_is_not_a_binary_is_packed_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = directory.path().join("function");
        fs::write(&script, "#!/bin/sh\n").expect("written");
        let package = Package::of(&script, &directory.path().join("out")).expect("packed");
        let mut archive = zip::ZipArchive::new(File::open(&package.path).expect("opens")).expect("a zip");
        let mut body = String::new();
        archive.by_name("bootstrap").expect("there").read_to_string(&mut body).expect("unpacks");
        assert_eq!(body, "#!/bin/sh\n");
    }
}
