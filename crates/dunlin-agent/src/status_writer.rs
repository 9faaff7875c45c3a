//! What this agent writes through the Kubernetes API: its own `BGPNode`, and, if it is the one to do it, the conditions of
//! our objects. With a manifest directory nothing of this runs.
//!
//! Everything is level-triggered: a counter of the core says that something changed, the core is asked how things stand,
//! and what differs from what was last written is written, at a pace that the cluster's size decides.

mod mapping;
mod news;
mod node;
mod objects;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dunlin_api::Problem;
use dunlin_core::status_plan::{Clocks, Failure};
use dunlin_kube::api::{ApiConfig, Client, connect};
use dunlin_kube::events::{self, Notices};
use dunlin_kube::status::{StatusApi, WriteError};
use dunlin_net::Instant;

use crate::config::{AgentConfig, ClusterSource};
use crate::engine_handle::EngineHandle;
use crate::overlay::Overlay;

/// How long the core may take to answer.
const CORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a failure to find the API's place it is looked for again.
const CONNECT_RETRY: Duration = Duration::from_secs(60);

/// Writes for as long as the core lives, if objects come from the Kubernetes API. Call within the runtime.
pub(crate) fn spawn(config: &AgentConfig, engine: &EngineHandle, overlay: &Overlay) {
    if config.cluster != ClusterSource::Kube {
        return;
    }
    let (api, node) = (config.kube.api.clone(), config.node_name.clone());
    let (engine, overlay) = (engine.clone(), overlay.clone());
    tokio::spawn(async move {
        let client = reach(&api).await;
        let clock = Clock::start();
        let (notices, queue) = events::notices();
        let write_events = events::write(client.clone(), node.clone(), queue);
        let context = Context {
            notices,
            node,
            api: StatusApi::new(client.clone()),
            client,
            engine,
            troubles: overlay.troubles.clone(),
            overlay,
            clock,
        };
        let node = node::NodeWriter::new(context.clone());
        let objects = objects::ObjectWriter::new(context);
        tokio::select! {
            _ = async { tokio::join!(node.run(), objects.run()) } => {}
            () = write_events => {}
        }
    });
}

async fn reach(config: &ApiConfig) -> Client {
    loop {
        match connect(config).await {
            Ok(client) => return client,
            Err(error) => {
                tracing::warn!(%error, "nothing can be written through the Kubernetes API yet");
                tokio::time::sleep(CONNECT_RETRY).await;
            }
        }
    }
}

/// What both writers work with.
#[derive(Clone)]
struct Context {
    /// The name of our Node.
    node: String,
    api: StatusApi,
    client: Client,
    engine: EngineHandle,
    overlay: Overlay,
    troubles: Troubles,
    clock: Clock,
    /// Where Events go.
    notices: Notices,
}

/// What cannot be written, and why: part of the agent's problems. At most one of each writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles(Arc<Mutex<BTreeMap<&'static str, Problem>>>);

impl Troubles {
    /// All of them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.lock().values().cloned().collect()
    }

    /// What stands in the way of something else than a writer, or nothing does any more.
    pub(crate) fn set(&self, what: &'static str, problem: Option<Problem>) {
        let mut troubles = self.lock();
        match problem {
            Some(problem) => troubles.insert(what, problem),
            None => troubles.remove(what),
        };
    }

    /// What a writer wanted to write was written.
    fn over(&self, writer: &'static str) {
        if self.lock().remove(writer).is_some() {
            tracing::info!(writer, "what could not be written has been written");
        }
    }

    /// It could not: said in the log once for each reason.
    fn note(&self, writer: &'static str, object: String, error: &WriteError) {
        let problem = Problem {
            object,
            reason: error.fault.reason().into(),
            message: format!("{error}; it is tried again"),
        };
        let mut troubles = self.lock();
        let before = troubles.get(writer).map(|before| &before.reason);
        if before != Some(&problem.reason) {
            tracing::warn!(writer, reason = problem.reason, "{error}");
        }
        troubles.insert(writer, problem);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Problem>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to try again after this.
fn failure(error: &WriteError) -> Failure {
    match error.fault.is_passing() {
        true => Failure::Soon,
        false => Failure::Slow,
    }
}

/// Both clocks.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    fn start() -> Clock {
        Clock {
            origin: tokio::time::Instant::now(),
        }
    }

    fn read(&self) -> Clocks {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Clocks {
            now: Instant::from_micros(micros(self.origin.elapsed())),
            wall_micros: wall.map_or(0, micros),
        }
    }

    /// Waits for a moment; without one, for ever.
    async fn wait(&self, until: Option<Instant>) {
        match until {
            Some(until) => {
                let at = self.origin + Duration::from_micros(until.as_micros());
                tokio::time::sleep_until(at).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Any number, so that those who fail together do not try again together.
fn chance() -> u64 {
    let mut octets = [0; 8];
    // Without randomness all the same.
    let _ = rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(octets)
}

#[cfg(test)]
mod tests;
