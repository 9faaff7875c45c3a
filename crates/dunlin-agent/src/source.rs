//! From the source of objects to the core.

use anyhow::{Context, Result, bail};
use dunlin_kube::ManifestDir;
use dunlin_kube::dir::Limits;
use tokio::sync::mpsc;

use crate::config::ClusterSource;
use crate::engine_handle::EngineHandle;

/// Events on their way; a full channel makes the source wait, whose own queue is the kernel's.
const EVENTS: usize = 256;

/// A source that is open, and has told nothing yet.
pub(crate) struct Source(ManifestDir);

/// Opens the source of objects. Call within the runtime.
pub(crate) fn open(cluster: &ClusterSource) -> Result<Source> {
    match cluster {
        ClusterSource::Dir(path) => Ok(Source(ManifestDir::open(path, Limits::default())?)),
        // Refused when the configuration was checked.
        ClusterSource::Kube => bail!("the Kubernetes API is not supported by this version"),
    }
}

impl Source {
    /// Hands everything the source tells to the core, until the core ends (then all is well) or the source fails.
    pub(crate) async fn feed(self, engine: EngineHandle) -> Result<()> {
        let (events, mut told) = mpsc::channel(EVENTS);
        let forward = async {
            while let Some(event) = told.recv().await {
                if engine.fact(event).await.is_err() {
                    // The core has ended, which others notice too.
                    return;
                }
            }
        };
        tokio::select! {
            outcome = self.0.run(events) => outcome.context("the source of objects failed"),
            () = forward => Ok(()),
        }
    }
}
