//! The pure engine: peer set, intent to BGP to FIB, the restart gate, answers to queries.
//!
//! [`Core`] owns every machine and passes values between them. It is fed facts, session events and kernel events with the
//! time, and gives [`Action`]s back. The agent runs it on one thread between real adapters; the simulation runs the very
//! same code on a virtual clock.
#![forbid(unsafe_code)]

mod announcing;
mod bfd;
mod bmp;
mod core;
mod delivery;
mod drain;
mod dump;
mod established;
mod failover;
mod gate;
mod handover;
mod kept;
mod local;
mod peer_config;
mod peers;
mod plan;
mod policy;
mod received;
mod refreshed;
mod revisions;
mod routes;
mod sessions;
pub mod status_plan;
mod unnumbered;
mod view;

pub use crate::bfd::BfdCommand;
pub use crate::core::{Action, Core, CoreConfig, Input, PodNetwork};
pub use delivery::HealthPort;
pub use dump::{Dumped, TableDump};
pub use peer_config::Restart;
pub use plan::{PlanStep, PlannedChange};
pub use revisions::Revisions;
pub use unnumbered::DiscoveryCommand;
pub use view::{BfdOutside, BfdSeen, Outside};
