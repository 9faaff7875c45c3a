//! A file that holds objects of all kinds, ours among them: as people have them at hand, and not as an agent's source.

use super::{Document, Fault, Format, Item, List, Located, documents};
use crate::object::{GROUP, Header, Readable, fact, resource};

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// The objects that say something to routing.
    pub facts: Vec<Located>,
    /// The others.
    pub ignored: Vec<Ignored>,
    /// The documents that do not parse, by number from 1, each with its first fault.
    pub faults: Vec<(u32, Fault)>,
}

/// An object of a kind that says nothing to routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The line that it begins at, from 1.
    pub line: usize,
    /// Its kind and name: `Deployment/shop/web`.
    pub object: String,
}

/// Reads a file's text. Objects of kinds that are not read here are named, and no fault unless they claim to be ours.
pub fn sift(text: &str, format: Format) -> Sifted {
    let mut sifted = Sifted::default();
    let documents = match documents(text, format) {
        Ok(documents) => documents,
        Err(fault) => {
            sifted.faults.push((1, fault));
            return sifted;
        }
    };
    let documents = documents.iter().filter(|document| !document.is_empty());
    for (number, document) in (1..).zip(documents) {
        if let Err(fault) = sifted.document(document) {
            sifted.faults.push((number, fault));
        }
    }
    sifted
}

impl Sifted {
    fn document(&mut self, document: &Document<'_>) -> Result<(), Fault> {
        let Some(header) = document.read::<Option<Header>>()? else {
            return Ok(());
        };
        if header.api_version != "v1" || !header.kind.ends_with("List") {
            return self.object(document, &header, document.line);
        }
        let list: List = document.read().map_err(Document::redact)?;
        for (at, value) in list.items.into_iter().enumerate() {
            let line = document.line;
            let item = Item { value, at, line };
            self.object(&item, &item.read()?, line)?;
        }
        Ok(())
    }

    fn object<R: Readable>(
        &mut self,
        object: &R,
        header: &Header,
        line: usize,
    ) -> Result<(), R::Error> {
        match resource(header) {
            Ok(Some(resource)) => {
                let name = header.metadata.checked_name();
                name.map_err(|message| object.refuse(message))?;
                let fact = fact(resource, object)?;
                self.facts.push(Located { line, fact });
            }
            Err(message) if is_ours(header) => return Err(object.refuse(message)),
            Ok(None) | Err(_) => {
                let object = named(header);
                self.ignored.push(Ignored { line, object });
            }
        }
        Ok(())
    }
}

/// Whether an object of a kind that is not read must be a mistake.
fn is_ours(header: &Header) -> bool {
    let group = header.api_version.split('/').next();
    group == Some(GROUP) || header.api_version.is_empty() || header.kind.is_empty()
}

fn named(header: &Header) -> String {
    let place = &header.metadata;
    let namespace = place.namespace.as_deref();
    let parts = [Some(header.kind.as_str()), namespace, place.name.as_deref()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests;
