//! The agent's life: claims, privileges, the core, the servers around it, and the end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dunlin_api::{CniState, CniStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::AgentConfig;
use crate::engine_handle::{EngineHandle, EngineStart, PodNetwork, ShutdownMode};
use crate::overlay::Overlay;
use crate::start::Claims;
use crate::{admin, cni, http, logging, metrics, privileges, start};

/// How long the core may take to close everything.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The parts of an agent that are not this file's business.
pub struct Parts<S, W> {
    /// Starts the core thread and its adapters.
    pub engine: S,
    /// Writes the CNI configuration and returns its path.
    pub write_cni: W,
}

/// Runs an agent until a signal, or until its core ends. Logs; gives up privileges.
///
/// # Errors
/// What kept it from starting, or that its core ended.
pub fn run_with<S, W>(config: &AgentConfig, parts: Parts<S, W>) -> Result<()>
where
    S: FnOnce(EngineStart) -> Result<EngineHandle>,
    W: Fn(&PodNetwork) -> Result<PathBuf> + Send + 'static,
{
    logging::start(&config.log, config.log_format)?;
    config.validate()?;
    privileges::require()?;
    let claims = start::claim(config)?;
    start::raise_open_files();
    // Before any other thread exists: capabilities are each thread's own.
    privileges::drop_others()?;
    tracing::info!(
        node = config.node_name,
        version = env!("CARGO_PKG_VERSION"),
        socket = %config.socket.display(),
        same_boot = claims.same_boot,
        "starting"
    );
    let engine = (parts.engine)(EngineStart {
        node_name: config.node_name.clone(),
        state_dir: config.state_dir.clone(),
        same_boot: claims.same_boot,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only names are resolved there, if at all.
        .max_blocking_threads(2)
        .build()
        .context("cannot start the main thread's runtime")?;
    runtime.block_on(supervise(config, claims, engine, parts.write_cni))
}

async fn supervise(
    config: &AgentConfig,
    claims: Claims,
    engine: EngineHandle,
    write_cni: impl Fn(&PodNetwork) -> Result<PathBuf> + Send + 'static,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let Claims {
        socket, metrics, ..
    } = &claims;
    let (cni_status, cni) = watch::channel(CniStatus {
        state: CniState::Waiting,
        path: Some(config.cni_conf_dir.display().to_string()),
        error: None,
    });
    let overlay = Overlay { cni };
    let listener = tokio::net::UnixListener::from_std(socket.listener.try_clone()?)?;
    let admin = admin::router(engine.clone(), overlay.clone());
    tokio::spawn(http::serve(listener, admin, http::Limits::MODEST));
    if let Some(listener) = metrics {
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let router = metrics::router(engine.clone(), overlay);
        tokio::spawn(http::serve(listener, router, http::Limits::MODEST));
    }
    tokio::spawn(cni::keep(engine.state(), cni_status, write_cni));

    tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping: kernel routes stay, peers are told to keep ours");
        }
        () = ended(&engine) => bail!("the core thread has ended, which it never should: the log above says why; kernel routes stay"),
    }
    tokio::select! {
        outcome = engine.shutdown(ShutdownMode::KeepForwarding, SHUTDOWN_TIMEOUT) => {
            if let Err(error) = outcome {
                tracing::warn!(%error, "could not close everything in order");
            }
        }
        name = signals.next() => tracing::warn!(signal = name, "asked again: stopping at once"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Waits for the core thread's end.
async fn ended(engine: &EngineHandle) {
    let mut state = engine.state();
    while state.changed().await.is_ok() {}
}

/// The signals that end an agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        let on = |kind| signal(kind).context("cannot take signals");
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests;
