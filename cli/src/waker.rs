//! The event that wakes the arbiter. It only makes a request quicker: without it the table's stream and the sweep find
//! the request as well, so a wake that fails is told in one line and stops nothing.

use std::future::Future;

use baton_client::{Bus, BusFailure};
use baton_protocol::wake::{SOURCE_OPERATOR, Wake};

/// Sends wakes.
pub trait Waker {
    /// Sends one as an operator.
    fn wake(&self, wake: &Wake) -> impl Future<Output = Result<(), BusFailure>>;
}

impl Waker for Bus {
    fn wake(&self, wake: &Wake) -> impl Future<Output = Result<(), BusFailure>> {
        self.wake(SOURCE_OPERATOR, wake)
    }
}
