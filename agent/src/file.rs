//! Small files that several processes share: replaced whole, read with a limit.
//!
//! A reader sees the old text or the new one, never a part: the text goes to a file beside the target, which
//! then takes the target's name. The files live in `/run`, which no power failure survives, so nothing is
//! flushed to a disk.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::O_NOFOLLOW;

/// The longest file that is read. Every file of the agent is below 2 KB, so a longer one is not its own.
const LONGEST: u64 = 16 * 1024;

/// Replaces the file with `text`. Only one process may write a given path at a time.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".next");
    let beside = Path::new(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(beside)?;
    file.write_all(text)?;
    drop(file);
    std::fs::rename(beside, path)
}

/// Reads the file as text; refuses one that is too long to be ours.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LONGEST {
        let reason = format!("expected at most {LONGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(text)
}

/// Reads the file as text whatever it holds: the names of processes are any bytes. The same limit holds.
pub fn read_lossily(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the file as text; `None` if it does not exist.
pub fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes the file; one that is not there is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes the directory and those above it, closed to everybody else.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The id of this boot, which tells state of this boot from what an earlier one left.
pub fn boot_id() -> io::Result<String> {
    let text = read(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_holds_the_last_text_and_leaves_nothing_beside_it() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("state");
        for text in ["a long first text", "short"] {
            replace(&path, text.as_bytes()).expect("written");
            assert_eq!(read(&path).expect("read"), text);
        }
        assert_eq!(std::fs::read_dir(place.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let place = tempfile::tempdir().expect("a directory");
        let victim = place.path().join("victim");
        std::fs::write(&victim, "precious").expect("written");
        std::os::unix::fs::symlink(&victim, place.path().join("state.next")).expect("linked");
        assert!(replace(&place.path().join("state"), b"x").is_err());
        assert_eq!(read(&victim).expect("read"), "precious");
    }

    #[test]
    fn an_overlong_file_is_refused_and_a_missing_one_is_told_apart() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("state");
        assert_eq!(read_if_there(&path).expect("no error"), None);
        std::fs::write(&path, vec![b'x'; 16 * 1024 + 1]).expect("written");
        assert!(read_if_there(&path).is_err());
    }

    #[test]
    fn the_boot_has_an_id() {
        let id = boot_id().expect("Linux");
        assert_eq!(id.len(), 36);
        assert_eq!(boot_id().expect("Linux"), id);
    }
}
