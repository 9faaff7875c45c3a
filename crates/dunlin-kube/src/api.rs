//! The Kubernetes API as a source of facts.
//!
//! * [`connect`]: where the API server is and who we are → a [`Client`] that finds its way to a server that answers, and
//!   takes up tokens and certificates that rotate.

mod config;
mod connect;

pub use config::{ApiConfig, ApiServer};
pub use connect::{ConnectError, connect};
pub use kube::Client;
