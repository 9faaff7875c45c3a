//! The speaker, started once it is known where to listen.

use dunlin_bgp::session::{Command, Seeds, SessionEvent, Stop};
use dunlin_core::Core;
use dunlin_speaker::{
    Clock, EventSink, Inbox, InboxSender, Lane, Speaker, SpeakerConfig, SpeakerHandle,
    SpeakerReport, Waker,
};

use super::Message;

/// Session events that wait, in octets; beyond, the I/O thread stops reading, and TCP holds the peers back.
const SESSION_EVENTS: Lane = Lane {
    capacity: 4 * 1024 * 1024,
};

/// The speaker and what became of it.
pub(super) struct Sessions {
    seeds: Seeds,
    clock: Clock,
    speaker: Option<SpeakerHandle>,
    generation: u32,
    /// A port that is wanted and could not be listened on while another one is in use.
    problem: Option<String>,
    failure: Option<String>,
}

impl Sessions {
    pub(super) fn new(seeds: Seeds, clock: Clock) -> Sessions {
        Sessions {
            seeds,
            clock,
            speaker: None,
            generation: 0,
            problem: None,
            failure: None,
        }
    }

    /// Listens on a port, leaving the one before. Whether sessions were lost by it.
    pub(super) fn listen(&mut self, port: u16, inbox: &Inbox<Message>) -> bool {
        let config = SpeakerConfig::new(port, self.seeds, self.clock);
        let generation = self.generation + 1;
        let lane = inbox.sender(SESSION_EVENTS);
        let spawned = Speaker::spawn(&config, |_| Sink {
            lane: lane.clone(),
            generation,
        });
        match (spawned, self.speaker.take()) {
            (Ok(speaker), before) => {
                tracing::info!(port, "listening for BGP");
                self.problem = None;
                self.generation = generation;
                self.speaker = Some(speaker);
                let lost = before.is_some();
                if let Some(before) = before {
                    end(before, &Stop::GracefulRestart);
                }
                lost
            }
            (Err(error), Some(before)) => {
                tracing::error!(%error, "staying on the port before");
                self.problem = Some(error.to_string());
                self.speaker = Some(before);
                false
            }
            (Err(error), None) => {
                self.failure = Some(error.to_string());
                false
            }
        }
    }

    /// Whether events of this generation still mean something.
    pub(super) fn is_current(&self, generation: u32) -> bool {
        self.generation == generation
    }

    pub(super) fn command(&mut self, command: Command) {
        if let Some(speaker) = &mut self.speaker {
            speaker.command(command);
        }
    }

    /// Why the agent cannot go on.
    pub(super) fn failure(&mut self) -> Option<String> {
        if self.failure.is_none()
            && self
                .speaker
                .as_ref()
                .is_some_and(|speaker| !speaker.is_alive())
        {
            return Some(
                "an I/O thread of the BGP speaker has ended, which it never should".into(),
            );
        }
        self.failure.take()
    }

    /// What is wrong though sessions go on.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    pub(super) fn report(&self) -> SpeakerReport {
        self.speaker
            .as_ref()
            .map_or_else(SpeakerReport::default, SpeakerHandle::report)
    }

    pub(super) fn shutdown(&mut self, stop: &Stop) {
        if let Some(speaker) = self.speaker.take() {
            end(speaker, stop);
        }
    }
}

fn end(speaker: SpeakerHandle, stop: &Stop) {
    if let Err(error) = speaker.shutdown(stop) {
        tracing::warn!(%error, "the BGP speaker did not end in order");
    }
}

/// Puts one speaker's events into the core thread's inbox.
struct Sink {
    lane: InboxSender<Message>,
    generation: u32,
}

impl EventSink for Sink {
    fn try_send(&mut self, event: SessionEvent, waker: &Waker) -> Result<(), SessionEvent> {
        let generation = self.generation;
        let wrap = |event| Message::Session(generation, event);
        self.lane.send_or_wake(event.weight(), event, wrap, waker)
    }
}

/// Tells what an operator wants to find in the log of a session.
pub(super) fn log(core: &Core, event: &SessionEvent) {
    let name = |peer| core.peer_name(peer).unwrap_or_default();
    match event {
        SessionEvent::Up {
            peer, negotiated, ..
        } => tracing::info!(
            peer = name(*peer),
            address = %negotiated.remote.ip(),
            asn = %negotiated.remote_asn,
            "session established"
        ),
        SessionEvent::Down {
            peer,
            reason,
            stale,
            ..
        } => tracing::warn!(
            peer = name(*peer),
            %reason,
            routes = if stale.is_some() { "kept while it restarts" } else { "dropped" },
            "session down"
        ),
        SessionEvent::ConfigRefused { peer, error } => {
            tracing::error!(peer = name(*peer), %error, "configuration refused");
        }
        SessionEvent::State {
            peer,
            state,
            reason: Some(reason),
        } => tracing::debug!(peer = name(*peer), %state, %reason, "session state"),
        _ => {}
    }
}
