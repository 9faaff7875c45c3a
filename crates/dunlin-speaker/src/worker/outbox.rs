//! Events on their way to the core.

use std::collections::VecDeque;

use dunlin_bgp::session::SessionEvent;

use crate::{EventSink, Waker};

/// Events on their way to the core. While it has no room they wait here, and nothing is read from peers: what can come
/// then is of timers, commands and one read, a few events a peer.
pub(super) struct Outbox {
    sink: Box<dyn EventSink>,
    waker: Waker,
    waiting: VecDeque<SessionEvent>,
    /// Connections whose credit is to be given back when there is room.
    owed: Vec<usize>,
    pauses: u64,
}

impl Outbox {
    pub(super) fn new(sink: Box<dyn EventSink>, waker: Waker) -> Outbox {
        Outbox {
            sink,
            waker,
            waiting: VecDeque::new(),
            owed: Vec::new(),
            pauses: 0,
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Times that the core had no room.
    pub(super) fn pauses(&self) -> u64 {
        self.pauses
    }

    pub(super) fn send(&mut self, event: SessionEvent) {
        if self.is_blocked() {
            self.waiting.push_back(event);
        } else if let Err(event) = self.sink.try_send(event, &self.waker) {
            self.pauses += 1;
            self.waiting.push_back(event);
        }
    }

    /// Offers what waits; whether all of it was taken.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(event) = self.sink.try_send(event, &self.waker) {
                self.waiting.push_front(event);
                return false;
            }
        }
        true
    }

    pub(super) fn owe(&mut self, connection: usize) {
        self.owed.push(connection);
    }

    pub(super) fn take_owed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.owed)
    }
}
