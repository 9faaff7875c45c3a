//! A bounded inbox that a thread can wait on, with a bound for each sender, so that none can starve another.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_bgp::session::SessionEvent;

use crate::{EventSink, Waker};

/// An inbox for values of `T`.
pub fn inbox<T>() -> Inbox<T> {
    Inbox {
        shared: Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                lanes: Vec::new(),
                open: true,
            }),
            arrived: Condvar::new(),
            taken: Condvar::new(),
        }),
    }
}

/// The receiving end. Dropping it makes all sends fail.
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

/// How much one sender and its clones may have in the inbox. One value above it is let in when nothing else of the lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// In whatever unit the sender weighs its values in.
    pub capacity: usize,
}

/// A sending end. Clones share the lane.
pub struct InboxSender<T> {
    shared: Arc<Shared<T>>,
    lane: usize,
}

/// Why a value was not taken; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The lane is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    taken: Condvar,
}

struct State<T> {
    queue: VecDeque<Entry<T>>,
    lanes: Vec<LaneState>,
    open: bool,
}

struct Entry<T> {
    value: T,
    lane: usize,
    weight: usize,
}

struct LaneState {
    capacity: usize,
    used: usize,
    waiting: Vec<Waker>,
    blocked: usize,
}

impl LaneState {
    fn has_room(&self, weight: usize) -> bool {
        self.used == 0 || self.used.saturating_add(weight) <= self.capacity
    }
}

impl<T> Shared<T> {
    /// A thread that panicked while holding the lock left a whole queue behind: each change is a single push or swap.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn put(&mut self, lane: usize, weight: usize, value: T) -> Result<bool, SendError<T>> {
        if !self.open {
            return Err(SendError::Closed(value));
        }
        let Some(state) = self.lanes.get_mut(lane) else {
            return Err(SendError::Closed(value));
        };
        if !state.has_room(weight) {
            return Err(SendError::Full(value));
        }
        state.used += weight;
        let was_empty = self.queue.is_empty();
        self.queue.push_back(Entry {
            value,
            lane,
            weight,
        });
        Ok(was_empty)
    }
}

impl<T> Inbox<T> {
    /// A new sender with a bound of its own.
    pub fn sender(&self, lane: Lane) -> InboxSender<T> {
        let mut state = self.shared.lock();
        state.lanes.push(LaneState {
            capacity: lane.capacity,
            used: 0,
            waiting: Vec::new(),
            blocked: 0,
        });
        InboxSender {
            shared: Arc::clone(&self.shared),
            lane: state.lanes.len() - 1,
        }
    }

    /// Moves all that is there to the end of `out`; waits for something if there is nothing, for ever or for `patience`.
    /// Whether there was anything.
    pub fn receive(&self, out: &mut Vec<T>, patience: Option<Duration>) -> bool {
        let mut state = self.shared.lock();
        match patience {
            None => {
                while state.queue.is_empty() {
                    state = wait(self.shared.arrived.wait(state));
                }
            }
            Some(patience) if state.queue.is_empty() && !patience.is_zero() => {
                let arrived = &self.shared.arrived;
                let waited = arrived.wait_timeout_while(state, patience, |s| s.queue.is_empty());
                state = wait(waited).0;
            }
            Some(_) => {}
        }
        let any = !state.queue.is_empty();
        let State { queue, lanes, .. } = &mut *state;
        let mut wakers = Vec::new();
        let mut blocked = false;
        out.reserve(queue.len());
        for entry in queue.drain(..) {
            if let Some(lane) = lanes.get_mut(entry.lane) {
                lane.used = lane.used.saturating_sub(entry.weight);
                wakers.append(&mut lane.waiting);
                blocked |= lane.blocked > 0;
            }
            out.push(entry.value);
        }
        drop(state);
        if blocked {
            self.shared.taken.notify_all();
        }
        wakers.iter().for_each(Waker::wake);
        any
    }
}

fn wait<G>(guard: Result<G, PoisonError<G>>) -> G {
    guard.unwrap_or_else(PoisonError::into_inner)
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.open = false;
        let abandoned = std::mem::take(&mut state.queue);
        drop(state);
        drop(abandoned);
        self.shared.taken.notify_all();
    }
}

impl<T> InboxSender<T> {
    /// Puts a value in without waiting.
    ///
    /// # Errors
    /// The value, with whether there was no room or no receiver.
    pub fn try_send(&self, weight: usize, value: T) -> Result<(), SendError<T>> {
        let was_empty = self.shared.lock().put(self.lane, weight, value)?;
        if was_empty {
            self.shared.arrived.notify_one();
        }
        Ok(())
    }

    /// Puts a value in, waiting for room.
    ///
    /// # Errors
    /// The value if the receiver is gone.
    pub fn send(&self, weight: usize, mut value: T) -> Result<(), T> {
        let mut state = self.shared.lock();
        loop {
            match state.put(self.lane, weight, value) {
                Ok(was_empty) => {
                    drop(state);
                    if was_empty {
                        self.shared.arrived.notify_one();
                    }
                    return Ok(());
                }
                Err(SendError::Closed(value)) => return Err(value),
                Err(SendError::Full(back)) => value = back,
            }
            self.block(&mut state, 1);
            state = wait(self.shared.taken.wait(state));
            self.block(&mut state, -1);
        }
    }

    fn block(&self, state: &mut State<T>, change: isize) {
        if let Some(lane) = state.lanes.get_mut(self.lane) {
            lane.blocked = lane.blocked.saturating_add_signed(change);
        }
    }

    /// Puts `wrap(value)` in without waiting; if there is no room, `waker` is woken when there is.
    pub fn send_or_wake<V>(
        &self,
        weight: usize,
        value: V,
        wrap: impl FnOnce(V) -> T,
        waker: &Waker,
    ) -> Result<(), V> {
        let mut state = self.shared.lock();
        match state.lanes.get_mut(self.lane) {
            Some(lane) if !lane.has_room(weight) => {
                if lane.waiting.is_empty() {
                    lane.waiting.push(waker.clone());
                }
                return Err(value);
            }
            _ => {}
        }
        let was_empty = state.put(self.lane, weight, wrap(value));
        drop(state);
        // Only a receiver that is gone can refuse now; then nobody misses the value.
        if let Ok(true) = was_empty {
            self.shared.arrived.notify_one();
        }
        Ok(())
    }
}

impl<T> Clone for InboxSender<T> {
    fn clone(&self) -> InboxSender<T> {
        InboxSender {
            shared: Arc::clone(&self.shared),
            lane: self.lane,
        }
    }
}

/// Puts the events of one I/O thread into an inbox of something that events can become. Weighed in octets
/// ([`SessionEvent::weight`]); events after the receiver is gone are dropped.
pub struct InboxSink<T> {
    sender: InboxSender<T>,
    wrap: fn(SessionEvent) -> T,
}

impl<T> InboxSink<T> {
    /// A sink with a lane of its own.
    pub fn new(inbox: &Inbox<T>, lane: Lane, wrap: fn(SessionEvent) -> T) -> InboxSink<T> {
        InboxSink {
            sender: inbox.sender(lane),
            wrap,
        }
    }
}

impl<T: Send + 'static> EventSink for InboxSink<T> {
    fn try_send(&mut self, event: SessionEvent, waker: &Waker) -> Result<(), SessionEvent> {
        self.sender
            .send_or_wake(event.weight(), event, self.wrap, waker)
    }
}

#[cfg(test)]
mod tests;
