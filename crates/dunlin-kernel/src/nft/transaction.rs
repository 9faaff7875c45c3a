use super::expr::{Expr, Verdict, write_verdict};
use super::{
    DATA_VALUE, DELCHAIN, DELRULE, DELSET, DELSETELEM, DELTABLE, ELEM_DATA, ELEM_FLAGS,
    ELEM_INTERVAL_END, ELEM_KEY, ELEM_LIST_ELEMENTS, ELEM_LIST_SET, INET, LIST_ELEM, NEWCHAIN,
    NEWRULE, NEWSET, NEWSETELEM, NEWTABLE, RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA, SUBSYSTEM,
    TABLE_NAME, genmsg, kind,
};
use crate::netlink::{ACK, APPEND, AttrWriter, CREATE, Header, MessageBuf, REQUEST};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Elements a message: their list must stay under 64 KiB, whatever they hold.
const ELEMENTS: usize = 250;
/// `NFTNL_UDATA_RULE_COMMENT`, which `nft` shows.
const UDATA_COMMENT: u8 = 0;

/// What a key or a map's value consists of, as `nft` names and numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// `ipv4_addr`.
    Ipv4Addr,
    /// `ipv6_addr`.
    Ipv6Addr,
    /// `inet_proto`.
    InetProto,
    /// `inet_service`.
    InetService,
    /// `mark`.
    Mark,
}

impl DataType {
    fn number(self) -> u32 {
        match self {
            DataType::Ipv4Addr => 7,
            DataType::Ipv6Addr => 8,
            DataType::InetProto => 12,
            DataType::InetService => 13,
            DataType::Mark => 19,
        }
    }

    /// In octets.
    fn len(self) -> u32 {
        match self {
            DataType::Ipv4Addr | DataType::Mark => 4,
            DataType::Ipv6Addr => 16,
            DataType::InetProto => 1,
            DataType::InetService => 2,
        }
    }
}

/// What a map maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapData {
    /// A value, or several in a row.
    Values(Vec<DataType>),
    /// A verdict.
    Verdict,
}

/// A set, or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What its keys consist of; more than one is a concatenation, each part padded to four octets.
    pub key: Vec<DataType>,
    /// Keys are ranges.
    pub interval: bool,
    /// For a map.
    pub data: Option<MapData>,
}

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// `filter`, `nat` or `route`; `None` for a chain that is only jumped to.
    pub base: Option<ChainBase>,
}

/// Where a base chain is hooked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainBase {
    /// `filter`, `nat` or `route`.
    pub kind: &'static str,
    /// `NF_INET_…`: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub hook: u32,
    /// Lower comes first.
    pub priority: i32,
}

impl Chain {
    /// A chain at `postrouting`, where sources are rewritten.
    pub fn source_nat(name: &str) -> Chain {
        let base = ChainBase {
            kind: "nat",
            hook: 4,
            priority: 100,
        };
        Chain {
            name: name.to_owned(),
            base: Some(base),
        }
    }

    /// A chain at `forward`, after those at the usual priority: what they refuse with a word, they refuse.
    pub fn late_forward(name: &str) -> Chain {
        let base = ChainBase {
            kind: "filter",
            hook: 2,
            priority: 10,
        };
        Chain {
            name: name.to_owned(),
            base: Some(base),
        }
    }
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key; of an interval, its first key, or with `end` the first beyond it.
    pub key: Vec<u8>,
    /// Ends an interval.
    pub end: bool,
    /// For a map.
    pub data: Option<ElementData>,
}

/// What an element maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// A value.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// Changes of family `inet`, applied together.
#[derive(Debug)]
pub struct Transaction {
    messages: MessageBuf,
    /// Of the next message.
    seq: u32,
    /// Where the last message starts.
    last: usize,
    sets: u32,
}

impl Default for Transaction {
    fn default() -> Transaction {
        Transaction::new()
    }
}

impl Transaction {
    /// Changes nothing yet.
    pub fn new() -> Transaction {
        let mut transaction = Transaction {
            messages: MessageBuf::new(),
            seq: 1,
            last: 0,
            sets: 0,
        };
        transaction.mark(BATCH_BEGIN);
        transaction
    }

