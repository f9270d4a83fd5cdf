//! From an error of the AWS SDK to a [`CloudFailure`].
//!
//! EC2 does not model its errors, so an error is told by its code. Two distinctions matter more than the rest: whether
//! the request may have been applied, and whether EC2 or IAM said no. Only an answer that EC2 gave counts as a refusal.
//! Everything else, from a lost connection to a body that cannot be parsed, is unknown, and unknown is never dressed as
//! anything better.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use baton_protocol::access::TableAccess;
use baton_protocol::ec2::CloudFailure;

/// The longest text taken over from an answer; what came from outside does not fill a log.
const LONGEST: usize = 400;

/// What EC2 said, reduced to what a classification needs.
#[derive(Debug, Clone, Copy)]
struct Said<'a> {
    action: &'a str,
    status: u16,
    code: &'a str,
    message: &'a str,
}

/// Classifies an error of the SDK.
pub(crate) fn failure<E>(action: &'static str, error: SdkError<E, HttpResponse>) -> CloudFailure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let context = |error: &SdkError<E, HttpResponse>| cut(&DisplayErrorContext(error).to_string());
    match &error {
        // The request never left: nothing was applied, and asking again unchanged cannot help.
        SdkError::ConstructionFailure(_) => {
            CloudFailure::Refused(format!("{action} could not be put together: {}", context(&error)))
        }
        SdkError::ServiceError(answer) => match answer.err().code() {
            Some(code) => classify(Said {
                action,
                status: answer.raw().status().as_u16(),
                code,
                message: answer.err().message().unwrap_or_default(),
            }),
            None => CloudFailure::Unknown(format!(
                "{action} was answered with status {} and no error code",
                answer.raw().status().as_u16()
            )),
        },
        _ => CloudFailure::Unknown(format!("{action}: {}", context(&error))),
    }
}

/// Classifies an error of STS when a role was to be taken on. Whatever it is, EC2 was not asked. What STS says of the role is
/// told apart from what it says of the caller's own credentials, which no trust policy mends, and from silence.
pub(crate) fn assuming<E>(access: &TableAccess, error: SdkError<E, HttpResponse>) -> CloudFailure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let unknown = |text: String| CloudFailure::NoCredentials(format!("AssumeRole: {text}"));
    let SdkError::ServiceError(answer) = &error else {
        return unknown(cut(&DisplayErrorContext(&error).to_string()));
    };
    let status = answer.raw().status().as_u16();
    let Some(code) = answer.err().code() else {
        return unknown(format!("answered with status {status} and no error code"));
    };
    let text = cut(&format!("{code}: {}", answer.err().message().unwrap_or_default()));
    match code {
        _ if is_throttling(code) => CloudFailure::Throttled,
        _ if status >= 500 || status == 408 => unknown(format!("answered with status {status}: {text}")),
        // The one code by which IAM denies; the rest of denials is about who asks.
        "AccessDenied" | "AccessDeniedException" => {
            CloudFailure::RoleRefused { access: access.clone(), why: text }
        }
        _ if is_denial(code) => CloudFailure::Denied(format!("AssumeRole: {text}")),
        _ if (400..500).contains(&status) => CloudFailure::RoleRefused { access: access.clone(), why: text },
        _ => unknown(format!("answered with status {status}: {text}")),
    }
}

/// An answer that came but cannot be read. After a call it says nothing about whether the call was applied.
pub(crate) fn unreadable(action: &str, what: impl std::fmt::Display) -> CloudFailure {
    CloudFailure::Unknown(format!(
        "{action} was answered with something unreadable: {}",
        cut(&what.to_string())
    ))
}

fn classify(said: Said<'_>) -> CloudFailure {
    // The rest is for `sts:DecodeAuthorizationMessage`, and another text each time.
    let message = said.message.split(" Encoded authorization failure message").next().unwrap_or_default();
    let text = || cut(&format!("{}: {message}", said.code));
    // Over HTTP, EC2 prefixes some codes with whose fault it was.
    let code = said.code.strip_prefix("Client.").unwrap_or(said.code);
    // Throttling comes first: EC2 sends RequestLimitExceeded with status 503, which elsewhere means "unknown".
    if is_throttling(code) {
        return CloudFailure::Throttled;
    }
    if said.status >= 500 || said.code.starts_with("Server.") || said.status == 408 {
        return CloudFailure::Unknown(format!(
            "{} was answered with status {}: {}",
            said.action,
            said.status,
            text()
        ));
    }
    if is_denial(code) {
        return CloudFailure::Denied(text());
    }
    match code {
        "Resource.AlreadyAssociated" => CloudFailure::AlreadyAssociated,
        "InvalidAssociationID.NotFound" => CloudFailure::AssociationGone,
        "InvalidRoute.NotFound" => CloudFailure::RouteMissing,
        // EC2 answers ReplaceRoute of a missing route with its most general code, so only the sentence tells.
        "InvalidParameterValue" if said.action == "ReplaceRoute" && says_no_such_route(said.message) => {
            CloudFailure::RouteMissing
        }
        "RouteAlreadyExists" => CloudFailure::RouteExists,
        _ if code.ends_with(".NotFound") => CloudFailure::NotFound(text()),
        _ if (400..500).contains(&said.status) => CloudFailure::Refused(text()),
        _ => CloudFailure::Unknown(format!(
            "{} was answered with status {}: {}",
            said.action,
            said.status,
            text()
        )),
    }
}

fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "EC2ThrottledException"
            | "TooManyRequestsException"
            | "BandwidthLimitExceeded"
            | "SlowDown"
    )
}

/// Codes by which IAM, STS or the front door of EC2 says that this caller may not. An expired token belongs here: the
/// request was not looked at.
fn is_denial(code: &str) -> bool {
    matches!(
        code,
        "UnauthorizedOperation"
            | "AuthFailure"
            | "AccessDenied"
            | "AccessDeniedException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "PendingVerification"
            | "Blocked"
    )
}

fn says_no_such_route(message: &str) -> bool {
    message.to_ascii_lowercase().contains("no route")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(action: &'static str, status: u16, code: &'static str, message: &'static str) -> CloudFailure {
        classify(Said { action, status, code, message })
    }

    #[test]
    fn each_code_has_one_meaning() {
        let kind = |failure: CloudFailure| match failure {
            CloudFailure::AlreadyAssociated => "already",
            CloudFailure::AssociationGone => "gone",
            CloudFailure::RouteMissing => "missing",
            CloudFailure::RouteExists => "exists",
            CloudFailure::Throttled => "throttled",
            CloudFailure::Denied(_) => "denied",
            CloudFailure::RoleRefused { .. } | CloudFailure::NoCredentials(_) => "of STS",
            CloudFailure::NotFound(_) => "not found",
            CloudFailure::Refused(_) => "refused",
            CloudFailure::Unknown(_) => "unknown",
        };
        for (status, code, expected) in [
            (400, "Resource.AlreadyAssociated", "already"),
            (400, "InvalidAssociationID.NotFound", "gone"),
            (503, "RequestLimitExceeded", "throttled"),
            (503, "Client.RequestLimitExceeded", "throttled"),
            (400, "Throttling", "throttled"),
            (400, "ThrottlingException", "throttled"),
            (403, "UnauthorizedOperation", "denied"),
            (401, "AuthFailure", "denied"),
            (403, "AccessDenied", "denied"),
            (400, "ExpiredToken", "denied"),
            (400, "ExpiredTokenException", "denied"),
            (403, "Client.UnauthorizedOperation", "denied"),
            (403, "SignatureDoesNotMatch", "denied"),
            (400, "InvalidAllocationID.NotFound", "not found"),
            (400, "InvalidAddressID.NotFound", "not found"),
            (400, "InvalidRouteTableID.NotFound", "not found"),
            (400, "InvalidNetworkInterfaceID.NotFound", "not found"),
            (400, "InvalidVpcID.NotFound", "not found"),
            (400, "InvalidRoute.NotFound", "missing"),
            (400, "RouteAlreadyExists", "exists"),
            (400, "InvalidParameterValue", "refused"),
            (400, "Gateway.NotAttached", "refused"),
            (400, "IncorrectState", "refused"),
            (400, "InvalidNetworkInterfaceId.Malformed", "refused"),
            (400, "SomethingNobodyHasSeen", "refused"),
            (408, "RequestTimeout", "unknown"),
            (500, "InternalError", "unknown"),
            (500, "InternalFailure", "unknown"),
            (503, "Unavailable", "unknown"),
            (503, "ServiceUnavailable", "unknown"),
            (500, "UnauthorizedOperation", "unknown"),
            (400, "Server.InternalError", "unknown"),
            (200, "InvalidParameterValue", "unknown"),
        ] {
            assert_eq!(kind(of("AssociateAddress", status, code, "because")), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_missing_route_is_told_by_its_sentence_and_only_when_a_route_was_to_be_replaced() {
        let sentence =
            "There is no route defined for '10.9.0.1/32' in the route table. Use CreateRoute instead.";
        assert_eq!(of("ReplaceRoute", 400, "InvalidParameterValue", sentence), CloudFailure::RouteMissing);
        for (action, sentence) in [
            ("CreateRoute", sentence),
            ("AssociateAddress", sentence),
            ("ReplaceRoute", "route table rtb-1 and network interface eni-1 belong to different networks"),
        ] {
            assert!(
                matches!(of(action, 400, "InvalidParameterValue", sentence), CloudFailure::Refused(_)),
                "{action}"
            );
        }
    }

    #[test]
    fn a_refusal_carries_the_code_and_the_sentence() {
        assert_eq!(
            of("CreateRoute", 400, "RouteLimitExceeded", "The maximum number of routes has been reached."),
            CloudFailure::Refused(
                "RouteLimitExceeded: The maximum number of routes has been reached.".into()
            )
        );
    }

    #[test]
    fn a_long_answer_is_cut_at_a_character() {
        let long: String = "é".repeat(LONGEST + 5);
        assert_eq!(cut(&long).chars().count(), LONGEST + 1);
        assert_eq!(cut("short"), "short");
    }
}
