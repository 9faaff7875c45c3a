//! Taking over from another service proxy without losing a connection.
//!
//! 1. Our tables are programmed beside its own. They come first at each hook, so from then on new connections are
//!    translated by ours; what a connection was translated to, conntrack keeps, whoever did it.
//! 2. Only when they hold every service does the other's go: never is there a moment without any, in which the kernel would
//!    take conntrack's translations out of the packets' way.
//! 3. And only when the other no longer runs, or it would make them again.

use std::time::Duration;

use dunlin_api::Problem;
use dunlin_kernel::others::{self, Means, Remains};
use tokio::sync::watch;

use crate::config::{AgentConfig, ServiceProxy};
use crate::engine_handle::{EngineHandle, EngineState};
use crate::other_proxies;
use crate::overlay::Overlay;
use crate::status_writer::Troubles;

/// How often it is looked whether the other has ended.
const LOOK: Duration = Duration::from_secs(2);
/// How long after a removal it is looked whether anything has come back.
const AFTER: Duration = Duration::from_secs(10);
/// After a removal that did not succeed.
const RETRY: Duration = Duration::from_secs(60);
const WRITER: &str = "take-over";

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    /// There is no other.
    Alone,
    /// It is there: what it has, and who runs, if anybody does.
    Beside { what: String, runs: Option<String> },
    /// It is not known.
    Unknown(String),
}

/// Begins, where it is asked for.
pub(crate) fn spawn(config: &AgentConfig, engine: &EngineHandle, overlay: &Overlay) {
    if config.service_proxy == ServiceProxy::TakeOver {
        tokio::spawn(keep(engine.state(), overlay.troubles.clone()));
    }
}

/// Waits for our tables and for the other's end, then takes away what it left; ends when nothing is left of it.
async fn keep(mut state: watch::Receiver<EngineState>, troubles: Troubles) {
    let mut told = look().await;
    match &told {
        Stand::Beside { what, .. } => tracing::info!(
            what,
            "take-over, step 1 of 3: another service proxy is here, our tables are programmed beside its own"
        ),
        Stand::Alone => tracing::info!("no other service proxy is here: nothing to take over"),
        Stand::Unknown(_) => {}
    }
    troubles.set(WRITER, problem(&told));
    if state.wait_for(|state| state.delivering).await.is_err() {
        return;
    }
    if let Stand::Beside { .. } = told {
        tracing::info!(
            "take-over, step 2 of 3: every service is programmed, new connections go by our tables"
        );
    }
    loop {
        let stand = look().await;
        let pause = match &stand {
            Stand::Alone => {
                if told != Stand::Alone {
                    tracing::info!("take-over: done, nothing is left of the other service proxy");
                }
                troubles.set(WRITER, None);
                return;
            }
            Stand::Unknown(why) => {
                tracing::warn!(
                    why,
                    "take-over: it cannot be seen whether another service proxy is here"
                );
                RETRY
            }
            Stand::Beside {
                runs: Some(who), ..
            } => {
                if told != stand {
                    tracing::warn!(
                        who,
                        "take-over: the other service proxy runs: stop it, what it has is removed as soon as it has ended"
                    );
                }
                LOOK
            }
            Stand::Beside { runs: None, .. } => remove().await,
        };
        troubles.set(WRITER, problem(&stand));
        told = stand;
        tokio::time::sleep(pause).await;
    }
}

fn problem(stand: &Stand) -> Option<Problem> {
    let message = match stand {
        Stand::Alone => return None,
        Stand::Unknown(why) => format!("whether another service proxy is here is not known: {why}"),
        Stand::Beside {
            what,
            runs: Some(who),
        } => format!(
            "another service proxy is here ({what}) and runs: {who}. Stop it: what it has is removed as soon as it has ended"
        ),
        Stand::Beside { what, runs: None } => format!(
            "what another service proxy has is still here ({what}): it is removed once all services are programmed; if it \
             stays, the agent's log says why, and `dunlin cleanup --kube-proxy` on the node removes it"
        ),
    };
    Some(Problem {
        object: "ServiceProxy".into(),
        reason: "OtherServiceProxy".into(),
        message,
    })
}

async fn look() -> Stand {
    let looked = tokio::task::spawn_blocking(|| match others::service_proxy() {
        Ok(None) => Stand::Alone,
        Ok(Some(what)) => Stand::Beside {
            what,
            runs: other_proxies::running(),
        },
        Err(error) => Stand::Unknown(error.to_string()),
    });
    looked
        .await
        .unwrap_or_else(|error| Stand::Unknown(error.to_string()))
}

/// Gives how long to wait until it is looked again.
async fn remove() -> Duration {
    tracing::info!(
        "take-over, step 3 of 3: the other service proxy does not run, what it left is removed"
    );
    // The agent executes no programs.
    let removed = tokio::task::spawn_blocking(|| {
        Remains::find(Means::Netlink).map(|remains| remains.remove())
    });
    let done = match removed.await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            tracing::warn!(%error, "take-over: what another service proxy left cannot be read");
            return RETRY;
        }
        Err(error) => {
            tracing::error!(%error, "take-over: the removal ended unexpectedly");
            return RETRY;
        }
    };
    for what in &done.removed {
        tracing::info!(what, "take-over: removed");
    }
    for why in &done.kept {
        tracing::info!(why, "take-over: kept");
    }
    for why in &done.problems {
        tracing::warn!(why, "take-over: left");
    }
    match done.problems.is_empty() {
        true => AFTER,
        false => RETRY,
    }
}
