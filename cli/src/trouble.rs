//! What stops a command: an exit code, a sentence that says what was expected and found, and what to do next.
//!
//! Every failure of the table is told apart here. A throttle is not a denial, a missing table is not an unknown outcome,
//! and none of them says anything about the cluster itself.

use std::io;

use baton_protocol::ids::ClusterName;
use baton_protocol::outcome::Failure;

use crate::exit::Exit;
use crate::text;

/// Why a command stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// How the process ends.
    pub exit: Exit,
    /// What happened; none where nobody is left to be told.
    pub message: Option<String>,
    /// What to do next.
    pub help: Option<String>,
}

impl Trouble {
    /// A trouble with its sentence.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: Some(message.into()), help: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Refused because it is not safe now.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// A call to the table that brought no answer about its state.
    pub fn of_table(doing: &str, failure: &Failure) -> Self {
        match failure {
            Failure::Conflict => Self::new(
                Exit::Unexpected,
                format!("{doing}: another transaction held the item, nothing was changed"),
            )
            .help("run the command again"),
            Failure::Throttled => Self::new(
                Exit::Unexpected,
                format!("{doing}: DynamoDB throttled the call, nothing was changed"),
            )
            .help("wait a moment and run the command again; if it stays so, look at the table's and account's limits"),
            Failure::Denied(message) => {
                let message = text::printable(message);
                let (denied, help) = match denied_action(&message) {
                    Some(action) => (
                        format!("IAM denies {action}"),
                        format!(
                            "use credentials that allow {action}; the control plane's stack has policies for viewer, \
                             operator and administrator"
                        ),
                    ),
                    None => (
                        "the credentials were not accepted".to_owned(),
                        "check the credentials and --profile: they may have expired".to_owned(),
                    ),
                };
                Self::new(Exit::Denied, format!("{doing}: {denied}: {message}")).help(help)
            }
            Failure::Missing(what) => {
                Self::new(Exit::Missing, format!("{doing}: there is no such table: {}", text::printable(what)))
                    .help("name the table with --table or BATON_TABLE, and check --region and --profile")
            }
            Failure::Malformed(what) => {
                let what = text::printable(what);
                Self::new(Exit::Unexpected, format!("{doing}: an item in the table is not as expected: {what}"))
                    .help("if the control plane is newer than this `baton`, upgrade `baton`")
            }
            Failure::Invalid(what) => {
                let what = text::printable(what);
                Self::new(Exit::Unexpected, format!("{doing}: DynamoDB refused the request as wrong: {what}"))
                    .help("this is a fault of `baton`: please report it with this message")
            }
            Failure::Unknown(what) => {
                let what = text::printable(without_debug(what));
                Self::new(Exit::Unexpected, format!("{doing}: no answer from DynamoDB: {what}"))
                    .help("check credentials, --region and the network, and run the command again")
            }
        }
    }

    /// There is no such cluster. `known` is absent where the list could not be read either.
    pub fn unknown_cluster(cluster: &ClusterName, known: Option<&[ClusterName]>) -> Self {
        let help = match known {
            None => "the list of clusters could not be read; check --table and --region".to_owned(),
            Some([]) => "no cluster is registered in this table; check --table and --region".to_owned(),
            Some(known) => format!("registered clusters: {}", join(known)),
        };
        Self::new(Exit::Missing, format!("there is no cluster `{cluster}`")).help(help)
    }

    /// The line or lines for the error stream.
    pub fn render(&self) -> String {
        let Some(message) = &self.message else { return String::new() };
        let mut lines = format!("error: {message}\n");
        if let Some(help) = &self.help {
            lines.push_str(&format!(" help: {help}\n"));
        }
        lines
    }
}

/// A reader that has left (`| head`) has what it wanted, so that is a success; any other failure of a stream is not.
impl From<io::Error> for Trouble {
    fn from(failure: io::Error) -> Self {
        if failure.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Done, message: None, help: None };
        }
        Self::new(Exit::Unexpected, format!("the output could not be written: {failure}"))
    }
}

/// The action in IAM's usual sentence, "… is not authorized to perform: dynamodb:GetItem on resource: …".
pub fn denied_action(message: &str) -> Option<&str> {
    let rest = message.split_once("perform: ")?.1;
    let action = rest.split(|c: char| c.is_whitespace() || c == ',').next()?;
    action.contains(':').then_some(action)
}

/// The SDK's sentence without the form for its own developers that it puts after it in brackets.
fn without_debug(message: &str) -> &str {
    let kinds = ["ConstructionFailure", "TimeoutError", "DispatchFailure", "ResponseError", "ServiceError"];
    let cut = kinds.iter().filter_map(|kind| message.find(&format!(" ({kind}("))).min();
    cut.map_or(message, |at| &message[..at])
}

/// Names in a row, as people read them.
pub fn join<T: ToString>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_action_and_ends_with_fourteen() {
        let failure = Failure::Denied(
            "User: arn:aws:sts::123456789012:assumed-role/viewer/a is not authorized to perform: \
             dynamodb:UpdateItem on resource: arn:aws:dynamodb:eu-west-1:123456789012:table/baton"
                .to_owned(),
        );
        let trouble = Trouble::of_table("asking", &failure);
        assert_eq!(trouble.exit, Exit::Denied);
        assert!(trouble.help.expect("has help").contains("allow dynamodb:UpdateItem"));
    }

    #[test]
    fn every_failure_of_the_table_says_what_to_do_next() {
        let text = || "x".to_owned();
        for (failure, exit) in [
            (Failure::Conflict, Exit::Unexpected),
            (Failure::Throttled, Exit::Unexpected),
            (Failure::Denied(text()), Exit::Denied),
            (Failure::Missing(text()), Exit::Missing),
            (Failure::Malformed(text()), Exit::Unexpected),
            (Failure::Invalid(text()), Exit::Unexpected),
            (Failure::Unknown(text()), Exit::Unexpected),
        ] {
            let trouble = Trouble::of_table("reading", &failure);
            assert_eq!(trouble.exit, exit, "{failure}");
            assert!(trouble.help.is_some(), "{failure}");
        }
    }

    #[test]
    fn what_the_sdk_adds_for_its_developers_is_left_out() {
        let failure =
            Failure::Unknown("timed out after 5s (TimeoutError(TimeoutError { source: x }))".to_owned());
        let told = Trouble::of_table("reading", &failure).message.expect("told");
        assert_eq!(told, "reading: no answer from DynamoDB: timed out after 5s");
        assert_eq!(without_debug("io error (os error 111)"), "io error (os error 111)");
    }

    #[test]
    fn a_reader_that_left_is_a_success_and_a_full_disk_is_not() {
        assert_eq!(Trouble::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit, Exit::Done);
        assert_eq!(Trouble::from(io::Error::from(io::ErrorKind::StorageFull)).exit, Exit::Unexpected);
    }

    #[test]
    fn an_unknown_cluster_lists_the_known_ones() {
        let name = |text| ClusterName::new(text).expect("valid");
        let trouble = Trouble::unknown_cluster(&name("order"), Some(&[name("billing"), name("orders")]));
        assert_eq!(
            trouble.render(),
            "error: there is no cluster `order`\n help: registered clusters: billing, orders\n"
        );
    }
}
