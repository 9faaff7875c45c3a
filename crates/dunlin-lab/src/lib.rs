//! Virtual clusters in network namespaces.
//!
//! A lab is nodes, pods, a router outside the cluster and a host behind it, each a network namespace, on a bridge
//! that has a namespace of its own: the machine's own interfaces, routes and rules are never touched. One agent
//! runs on each node and reads a manifest directory, as it would read the Kubernetes API.
//!
//! Everything a lab makes is written down before it is made ([`state`]), so that [`lab::Lab::down`] finds the rest after a crash.

pub mod check;
pub mod cli;
pub mod cni;
pub mod config;
pub mod files;
pub mod iproute;
pub mod lab;
pub mod manifests;
pub mod names;
pub mod netns;
pub mod plan;
pub mod pods;
pub mod probe;
pub mod process;
pub mod report;
pub mod router;
pub mod routes;
pub mod signals;
pub mod state;
pub mod topology;
pub mod unprivileged;

pub use cli::{LabArgs, run};
pub use config::LabConfig;
pub use lab::Lab;
pub use netns::Netns;
pub use plan::Plan;
