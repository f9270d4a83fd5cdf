//! Looks at the instance metadata: at most one of each kind is under way, and the end of the agent waits for none.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// What is under way; each ends with a `T`.
pub(super) struct Looks<'a, T> {
    addresses: Option<BoxFuture<'a, T>>,
    notices: Option<BoxFuture<'a, T>>,
}

impl<T> Default for Looks<'_, T> {
    fn default() -> Self {
        Self { addresses: None, notices: None }
    }
}

impl<'a, T> Looks<'a, T> {
    /// Begins to ask for addresses, unless that is being asked.
    pub(super) fn at_addresses<F: Future<Output = T> + Send + 'a>(&mut self, look: impl FnOnce() -> F) {
        self.addresses.get_or_insert_with(|| look().boxed());
    }

    /// Begins to ask for notices, unless that is being asked.
    pub(super) fn for_notices<F: Future<Output = T> + Send + 'a>(&mut self, look: impl FnOnce() -> F) {
        self.notices.get_or_insert_with(|| look().boxed());
    }

    /// The next answer; pending for ever while nothing is asked. Cancel-safe.
    pub(super) async fn next(&mut self) -> T {
        poll_fn(|context| {
            let Self { addresses, notices } = self;
            for open in [addresses, notices] {
                if let Poll::Ready(answer) = poll(open, context) {
                    return Poll::Ready(answer);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn poll<T>(open: &mut Option<BoxFuture<'_, T>>, context: &mut Context<'_>) -> Poll<T> {
    let Some(look) = open else { return Poll::Pending };
    let polled = look.poll_unpin(context);
    if polled.is_ready() {
        *open = None;
    }
    polled
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn one_of_each_kind_is_under_way_and_one_that_hangs_holds_up_no_other() {
        let mut looks = Looks::default();
        looks.at_addresses(pending);
        for answer in [1, 2] {
            looks.at_addresses(|| -> std::future::Ready<i32> { panic!("a second one") });
            looks.for_notices(|| ready(answer));
            assert_eq!(looks.next().await, answer);
        }
        assert_eq!(looks.next().now_or_never(), None);
    }
}
