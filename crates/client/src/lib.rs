//! The one way to make clients of AWS.
//!
//! Every program of Baton takes its SDK configuration from [`load`], or an agent from [`load_on_node`], so that TLS, time limits and retries are
//! decided once: rustls with ring, a limit on every phase of a call, and no retry below the protocol. A retry
//! hidden in a client would make one attempt last several, and the time budget of a cluster counts attempts.

mod bus;
pub mod metric;
mod node;
mod resolve;
mod scaling;
mod sdk;

pub use aws_config::SdkConfig;
pub use bus::{Bus, BusFailure};
pub use node::load_on_node;
pub use scaling::{Scaling, ScalingFailure};
pub use sdk::{Limits, Place, load, load_at};
