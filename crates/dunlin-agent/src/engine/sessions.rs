//! The speaker, started once it is known where to listen.

use dunlin_bgp::session::{Command, Seeds, SessionEvent, Stop};
use dunlin_core::Core;
use dunlin_speaker::{
    Clock, Inbox, InboxSink, Lane, Speaker, SpeakerConfig, SpeakerHandle, SpeakerReport,
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
            problem: None,
            failure: None,
        }
    }

    /// Listens on a port, leaving the one before; sessions stay.
    pub(super) fn listen(&mut self, port: u16, inbox: &Inbox<Message>) {
        let outcome = match &mut self.speaker {
            Some(speaker) => speaker.listen(&SpeakerConfig::every_address(port)),
            None => {
                let config = SpeakerConfig::new(port, self.seeds, self.clock);
                let sink = |_| InboxSink::new(inbox, SESSION_EVENTS, Message::Session);
                Speaker::spawn(&config, sink).map(|speaker| self.speaker = Some(speaker))
            }
        };
        match outcome {
            Ok(()) => {
                tracing::info!(port, "listening for BGP");
                self.problem = None;
            }
            Err(error) if self.speaker.is_some() => {
                tracing::error!(%error, "staying on the port before");
                self.problem = Some(error.to_string());
            }
            Err(error) => self.failure = Some(error.to_string()),
        }
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
