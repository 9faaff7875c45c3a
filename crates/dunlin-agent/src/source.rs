//! From the source of objects to the core.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use dunlin_intent::{Fact, Key, ObjectKind, ObjectRef, Problem, Reason};
use dunlin_kube::api::{ApiSource, SourceHealth, SourceOptions};
use dunlin_kube::dir::Limits;
use dunlin_kube::{ManifestDir, SourceEvent};
use tokio::sync::{mpsc, oneshot, watch};

use crate::allocation::Tap;
use crate::config::{AgentConfig, ClusterSource, ServiceProxy};
use crate::engine_handle::EngineHandle;

/// Events on their way; a full channel makes the source wait: the directory's own queue is the kernel's, the API server's
/// is its connection.
const EVENTS: usize = 256;

/// How long a source may take to end; longer than it takes to write its state file or give up on that.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A source that is open.
pub(crate) enum Source {
    /// A directory, which has told nothing yet.
    Dir(ManifestDir),
    /// The Kubernetes API, which tells in a thread of its own: it may have a lot to read, and health must be answered.
    Kube {
        health: watch::Receiver<SourceHealth>,
        ended: watch::Receiver<bool>,
        stop: Option<oneshot::Sender<()>>,
    },
}

/// Ends a source in order.
pub(crate) struct Closing {
    stop: oneshot::Sender<()>,
    ended: watch::Receiver<bool>,
}

/// Ends a source, if there is anything to end, and waits until what it keeps for the next start is kept.
pub(crate) async fn close(closing: Option<Closing>) {
    let Some(Closing { stop, mut ended }) = closing else {
        return;
    };
    let _ = stop.send(());
    let ended = ended.wait_for(|ended| *ended);
    if tokio::time::timeout(END_TIMEOUT, ended).await.is_err() {
        tracing::warn!("the source of objects did not end in time");
    }
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
        prompt: config.service_proxy != ServiceProxy::Off,
        seed: random()?,
    };
    let (opened, opening) = oneshot::channel();
    let (end, ended) = watch::channel(false);
    let (stop, stopped) = oneshot::channel::<()>();
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
        let health = source.health();
        let (events, told) = mpsc::channel(EVENTS);
        // The source ends in its own time when nobody listens any more.
        let listen = async {
            tokio::select! {
                () = forward(told, engine, tap, Some(health)) => {}
                _ = stopped => {}
            }
        };
        tokio::join!(source.run(events), listen);
        end.send_replace(true);
    };
    thread::Builder::new()
        .name("source".into())
        .spawn(move || runtime.block_on(work))
        .context("cannot start the source thread")?;
    let health = opening.await.context("the source thread ended at once")??;
    Ok(Source::Kube {
        health,
        ended,
        stop: Some(stop),
    })
}

/// Spreads the pauses of agents that fail together.
pub(crate) fn random() -> Result<u64> {
    let mut octets = [0; 8];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())
        .context("cannot get randomness")?;
    Ok(u64::from_ne_bytes(octets))
}

/// Hands events to the core until it ends, which others notice too.
async fn forward(
    mut told: mpsc::Receiver<SourceEvent>,
    engine: EngineHandle,
    tap: Option<Tap>,
    health: Option<watch::Receiver<SourceHealth>>,
) {
    while let Some(event) = told.recv().await {
        // What came over the connection with or after an event counts as having come with it.
        let heard = health.as_ref().and_then(|health| health.borrow().heard);
        let heard = heard.map_or_else(Instant::now, tokio::time::Instant::into_std);
        if let Some(tap) = &tap {
            tap.note(&event);
        }
        let remark = match tap {
            Some(_) => None,
            None => nobody_allocates(&event),
        };
        if engine.fact_heard(event, heard).await.is_err() {
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

    /// What ends it in order; none for a source that keeps nothing, or if it was asked for before.
    pub(crate) fn closing(&mut self) -> Option<Closing> {
        match self {
            Source::Dir(_) => None,
            Source::Kube { ended, stop, .. } => Some(Closing {
                stop: stop.take()?,
                ended: ended.clone(),
            }),
        }
    }

    /// Hands everything the source tells to the core, until the core ends (then all is well) or the source fails.
    pub(crate) async fn feed(self, engine: EngineHandle) -> Result<()> {
        match self {
            Source::Dir(dir) => {
                let (events, told) = mpsc::channel(EVENTS);
                tokio::select! {
                    outcome = dir.run(events) => outcome.context("the source of objects failed"),
                    () = forward(told, engine, None, None) => Ok(()),
                }
            }
            Source::Kube {
                mut ended, stop, ..
            } => {
                let outcome = ended.wait_for(|ended| *ended).await;
                drop(stop);
                match outcome {
                    Ok(_) => Ok(()),
                    Err(_) => Err(anyhow!(
                        "the source thread has ended, which it never should"
                    )),
                }
            }
        }
    }
}
