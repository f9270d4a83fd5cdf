//! One conformance body for each thing that Baton has two implementations of, and the engine it runs against.

#[cfg(feature = "cloud")]
pub mod cloud;
pub mod eavesdropper;
pub mod engine;
pub mod impostor;
pub mod interloper;
pub mod sequences;
pub mod store;
