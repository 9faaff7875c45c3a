//! What was told of each object, so that only what changes is told again.

use std::collections::HashMap;
use std::hash::BuildHasher;

use dunlin_intent::{Fact, Key};
use foldhash::quality::RandomState;

/// The objects of one resource that are known. Bounded by the objects that the API server holds.
#[derive(Debug, Default)]
pub(super) struct Seen {
    objects: HashMap<Key, Entry, RandomState>,
    /// Counts lists: what a complete list did not contain is gone.
    list: u32,
    hashing: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// A hash of the fact last told; 0 if none was.
    told: u64,
    /// The last list that contained it, or that was under way when an event named it.
    list: u32,
    /// The source has said that something is wrong with it.
    has_problem: bool,
    /// The state file may not hold it as it is.
    unsaved: bool,
}

/// What of an object has to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The fact is new or another.
    pub(super) fact: bool,
    /// It had a problem, which is over.
    pub(super) problem_over: bool,
    /// The state file may not hold it as it is.
    pub(super) save: bool,
}

impl Seen {
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// A list begins.
    pub(super) fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// What a fact would change.
    pub(super) fn look(&self, fact: &Fact) -> (Change, u64) {
        let hash = self.hash(fact);
        let before = self.objects.get(&fact.key());
        let change = Change {
            fact: before.is_none_or(|entry| entry.told != hash),
            problem_over: before.is_some_and(|entry| entry.has_problem),
            save: before.is_none_or(|entry| entry.told != hash || entry.unsaved),
        };
        (change, hash)
    }

    /// A fact has been told, or was known.
    pub(super) fn note(&mut self, key: Key, hash: u64, unsaved: bool) {
        let entry = Entry {
            told: hash,
            list: self.list,
            has_problem: false,
            unsaved,
        };
        self.objects.insert(key, entry);
    }

    /// An object is there that says nothing we understand; what it last said stays.
    pub(super) fn note_problem(&mut self, key: Key) {
        let list = self.list;
        let entry = self.objects.entry(key).or_insert(Entry {
            told: 0,
            list,
            has_problem: true,
            unsaved: false,
        });
        entry.list = list;
        entry.has_problem = true;
    }

    /// Whether an object is known, and whether it has a problem.
    pub(super) fn known(&self, key: &Key) -> Option<bool> {
        self.objects.get(key).map(|entry| entry.has_problem)
    }

    /// Whether a fact of an object has been told and stands.
    pub(super) fn told(&self, key: &Key) -> bool {
        self.objects.get(key).is_some_and(|entry| entry.told != 0)
    }

    /// An object is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.objects.remove(key);
    }

    /// The objects that the list just completed did not contain.
    pub(super) fn missing(&self) -> Vec<Key> {
        let missing = self
            .objects
            .iter()
            .filter(|(_, entry)| entry.list != self.list);
        missing.map(|(key, _)| key.clone()).collect()
    }

    /// All objects.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys()
    }

    /// Whether the state file lags behind.
    pub(super) fn has_unsaved(&self) -> bool {
        self.objects.values().any(|entry| entry.unsaved)
    }

    /// A hash of all that a fact says.
    fn hash(&self, fact: &Fact) -> u64 {
        // Zero is for objects of which no fact was told.
        self.hashing.hash_one(fact).max(1)
    }
}

#[cfg(test)]
mod tests;
