//! The thread of monitoring stations, started with the first one.

use dunlin_bgp::bmp::{StationCommand, StationEvent, TerminationReason, termination};
use dunlin_core::Core;
use dunlin_speaker::{Clock, Inbox, Lane, StationsHandle};

use super::Message;

/// Events that wait: more than there can be on the way.
const EVENTS: Lane = Lane { capacity: 1024 };

/// The thread and what became of it.
pub(super) struct Stations {
    clock: Clock,
    handle: Option<StationsHandle>,
    failure: Option<String>,
}

impl Stations {
    pub(super) fn new(clock: Clock) -> Stations {
        Stations {
            clock,
            handle: None,
            failure: None,
        }
    }

    /// Does what the core asks for.
    pub(super) fn command(&mut self, command: StationCommand, inbox: &Inbox<Message>) {
        if self.handle.is_none() {
            let events = inbox.sender(EVENTS);
            let sink = move |event| {
                // A core that is gone has no use for it.
                let _ = events.send(1, Message::Station(event));
            };
            match StationsHandle::spawn(self.clock, sink) {
                Ok(handle) => self.handle = Some(handle),
                Err(error) => {
                    self.failure =
                        Some(format!("cannot start the thread of BMP stations: {error}"));
                }
            }
        }
        if let Some(handle) = &self.handle {
            handle.command(command);
        }
    }

    /// Why the agent cannot go on.
    pub(super) fn failure(&mut self) -> Option<String> {
        let ended = |handle: &StationsHandle| !handle.is_alive();
        if self.handle.as_ref().is_some_and(ended) {
            return Some("the thread of BMP stations has ended, which it never should".into());
        }
        self.failure.take()
    }

    /// Tells all stations that this is the end; takes a second at most.
    pub(super) fn shutdown(&mut self) {
        let mut last = Vec::new();
        termination(TerminationReason::AdministrativelyClosed, &mut last);
        if let Some(handle) = self.handle.take()
            && let Err(error) = handle.shutdown(last)
        {
            tracing::warn!(%error, "the connections to BMP stations did not end in order");
        }
    }
}

/// Tells what an operator wants to find in the log of a station.
pub(super) fn log(core: &Core, event: &StationEvent) {
    match event {
        StationEvent::Connected { station, .. } => {
            if let Some((address, _)) = core.station(*station) {
                tracing::info!(%address, "connected to a BMP station");
            }
        }
        // What fails again as it did before is told once.
        StationEvent::Lost { station, why } => match core.station(*station) {
            Some((address, before)) if before != Some(why) => {
                tracing::warn!(%address, why, "no connection to a BMP station");
            }
            _ => {}
        },
        StationEvent::Written { .. } => {}
    }
}
