//! One object as an API server gives it.

use std::fmt;

use dunlin_intent::{Fact, Key, ObjectRef, Problem, Reason};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

use super::meta::Place;
use super::resource::Resource;
use super::{Readable, fact, printable};

/// Why an object cannot be read, although the text of it is JSON or not even that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFault {
    /// The key of the fact that it would state; none if not even the object's name can be read.
    pub key: Option<Key>,
    /// The field that is to blame, as a path: `spec.timers.holdTimeSeconds`.
    pub field: Option<String>,
    /// What is wrong. Holds nothing of a Secret.
    pub message: String,
}

impl ObjectFault {
    /// The object, if its name can be read.
    pub fn object(&self) -> Option<ObjectRef> {
        self.key.as_ref().map(Key::object)
    }

    /// The problem that this is of the object, if its name can be read. `kept` says whether an earlier fact of the
    /// object stays in force.
    pub fn problem(&self, kept: bool) -> Option<Problem> {
        let kept = match kept {
            true => "what it said before stays in force",
            false => "nothing is taken from it",
        };
        Some(Problem {
            object: self.object()?,
            reason: Reason::Unreadable,
            field: self.field.clone(),
            message: format!("{}; {kept}", self.message),
        })
    }
}

impl fmt::Display for ObjectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = self.object() {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ObjectFault {}

/// Reads the fact that an object of a resource states, from its JSON. Neither `apiVersion` nor `kind` need be there:
/// in lists they are not.
///
/// # Errors
/// What of the object is not as its kind has it, with the object's name if that can be read.
pub fn read_json(resource: Resource, text: &[u8]) -> Result<Fact, ObjectFault> {
    read(resource, Source::Text(text))
}

/// The same from JSON that has been parsed.
///
/// # Errors
/// As of [`read_json`].
pub fn read_value(resource: Resource, value: &Value) -> Result<Fact, ObjectFault> {
    read(resource, Source::Value(value))
}

fn read(resource: Resource, source: Source<'_>) -> Result<Fact, ObjectFault> {
    let object = Object { resource, source };
    let fact = fact(resource, &object)?;
    match fact.key().object().name.rsplit('/').next() {
        Some(name) if !name.is_empty() => Ok(fact),
        _ => Err(object.refuse("metadata.name is empty".to_owned())),
    }
}

struct Object<'a> {
    resource: Resource,
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Text(&'a [u8]),
    Value(&'a Value),
}

impl Source<'_> {
    fn read<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        match self {
            Source::Text(text) => serde_json::from_slice(text),
            Source::Value(value) => T::deserialize(value),
        }
    }

    /// Reads it again, to learn what is wrong and where.
    fn explain<T: DeserializeOwned>(self) -> Option<(String, String)> {
        match self {
            Source::Text(text) => explain::<T, _>(&mut serde_json::Deserializer::from_slice(text)),
            Source::Value(value) => explain::<T, _>(value),
        }
    }
}

fn explain<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Option<(String, String)> {
    let error = serde_path_to_error::deserialize::<D, T>(deserializer).err()?;
    let path = error.path().to_string();
    Some((path, error.into_inner().to_string()))
}

impl Object<'_> {
    fn fault(&self, field: Option<String>, message: String) -> ObjectFault {
        #[derive(Deserialize)]
        struct Placed {
            metadata: Place,
        }
        let place: Option<Placed> = self.source.read().ok();
        let key = place.and_then(|placed| self.resource.key(placed.metadata));
        ObjectFault {
            key,
            field: field.as_deref().map(printable),
            message: printable(&message),
        }
    }
}

impl Readable for Object<'_> {
    type Error = ObjectFault;

    fn read<T: DeserializeOwned>(&self) -> Result<T, ObjectFault> {
        self.source.read().map_err(|error| {
            let (path, message) = self
                .source
                .explain::<T>()
                .unwrap_or_else(|| (".".to_owned(), error.to_string()));
            // The text came over a connection: its lines say nothing to anybody.
            let message = message.split(" at line ").next().unwrap_or_default();
            let field = (path != ".").then_some(path);
            self.fault(field, message.to_owned())
        })
    }

    fn refuse(&self, message: String) -> ObjectFault {
        self.fault(None, message)
    }

    fn redact(fault: ObjectFault) -> ObjectFault {
        ObjectFault {
            field: None,
            message: "does not parse (what it says is not shown: it may be secret)".to_owned(),
            ..fault
        }
    }
}

#[cfg(test)]
mod tests;
