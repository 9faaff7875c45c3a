//! What the main thread knows and the core does not, laid over the core's answers.

use dunlin_api::{Answer, CniState, CniStatus, Problem, Status};
use dunlin_kube::api::{SourceHealth, StateAge};
use tokio::sync::watch;

use crate::allocation::Figures;
use crate::status_writer::Troubles;

/// The main thread's part of the status.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// Whether the kernel counts connections to services.
    pub(crate) counts: bool,
    pub(crate) cni: watch::Receiver<CniStatus>,
    /// How the Kubernetes API as a source stands; none with another source.
    pub(crate) source: Option<watch::Receiver<SourceHealth>>,
    /// The part in giving out load-balancer addresses; none without the Kubernetes API.
    pub(crate) allocation: Option<Figures>,
    /// What cannot be written through the Kubernetes API.
    pub(crate) troubles: Troubles,
}

impl Overlay {
    /// Completes an answer of the core.
    pub(crate) fn complete(&self, mut answer: Answer) -> Answer {
        match &mut answer {
            Answer::Status(status) => self.apply(status),
            Answer::Metrics(metrics) => self.apply(&mut metrics.status),
            Answer::NodeReport(report) => self.apply(&mut report.status),
            Answer::Pools(pools) => {
                let report = self.allocation.as_ref().map(|figures| &figures.report);
                let allocator = report.and_then(|r| r.borrow().allocator().map(str::to_owned));
                for pool in pools {
                    pool.allocator.clone_from(&allocator);
                }
            }
            _ => {}
        }
        answer
    }

    fn apply(&self, status: &mut Status) {
        if let Some(source) = &self.source {
            let problems = source_problems(&source.borrow());
            status.problems.splice(0..0, problems);
        }
        status.problems.extend(self.troubles.problems());
        let cni = self.cni.borrow().clone();
        match cni.state {
            CniState::Written => {}
            CniState::Waiting => {
                if status.ready {
                    status
                        .not_ready
                        .push("the CNI configuration is not written yet".into());
                }
                status.ready = false;
            }
            CniState::Failed => {
                let error = cni.error.clone().unwrap_or_default();
                status.ready = false;
                status
                    .not_ready
                    .push("the CNI configuration cannot be written".into());
                status.problems.insert(
                    0,
                    Problem {
                        object: format!("File/{}", cni.path.as_deref().unwrap_or("?")),
                        reason: "CNIWriteFailed".into(),
                        message: format!(
                            "{error}: pods cannot be started on this node; it is tried again every ten seconds"
                        ),
                    },
                );
            }
        }
        status.cni = cni;
    }
}

/// The reason of an API server that does not know us.
const UNAUTHORIZED: &str = "Unauthorized";

/// What people must know of the API as a source, the worst first.
fn source_problems(health: &SourceHealth) -> Vec<Problem> {
    let of = |object: &str, reason: &str, message: String| Problem {
        object: object.into(),
        reason: reason.into(),
        message,
    };
    let mut problems = Vec::new();
    if let Some(since) = health.unreachable_since {
        let error = health.last_error.as_deref().unwrap_or("no answer");
        let state = match health.running_on_state {
            None => "the last known state stays in force".to_owned(),
            Some(StateAge(None)) => "running on the saved state".to_owned(),
            Some(StateAge(Some(age))) => format!(
                "running on the saved state, last written {} s before it was loaded",
                age.as_secs()
            ),
        };
        problems.push(of(
            "APIServer",
            "Unreachable",
            format!(
                "no answer for {} s ({error}): {state}; it is tried again all the time; with a wrong address give \
                 --api-server",
                since.elapsed().as_secs()
            ),
        ));
    }
    let troubles = health.resources.iter().filter_map(|(name, resource)| {
        let (reason, message) = resource.trouble.as_ref()?;
        Some((name, *reason, message))
    });
    // A server that does not know us says so to all alike: told once.
    let (unknown, others): (Vec<_>, Vec<_>) =
        troubles.partition(|(_, reason, _)| *reason == UNAUTHORIZED);
    if let [(_, reason, message), more @ ..] = unknown.as_slice() {
        let message = match more.len() {
            0 => (*message).clone(),
            count => format!("{message}; the same for {count} more kinds"),
        };
        problems.push(of("APIServer", reason, message));
    }
    for (name, reason, message) in others {
        problems.push(of(&format!("APIServer/{name}"), reason, message.clone()));
    }
    if let Some(message) = &health.state_problem {
        problems.push(of("StateFile", "NotSaved", message.clone()));
    }
    if let Some(message) = &health.vault_problem {
        problems.push(of("Secrets", "NotKept", message.clone()));
    }
    problems
}

#[cfg(test)]
mod tests;
