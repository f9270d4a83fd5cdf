//! Futures that are ready when first polled, as all of the table's twin are.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What the future gives.
///
/// # Panics
/// If it has to be waited for.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the twin answers at once"),
    }
}
