//! The agent's life: claims, privileges, the core, the servers around it, and the end.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use dunlin_api::{CniState, CniStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::allocation::{self, Allocation};
use crate::config::{AgentConfig, ServiceProxy};
use crate::engine_handle::{EngineHandle, EngineStart, PodNetwork, ShutdownMode};
use crate::host::Host;
use crate::overlay::Overlay;
use crate::start::Claims;
use crate::{
    admin, cni, health_ports, http, logging, metrics, privileges, source, start, status_writer,
    take_over,
};

/// How long the core may take to close everything.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs an agent around the core that `spawn` starts, until a signal, or until the core or the source of objects ends.
/// Logs; gives up privileges.
///
/// # Errors
/// What kept it from starting, or why it ended.
pub fn run_with(
    config: &AgentConfig,
    spawn: impl FnOnce(EngineStart) -> Result<EngineHandle>,
) -> Result<()> {
    logging::start(&config.log, config.log_format)?;
    config.validate()?;
    privileges::require()?;
    dunlin_kernel::memory::hold_little();
    // No thread is started by it yet.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only names are resolved there, if at all.
        .max_blocking_threads(2)
        .build()
        .context("cannot start the main thread's runtime")?;
    // From here on signals are taken, so that whatever was begun ends in order.
    let signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
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
    if config.service_proxy == ServiceProxy::On {
        refuse_two_proxies()?;
    }
    let host = Host::new(config);
    host.name_protocol();
    let engine = spawn(EngineStart {
        node_name: config.node_name.clone(),
        state_dir: config.state_dir.clone(),
        same_boot: claims.same_boot,
        service_proxy: (config.service_proxy != ServiceProxy::Off)
            .then(|| config.proxy_options.clone()),
    })?;
    runtime.block_on(supervise(config, claims, engine, host, signals))
}

/// Two service proxies would undo each other's work.
fn refuse_two_proxies() -> Result<()> {
    let other = dunlin_kernel::others::service_proxy();
    match other.context("cannot look for other service proxies")? {
        None => Ok(()),
        Some(what) => bail!(
            "--service-proxy on: another service proxy is here ({what}): give --service-proxy take-over to program beside it and \
             remove what it has once it has ended; or stop it and remove its rules (`dunlin cleanup --kube-proxy --yes` on \
             this node); or give --service-proxy off"
        ),
    }
}

async fn supervise(
    config: &AgentConfig,
    claims: Claims,
    engine: EngineHandle,
    host: Host,
    mut signals: Signals,
) -> Result<()> {
    let allocation = allocation::start(config).await?;
    let tap = allocation.as_ref().map(Allocation::tap);
    let mut source = source::open(config, &engine, tap).await?;
    let closing = source.closing();
    let Claims {
        socket, metrics, ..
    } = &claims;
    let (cni_status, cni) = watch::channel(CniStatus {
        state: CniState::Waiting,
        path: Some(config.cni_conf_dir.display().to_string()),
        error: None,
    });
    let overlay = Overlay {
        counts: config.proxy_options.count_connections,
        cni,
        source: source.health(),
        allocation: allocation.as_ref().map(Allocation::figures),
        troubles: Default::default(),
    };
    status_writer::spawn(config, &engine, &overlay);
    take_over::spawn(config, &engine, &overlay);
    let listener = tokio::net::UnixListener::from_std(socket.listener.try_clone()?)?;
    let admin = admin::router(engine.clone(), overlay.clone());
    tokio::spawn(http::serve(listener, admin, admin::LIMITS));
    if let Some(listener) = metrics {
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let router = metrics::router(engine.clone(), overlay);
        tokio::spawn(http::serve(listener, router, http::Limits::MODEST));
    }
    let carry = move |network: &PodNetwork| host.carry_pods(network);
    tokio::spawn(cni::keep(engine.state(), cni_status, carry));
    tokio::spawn(health_ports::keep(engine.state()));
    let outcome = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping: kernel routes stay, peers are told to keep ours");
            Ok(())
        }
        failed = source.feed(engine.clone()) => match failed {
            Err(error) => Err(error),
            Ok(()) => Err(core_ended(&engine)),
        },
        () = ended(&engine) => Err(core_ended(&engine)),
    };
    let give_up = async {
        if let Some(allocation) = allocation {
            allocation.stop().await;
        }
    };
    let shut_down = async {
        let shut_down = engine.shutdown(ShutdownMode::KeepForwarding, SHUTDOWN_TIMEOUT);
        tokio::join!(shut_down, give_up, source::close(closing)).0
    };
    tokio::select! {
        closed = shut_down => {
            if let (Err(error), Ok(())) = (closed, &outcome) {
                tracing::warn!(%error, "could not close everything in order");
            }
        }
        name = signals.next() => tracing::warn!(signal = name, "asked again: stopping at once"),
    }
    tracing::info!("stopped");
    outcome
}

fn core_ended(engine: &EngineHandle) -> anyhow::Error {
    match &engine.state().borrow().failure {
        Some(why) => anyhow!("{why}; kernel routes stay"),
        None => anyhow!(
            "the core thread has ended, which it never should: the log above says why; kernel routes stay"
        ),
    }
}

/// Waits for the core thread's end.
async fn ended(engine: &EngineHandle) {
    let mut state = engine.state();
    while state.changed().await.is_ok() {}
}

/// The signals that end an agent.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals> {
        let on = |kind| signal(kind).context("cannot take signals");
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests;
