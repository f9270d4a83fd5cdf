//! The agent's log: on standard error, text for a person at a terminal, one JSON object per line for
//! everything else.
//!
//! Fields have fixed names: `cluster`, `node`, `instance`, `epoch`, `reason`. Whoever serves a cluster works
//! inside that cluster's [`span`], so each of its lines names the cluster. The level comes from `BATON_LOG`
//! (`info` without it; `debug`, or levels by module as in `baton_agent::check=debug,info`), and
//! `BATON_LOG_FORMAT` = `text` or `json` overrides the choice of format.

use std::io::IsTerminal;

use baton_protocol::ids::{ClusterName, InstanceArn};
use tracing::Span;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text { colour: bool },
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A variable holds something that is not understood.
    #[error("expected {variable} to be {expected}, found `{found}`")]
    Variable {
        /// The variable's name.
        variable: &'static str,
        /// What it may hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// Something else has set up logging in this process.
    #[error("logging is already set up")]
    Twice,
}

/// Sets up logging for the process; to be called once, first of all.
pub fn init() -> Result<(), LogError> {
    let variable = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
    let terminal = std::io::stderr().is_terminal();
    let format = format(variable("BATON_LOG_FORMAT").as_deref(), terminal, variable("NO_COLOR").is_some())?;
    let filter = filter(variable("BATON_LOG").as_deref())?;
    tracing::subscriber::set_global_default(subscriber(format, filter, std::io::stderr))
        .map_err(|_| LogError::Twice)
}

/// The span in which everything about one cluster happens on this node.
pub fn span(cluster: &ClusterName, instance: &InstanceArn) -> Span {
    tracing::info_span!("cluster", %cluster, instance = %instance.instance_id())
}

fn format(asked: Option<&str>, terminal: bool, no_colour: bool) -> Result<Format, LogError> {
    match asked {
        Some("json") => Ok(Format::Json),
        Some("text") => Ok(Format::Text { colour: terminal && !no_colour }),
        None if terminal => Ok(Format::Text { colour: !no_colour }),
        None => Ok(Format::Json),
        Some(other) => Err(LogError::Variable {
            variable: "BATON_LOG_FORMAT",
            expected: "`text` or `json`",
            found: other.to_owned(),
        }),
    }
}

/// Levels by module, and no filter by fields: that one would link regular expressions into the agent.
fn filter(asked: Option<&str>) -> Result<Targets, LogError> {
    let text = asked.unwrap_or("info");
    text.parse().map_err(|_| LogError::Variable {
        variable: "BATON_LOG",
        expected: "a level such as `info`, or a filter such as `baton_agent::check=debug,info`",
        found: text.to_owned(),
    })
}

fn subscriber<W>(format: Format, filter: Targets, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(writer);
    match format {
        Format::Json => {
            let json = builder.json().flatten_event(true).with_current_span(true).with_span_list(false);
            Box::new(json.finish().with(filter))
        }
        Format::Text { colour } => {
            Box::new(builder.with_ansi(colour).with_target(false).finish().with(filter))
        }
    }
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_gets_text_and_everything_else_json() {
        assert_eq!(format(None, true, false).expect("valid"), Format::Text { colour: true });
        assert_eq!(format(None, true, true).expect("valid"), Format::Text { colour: false });
        assert_eq!(format(None, false, false).expect("valid"), Format::Json);
        assert_eq!(format(Some("json"), true, false).expect("valid"), Format::Json);
        assert_eq!(format(Some("text"), false, false).expect("valid"), Format::Text { colour: false });
    }

    #[test]
    fn a_word_that_is_not_understood_is_refused_with_what_was_expected() {
        let refused = format(Some("xml"), true, false).expect_err("no such format");
        assert_eq!(refused.to_string(), "expected BATON_LOG_FORMAT to be `text` or `json`, found `xml`");
        assert!(filter(Some("a=b=c")).is_err());
    }

    #[test]
    fn a_line_of_json_carries_the_fixed_names() {
        let captured = Captured::default();
        let sink = captured.clone();
        let subscriber = subscriber(Format::Json, filter(None).expect("valid"), move || sink.clone());
        let cluster = ClusterName::new("orders").expect("valid");
        let instance = InstanceArn::new("arn:aws:ec2:eu-west-1:123456789012:instance/i-0aaaaaaaaaaaaaaa1")
            .expect("valid");
        tracing::subscriber::with_default(subscriber, || {
            let _inside = span(&cluster, &instance).entered();
            tracing::info!(epoch = 7, reason = "takeover", "promoted");
            tracing::debug!("not at this level");
        });
        let bytes = captured.0.lock().expect("one thread").clone();
        let line: serde_json::Value = serde_json::from_slice(&bytes).expect("exactly one object");
        assert_eq!(line["message"], "promoted");
        assert_eq!(line["epoch"], 7);
        assert_eq!(line["reason"], "takeover");
        assert_eq!(line["span"]["cluster"], "orders");
        assert_eq!(line["span"]["instance"], "i-0aaaaaaaaaaaaaaa1");
    }
}
