//! Words the whole house shares: address families, prefixes, AS numbers, router ids, interfaces, points in time and deadlines, chance, and how a
//! service's connections are treated.
//!
//! This crate knows nothing else of ours and does no I/O.
#![forbid(unsafe_code)]

mod chance;
mod deadlines;
mod family;
mod ids;
mod interface;
pub mod service;
mod time;

pub use chance::Chance;
pub use deadlines::Deadlines;
pub use family::{Afi, AsOctets, Family, PerFamily, V4, V6};
pub use ids::{Asn, PeerId, RouterId};
pub use interface::{BadInterfaceName, InterfaceName, ScopedAddr};
pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use time::Instant;

#[cfg(test)]
mod tests;
