//! The node agent: wires the adapters around the core, supervises, serves the admin API.
#![forbid(unsafe_code)]

mod admin;
mod allocation;
pub mod cleanup;
mod cni;
pub mod cni_plugins;
pub mod config;
mod connections;
mod engine;
pub mod engine_handle;
mod health_ports;
mod host;
mod http;
mod logging;
mod metrics;
pub mod other_proxies;
mod overlay;
mod pause;
mod plan;
pub mod preflight;
mod privileges;
mod process;
mod run;
pub mod service_tables;
mod source;
mod start;
mod status_writer;
mod take_over;

pub use pause::pause;
pub use run::run_with;

/// Runs the agent until a signal.
///
/// # Errors
/// What kept it from starting, or that its core ended.
pub fn run(config: &config::AgentConfig) -> anyhow::Result<()> {
    run_with(config, |start| engine::spawn(&start))
}

#[cfg(test)]
mod fake_engine;