    /// Octets so far.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.seq == 2
    }

    /// Adds a table; one that exists stays.
    pub fn add_table(&mut self, name: &str) {
        self.message(NEWTABLE, CREATE, |attrs| attrs.put_str(TABLE_NAME, name));
    }

    /// Deletes a table with everything in it.
    pub fn delete_table(&mut self, name: &str) {
        self.message(DELTABLE, 0, |attrs| attrs.put_str(TABLE_NAME, name));
    }

    /// Adds a chain.
    pub fn add_chain(&mut self, table: &str, chain: &Chain) {
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const TYPE: u16 = 7;
        self.message(NEWCHAIN, CREATE, |attrs| {
            attrs.put_str(TABLE_NAME, table);
            attrs.put_str(NAME, &chain.name);
            if let Some(base) = &chain.base {
                attrs.nest(HOOK, |attrs| {
                    attrs.put_be32(1, base.hook);
                    attrs.put_be32(2, base.priority.cast_unsigned());
                });
                attrs.put_str(TYPE, base.kind);
            }
        });
    }

    /// Deletes an empty chain.
    pub fn delete_chain(&mut self, table: &str, name: &str) {
        self.message(DELCHAIN, 0, |attrs| {
            attrs.put_str(TABLE_NAME, table);
            attrs.put_str(3, name);
        });
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, table: &str, chain: &str) {
        self.message(DELRULE, 0, |attrs| {
            attrs.put_str(TABLE_NAME, table);
            attrs.put_str(RULE_CHAIN, chain);
        });
    }

    /// Adds a rule behind the others, with a comment of less than 128 octets.
    pub fn add_rule(&mut self, table: &str, chain: &str, comment: &str, exprs: &[Expr]) {
        self.message(NEWRULE, CREATE | APPEND, |attrs| {
            attrs.put_str(TABLE_NAME, table);
            attrs.put_str(RULE_CHAIN, chain);
            attrs.nest(RULE_EXPRESSIONS, |attrs| {
                for expr in exprs {
                    attrs.nest(LIST_ELEM, |attrs| expr.write(attrs));
                }
            });
            attrs.put(RULE_USERDATA, &comment_userdata(comment));
        });
    }

    /// Adds a set or map.
    pub fn add_set(&mut self, table: &str, set: &Set) {
        self.sets += 1;
        let id = self.sets;
        self.message(NEWSET, CREATE, |attrs| write_set(attrs, table, set, id));
    }

    /// Deletes a set or map that no rule uses.
    pub fn delete_set(&mut self, table: &str, name: &str) {
        self.message(DELSET, 0, |attrs| {
            attrs.put_str(TABLE_NAME, table);
            attrs.put_str(2, name);
        });
    }

    /// Adds elements; those that exist stay. An interval is two elements in a row.
    pub fn add_elements(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(NEWSETELEM, CREATE, table, set, elements);
    }

    /// Deletes elements. One that does not exist fails the transaction.
    pub fn delete_elements(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(DELSETELEM, 0, table, set, elements);
    }

    fn elements(&mut self, what: u16, flags: u16, table: &str, set: &str, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS) {
            self.message(what, flags, |attrs| {
                attrs.put_str(TABLE_NAME, table);
                attrs.put_str(ELEM_LIST_SET, set);
                attrs.nest(ELEM_LIST_ELEMENTS, |attrs| {
                    for element in some {
                        attrs.nest(LIST_ELEM, |attrs| write_element(attrs, element));
                    }
                });
            });
        }
    }

    /// The messages, and the number of the one that is acknowledged. `None` if it changes nothing.
    pub(super) fn finish(mut self) -> Option<(MessageBuf, u32)> {
        if self.is_empty() {
            return None;
        }
        let acknowledged = self.seq - 1;
        self.messages.add_flags(self.last, ACK);
        self.mark(BATCH_END);
        Some((self.messages, acknowledged))
    }

    fn message(&mut self, what: u16, flags: u16, attrs: impl FnOnce(&mut AttrWriter<'_>)) {
        self.last = self.messages.len();
        let header = Header {
            kind: kind(what),
            flags: REQUEST | flags,
            seq: self.seq,
        };
        self.seq += 1;
        self.messages.message(header, &genmsg(INET), attrs);
    }

    fn mark(&mut self, kind: u16) {
        let header = Header {
            kind,
            flags: REQUEST,
            seq: self.seq,
        };
        self.seq += 1;
        let [high, low] = SUBSYSTEM.to_be_bytes();
        self.messages.message(header, &[0, 0, high, low], |_| {});
    }
}

