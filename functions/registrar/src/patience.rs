//! How long to go on asking. Nothing below this crate retries, and a person waits for the answer, so what may pass by
//! itself is asked again until the invocation's time is used up.

use std::future::Future;
use std::time::Duration;

use baton_protocol::ec2::CloudFailure;
use baton_protocol::outcome::{Failure, WriteFailure};
use tokio::time::{Instant, sleep};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whether asking again, unchanged, can help.
pub trait Transient {
    /// Whether asking again, unchanged, can help.
    fn is_transient(&self) -> bool;
}

impl Transient for Failure {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Conflict | Self::Throttled | Self::Unknown(_))
    }
}

impl<F> Transient for WriteFailure<F> {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.is_transient())
    }
}

impl Transient for CloudFailure {
    fn is_transient(&self) -> bool {
        Self::is_transient(self)
    }
}

/// Until when to ask, and how quickly to begin with.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// No attempt begins after this.
    pub until: Instant,
    /// The first pause; each is twice the one before.
    pub first: Duration,
}

impl Patience {
    /// Asks until there is an answer, a failure that will not pass, or no time left. The last failure is returned.
    pub async fn ask<T, E, A>(&self, mut attempt: impl FnMut() -> A) -> Result<T, E>
    where
        A: Future<Output = Result<T, E>>,
        E: Transient,
    {
        let mut pauses = Pauses::new(*self);
        loop {
            match attempt().await {
                Err(failure) if failure.is_transient() && pauses.pass().await => {}
                outcome => return outcome,
            }
        }
    }
}

/// Pauses that double.
#[derive(Debug)]
pub struct Pauses {
    patience: Patience,
    next: Duration,
}

impl Pauses {
    /// Beginning with the first.
    pub fn new(patience: Patience) -> Self {
        Self { patience, next: patience.first }
    }

    /// Lets a pause pass, or returns `false` at once if there is no time for it.
    pub async fn pass(&mut self) -> bool {
        if Instant::now() + self.next >= self.patience.until {
            return false;
        }
        sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn patience(length: Duration) -> Patience {
        Patience { until: Instant::now() + length, first: Duration::from_millis(1) }
    }

    async fn failing(patience: Patience, times: u32, failure: Failure) -> (u32, Result<(), Failure>) {
        let asked = Cell::new(0);
        let outcome = patience
            .ask(|| async {
                asked.set(asked.get() + 1);
                if asked.get() > times { Ok(()) } else { Err(failure.clone()) }
            })
            .await;
        (asked.get(), outcome)
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_again() {
        for failure in [Failure::Throttled, Failure::Conflict, Failure::Unknown(String::new())] {
            assert_eq!(failing(patience(Duration::from_secs(10)), 3, failure).await, (4, Ok(())));
        }
    }

    #[tokio::test]
    async fn what_will_not_pass_is_asked_once() {
        for failure in [Failure::Denied(String::new()), Failure::Missing(String::new())] {
            let outcome = failing(patience(Duration::from_secs(10)), 3, failure.clone()).await;
            assert_eq!(outcome, (1, Err(failure)));
        }
    }

    #[tokio::test]
    async fn the_time_left_is_used_and_not_exceeded() {
        let begun = Instant::now();
        let (asked, outcome) = failing(patience(Duration::from_millis(200)), 1_000, Failure::Throttled).await;
        assert_eq!(outcome, Err(Failure::Throttled));
        // Pauses of 1, 2, 4 ms and so on: the eighth would end after the time is up.
        assert!((2..=8).contains(&asked), "asked {asked} times");
        assert!(begun.elapsed() >= Duration::from_millis(60), "{:?}", begun.elapsed());
    }
}
