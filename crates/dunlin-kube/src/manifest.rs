//! The text of a manifest file → the facts it states.
//!
//! YAML with any number of documents, or JSON with any number of values; `kind: List` is taken apart. A file is read whole
//! or not at all.

mod sift;

use std::fmt;

use dunlin_intent::{Fact, Kind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter};

use crate::object::{Header, Readable, Resource, fact, printable, resource};

pub use sift::{Ignored, Sifted, sift};

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// A fact and where in the file its object begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The line, from 1.
    pub line: usize,
    /// The fact.
    pub fact: Fact,
}

/// Where and why a file does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1; 0 if there is none to tell.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if self.column > 0 {
            write!(f, ", column {}", self.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The line at which a file's text begins to tell of a Node, if it parses and does.
pub fn holds_node(text: &str, format: Format, node: &str) -> Option<usize> {
    let is_it = |fact: &Fact| matches!(fact, Fact::Node(fact) if fact.name == node);
    let objects = read(text, format).ok()?;
    let found = objects.iter().find(|object| is_it(&object.fact))?;
    Some(found.line)
}

/// Reads a file's text.
///
/// # Errors
/// The first place that does not parse, names an unknown field of one of our kinds, or has a kind that is not read here.
pub fn read(text: &str, format: Format) -> Result<Vec<Located>, Fault> {
    let mut facts = Vec::new();
    for document in documents(text, format)? {
        let header: Option<Header> = match document.is_empty() {
            true => None,
            false => document.read()?,
        };
        let Some(header) = header else {
            continue;
        };
        if header.api_version == "v1" && header.kind.ends_with("List") {
            let list: List = document.read().map_err(Document::redact)?;
            for (at, value) in list.items.into_iter().enumerate() {
                let item = Item {
                    value,
                    at,
                    line: document.line,
                };
                push(&item, &item.read()?, document.line, &mut facts)?;
            }
        } else {
            push(&document, &header, document.line, &mut facts)?;
        }
    }
    Ok(facts)
}

/// The kinds that a text which does not parse may hold objects of, as far as can be told: one whose name appears.
pub fn mentioned_kinds(text: &str) -> Vec<Kind> {
    let mentions = |kind: &Kind| {
        let name = Resource::of(*kind).kind.as_str();
        text.contains(name)
    };
    Kind::ALL.into_iter().filter(mentions).collect()
}

fn push<R: Readable>(
    object: &R,
    header: &Header,
    line: usize,
    facts: &mut Vec<Located>,
) -> Result<(), R::Error> {
    let resource = resource(header).map_err(|message| object.refuse(message))?;
    let name = header.metadata.checked_name();
    name.map_err(|message| object.refuse(message))?;
    if let Some(resource) = resource {
        let fact = fact(resource, object)?;
        facts.push(Located { line, fact });
    }
    Ok(())
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<serde_json::Value>,
}

/// One document of a file.
struct Document<'a> {
    text: &'a str,
    /// The line of its first character.
    first_line: usize,
    /// The line that its content begins at.
    line: usize,
    format: Format,
}

impl Document<'_> {
    fn new(text: &str, first_line: usize, format: Format) -> Document<'_> {
        let is_content = |line: &&str| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#') && line != "---"
        };
        let before = text.lines().take_while(|line| !is_content(line)).count();
        Document {
            text,
            first_line,
            line: first_line + before,
            format,
        }
    }

    /// Nothing but blanks, comments and directives.
    fn is_empty(&self) -> bool {
        self.format == Format::Yaml
            && self.text.lines().map(str::trim).all(|line| {
                line.is_empty() || line.starts_with(['#', '%']) || line == "---" || line == "..."
            })
    }

    fn fault(&self, line: usize, column: usize, message: String) -> Fault {
        Fault {
            line: self.first_line + line.saturating_sub(1),
            column,
            message: printable(&message),
        }
    }
}

impl Readable for Document<'_> {
    type Error = Fault;

    fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        match self.format {
            Format::Yaml => {
                // No snippet: it could show a password.
                let options = serde_saphyr::options! { with_snippet: false };
                serde_saphyr::from_str_with_options(self.text, options).map_err(|error| {
                    let at = error.location();
                    let at = |part: fn(&serde_saphyr::Location) -> u64| {
                        at.as_ref().map_or(0, part).try_into().unwrap_or(0)
                    };
                    let message = DefaultMessageFormatter.format_message(&error);
                    self.fault(at(|l| l.line()), at(|l| l.column()), message.into_owned())
                })
            }
            Format::Json => serde_json::from_str(self.text).map_err(|error| {
                // The location is told apart from the message.
                let full = error.to_string();
                let message = full.split(" at line ").next().unwrap_or_default();
                self.fault(error.line(), error.column(), message.to_owned())
            }),
        }
    }

    fn refuse(&self, message: String) -> Fault {
        Fault {
            line: self.line,
            column: 0,
            message: printable(&message),
        }
    }

    fn redact(fault: Fault) -> Fault {
        Fault {
            message: "does not parse (what it says is not shown: it may be secret)".to_owned(),
            ..fault
        }
    }
}

/// One item of a `kind: List`.
struct Item {
    value: serde_json::Value,
    at: usize,
    line: usize,
}

impl Readable for Item {
    type Error = Fault;

    fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(&self.value).map_err(|error| self.refuse(error.to_string()))
    }

    fn refuse(&self, message: String) -> Fault {
        Fault {
            line: self.line,
            column: 0,
            message: format!("items[{}]: {}", self.at, printable(&message)),
        }
    }

    fn redact(fault: Fault) -> Fault {
        Document::redact(fault)
    }
}

fn documents(text: &str, format: Format) -> Result<Vec<Document<'_>>, Fault> {
    match format {
        Format::Yaml => Ok(yaml_documents(text)),
        Format::Json => json_documents(text),
    }
}

/// Cuts YAML before each line that begins a document. `---` at the start of a line is nothing else in YAML, not even
/// within a block of text (YAML 1.2.2 section 9.1.2).
fn yaml_documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut offset = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let begins = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if begins && offset > start {
            documents.push(Document::new(
                &text[start..offset],
                first_line,
                Format::Yaml,
            ));
            (start, first_line) = (offset, at + 1);
        }
        offset += line.len();
    }
    documents.push(Document::new(&text[start..], first_line, Format::Yaml));
    documents
}

fn json_documents(text: &str) -> Result<Vec<Document<'_>>, Fault> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let (mut start, mut first_line) = (0, 1);
    while let Some(value) = values.next() {
        if let Err(error) = value {
            // Positions within a stream count from its beginning.
            return Err(Document::new(text, 1, Format::Json).fault(
                error.line(),
                error.column(),
                error
                    .to_string()
                    .split(" at line ")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ));
        }
        let end = values.byte_offset();
        let Some(part) = text.get(start..end) else {
            break;
        };
        documents.push(Document::new(part, first_line, Format::Json));
        first_line += part.matches('\n').count();
        start = end;
    }
    Ok(documents)
}

#[cfg(test)]
mod tests;