fn write_set(attrs: &mut AttrWriter<'_>, table: &str, set: &Set, id: u32) {
    const NAME: u16 = 2;
    const FLAGS: u16 = 3;
    const KEY_TYPE: u16 = 4;
    const KEY_LEN: u16 = 5;
    const DATA_TYPE: u16 = 6;
    const DATA_LEN: u16 = 7;
    const DESC: u16 = 9;
    const ID: u16 = 10;
    const DESC_CONCAT: u16 = 2;
    const FIELD_LEN: u16 = 1;
    const INTERVAL: u32 = 0x4;
    const MAP: u32 = 0x8;
    const CONCAT: u32 = 0x80;
    const VERDICT: u32 = 0xFFFF_FF00;
    let concat = set.key.len() > 1;
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    attrs.put_str(TABLE_NAME, table);
    attrs.put_str(NAME, &set.name);
    let flags = flag(set.interval, INTERVAL)
        | flag(set.data.is_some(), MAP)
        | flag(concat && set.interval, CONCAT);
    attrs.put_be32(FLAGS, flags);
    attrs.put_be32(KEY_TYPE, type_number(&set.key));
    attrs.put_be32(KEY_LEN, type_len(&set.key));
    match &set.data {
        None => {}
        Some(MapData::Verdict) => {
            attrs.put_be32(DATA_TYPE, VERDICT);
            attrs.put_be32(DATA_LEN, 0);
        }
        Some(MapData::Values(types)) => {
            attrs.put_be32(DATA_TYPE, type_number(types));
            attrs.put_be32(DATA_LEN, type_len(types));
        }
    }
    if concat {
        attrs.nest(DESC, |attrs| {
            attrs.nest(DESC_CONCAT, |attrs| {
                for field in &set.key {
                    attrs.nest(LIST_ELEM, |attrs| attrs.put_be32(FIELD_LEN, field.len()));
                }
            });
        });
    }
    attrs.put_be32(ID, id);
}

/// Concatenations are numbered by six bits a part.
fn type_number(types: &[DataType]) -> u32 {
    types
        .iter()
        .fold(0, |number, part| number << 6 | part.number())
}

fn type_len(types: &[DataType]) -> u32 {
    match types {
        [one] => one.len(),
        many => many.iter().map(|part| part.len().next_multiple_of(4)).sum(),
    }
}

fn write_element(attrs: &mut AttrWriter<'_>, element: &Element) {
    attrs.nest(ELEM_KEY, |attrs| attrs.put(DATA_VALUE, &element.key));
    match &element.data {
        None => {}
        Some(ElementData::Value(value)) => {
            attrs.nest(ELEM_DATA, |attrs| attrs.put(DATA_VALUE, value));
        }
        Some(ElementData::Verdict(verdict)) => {
            attrs.nest(ELEM_DATA, |attrs| write_verdict(attrs, verdict));
        }
    }
    if element.end {
        attrs.put_be32(ELEM_FLAGS, ELEM_INTERVAL_END);
    }
}

/// Kind, length, and a string with its zero.
fn comment_userdata(comment: &str) -> Vec<u8> {
    let text = comment.as_bytes();
    let text = text.get(..126).unwrap_or(text);
    let mut data = vec![UDATA_COMMENT, text.len() as u8 + 1];
    data.extend_from_slice(text);
    data.push(0);
    data
}

/// The comment in a rule's user data.
pub(super) fn comment(userdata: &[u8]) -> Option<&str> {
    let (&[kind, len], rest) = userdata.split_first_chunk()?;
    let text = rest.get(..usize::from(len))?.strip_suffix(&[0])?;
    (kind == UDATA_COMMENT)
        .then(|| std::str::from_utf8(text).ok())
        .flatten()
}
