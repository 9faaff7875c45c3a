//! Kubernetes objects and the manifest directory, turned into facts.
//!
//! * [`object`]: one object of any kind, from a file or from an API server → the fact it states.
//! * [`manifest`]: the text of a file → objects → facts, or where the text does not parse.
//! * [`store`]: files with the facts they hold → what a source of facts tells.
//! * [`dir`]: a directory watched live.
//! * [`api`]: the Kubernetes API.
//! * [`crd`]: the definitions of our kinds for an API server, and what is written into their `status`.
//! * [`allocate`]: addresses for Services of type LoadBalancer, by one agent of the cluster.
//! * [`events`]: Kubernetes Events.
//! * [`lease`]: one of many holds a Lease and does what only one may do.
//! * [`status`]: what agents write through the API of nodes and objects.
//! * [`cni_file`]: the CNI configuration file, written whole or not at all.
#![forbid(unsafe_code)]

pub mod allocate;
pub mod api;
mod ask;
pub mod cni_file;
pub mod crd;
pub mod dir;
pub mod events;
pub mod lease;
pub mod manifest;
pub mod object;
pub mod status;
pub mod store;

pub use dir::{DirError, ManifestDir};
pub use dunlin_intent::SourceEvent;
