//! How a refused configuration is shown: file, line, column, the place itself, the reason, the way out.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan,
};

/// The width of the rendered text. A fixed one keeps it the same in a terminal, a log and a test.
const WIDTH: usize = 110;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read the configuration `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file was read and refused.
    #[error("the configuration was refused: {}", summary(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}

fn summary(problems: &[Problem]) -> String {
    match problems {
        [] => "no problem was recorded".to_owned(),
        [only] => only.message.clone(),
        [first, rest @ ..] => format!("{} (and {} more)", first.message, rest.len()),
    }
}

/// The text that problems point into, shared by all of them.
#[derive(Debug, Clone)]
pub(super) struct Source(Arc<NamedSource<String>>);

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self(Arc::new(NamedSource::new(name, text.to_owned()).with_language("TOML")))
    }
}

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct Problem {
    code: &'static str,
    message: String,
    label: &'static str,
    help: String,
    span: SourceSpan,
    source: Source,
}

impl Problem {
    pub(super) fn new(source: &Source, span: Range<usize>, code: &'static str, message: String) -> Self {
        let span = span.into();
        Self { code, message, label: "here", help: String::new(), span, source: source.clone() }
    }

    pub(super) fn label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The file, the line and the column.
    pub fn place(&self) -> String {
        let contents = self.source.0.read_span(&self.span, 0, 0);
        match contents {
            Ok(at) => format!("{}:{}:{}", self.source.0.name(), at.line() + 1, at.column() + 1),
            Err(_) => self.source.0.name().to_owned(),
        }
    }

    /// The problem's stable name, such as `config::check::timeout`.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        if self.help.is_empty() { None } else { Some(Box::new(&self.help)) }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source.0)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.label.to_owned()), self.span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// The error as it is shown to a person. Colour is decoration: nothing is said by it alone.
pub fn render(error: &ConfigError, colour: bool) -> String {
    let ConfigError::Invalid(problems) = error else { return format!("{error}\n") };
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_context_lines(1);
    let shown = problems.iter().map(|problem| {
        let mut text = String::new();
        match handler.render_report(&mut text, problem) {
            Ok(()) => text.trim().to_owned(),
            Err(_) => problem.message.clone(),
        }
    });
    shown.collect::<Vec<_>>().join("\n\n") + "\n"
}
