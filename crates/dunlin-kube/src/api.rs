//! The Kubernetes API as a source of facts.
//!
//! * [`connect()`]: where the API server is and who we are → a [`Client`] that finds its way to a server that answers, and
//!   takes up tokens and certificates that rotate.
//! * [`ApiSource`]: one informer a resource lists and watches, tells what changes, and nothing twice; the last known state
//!   lies in a file, and passwords in memory, for a start without the API server.
//!
//! ```text
//!  Client ─► Exchange ─► Informer (one a resource) ─┬─► Teller ─► SourceEvents
//!   servers   list,       diff by hash of the fact   ├─► Saver ─► state file (a thread of its own)
//!   in turn   watch                                  └─► Health ─► status and metrics
//! ```

mod backoff;
mod check;
mod config;
mod connect;
mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod informer;
mod items;
mod nodes;
mod object;
mod outage;
mod pace;
mod resource;
mod secrets;
mod seen;
mod slim;
mod source;
mod state;
mod teller;
mod trouble;
mod vault;

pub use check::{Access, check, look};
pub use config::{ApiConfig, ApiServer};
pub use connect::{ConnectError, connect};
pub use health::{ResourceHealth, SourceHealth, StateAge};
pub use kube::Client;
pub use nodes::{ClusterApi, ClusterNode, DRAIN_ANNOTATION, DRAINED, DRAINING, NodesError};
pub use source::{ApiSource, FIRST_ANSWER, SourceOptions};
