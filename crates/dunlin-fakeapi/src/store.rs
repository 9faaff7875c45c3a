//! The objects, their versions, and what happened to them lately.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::list;

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version it made.
    pub version: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// Where: `/api/v1/nodes`.
    pub(crate) collection: Arc<str>,
    /// The object as it is then; as it last was, if it is gone.
    pub object: Arc<Value>,
    /// The object as it was before.
    pub(crate) before: Option<Arc<Value>>,
}

/// What can happen to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It was deleted.
    Deleted,
}

/// `namespace/name`, or `/name` of an object without a namespace.
pub(crate) type Place = String;

/// A collection of objects, all namespaces of it.
type Collection = BTreeMap<Place, Entry>;

/// An object, and its text in lists once it has been in one: a server that is to be faster than its client does not write
/// what it has written before.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) object: Arc<Value>,
    text: OnceLock<Vec<u8>>,
}

impl Entry {
    /// What a list says.
    pub(crate) fn text(&self) -> &[u8] {
        self.text.get_or_init(|| list::item(&self.object))
    }
}

/// Everything. Versions count all changes, as with etcd.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) version: u64,
    collections: BTreeMap<Arc<str>, Collection>,
    /// The latest changes, oldest first; a watch from before them is told 410.
    history: VecDeque<Change>,
    /// Changes before this version are forgotten.
    pub(crate) forgotten: u64,
    /// How many changes are kept.
    pub(crate) keep: usize,
    /// Collections that are not there: their paths answer 404.
    pub(crate) absent: Vec<String>,
    uids: u64,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store {
            version: 1,
            keep: 100_000,
            ..Store::default()
        }
    }

    pub(crate) fn get(&self, collection: &str, place: &str) -> Option<&Arc<Value>> {
        let entry = self.collections.get(collection)?.get(place)?;
        Some(&entry.object)
    }

    pub(crate) fn objects<'a>(
        &'a self,
        collection: &str,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        let objects = self.collections.get(collection).into_iter();
        objects.flat_map(|objects| objects.values().map(|entry| &entry.object))
    }

    /// Writes the text of each object.
    pub(crate) fn write_texts(&self) {
        for entry in self.collections.values().flat_map(Collection::values) {
            entry.text();
        }
    }

    /// Those behind a place.
    pub(crate) fn objects_after<'a>(
        &'a self,
        collection: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a Place, &'a Entry)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.collections.get(collection);
        let range = objects.map(|objects| objects.range::<str, _>((from, Bound::Unbounded)));
        range.into_iter().flatten()
    }

    /// Puts an object, new or not, and gives it a version.
    pub(crate) fn put(&mut self, collection: &str, place: &str, mut object: Value) -> Arc<Value> {
        self.version += 1;
        let version = self.version;
        let key: Arc<str> = match self.collections.get_key_value(collection) {
            Some((key, _)) => key.clone(),
            None => collection.into(),
        };
        let objects = self.collections.entry(key.clone()).or_default();
        let before = objects.get(place).map(|entry| entry.object.clone());
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.insert("resourceVersion".into(), version.to_string().into());
            if let Some(before) = &before {
                for field in ["uid", "creationTimestamp"] {
                    if let Some(value) = before["metadata"].get(field) {
                        meta.insert(field.into(), value.clone());
                    }
                }
            } else {
                self.uids += 1;
                let uid = format!("00000000-0000-4000-8000-{:012x}", self.uids);
                meta.entry("uid").or_insert(uid.into());
                meta.entry("creationTimestamp")
                    .or_insert("2026-01-01T00:00:00Z".into());
            }
        }
        let object = Arc::new(object);
        let entry = Entry {
            object: object.clone(),
            text: OnceLock::new(),
        };
        objects.insert(place.to_owned(), entry);
        let kind = match before {
            Some(_) => ChangeKind::Modified,
            None => ChangeKind::Added,
        };
        self.note(kind, key, object.clone(), before);
        object
    }

    pub(crate) fn delete(&mut self, collection: &str, place: &str) -> Option<Arc<Value>> {
        let (key, _) = self.collections.get_key_value(collection)?;
        let key = key.clone();
        let gone = self.collections.get_mut(collection)?.remove(place)?.object;
        self.version += 1;
        let mut last = (*gone).clone();
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        let last = Arc::new(last);
        self.note(ChangeKind::Deleted, key, last.clone(), Some(gone));
        Some(last)
    }

    /// Forgets all changes so far: a watch from before now is told 410.
    pub(crate) fn forget(&mut self) {
        self.history.clear();
        self.forgotten = self.version;
    }

    fn note(
        &mut self,
        kind: ChangeKind,
        collection: Arc<str>,
        object: Arc<Value>,
        before: Option<Arc<Value>>,
    ) {
        self.history.push_back(Change {
            version: self.version,
            kind,
            collection,
            object,
            before,
        });
        while self.history.len() > self.keep {
            if let Some(change) = self.history.pop_front() {
                self.forgotten = change.version;
            }
        }
    }

    /// What happened after a version; none if that is forgotten.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Change>> {
        if version < self.forgotten {
            return None;
        }
        let begin = self
            .history
            .partition_point(|change| change.version <= version);
        Some(self.history.iter().skip(begin).cloned().collect())
    }
}
