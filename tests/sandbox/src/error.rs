//! What can go wrong with the sandbox itself, as opposed to with what is tried in it.

use std::io;
use std::path::PathBuf;

/// Why the sandbox could not do something. Every text says what to do next, where that is known.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The file system or a process refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no usable Python.
    #[error("{0}; install Python 3.10 or newer with its venv module (Debian: apt-get install python3-venv)")]
    Python(String),
    /// The packages of the virtual environment could not be installed.
    #[error("pip could not install what {requirements} names, its last words: {said}")]
    Packages {
        /// The file of requirements.
        requirements: PathBuf,
        /// The end of pip's output.
        said: String,
    },
    /// A part of the sandbox ended while it was needed.
    #[error("{what} ended with status {status}; the end of its log {log}:\n{tail}")]
    Ended {
        /// The part.
        what: String,
        /// Its exit status; negative is the signal.
        status: i64,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// Something was asked of a part that has not been started.
    #[error("{0} has not been started; start it first")]
    NotStarted(String),
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s; {hint}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// Where to look.
        hint: String,
    },
    /// The account refused or could not do what it was asked.
    #[error("the account could not `{doing}`: {said}")]
    Account {
        /// The request.
        doing: String,
        /// Its answer.
        said: String,
    },
    /// A part answered something the sandbox does not understand: a fault of the sandbox.
    #[error("{what} answered `{answer}`, which is not what the sandbox expects of it")]
    Answer {
        /// The part.
        what: String,
        /// What it said.
        answer: String,
    },
}

impl SandboxError {
    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
