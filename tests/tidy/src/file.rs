//! The files that rules look at, and what they find.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from the root, with `/` between the parts.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl File {
    /// A file that only a test has seen.
    pub fn made_up(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether its name ends so.
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// Its lines, counted from one.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Something found in a line of it.
    pub fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }
}

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Fails with every finding on a line of its own.
///
/// # Panics
/// If there is any.
pub fn assert_none(findings: &[Finding]) {
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", list.len(), list.join("\n"));
}

/// What holds nothing anybody wrote: directories, and the file `.git` that a worktree has in place of one.
const NOT_OURS: [&str; 5] = [".git", "target", "__pycache__", ".venv", ".pytest_cache"];

/// Every text file of the repository, in the order of their paths; the lock file of the dependencies and the licence,
/// which nobody writes by hand, are among them.
///
/// # Panics
/// If a directory cannot be read.
pub fn load() -> Vec<File> {
    let root = root();
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        // What is not text has no lines to look at.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let path = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
        files.push(File { path, text });
    }
    files
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the repository can be listed") {
        let entry = entry.expect("an entry of the repository can be read");
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type().expect("an entry of the repository has a type");
        if NOT_OURS.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if kind.is_dir() {
            walk(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}
