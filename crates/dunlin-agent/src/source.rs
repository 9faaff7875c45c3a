//! From the source of objects to the core.

use std::thread;

use anyhow::{Context, Result, anyhow};
use dunlin_intent::{Fact, Key, ObjectKind, ObjectRef, Problem, Reason};
use dunlin_kube::api::{ApiSource, SourceHealth, SourceOptions};
use dunlin_kube::dir::Limits;
use dunlin_kube::{ManifestDir, SourceEvent};
use tokio::sync::{mpsc, oneshot, watch};

use crate::allocation::Tap;
use crate::config::{AgentConfig, ClusterSource};
use crate::engine_handle::EngineHandle;

/// Events on their way; a full channel makes the source wait: the directory's own queue is the kernel's, the API server's
/// is its connection.
const EVENTS: usize = 256;

/// A source that is open.
pub(crate) enum Source {
    /// A directory, which has told nothing yet.
    Dir(ManifestDir),
    /// The Kubernetes API, which tells in a thread of its own: it may have a lot to read, and health must be answered.
    Kube {
        health: watch::Receiver<SourceHealth>,
        ended: oneshot::Receiver<()>,
    },
}

/// Opens the source of objects for a core. Call within the runtime.
pub(crate) async fn open(
    config: &AgentConfig,
    engine: &EngineHandle,
    tap: Option<Tap>,
) -> Result<Source> {
    match &config.cluster {
        ClusterSource::Dir(path) => Ok(Source::Dir(ManifestDir::open(path, Limits::default())?)),
        ClusterSource::Kube => open_api(config, engine.clone(), tap).await,
    }
}

async fn open_api(config: &AgentConfig, engine: EngineHandle, tap: Option<Tap>) -> Result<Source> {
    let api = config.kube.api.clone();
    let options = SourceOptions {
        state_dir: Some(config.state_dir.clone()),
        secrets_dir: Some(config.kube.secrets_dir.clone()),
        seed: random()?,
    };
    let (opened, opening) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Names are resolved there.
        .max_blocking_threads(2)
        .build()
        .context("cannot start the source thread's runtime")?;
    let work = async move {
        let source = match ApiSource::open(&api, options).await {
            Ok(source) => source,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        if opened.send(Ok(source.health())).is_err() {
            return;
        }
        let (events, told) = mpsc::channel(EVENTS);
        tokio::select! {
            () = source.run(events) => {}
            () = forward(told, engine, tap) => {}
        }
        let _ = end.send(());
    };
    thread::Builder::new()
        .name("source".into())
        .spawn(move || runtime.block_on(work))
        .context("cannot start the source thread")?;
    let health = opening.await.context("the source thread ended at once")??;
    Ok(Source::Kube { health, ended })
}

/// Spreads the pauses of agents that fail together.
pub(crate) fn random() -> Result<u64> {
    let mut octets = [0; 8];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
        .context("cannot get randomness")?;
    Ok(u64::from_ne_bytes(octets))
}

/// Hands events to the core until it ends, which others notice too.
async fn forward(mut told: mpsc::Receiver<SourceEvent>, engine: EngineHandle, tap: Option<Tap>) {
    while let Some(event) = told.recv().await {
        if let Some(tap) = &tap {
            tap.note(&event);
        }
        let remark = match tap {
            Some(_) => None,
            None => nobody_allocates(&event),
        };
        if engine.fact(event).await.is_err() {
            return;
        }
        if let Some(remark) = remark
            && engine.fact(remark).await.is_err()
        {
            return;
        }
    }
}

/// With a directory there is nobody to write a Service's status for: what is said of a pool, or taken back.
fn nobody_allocates(event: &SourceEvent) -> Option<SourceEvent> {
    let of = |name: &str| ObjectRef::new(ObjectKind::LoadBalancerPool, name);
    match event {
        SourceEvent::Apply(Fact::Pool(fact)) => {
            let message = "addresses are given out with --cluster kube only: with a directory, write them into the \
                           Services' status.loadBalancer.ingress yourself";
            let problem = Problem::new(of(&fact.name), Reason::Unsupported, message);
            Some(SourceEvent::Problems(of(&fact.name), vec![problem]))
        }
        SourceEvent::Remove(Key::Pool(name)) => Some(SourceEvent::Problems(of(name), Vec::new())),
        _ => None,
    }
}

impl Source {
    /// How an API source stands.
    pub(crate) fn health(&self) -> Option<watch::Receiver<SourceHealth>> {
        match self {
            Source::Dir(_) => None,
            Source::Kube { health, .. } => Some(health.clone()),
        }
    }

    /// Hands everything the source tells to the core, until the core ends (then all is well) or the source fails.
    pub(crate) async fn feed(self, engine: EngineHandle) -> Result<()> {
        match self {
            Source::Dir(dir) => {
                let (events, told) = mpsc::channel(EVENTS);
                tokio::select! {
                    outcome = dir.run(events) => outcome.context("the source of objects failed"),
                    () = forward(told, engine, None) => Ok(()),
                }
            }
            Source::Kube { ended, .. } => ended
                .await
                .map_err(|_| anyhow!("the source thread has ended, which it never should")),
        }
    }
}
