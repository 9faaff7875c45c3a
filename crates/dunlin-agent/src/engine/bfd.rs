//! The BFD thread, started with the first session.

use dunlin_bfd::{Seeds, SessionId, State};
use dunlin_core::{BfdCommand, BfdOutside, BfdSeen, Core, Input};
use dunlin_speaker::bfd::{BfdConfig, BfdEvent, BfdHandle};
use dunlin_speaker::{Clock, Inbox, Lane};

use super::{Message, random_seed};

/// The most BFD sessions: each has a socket, and at the default pace so many are some 14,000 packets a second both ways.
const SESSIONS: usize = 4096;

/// Changes of state that wait; beyond, they are merged to one a session.
const EVENTS: Lane = Lane { capacity: 1024 };

/// The thread and what became of it.
pub(super) struct Bfd {
    clock: Clock,
    handle: Option<BfdHandle>,
}

impl Bfd {
    pub(super) fn new(clock: Clock) -> Bfd {
        Bfd {
            clock,
            handle: None,
        }
    }

    /// Does what the core asks for.
    ///
    /// # Errors
    /// What cannot be, which the core is to be told.
    pub(super) fn command(
        &mut self,
        command: BfdCommand,
        inbox: &Inbox<Message>,
    ) -> Result<(), Refused> {
        match command {
            BfdCommand::Set(session, config) => {
                let handle = match &mut self.handle {
                    Some(handle) => handle,
                    none => {
                        let started = start(self.clock, inbox);
                        none.insert(started.map_err(|error| refused(session, error))?)
                    }
                };
                handle
                    .set(session, config)
                    .map_err(|error| refused(session, error))
            }
            BfdCommand::Remove(session) => {
                if let Some(handle) = &mut self.handle {
                    handle.remove(session);
                }
                Ok(())
            }
        }
    }

    /// Why the agent cannot go on.
    pub(super) fn failure(&self) -> Option<String> {
        let ended = |handle: &BfdHandle| !handle.is_alive();
        self.handle
            .as_ref()
            .is_some_and(ended)
            .then(|| "the BFD thread has ended, which it never should".into())
    }

    pub(super) fn report(&self) -> Option<BfdOutside> {
        let report = self.handle.as_ref()?.report()?;
        let sessions = report.sessions.into_iter();
        Some(BfdOutside {
            sessions: sessions
                .map(|session| BfdSeen {
                    snapshot: session.snapshot,
                    send_errors: session.send_errors,
                    last_send_error: session.last_send_error,
                })
                .collect(),
            dropped: report.dropped,
            received: report.counters.received,
            overruns: report.counters.overruns,
            send_errors: report.counters.send_errors,
            most_late: report.counters.most_late,
        })
    }

    /// Tells all peers AdminDown and ends the thread; takes a second at most.
    pub(super) fn shutdown(&mut self) {
        if let Some(handle) = self.handle.take()
            && let Err(error) = handle.shutdown()
        {
            tracing::warn!(%error, "BFD did not end in order");
        }
    }
}

/// A session that cannot be as asked for.
pub(super) struct Refused {
    pub(super) session: SessionId,
    pub(super) why: String,
}

fn start(clock: Clock, inbox: &Inbox<Message>) -> anyhow::Result<BfdHandle> {
    let config = BfdConfig {
        seeds: Seeds {
            discriminators: [random_seed()?, random_seed()?],
            chance: random_seed()?,
        },
        clock,
        limit: SESSIONS,
    };
    let sender = inbox.sender(EVENTS);
    let sink = move |event: BfdEvent, waker: &dunlin_speaker::Waker| {
        sender.send_or_wake(1, event, Message::Bfd, waker)
    };
    Ok(BfdHandle::spawn(&config, sink)?)
}

fn refused(session: SessionId, error: impl Into<anyhow::Error>) -> Refused {
    let error = error.into();
    tracing::error!(%error, "a BFD session cannot be");
    Refused {
        session,
        why: format!("{error:#}"),
    }
}

/// What the core is to be told of an event.
pub(super) fn input(event: BfdEvent) -> Input {
    match event {
        BfdEvent::Changed(change) => Input::Bfd(change),
        BfdEvent::Refused { session, error } => Input::BfdRefused(session, error.to_string()),
    }
}

/// Tells what an operator wants to find in the log of a session.
pub(super) fn log(core: &Core, event: &BfdEvent) {
    let name = core.bfd_peer_name(event.session()).unwrap_or_default();
    match event {
        BfdEvent::Changed(change) if change.to == State::Up => {
            tracing::info!(peer = name, "BFD session up");
        }
        BfdEvent::Changed(change) if change.from == State::Up => {
            let (why, told) = (change.cause, change.remote_diagnostic);
            tracing::warn!(peer = name, %why, %told, "BFD session down");
        }
        BfdEvent::Changed(change) => {
            let (from, to, why) = (change.from, change.to, change.cause);
            tracing::debug!(peer = name, %from, %to, %why, "BFD session state");
        }
        BfdEvent::Refused { error, .. } => {
            tracing::error!(peer = name, %error, "a BFD session cannot be");
        }
    }
}
