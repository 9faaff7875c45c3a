//! Whole clusters on a virtual clock, network and kernel, from a seed.
//!
//! The hosts run the very core and session machines that the agent runs; only sockets, the kernel and the sources of
//! objects are replaced. Everything is one thread and one ordered queue of events, so a seed says all: the same seed
//! gives the same run, to the microsecond.
#![forbid(unsafe_code)]

mod check;
mod config;
mod host;
mod kernel;
mod net;
mod objects;
mod places;
mod services;
mod world;

pub use check::Orphan;
pub use config::WorldConfig;
pub use dunlin_net::Chance;
pub use host::Host;
pub use kernel::SimKernel;
pub use services::{Misrouted, cluster_ip, load_balancer_ip};
pub use world::World;
