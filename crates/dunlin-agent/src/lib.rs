//! The node agent: wires the adapters around the core, supervises, serves the admin API.
#![forbid(unsafe_code)]

mod admin;
mod cni;
pub mod config;
pub mod engine_handle;
mod http;
mod logging;
mod metrics;
mod overlay;
mod privileges;
mod process;
mod run;
mod start;

pub use run::{Parts, run_with};

#[cfg(test)]
mod fake_engine;
