//! What the main thread and the core thread say to each other.
//!
//! The core thread owns all state and takes everything (requests, facts, kernel and session events) from one bounded
//! channel. Requests enter it through [`EngineHandle`]; what the main thread must act upon comes back in a watched value.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use dunlin_api::{Answer, Plan, Query};
use dunlin_core::{Dumped, HealthPort, PlanStep, Revisions, TableDump};
use dunlin_intent::SourceEvent;
use dunlin_net::IpNet;
use dunlin_net::service::ProxyOptions;
use tokio::sync::{oneshot, watch};

/// What the core thread is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStart {
    /// The Node object this agent stands for.
    pub node_name: String,
    /// The directory for what must outlive the process.
    pub state_dir: PathBuf,
    /// Whether this is the same boot as at the last start: only then can routes found in the kernel be ours of before,
    /// and only then may the F bit of graceful restart be set (RFC 4724 section 3).
    pub same_boot: bool,
    /// How to load-balance services on the node, if that is wanted.
    pub service_proxy: Option<ProxyOptions>,
}

/// A request to the core thread.
#[derive(Debug)]
pub enum EngineRequest {
    /// Answer this. A dropped sender means that nobody waits any more.
    Ask(Query, oneshot::Sender<Answer>),
    /// Work out what a change would come to, in lists of at most so many items.
    Plan(Vec<PlanStep>, usize, oneshot::Sender<Plan>),
    /// Write the next piece of a dump.
    Dump(TableDump, oneshot::Sender<(TableDump, Dumped)>),
    /// Take in what the source of objects tells; in order.
    Fact(Box<SourceEvent>, std::time::Instant),
    /// Reply at once: the thread is alive.
    Ping(oneshot::Sender<()>),
    /// End. The reply is sent when everything is closed and nothing more will be written to the kernel.
    Shutdown(ShutdownMode, oneshot::Sender<()>),
}

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Keep the kernel routes; close sessions so that peers keep ours (graceful restart).
    KeepForwarding,
}

/// What the core thread tells the main thread: always the newest value, never a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineState {
    /// Set once the node can carry pods (own subnets known, masquerade acknowledged), and whenever it changes.
    pub pod_network: Option<PodNetwork>,
    /// The health-check node ports to serve, by port.
    pub health_ports: Arc<BTreeMap<u16, HealthPort>>,
    /// All services are programmed, or were once since the start.
    pub delivering: bool,
    /// Why the core thread is about to end although nobody asked it to.
    pub failure: Option<String>,
}

/// What the CNI configuration has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// The node's own pod subnets, at most one of each family.
    pub pod_cidrs: Vec<IpNet>,
    /// MTU of the uplink, octets.
    pub mtu: u32,
}

/// Why the core thread gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The core thread has ended.
    #[error("the agent is stopping")]
    Gone,
    /// No answer in time.
    #[error("the agent's core did not answer in time")]
    Late,
}

/// Puts a request into the core thread's channel without waiting.
type Inbox = dyn Fn(EngineRequest) -> Result<(), TrySendError<EngineRequest>> + Send + Sync;

/// The main thread's end.
#[derive(Clone)]
pub struct EngineHandle {
    inbox: Arc<Inbox>,
    state: watch::Receiver<EngineState>,
    revisions: watch::Receiver<Revisions>,
}

impl EngineHandle {
    /// How long to wait before trying again where the core thread's channel is full.
    const FULL_PAUSE: Duration = Duration::from_millis(2);

    /// A handle that puts requests into the core thread's channel with `inbox` (which must not block), and reads its
    /// state from `state`. The core thread keeps the sender of `state` for as long as it lives.
    pub fn new(
        inbox: impl Fn(EngineRequest) -> Result<(), TrySendError<EngineRequest>> + Send + Sync + 'static,
        state: watch::Receiver<EngineState>,
    ) -> EngineHandle {
        EngineHandle {
            inbox: Arc::new(inbox),
            state,
            revisions: watch::channel(Revisions::default()).1,
        }
    }

    /// The same with the counters of what changed. They are apart from the state: they change far more often than what
    /// others act upon.
    pub(crate) fn with_revisions(self, revisions: watch::Receiver<Revisions>) -> EngineHandle {
        EngineHandle { revisions, ..self }
    }

    /// The counters of what changed; their end shows as a closed channel.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revisions> {
        self.revisions.clone()
    }

    /// Asks the core.
    ///
    /// # Errors
    /// [`EngineError::Late`] after `within`; [`EngineError::Gone`] when the core thread has ended.
    pub async fn ask(&self, query: Query, within: Duration) -> Result<Answer, EngineError> {
        self.call(within, |reply| EngineRequest::Ask(query, reply))
            .await
    }

    /// Has the core work out what a change would come to.
    ///
    /// # Errors
    /// As [`EngineHandle::ask`].
    pub async fn plan(
        &self,
        steps: Vec<PlanStep>,
        limit: usize,
        within: Duration,
    ) -> Result<Plan, EngineError> {
        self.call(within, |reply| EngineRequest::Plan(steps, limit, reply))
            .await
    }

    /// Has the core write the next piece of a dump.
    ///
    /// # Errors
    /// As [`EngineHandle::ask`].
    pub async fn dump(
        &self,
        dump: TableDump,
        within: Duration,
    ) -> Result<(TableDump, Dumped), EngineError> {
        self.call(within, |reply| EngineRequest::Dump(dump, reply))
            .await
    }

    /// Hands over what the source of objects tells. Waits while the core has no room: a source that is read faster than
    /// the core works is held back.
    ///
    /// # Errors
    /// [`EngineError::Gone`] when the core thread has ended.
    pub async fn fact(&self, event: SourceEvent) -> Result<(), EngineError> {
        self.fact_heard(event, std::time::Instant::now()).await
    }

    /// The same for one that was heard a moment ago: how long things take counts from then.
    ///
    /// # Errors
    /// As [`EngineHandle::fact`].
    pub async fn fact_heard(
        &self,
        event: SourceEvent,
        heard: std::time::Instant,
    ) -> Result<(), EngineError> {
        self.send(EngineRequest::Fact(Box::new(event), heard)).await
    }

    /// Whether the core thread replies.
    ///
    /// # Errors
    /// As [`EngineHandle::ask`].
    pub async fn ping(&self, within: Duration) -> Result<(), EngineError> {
        self.call(within, EngineRequest::Ping).await
    }

    /// Ends the core thread and waits until it has closed everything.
    ///
    /// # Errors
    /// As [`EngineHandle::ask`].
    pub async fn shutdown(&self, mode: ShutdownMode, within: Duration) -> Result<(), EngineError> {
        self.call(within, |reply| EngineRequest::Shutdown(mode, reply))
            .await
    }

    /// The state the core thread last told; its end shows as a closed channel.
    pub fn state(&self) -> watch::Receiver<EngineState> {
        self.state.clone()
    }

    async fn call<T>(
        &self,
        within: Duration,
        request: impl FnOnce(oneshot::Sender<T>) -> EngineRequest,
    ) -> Result<T, EngineError> {
        let exchange = async {
            let (reply, answer) = oneshot::channel();
            self.send(request(reply)).await?;
            answer.await.map_err(|_| EngineError::Gone)
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::Late),
        }
    }

    /// Waits while the channel is full: it is the core's bound on work, and whoever asks is held back by it.
    async fn send(&self, mut request: EngineRequest) -> Result<(), EngineError> {
        loop {
            match (self.inbox)(request) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(EngineError::Gone),
                Err(TrySendError::Full(back)) => {
                    request = back;
                    tokio::time::sleep(Self::FULL_PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
