//! The thread that hears router advertisements, started with the first unnumbered peer.

use dunlin_bgp::discovery::Neighbour;
use dunlin_core::DiscoveryCommand;
use dunlin_speaker::discovery::{DiscoveryHandle, DiscoveryReport};
use dunlin_speaker::{Clock, Inbox, Lane, Waker};

use super::Message;

/// What was found on links and waits; beyond, it is merged to the latest of each link.
const EVENTS: Lane = Lane { capacity: 256 };

/// The thread and what became of it.
pub(super) struct Discovery {
    clock: Clock,
    seed: u64,
    handle: Option<DiscoveryHandle>,
}

impl Discovery {
    pub(super) fn new(clock: Clock, seed: u64) -> Discovery {
        Discovery {
            clock,
            seed,
            handle: None,
        }
    }

    /// Does what the core asks for.
    ///
    /// # Errors
    /// Why nothing can be heard.
    pub(super) fn command(
        &mut self,
        command: DiscoveryCommand,
        inbox: &Inbox<Message>,
    ) -> Result<(), String> {
        let handle = match (&mut self.handle, command) {
            (Some(handle), _) => handle,
            (None, DiscoveryCommand::Unwatch { .. }) => return Ok(()),
            (none, DiscoveryCommand::Watch { .. }) => {
                let sender = inbox.sender(EVENTS);
                let sink = move |neighbour: Neighbour, waker: &Waker| {
                    sender.send_or_wake(1, neighbour, Message::Discovery, waker)
                };
                let started = DiscoveryHandle::spawn(self.clock, self.seed, Box::new(sink));
                none.insert(started.map_err(|error| {
                    tracing::error!(%error, "unnumbered peers cannot be found");
                    error.to_string()
                })?)
            }
        };
        match command {
            DiscoveryCommand::Watch { interface, local } => handle.watch(interface, local),
            DiscoveryCommand::Unwatch { interface } => handle.unwatch(interface),
        }
        Ok(())
    }

    /// Why the agent cannot go on.
    pub(super) fn failure(&self) -> Option<String> {
        let ended = |handle: &DiscoveryHandle| !handle.is_alive();
        self.handle.as_ref().is_some_and(ended).then(|| {
            "the thread that hears router advertisements has ended, which it never should".into()
        })
    }

    pub(super) fn report(&self) -> Option<DiscoveryReport> {
        self.handle.as_ref()?.report()
    }
}

/// Tells what an operator wants to find in the log of a link.
pub(super) fn log(neighbour: &Neighbour) {
    let interface = neighbour.interface;
    match neighbour.address {
        Some(address) if neighbour.others.is_empty() => {
            tracing::info!(interface, %address, "router found on a link");
        }
        Some(address) => {
            let others = &neighbour.others;
            tracing::warn!(interface, %address, ?others, "several routers on the link of an unnumbered peer");
        }
        None => {}
    }
}
