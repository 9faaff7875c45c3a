//! The items of a list, one by one as its text arrives: a list of any length takes no more memory than its largest item and
//! the piece of text that has just arrived.

use serde::Deserialize;

/// The most octets of one object. The API server takes no object above a few MiB.
pub(super) const MAX_OBJECT_OCTETS: usize = 8 << 20;

/// The most octets of a member of the list that is not its items.
const MAX_MEMBER_OCTETS: usize = 64 << 10;

/// What a list says of itself.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMeta {
    /// The version the list is of; a watch goes on from there.
    pub(super) resource_version: String,
    /// Where the next page begins; empty at the end.
    #[serde(rename = "continue")]
    pub(super) continue_from: String,
}

/// Why a text is no list.
pub(super) type Garbage = String;

/// The texts of items, one behind the other in memory that is used again: of a long list, none costs an allocation.
#[derive(Debug, Default)]
pub(super) struct Items {
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl Items {
    /// Each item's text.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(&0).chain(&self.ends);
        let ranges = begins.zip(&self.ends).map(|(begin, end)| *begin..*end);
        ranges.filter_map(|range| self.texts.get(range))
    }

    /// Makes room for the next ones.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.ends.clear();
    }

    /// Adds an item that came in two parts.
    fn push(&mut self, begin: &[u8], rest: &[u8]) {
        self.texts.extend_from_slice(begin);
        self.texts.extend_from_slice(rest);
        self.ends.push(self.texts.len());
    }
}

/// Takes a list apart while it arrives.
#[derive(Debug, Default)]
pub(super) struct ListReader {
    at: At,
    /// The name of the member we are in.
    member: Vec<u8>,
    /// What has arrived of the value we are in.
    held: Vec<u8>,
    value: Value,
    meta: ListMeta,
    has_items: bool,
}

/// Where in the list we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Begin,
    /// Before a member's name, or the end.
    Member,
    Name,
    Colon,
    /// Before or in the value of a member.
    MemberValue,
    AfterMember,
    /// Before an item, or the end of all.
    Item,
    ItemValue,
    AfterItem,
    End,
}

impl ListReader {
    /// Takes in a piece of the text and hands over the items that it completes.
    pub(super) fn push(&mut self, mut text: &[u8], items: &mut Items) -> Result<(), Garbage> {
        while let Some(&octet) = text.first() {
            match self.at {
                At::Name => text = self.name(text)?,
                At::MemberValue | At::ItemValue => text = self.value(text, items)?,
                _ if octet.is_ascii_whitespace() => text = text.get(1..).unwrap_or_default(),
                _ => {
                    let consumed = self.mark(octet)?;
                    text = text.get(usize::from(consumed)..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    /// What the list says of itself, once all has arrived.
    pub(super) fn finish(self) -> Result<ListMeta, Garbage> {
        if self.at != At::End {
            return Err("the list ends in the middle".to_owned());
        }
        if self.meta.resource_version.is_empty() {
            return Err("the list has no metadata.resourceVersion".to_owned());
        }
        if !self.has_items {
            return Err("the list has no items".to_owned());
        }
        Ok(self.meta)
    }

    /// A mark between values. Whether it is used up.
    fn mark(&mut self, octet: u8) -> Result<bool, Garbage> {
        self.at = match (self.at, octet) {
            (At::Begin, b'{') => At::Member,
            (At::Member, b'"') => {
                self.member.clear();
                At::Name
            }
            (At::Member | At::AfterMember, b'}') => At::End,
            (At::Colon, b':') => {
                self.held.clear();
                self.value = Value::default();
                At::MemberValue
            }
            (At::AfterMember, b',') => At::Member,
            (At::Item | At::AfterItem, b']') => At::AfterMember,
            (At::AfterItem, b',') => At::Item,
            (At::Item, _) => {
                self.held.clear();
                self.value = Value::default();
                self.at = At::ItemValue;
                return Ok(false);
            }
            (_, other) => {
                return Err(format!("{:?} where none belongs", char::from(other)));
            }
        };
        Ok(true)
    }

    fn name<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], Garbage> {
        let end = text.iter().position(|octet| *octet == b'"');
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        self.member.extend_from_slice(name);
        if self.member.len() > 256 {
            return Err("a member's name is too long".to_owned());
        }
        if end.is_some() {
            self.at = At::Colon;
        }
        Ok(rest.get(1..).unwrap_or_default())
    }

    fn value<'a>(&mut self, text: &'a [u8], items: &mut Items) -> Result<&'a [u8], Garbage> {
        let is_item = self.at == At::ItemValue;
        if !is_item && self.held.is_empty() {
            let first = text.first().copied().unwrap_or_default();
            if first.is_ascii_whitespace() {
                return Ok(text.get(1..).unwrap_or_default());
            }
            if first == b'[' && self.member == b"items" {
                self.has_items = true;
                self.at = At::Item;
                return Ok(text.get(1..).unwrap_or_default());
            }
        }
        let end = self.value.scan(text)?;
        let (part, rest) = text.split_at(end.unwrap_or(text.len()));
        let most = if is_item {
            MAX_OBJECT_OCTETS
        } else {
            MAX_MEMBER_OCTETS
        };
        if self.held.len() + part.len() > most {
            return Err(format!("a value has more than {most} octets"));
        }
        if is_item && end.is_some() {
            items.push(&self.held, part);
            self.held.clear();
            self.at = At::AfterItem;
            return Ok(rest);
        }
        self.held.extend_from_slice(part);
        if end.is_some() {
            self.take_member()?;
            self.at = At::AfterMember;
        }
        Ok(rest)
    }

    fn take_member(&mut self) -> Result<(), Garbage> {
        match self.member.as_slice() {
            b"metadata" => {
                self.meta =
                    serde_json::from_slice(&self.held).map_err(|error| error.to_string())?;
            }
            // A list of nothing, as some servers write it.
            b"items" if self.held == b"null" => self.has_items = true,
            b"items" => return Err("items is no list".to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// Finds the end of a JSON value.
#[derive(Debug, Default)]
struct Value {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Value {
    /// Where in the text the value ends, if it does.
    fn scan(&mut self, text: &[u8]) -> Result<Option<usize>, Garbage> {
        let mut at = 0;
        while let Some(&octet) = text.get(at) {
            if self.in_string {
                at += self.string(text.get(at..).unwrap_or_default());
                if !self.in_string && self.depth == 0 {
                    return Ok(Some(at));
                }
                continue;
            }
            match octet {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' | b',' if self.depth == 0 => {
                    return match self.begun {
                        true => Ok(Some(at)),
                        false => Err("a value is missing".to_owned()),
                    };
                }
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Ok(Some(at + 1));
                    }
                }
                _ => {}
            }
            self.begun = true;
            at += 1;
        }
        Ok(None)
    }

    /// Goes through a string; how many octets of it there were.
    fn string(&mut self, text: &[u8]) -> usize {
        for (at, octet) in text.iter().enumerate() {
            match octet {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return at + 1;
                }
                _ => {}
            }
        }
        text.len()
    }
}

#[cfg(test)]
mod tests;
