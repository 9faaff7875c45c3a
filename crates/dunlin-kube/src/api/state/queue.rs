//! What waits to be written: of each object its last word.
//!
//! Whoever tells puts into a table and wakes nobody; the thread that writes comes by when enough has gathered, or when it
//! has waited long enough. A cluster that changes at every moment costs one transaction in that time, not one a change.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Item;
use crate::object::Resource;

/// How far the file may lag behind.
pub(super) const LAG: Duration = Duration::from_secs(5);

/// Octets after which they are written at once.
const PORTION_OCTETS: usize = 512 << 10;

/// Octets that may wait at most, for a disk that is slow; beyond, nothing more is taken.
const ROOM_OCTETS: usize = 2 << 20;

/// What an entry takes besides its texts, octets.
const ENTRY_OCTETS: usize = 64;

/// What the file is to hold.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Each object's text by its key in the file; none for one that is gone.
    pub(super) objects: BTreeMap<String, Option<Vec<u8>>>,
    /// The resources of which all objects are known, by their plural, with the objects' names: there are no others.
    pub(super) complete: BTreeMap<&'static str, Names>,
    octets: usize,
}

/// Names of objects, by a hash of each: of a hundred thousand the texts would take megabytes. Two with the same hash, which
/// nobody will see, have one object more stay in the file until the next list.
#[derive(Debug, Default)]
pub(super) struct Names {
    hashing: RandomState,
    hashes: HashSet<u64>,
}

impl Names {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.hashes.contains(&self.hashing.hash_one(name))
    }
}

impl FromIterator<String> for Names {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Names {
        let hashing = RandomState::new();
        let hash = |name: String| hashing.hash_one(name.as_str());
        Names {
            hashes: names.into_iter().map(hash).collect(),
            hashing,
        }
    }
}

/// Someone who wants to read what was saved of a resource.
pub(super) struct Load {
    pub(super) resource: Resource,
    pub(super) objects: mpsc::Sender<Item>,
}

/// What there is to do. Changes first, then loads.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) changes: Changes,
    pub(super) loads: Vec<Load>,
    /// Those who wait until everything is durable; dropped when it is, or cannot be.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
    /// Nobody can ask for more.
    pub(super) ended: bool,
}

impl Batch {
    /// Whether it is not to wait for more.
    pub(super) fn is_urgent(&self) -> bool {
        self.ended || !self.waiting.is_empty() || !self.changes.complete.is_empty()
    }
}

/// The table between those who tell and the thread that writes.
#[derive(Default)]
pub(super) struct Queue {
    held: Mutex<Held>,
    news: Condvar,
}

#[derive(Default)]
struct Held {
    batch: Batch,
    /// When the first change was put.
    since: Option<Instant>,
}

impl Held {
    fn is_due(&self) -> bool {
        let batch = &self.batch;
        batch.is_urgent() || !batch.loads.is_empty() || batch.changes.octets >= PORTION_OCTETS
    }
}

impl Changes {
    /// Takes a change in, if there is room.
    fn put(&mut self, key: &str, text: &mut Option<Vec<u8>>) -> bool {
        let size =
            |text: &Option<Vec<u8>>| text.as_ref().map_or(0, Vec::len) + key.len() + ENTRY_OCTETS;
        let before = self.objects.get(key).map_or(0, size);
        let octets = self.octets - before + size(text);
        if octets > ROOM_OCTETS && !self.objects.is_empty() {
            return false;
        }
        self.octets = octets;
        self.objects.insert(key.to_owned(), text.take());
        true
    }
}

impl Queue {
    /// The last word on an object, if there is room for it; otherwise it stays where it is.
    pub(super) fn put(&self, key: &str, text: &mut Option<Vec<u8>>) -> bool {
        let mut held = self.lock();
        if !held.batch.changes.put(key, text) {
            return false;
        }
        // The thread has to learn when to come by, and when sooner than it thinks.
        let is_first = held.since.is_none();
        held.since.get_or_insert_with(Instant::now);
        if is_first || held.is_due() {
            self.news.notify_one();
        }
        true
    }

    /// Those are all objects of a resource. A later list counts in place of an earlier one.
    pub(super) fn complete(&self, resource: Resource, names: Names) {
        self.ask(|batch| {
            batch.changes.complete.insert(resource.plural, names);
        });
    }

    pub(super) fn load(&self, load: Load) {
        self.ask(|batch| batch.loads.push(load));
    }

    /// Has everything so far written; the sender is dropped when that is done.
    pub(super) fn flush(&self, done: oneshot::Sender<()>) {
        self.ask(|batch| batch.waiting.push(done));
    }

    /// Nobody will ask any more.
    pub(super) fn end(&self) {
        self.ask(|batch| batch.ended = true);
    }

    fn ask(&self, ask: impl FnOnce(&mut Batch)) {
        ask(&mut self.lock().batch);
        self.news.notify_one();
    }

    /// Waits until there is something to do, or until what was written at `since` has to become durable.
    pub(super) fn take(&self, written: Option<Instant>) -> Batch {
        let mut held = self.lock();
        while !held.is_due() {
            let since = [held.since, written].into_iter().flatten().min();
            let patience = since.map(|since| LAG.saturating_sub(since.elapsed()));
            held = match patience {
                None => self.news.wait(held).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(patience) => {
                    let waited = self.news.wait_timeout(held, patience);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        held.since = None;
        std::mem::take(&mut held.batch)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Each change is a single one.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
