//! What changed of what reports tell, as counters: a change costs a comparison, and nobody polls.

use dunlin_bgp::bmp::StationEvent;
use dunlin_bgp::session::SessionEvent;
use dunlin_dataplane::KernelEvent;
use dunlin_intent::{Change, Fact, Key, SourceEvent};

use crate::core::Input;

/// Counters that grow whenever something changed; they start anew with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Sessions came up or went down, problems, originations, or what the node is ready for.
    pub changes: u64,
    /// Figures alone: how many routes, words of errors.
    pub figures: u64,
    /// Problems of objects, or the Nodes that could write them and the sessions that tell whether their agents live.
    pub objects: u64,
}

impl Revisions {
    pub(crate) fn on_input(&mut self, input: &Input, own: &str) {
        match input {
            Input::Source(event) => self.on_source(event, own),
            Input::Session(event) => match event {
                // Who writes conditions depends on whom there are sessions with.
                SessionEvent::Up { .. } | SessionEvent::Down { .. } => {
                    self.changes += 1;
                    self.objects += 1;
                }
                SessionEvent::DynamicPeer { .. }
                | SessionEvent::DynamicPeerGone { .. }
                | SessionEvent::ConfigRefused { .. } => self.changes += 1,
                SessionEvent::State { reason, .. } => self.figures += u64::from(reason.is_some()),
                SessionEvent::Routes { .. } => self.figures += 1,
                SessionEvent::RefreshBegins { .. } | SessionEvent::RefreshEnds { .. } => {
                    self.figures += 1;
                }
                SessionEvent::RefreshRequested { .. } | SessionEvent::Drained { .. } => {}
            },
            Input::Kernel(event) => match event {
                KernelEvent::BatchDone(done) if done.errors.is_empty() => self.figures += 1,
                KernelEvent::BatchDone(_)
                | KernelEvent::RulesDone(_)
                | KernelEvent::DumpEnd { .. } => self.changes += 1,
                _ => {}
            },
            Input::Station(StationEvent::Written { .. }) => {}
            Input::Station(_)
            | Input::Forwarding(_)
            | Input::Bfd(_)
            | Input::BfdRefused(..)
            | Input::Neighbour(_)
            | Input::DiscoveryRefused(_) => self.changes += 1,
        }
    }

    fn on_source(&mut self, event: &SourceEvent, own: &str) {
        let node = match event {
            SourceEvent::Apply(Fact::Node(fact)) => &fact.name,
            SourceEvent::Remove(Key::Node(name)) => name,
            _ => return,
        };
        self.objects += 1;
        self.changes += u64::from(node == own);
    }

    pub(crate) fn on_change(&mut self, change: &Change) {
        match change {
            Change::LocalChanged(_)
            | Change::Originate(..)
            | Change::OriginateGone(_)
            | Change::PeerWanted(..)
            | Change::PeerGone(_) => self.changes += 1,
            Change::ProblemsChanged | Change::Synced => {
                self.changes += 1;
                self.objects += 1;
            }
            _ => {}
        }
    }
}
