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
pub mod preflight;
mod privileges;
mod process;
mod run;
mod start;

pub use run::{Parts, run_with};

/// Runs the agent until a signal.
///
/// # Errors
/// What kept it from starting, or that its core ended.
pub fn run(config: &config::AgentConfig) -> anyhow::Result<()> {
    run_with(
        config,
        Parts {
            engine: |_| anyhow::bail!("this build has no core yet: it can be asked, but not run"),
            write_cni: |_: &engine_handle::PodNetwork| anyhow::bail!("this build has no core yet"),
        },
    )
}

#[cfg(test)]
mod fake_engine;
