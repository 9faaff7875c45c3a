//! A core thread for tests: it answers what it was told to, and says what it was asked.

use std::sync::mpsc::{Receiver, sync_channel};

use dunlin_api::{Answer, Plan, Query};
use dunlin_core::{Dumped, PlanStep};
use tokio::sync::watch;

use crate::engine_handle::{EngineHandle, EngineRequest, EngineState};

/// Starts a thread that answers with `answer` until the handle goes or the request to end comes. The sender of the
/// state lives as long as the thread.
pub(crate) fn start(mut answer: impl FnMut(Query) -> Answer + Send + 'static) -> EngineHandle {
    let (handle, requests, told) = idle(EngineState::default(), 4);
    std::thread::spawn(move || {
        let _told = told;
        for request in requests {
            // Whoever asked may have given up meanwhile.
            let _ = match request {
                EngineRequest::Ask(query, reply) => reply.send(answer(query)).is_ok(),
                EngineRequest::Plan(steps, _, reply) => reply.send(planned(&steps)).is_ok(),
                // Pieces without end.
                EngineRequest::Dump(dump, reply) => {
                    reply.send((dump, Dumped::Piece(vec![7; 1 << 16]))).is_ok()
                }
                EngineRequest::Fact(..) => true,
                EngineRequest::Ping(reply) => reply.send(()).is_ok(),
                EngineRequest::Shutdown(_, reply) => {
                    let _ = reply.send(());
                    return;
                }
            };
        }
    });
    handle
}

/// A plan that tells of nothing but the steps it was made from.
fn planned(steps: &[PlanStep]) -> Plan {
    let mut plan = Plan::default();
    for step in steps {
        plan.notes.push(format!("{step:?}"));
    }
    plan
}

/// A handle without a thread behind it: requests stay in the channel.
pub(crate) fn idle(
    state: EngineState,
    bound: usize,
) -> (
    EngineHandle,
    Receiver<EngineRequest>,
    watch::Sender<EngineState>,
) {
    let (sender, requests) = sync_channel(bound);
    let (told, state) = watch::channel(state);
    let handle = EngineHandle::new(move |request| sender.try_send(request), state);
    (handle, requests, told)
}

/// A directory of the test's own, removed at the end.
pub(crate) struct Dir(pub(crate) std::path::PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("dunlin-agent-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
