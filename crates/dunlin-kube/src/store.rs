//! Files with the facts they hold → what a source of facts tells.
//!
//! An object that several files declare is taken from the first by path. A file that does not parse keeps what it last held.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_intent::{Fact, Key, Kind, ObjectKind, ObjectRef, Problem, Reason, SourceEvent};

use crate::manifest::Located;

/// Why nothing could be taken from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// Where in the file: `line 3, column 5`.
    pub at: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    /// The kinds that the file may hold objects of.
    pub kinds: Vec<Kind>,
}

/// The files of a directory and the objects in them. Bounded by whoever fills it.
#[derive(Debug, Default)]
pub struct Store {
    files: BTreeMap<String, File>,
    objects: BTreeMap<Key, Declarations>,
    /// All files have been told once.
    complete: bool,
    synced: BTreeSet<Kind>,
}

#[derive(Debug, Default)]
struct File {
    keys: BTreeSet<Key>,
    /// It has parsed once.
    parsed: bool,
    /// The kinds it may hold objects of, if it has never parsed.
    unknown: Vec<Kind>,
}

/// The files that declare an object, with what the first document of each says.
type Declarations = BTreeMap<String, Declaration>;

#[derive(Debug, PartialEq, Eq)]
struct Declaration {
    fact: Fact,
    /// The lines of the documents in this file that declare it.
    lines: Vec<usize>,
}

impl Store {
    /// Takes in what a file holds.
    pub fn put(&mut self, path: &str, objects: Vec<Located>) -> Vec<SourceEvent> {
        let mut declared: BTreeMap<Key, Declaration> = BTreeMap::new();
        for Located { line, fact } in objects {
            declared
                .entry(fact.key())
                .or_insert_with(|| Declaration {
                    fact,
                    lines: Vec::new(),
                })
                .lines
                .push(line);
        }
        let file = self.files.entry(path.to_owned()).or_default();
        file.parsed = true;
        file.unknown.clear();
        let keys = declared.keys().cloned().collect();
        let mut touched = std::mem::replace(&mut file.keys, keys);
        touched.extend(file.keys.iter().cloned());
        let mut events = vec![SourceEvent::Problems(file_object(path), Vec::new())];
        for key in touched {
            let declaration = declared.remove(&key);
            self.declare(path, key, declaration, &mut events);
        }
        self.sync(&mut events);
        events
    }

    /// Takes in that a file does not parse: what it last held stays.
    pub fn fail(&mut self, path: &str, fault: FileFault) -> Vec<SourceEvent> {
        let file = self.files.entry(path.to_owned()).or_default();
        let kept = match file.parsed {
            true => "what it last held stays",
            false => "nothing is taken from it",
        };
        if !file.parsed {
            file.unknown = fault.kinds;
        }
        let problem = Problem {
            object: file_object(path),
            reason: Reason::Unreadable,
            field: fault.at,
            message: format!("{}; {kept}", fault.message),
        };
        let mut events = vec![SourceEvent::Problems(file_object(path), vec![problem])];
        // A fault that tells more may name fewer kinds than the last.
        self.sync(&mut events);
        events
    }

    /// Takes in that a file is gone.
    pub fn remove(&mut self, path: &str) -> Vec<SourceEvent> {
        let Some(file) = self.files.remove(path) else {
            return Vec::new();
        };
        let mut events = vec![SourceEvent::Problems(file_object(path), Vec::new())];
        for key in file.keys {
            self.declare(path, key, None, &mut events);
        }
        self.sync(&mut events);
        events
    }

    /// Takes in that all files there are have been put or failed once. A kind counts as synced when no file that never
    /// parsed may hold objects of it.
    pub fn complete(&mut self) -> Vec<SourceEvent> {
        self.complete = true;
        let mut events = Vec::new();
        self.sync(&mut events);
        events
    }

    /// The paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    fn sync(&mut self, events: &mut Vec<SourceEvent>) {
        if !self.complete || self.synced.len() == Kind::ALL.len() {
            return;
        }
        let unknown: BTreeSet<Kind> = self
            .files
            .values()
            .flat_map(|file| file.unknown.iter().copied())
            .collect();
        for kind in Kind::ALL {
            if !unknown.contains(&kind) && self.synced.insert(kind) {
                events.push(SourceEvent::Synced(kind));
            }
        }
    }

    /// Sets what a file says of an object, and tells what that changes.
    fn declare(
        &mut self,
        path: &str,
        key: Key,
        declaration: Option<Declaration>,
        events: &mut Vec<SourceEvent>,
    ) {
        let declarations = self.objects.entry(key.clone()).or_default();
        let doubt_before = duplicates(&key, declarations);
        let is_first = declarations
            .first_key_value()
            .is_none_or(|(first, _)| path <= first.as_str());
        let before = match declaration {
            Some(declaration) => declarations.insert(path.to_owned(), declaration),
            None => declarations.remove(path),
        };
        let doubt = duplicates(&key, declarations);
        // Only a change of the first file's declaration, or of which is first, changes the object.
        if is_first {
            match declarations.first_key_value() {
                Some((_, first)) if before.as_ref().map(|b| &b.fact) != Some(&first.fact) => {
                    events.push(SourceEvent::Apply(first.fact.clone()));
                }
                Some(_) => {}
                None => events.push(SourceEvent::Remove(key.clone())),
            }
        }
        if declarations.is_empty() {
            self.objects.remove(&key);
        }
        if doubt != doubt_before {
            events.push(SourceEvent::Problems(key.object(), doubt));
        }
    }
}

/// The problem of an object that is declared more than once.
fn duplicates(key: &Key, declarations: &Declarations) -> Vec<Problem> {
    let places: Vec<String> = declarations
        .iter()
        .flat_map(|(path, declaration)| {
            declaration
                .lines
                .iter()
                .map(move |line| format!("{path}:{line}"))
        })
        .collect();
    let [first, _, ..] = places.as_slice() else {
        return Vec::new();
    };
    let message = format!(
        "is declared more than once, at {}; the first of them, {first}, counts: remove the others",
        places.join(", ")
    );
    vec![Problem::new(key.object(), Reason::DuplicateObject, message)]
}

fn file_object(path: &str) -> ObjectRef {
    ObjectRef::new(ObjectKind::File, path)
}

#[cfg(test)]
mod tests;
