//! Where a command writes and whom it can ask: data on one stream, talk on the other, and what the terminal allows.

use std::io::{self, BufRead, Write};

use crate::args::Color;
use crate::trouble::Trouble;

/// What the terminal, or its absence, allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Data goes to a terminal, so tables have borders.
    pub borders: bool,
    /// Somebody can answer a question.
    pub can_ask: bool,
    /// Colours are wanted. They are never the only carrier of meaning.
    pub color: bool,
    /// The width of the terminal; none: lines are as long as they are.
    pub width: Option<u16>,
}

/// The streams of a command.
pub struct Console<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Talk: progress, questions, errors.
    pub err: &'a mut dyn Write,
    /// Answers.
    pub input: &'a mut dyn BufRead,
    /// What the terminal allows.
    pub look: Look,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("look", &self.look).finish_non_exhaustive()
    }
}

impl Console<'_> {
    /// Writes data and hands it on at once, so that a reader of a watch sees each round when it is made.
    pub fn data(&mut self, text: &str) -> Result<(), Trouble> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Writes one line of talk. Nobody listening is no reason to stop an action that is under way.
    pub fn talk(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }

    /// One line of an answer, without its end.
    pub(crate) fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

/// Whether colours are wanted, by what was asked, the environment and the stream.
pub fn wants_color(asked: Color, env: impl Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
    match asked {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
            is_terminal && !refused && env("TERM").as_deref() != Some("dumb")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_and_no_objection_unless_it_was_asked_for() {
        let none = |_: &str| None;
        let objection = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let dumb = |name: &str| (name == "TERM").then(|| "dumb".to_owned());
        assert!(wants_color(Color::Auto, none, true));
        assert!(!wants_color(Color::Auto, none, false));
        assert!(!wants_color(Color::Auto, objection, true));
        assert!(!wants_color(Color::Auto, dumb, true));
        assert!(wants_color(Color::Always, objection, false));
        assert!(!wants_color(Color::Never, none, true));
    }
}
