//! The kernel as seen by the machines of `dunlin-dataplane`: rtnetlink, nf_tables, sysctls, link and address facts.
//!
//! [`KernelThread`] is what the agent runs: one thread that executes [`KernelCommand`]s and tells [`KernelEvent`]s, and
//! sleeps otherwise. The rest are its parts, usable alone: [`netlink`] (messages and sockets), [`rtnl`] (routes, nexthops,
//! links), [`nft`] (nf_tables), [`conntrack`], [`sysctl`], [`protocol_name`], [`cleanup`], [`others`], [`memory`].
//!
//! Everything works on the network namespace of the thread that opens it.

pub mod cleanup;
pub mod conntrack;
mod error;
pub mod memory;
pub mod netlink;
pub mod nft;
pub mod others;
pub mod protocol_name;
pub mod rtnl;
pub mod sysctl;
mod thread;

pub use dunlin_dataplane::{KernelCommand, KernelError, KernelEvent};
pub use error::Error;
pub use rtnl::check_net_admin;
pub use thread::{KernelHandle, KernelThread, Options, QueueFull};
