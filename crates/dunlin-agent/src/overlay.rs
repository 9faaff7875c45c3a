//! What the main thread knows and the core does not, laid over the core's answers.

use dunlin_api::{Answer, CniState, CniStatus, Problem, Status};
use tokio::sync::watch;

/// The main thread's part of the status.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    pub(crate) cni: watch::Receiver<CniStatus>,
}

impl Overlay {
    /// Completes an answer of the core.
    pub(crate) fn complete(&self, mut answer: Answer) -> Answer {
        match &mut answer {
            Answer::Status(status) => self.apply(status),
            Answer::Metrics(metrics) => self.apply(&mut metrics.status),
            _ => {}
        }
        answer
    }

    fn apply(&self, status: &mut Status) {
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
