//! What the kernel should hold against what it is believed to hold, and the least operations between.
//!
//! * [`fib`]: nexthop objects and the routes that name them.
//! * [`links`]: links and addresses as the kernel tells them; which link leads to a next hop.
//! * [`proxy`]: where connections to service addresses go.
//! * [`rules`]: which pod traffic leaves with the node's address, and which service traffic goes nowhere.
//! * [`KernelEvent`] and [`KernelCommand`]: all that passes between these machines and whatever plays the kernel (the
//!   netlink adapter, or the simulation).
//!
//! Pure: no sockets, clocks or threads. Hash seeds are arguments.
#![forbid(unsafe_code)]

pub mod fib;
pub mod links;
pub mod mark;
pub mod proxy;
pub mod rules;
mod seam;

pub use seam::{KernelCommand, KernelError, KernelEvent};
