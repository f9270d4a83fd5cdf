//! Why a request was not carried out, in words for whoever reads the stack's events.

use baton_doctor::{Diagnosis, Finding};
use baton_protocol::ec2::CloudFailure;
use baton_protocol::ids::{ClusterName, InstanceId};
use baton_protocol::outcome::Failure;

/// Why a request was not carried out. Unless it says otherwise, nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The event is no request of CloudFormation.
    #[error("expected a request of CloudFormation to create, update or delete, found another event: {0}")]
    RequestInvalid(String),
    /// The properties are not what they must be.
    #[error("correct the properties. {}", numbered(.0))]
    PropertiesInvalid(Vec<String>),
    /// A move could founder on these.
    #[error("{cluster} does not meet every requirement. {}", numbered(&remedies(.findings, .shut)))]
    RequirementsNotMet {
        /// The cluster.
        cluster: ClusterName,
        /// What is wrong.
        findings: Vec<Finding>,
        /// What keeps a node from the table.
        shut: Vec<Diagnosis>,
    },
    /// Another resource, most likely of another stack, has registered this name.
    #[error(
        "the cluster {0} is registered already, by another resource or stack; choose another name, or delete that \
         registration first. It goes on unharmed, also when this stack is deleted"
    )]
    ClusterTaken(ClusterName),
    /// The request created a registration that was deleted since.
    #[error(
        "this request registered {0} before, and that registration was deleted since; make a new request"
    )]
    RegistrationDeleted(ClusterName),
    /// There is no such registration to change.
    #[error(
        "{0} is not a registration that stands; it was never made, or was retired or replaced since. Create it anew"
    )]
    NotRegistered(String),
    /// The last holder of a retired cluster may still serve, and nobody would know.
    #[error(
        "{holder}, the last holder of the retired cluster {cluster}, may still serve: {why}. Name it among the nodes, \
         terminate it, or choose another name for the cluster"
    )]
    LastHolderMayServe {
        /// The cluster.
        cluster: ClusterName,
        /// The last holder.
        holder: InstanceId,
        /// What is known of it.
        why: String,
    },
    /// The change would leave the holder out.
    #[error(
        "{holder} holds {cluster} and is not among the new nodes; switch over first (baton switchover {cluster}), then \
         take it out"
    )]
    HolderRemoved {
        /// The cluster.
        cluster: ClusterName,
        /// Name and instance of the holder.
        holder: String,
    },
    /// The table could not be read or written.
    #[error("{doing} failed: {failure}. Nothing was changed; the same request again is safe")]
    TableFailed {
        /// What was being done.
        doing: String,
        /// How it failed.
        failure: Failure,
    },
    /// EC2 could not be asked.
    #[error("{doing} failed: {failure}. Nothing was changed; the same request again is safe")]
    Ec2Failed {
        /// What was being done.
        doing: String,
        /// How it failed.
        failure: CloudFailure,
    },
    /// A write may or may not have been applied.
    #[error(
        "whether {doing} took effect is not known: {failure}. The same request again is safe, and completes it"
    )]
    OutcomeUnknown {
        /// What was being done.
        doing: String,
        /// How it failed.
        failure: Failure,
    },
    /// The invocation's time was used up.
    #[error(
        "there was no time left, and how far it came is not known; the table or EC2 answers slowly. The same request \
         again is safe, and completes it"
    )]
    OutOfTime,
    /// The function failed in a way that nobody foresaw.
    #[error(
        "the registrar failed, which is a fault of the program; see its log. The same request again is safe: {0}"
    )]
    Fault(String),
}

impl Refusal {
    /// The stable word for this kind of refusal, for logs and alarms.
    pub fn word(&self) -> &'static str {
        match self {
            Self::RequestInvalid(_) => "RequestInvalid",
            Self::PropertiesInvalid(_) => "PropertiesInvalid",
            Self::RequirementsNotMet { .. } => "RequirementsNotMet",
            Self::ClusterTaken(_) => "ClusterTaken",
            Self::RegistrationDeleted(_) => "RegistrationDeleted",
            Self::NotRegistered(_) => "NotRegistered",
            Self::LastHolderMayServe { .. } => "LastHolderMayServe",
            Self::HolderRemoved { .. } => "HolderRemoved",
            Self::TableFailed { .. } => "TableFailed",
            Self::Ec2Failed { .. } => "Ec2Failed",
            Self::OutcomeUnknown { .. } => "OutcomeUnknown",
            Self::OutOfTime => "OutOfTime",
            Self::Fault(_) => "Fault",
        }
    }

    /// Requirements of the request itself that are not met.
    pub(crate) fn unmet(cluster: &ClusterName, findings: Vec<Finding>) -> Self {
        Self::RequirementsNotMet { cluster: cluster.clone(), findings, shut: Vec::new() }
    }

    /// A read of the table that failed, or a write that was certainly not applied.
    pub(crate) fn table(doing: impl Into<String>, failure: Failure) -> Self {
        Self::TableFailed { doing: doing.into(), failure }
    }

    /// A write that failed, which may have been applied.
    pub(crate) fn write(doing: impl Into<String>, failure: Failure) -> Self {
        match failure {
            Failure::Unknown(_) => Self::OutcomeUnknown { doing: doing.into(), failure },
            failure => Self::table(doing, failure),
        }
    }
}

fn remedies(findings: &[Finding], shut: &[Diagnosis]) -> Vec<String> {
    let refusing = findings.iter().filter(|finding| finding.severity.refuses());
    let refusing = refusing.map(|finding| format!("{}; {}", finding.what, finding.remedy));
    let shut = shut.iter().map(|found| format!("{}; {}", found.what, found.remedy.join(", and ")));
    refusing.chain(shut).collect()
}

/// One sentence after the other, each with its number, so that many are told apart in one line of an event.
fn numbered(sentences: &[String]) -> String {
    let all: Vec<_> =
        sentences.iter().enumerate().map(|(number, text)| format!("({}) {text}.", number + 1)).collect();
    all.join(" ")
}
