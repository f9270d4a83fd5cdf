//! How a call to the table can end. These are different things and are never folded into one another: a timeout is not a
//! refusal, a throttle is not a denial, and nothing but a refusal says anything about the state of the table.

/// A call that brought no answer about the state of the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another transaction holds the item. Nothing was applied; ask again now.
    #[error("the item is in another transaction")]
    Conflict,
    /// The table or the account is over its rate. Nothing was applied; ask again later.
    #[error("throttled")]
    Throttled,
    /// IAM refused. Nothing was applied; an operator must act.
    #[error("denied: {0}")]
    Denied(String),
    /// The table does not exist. Nothing was applied.
    #[error("missing: {0}")]
    Missing(String),
    /// There is an item, and it does not say what an item of its kind must say.
    #[error("malformed item: {0}")]
    Malformed(String),
    /// The request itself was refused as wrong. Nothing was applied; this is a fault of the program.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// No answer, or one that says nothing: a write may or may not have been applied.
    #[error("unknown outcome: {0}")]
    Unknown(String),
}

/// A conditional write that was not confirmed. `F` is what was found in the item's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteFailure<F> {
    /// The condition did not hold. Nothing was applied, and this was found.
    #[error("refused by its condition")]
    Refused(F),
    /// No answer about the condition.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The outcome of a strongly consistent read.
pub type Read<T> = Result<T, Failure>;

/// The outcome of a conditional write.
pub type Write<F> = Result<(), WriteFailure<F>>;
