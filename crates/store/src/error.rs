//! What the SDK's errors mean.
//!
//! The first question about a failed call is whether it may have been applied. Only an answer of DynamoDB
//! that names a reason can deny that; everything else (no answer in time, a broken connection, a server
//! error, an answer that cannot be read, a code this version does not know) is unknown. The names of the
//! errors are compared as DynamoDB sends them, so one table serves every operation.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::CancellationReason;
use baton_protocol::outcome::Failure;

use crate::item::Item;

/// A write of one item that was not confirmed.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The condition did not hold; the item that stands there, if any.
    Refused(Option<Item>),
    /// No answer about the condition.
    Failed(Failure),
}

/// A transaction that was not confirmed.
#[derive(Debug)]
pub(crate) enum Cancelled {
    /// Conditions did not hold: the number of each such action in the transaction, with the item that stands
    /// there.
    Refused(Vec<(usize, Option<Item>)>),
    /// No answer about the conditions.
    Failed(Failure),
}

/// What a failed call says.
pub(crate) fn failure<E>(error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error {
        // The request was never made: no region, a value that cannot be sent.
        SdkError::ConstructionFailure(_) => Failure::Invalid(DisplayErrorContext(error).to_string()),
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => by_code(code, service.err().message().unwrap_or("no message")),
            None => Failure::Unknown(format!(
                "HTTP {}, no error code: {}",
                service.raw().status().as_u16(),
                DisplayErrorContext(error)
            )),
        },
        _ => Failure::Unknown(DisplayErrorContext(error).to_string()),
    }
}

/// What an update's failure says.
pub(crate) fn unwritten_update(error: SdkError<UpdateItemError>) -> Unwritten {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
            Unwritten::Refused(refused.item.clone())
        }
        _ => Unwritten::Failed(failure(&error)),
    }
}

/// What a put's failure says.
pub(crate) fn unwritten_put(error: SdkError<PutItemError>) -> Unwritten {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(refused)) => {
            Unwritten::Refused(refused.item.clone())
        }
        _ => Unwritten::Failed(failure(&error)),
    }
}

/// What a transaction's failure says.
pub(crate) fn cancelled(error: SdkError<TransactWriteItemsError>) -> Cancelled {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            by_reasons(cancelled.cancellation_reasons(), cancelled.message().unwrap_or("no message"))
        }
        _ => Cancelled::Failed(failure(&error)),
    }
}

/// One lost condition is a definite word about its item and outweighs whatever else was in the way. A
/// conflict is not: it says that somebody else is writing, and nothing about any condition.
fn by_reasons(reasons: &[CancellationReason], message: &str) -> Cancelled {
    let coded = |code: &str| reasons.iter().any(|reason| reason.code() == Some(code));
    let lost: Vec<_> = reasons
        .iter()
        .enumerate()
        .filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"))
        .map(|(number, reason)| (number, reason.item.clone()))
        .collect();
    if !lost.is_empty() {
        return Cancelled::Refused(lost);
    }
    let told = || {
        let told: Vec<_> = reasons
            .iter()
            .filter(|reason| reason.code().is_some_and(|code| code != "None"))
            .map(|reason| {
                format!("{}: {}", reason.code().unwrap_or("?"), reason.message().unwrap_or("no message"))
            })
            .collect();
        if told.is_empty() { message.to_owned() } else { told.join("; ") }
    };
    Cancelled::Failed(if coded("ValidationError") || coded("ItemCollectionSizeLimitExceeded") {
        Failure::Invalid(told())
    } else if coded("AccessDenied") {
        Failure::Denied(told())
    } else if coded("TransactionConflict") {
        Failure::Conflict
    } else if coded("ThrottlingError") || coded("ProvisionedThroughputExceeded") {
        Failure::Throttled
    } else {
        Failure::Unknown(told())
    })
}

fn by_code(code: &str, message: &str) -> Failure {
    let text = format!("{code}: {message}");
    match code {
        "TransactionConflictException" | "ReplicatedWriteConflictException" => Failure::Conflict,
        "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "ThrottlingException"
        | "Throttling"
        | "LimitExceededException" => Failure::Throttled,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "OptInRequired"
        | "NotAuthorized" => Failure::Denied(text),
        "ResourceNotFoundException" | "TableNotFoundException" => Failure::Missing(text),
        "ValidationException"
        | "SerializationException"
        | "IdempotentParameterMismatchException"
        | "ItemCollectionSizeLimitExceededException"
        | "UnknownOperationException" => Failure::Invalid(text),
        // The same request is being applied right now (`TransactionInProgressException`), the server failed
        // (`InternalServerError`, `ServiceUnavailable`), or the code is new: it may be applied yet.
        _ => Failure::Unknown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str) -> CancellationReason {
        CancellationReason::builder().code(code).message("said so").build()
    }

    #[test]
    fn a_lost_condition_outweighs_a_conflict() {
        let reasons = [reason("None"), reason("TransactionConflict"), reason("ConditionalCheckFailed")];
        let Cancelled::Refused(lost) = by_reasons(&reasons, "") else { panic!("a condition was lost") };
        assert_eq!(lost, [(2, None)]);
    }

    #[test]
    fn the_reasons_of_a_cancelled_transaction_are_told_apart() {
        for (code, expected) in [
            ("TransactionConflict", Failure::Conflict),
            ("ThrottlingError", Failure::Throttled),
            ("ProvisionedThroughputExceeded", Failure::Throttled),
            ("ValidationError", Failure::Invalid("ValidationError: said so".to_owned())),
            ("AccessDenied", Failure::Denied("AccessDenied: said so".to_owned())),
            ("SomethingNew", Failure::Unknown("SomethingNew: said so".to_owned())),
        ] {
            let Cancelled::Failed(found) = by_reasons(&[reason("None"), reason(code)], "") else {
                panic!("{code} is no refusal");
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_cancellation_without_reasons_says_nothing() {
        let Cancelled::Failed(found) = by_reasons(&[], "cancelled") else { panic!("no condition was named") };
        assert_eq!(found, Failure::Unknown("cancelled".to_owned()));
    }

    #[test]
    fn a_code_that_is_not_known_may_have_been_applied() {
        for code in ["InternalServerError", "ServiceUnavailable", "TransactionInProgressException", "Teapot"]
        {
            assert!(matches!(by_code(code, ""), Failure::Unknown(_)), "{code}");
        }
    }
}
