//! JSON: indented on a terminal, one line per object in a pipe, so that a watch can be read line by line.

use serde::Serialize;

use crate::console::Look;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// One object and the end of its line.
pub fn text<T: Serialize>(value: &T, look: Look) -> Result<String, Trouble> {
    let written =
        if look.borders { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let written = written.map_err(|failure| {
        Trouble::new(Exit::Unexpected, format!("the result has no JSON form: {failure}"))
    })?;
    Ok(written + "\n")
}
