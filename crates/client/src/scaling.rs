//! Auto Scaling, which waits at a lifecycle hook until it is told to go on.

use aws_config::SdkConfig;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::operation::complete_lifecycle_action::CompleteLifecycleActionError;
use baton_protocol::hook::Hook;

/// Why Auto Scaling was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalingFailure {
    /// The account is over its rate. Nothing was done.
    #[error("Auto Scaling throttles")]
    Throttled,
    /// IAM refused. Nothing was done; the group has to carry the tag `baton:cluster`.
    #[error("denied by Auto Scaling: {0}")]
    Denied(String),
    /// The request itself was refused as wrong. This is a fault of the program.
    #[error("Auto Scaling refused the request: {0}")]
    Invalid(String),
    /// No answer, or one that says nothing: it may or may not have been done.
    #[error("unknown outcome at Auto Scaling: {0}")]
    Unknown(String),
}

impl ScalingFailure {
    /// What an error code of AWS means; none: there is nothing that would wait any more.
    fn of(code: &str, message: &str) -> Option<Self> {
        let text = format!("{code}: {message}");
        Some(match code {
            // The words by which Auto Scaling says that the action was completed, has expired, or was never there.
            "ValidationError" if message.starts_with("No active Lifecycle Action found") => return None,
            // Nor does a group that is gone wait for anybody.
            "ValidationError" if message.starts_with("AutoScalingGroup name not found") => return None,
            "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "ResourceContention" => {
                Self::Throttled
            }
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "OptInRequired"
            | "NotAuthorized"
            | "InvalidClientTokenId"
            | "IncompleteSignature"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationToken"
            | "ExpiredToken"
            | "RequestExpired" => Self::Denied(text),
            "ValidationError" | "InvalidParameterValue" | "MissingParameter" => Self::Invalid(text),
            _ => Self::Unknown(text),
        })
    }
}

/// Auto Scaling, in the account and region of a configuration.
#[derive(Debug, Clone)]
pub struct Scaling {
    client: Client,
}

impl Scaling {
    /// A client for this configuration, whose timeouts and retries are taken as they are.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// Lets a termination go on. One that waits no more is done.
    pub async fn complete(&self, hook: &Hook) -> Result<(), ScalingFailure> {
        let answer = self
            .client
            .complete_lifecycle_action()
            .auto_scaling_group_name(&hook.group)
            .lifecycle_hook_name(&hook.name)
            .lifecycle_action_token(&hook.token)
            .instance_id(hook.instance.as_str())
            .lifecycle_action_result("CONTINUE")
            .send()
            .await;
        let Err(error) = answer else { return Ok(()) };
        failure(&error).map_or(Ok(()), Err)
    }
}

fn failure(error: &SdkError<CompleteLifecycleActionError>) -> Option<ScalingFailure> {
    let context = || DisplayErrorContext(error).to_string();
    match error {
        SdkError::ConstructionFailure(_) => Some(ScalingFailure::Invalid(context())),
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => ScalingFailure::of(code, service.err().message().unwrap_or("no message")),
            None => Some(ScalingFailure::Unknown(context())),
        },
        _ => Some(ScalingFailure::Unknown(context())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_what_it_says_and_an_action_that_is_over_is_done() {
        let gone = "No active Lifecycle Action found with instance ID i-0123456789abcdef0";
        assert_eq!(ScalingFailure::of("ValidationError", gone), None);
        let missing = "AutoScalingGroup name not found - AutoScalingGroup asg not found";
        assert_eq!(ScalingFailure::of("ValidationError", missing), None);
        let kind = |code: &str| ScalingFailure::of(code, "because").map(|failure| failure.to_string());
        for (code, expected) in [
            ("Throttling", "Auto Scaling throttles"),
            ("AccessDenied", "denied by Auto Scaling: AccessDenied: because"),
            ("ValidationError", "Auto Scaling refused the request: ValidationError: because"),
            ("InternalFailure", "unknown outcome at Auto Scaling: InternalFailure: because"),
            ("Anything", "unknown outcome at Auto Scaling: Anything: because"),
        ] {
            assert_eq!(kind(code).as_deref(), Some(expected));
        }
    }
}
