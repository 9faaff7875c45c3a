//! Keeps the CNI configuration in step with what the core says of the node's pod network.

use std::path::PathBuf;
use std::time::Duration;

use dunlin_api::{CniState, CniStatus};
use tokio::sync::watch;

use crate::engine_handle::{EngineState, PodNetwork};

/// How long after a failure it is tried again, and how long after a success it is made sure that the file still stands.
const RETRY: Duration = Duration::from_secs(10);
const RECHECK: Duration = Duration::from_secs(60);

/// Writes the configuration with `write` (which returns the file's path, and leaves a file alone that already says what
/// it should) as soon as there is one, and again when it changes. Returns when the core has ended. The file is never
/// removed: pods that run keep their network while the agent does not.
pub(crate) async fn keep(
    mut state: watch::Receiver<EngineState>,
    status: watch::Sender<CniStatus>,
    write: impl Fn(&PodNetwork) -> anyhow::Result<PathBuf>,
) {
    loop {
        let wanted = state.borrow_and_update().pod_network.clone();
        let again = wanted.map(|network| write_once(&network, &status, &write));
        let pause = async {
            match again {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = pause => {}
        }
    }
}

/// Tries once, tells the outcome, and says when to look again.
fn write_once(
    network: &PodNetwork,
    status: &watch::Sender<CniStatus>,
    write: &impl Fn(&PodNetwork) -> anyhow::Result<PathBuf>,
) -> Duration {
    match write(network) {
        Ok(path) => {
            let now = CniStatus {
                state: CniState::Written,
                path: Some(path.display().to_string()),
                error: None,
            };
            if status.send_if_modified(|old| std::mem::replace(old, now.clone()) != now) {
                tracing::info!(path = %path.display(), mtu = network.mtu, "the CNI configuration is written: this node can carry pods");
            }
            RECHECK
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(%error, "cannot write the CNI configuration");
            status.send_modify(|status| {
                status.state = CniState::Failed;
                status.error = Some(error);
            });
            RETRY
        }
    }
}

#[cfg(test)]
mod tests;
