//! How results are written: tables for people, JSON and tab-separated lines for programs.

pub mod doctor;
pub mod json;
mod sarif;
pub mod table;
mod tsv;

use crate::args::Format;
use crate::console::Look;
use crate::rows::Rows;
use crate::trouble::Trouble;
use crate::view::View;

/// A cluster's state.
pub fn status(view: &View, format: Format, look: Look) -> Result<String, Trouble> {
    match format {
        // No other command has findings, and none lets SARIF come so far.
        Format::Table | Format::Sarif => Ok(table::status(view, look)),
        Format::Json => json::text(view, look),
        Format::Tsv => Ok(tsv::status(view)),
    }
}

/// A cluster's history.
pub fn history(rows: &Rows, format: Format, look: Look) -> Result<String, Trouble> {
    match format {
        Format::Table | Format::Sarif => Ok(table::history(rows, look)),
        Format::Json => json::text(rows, look),
        Format::Tsv => Ok(tsv::history(rows)),
    }
}
