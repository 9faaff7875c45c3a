//! This agent's part in giving load-balancer addresses to Services.

use std::time::Duration;

use anyhow::{Context, Result};
use dunlin_kube::SourceEvent;
use dunlin_kube::allocate::{self, AllocateOptions, AllocateReport, Roster};
use dunlin_kube::api::connect;
use dunlin_kube::events::{self, Notices};
use dunlin_kube::lease::LeaseTimes;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{AgentConfig, ClusterSource};
use crate::source::random;

/// How long giving the Lease up may take; it runs out by itself.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells the allocation what the source of objects tells.
#[derive(Clone, Debug)]
pub(crate) struct Tap(watch::Sender<Roster>);

impl Tap {
    pub(crate) fn note(&self, event: &SourceEvent) {
        self.0.send_if_modified(|roster| roster.note(event));
    }
}

/// The task, and what it says of itself.
#[derive(Debug)]
pub(crate) struct Allocation {
    tap: Tap,
    figures: Figures,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// For the metrics.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) report: watch::Receiver<AllocateReport>,
    pub(crate) notices: Notices,
}

/// Takes part, if the objects come from the Kubernetes API: with a directory there is nobody to write a status to. Asks
/// nothing of the API server while there is no `LoadBalancerPool`. Call within the runtime.
pub(crate) async fn start(config: &AgentConfig) -> Result<Option<Allocation>> {
    if config.cluster != ClusterSource::Kube {
        return Ok(None);
    }
    let client = connect(&config.kube.api)
        .await
        .context("cannot give out load-balancer addresses")?;
    let options = AllocateOptions {
        node: config.node_name.clone(),
        namespace: config.kube.namespace.clone(),
        default_class: config.kube.default_class,
        times: LeaseTimes::default(),
        seed: random()?,
    };
    let (roster, seen) = watch::channel(Roster::default());
    let (report, reported) = watch::channel(AllocateReport::default());
    let (notices, queue) = events::notices();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(events::write(
        client.clone(),
        config.node_name.clone(),
        queue,
    ));
    let stopped = async move {
        // Dropped without a word, it ends as well.
        let _ = stopped.await;
    };
    let task = allocate::run(client, options, seen, notices.clone(), report, stopped);
    Ok(Some(Allocation {
        tap: Tap(roster),
        figures: Figures {
            report: reported,
            notices,
        },
        stop,
        task: tokio::spawn(task),
    }))
}

impl Allocation {
    pub(crate) fn tap(&self) -> Tap {
        self.tap.clone()
    }

    pub(crate) fn figures(&self) -> Figures {
        self.figures.clone()
    }

    /// Gives up what this agent holds, so that another need not wait.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(GIVE_UP_TIMEOUT, self.task)
            .await
            .is_err()
        {
            tracing::info!("the Lease for load-balancer addresses was not given up: it runs out");
        }
    }
}
