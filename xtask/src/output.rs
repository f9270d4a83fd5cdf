//! What people see. Results on standard output, talk on standard error; a reader who has left is no error.

use std::io::Write;

/// A line of a result.
pub(crate) fn result(line: &str) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// A line of talk.
pub(crate) fn note(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Bold, where the terminal and its owner want it.
pub(crate) fn bold(text: &str) -> String {
    format!("\u{1b}[1m{text}\u{1b}[0m")
}

/// Dim.
pub(crate) fn dim(text: &str) -> String {
    format!("\u{1b}[2m{text}\u{1b}[0m")
}

/// Green for what went as it should, red for what did not.
pub(crate) fn verdict(good: bool, text: &str) -> String {
    let colour = if good { 32 } else { 31 };
    format!("\u{1b}[{colour}m{text}\u{1b}[0m")
}
