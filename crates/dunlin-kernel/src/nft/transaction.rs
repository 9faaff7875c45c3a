use super::expr::Expr;
use super::set::{Element, ElementRef, Set, write_element, write_set};
use super::{
    DELCHAIN, DELRULE, DELSET, DELSETELEM, DELTABLE, ELEM_LIST_ELEMENTS, ELEM_LIST_SET, LIST_ELEM,
    NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM, NEWTABLE, RULE_CHAIN, RULE_EXPRESSIONS, RULE_HANDLE,
    RULE_USERDATA, SET_NAME, SUBSYSTEM, TABLE_NAME, Table, genmsg, kind,
};
use crate::netlink::{ACK, APPEND, AttrWriter, CREATE, Header, MessageBuf, REQUEST};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Elements a message: their list must stay under 64 KiB, whatever they hold.
pub(super) const ELEMENTS: usize = 250;
/// `NFTNL_UDATA_RULE_COMMENT`, which `nft` shows.
const UDATA_COMMENT: u8 = 0;

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

/// Changes of one table or several, applied together.
#[derive(Debug)]
pub struct Transaction {
    messages: MessageBuf,
    /// Of the next message.
    seq: u32,
    /// Where the last message starts.
    last: usize,
    sets: u32,
}

/// The elements of a message.
pub(super) struct ElementList<'a, 'b>(&'a mut AttrWriter<'b>);

impl ElementList<'_, '_> {
    pub(super) fn push(&mut self, element: &ElementRef<'_>) {
        self.0.nest(LIST_ELEM, |attrs| element.write(attrs));
    }
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
    pub fn add_table(&mut self, table: Table) {
        self.message(table, NEWTABLE, CREATE, |_| {});
    }

    /// Deletes a table with everything in it.
    pub fn delete_table(&mut self, table: Table) {
        self.message(table, DELTABLE, 0, |_| {});
    }

    /// Adds a chain.
    pub fn add_chain(&mut self, table: Table, chain: &Chain) {
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const TYPE: u16 = 7;
        self.message(table, NEWCHAIN, CREATE, |attrs| {
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
    pub fn delete_chain(&mut self, table: Table, name: &str) {
        self.message(table, DELCHAIN, 0, |attrs| {
            attrs.put_str(3, name);
        });
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, table: Table, chain: &str) {
        self.message(table, DELRULE, 0, |attrs| {
            attrs.put_str(RULE_CHAIN, chain);
        });
    }

    /// Deletes a rule by the kernel's number for it.
    pub(crate) fn delete_rule(&mut self, table: Table, chain: &str, handle: u64) {
        self.message(table, DELRULE, 0, |attrs| {
            attrs.put_str(RULE_CHAIN, chain);
            attrs.put_be64(RULE_HANDLE, handle);
        });
    }

    /// Adds a rule behind the others, with a comment of less than 128 octets.
    pub fn add_rule(&mut self, table: Table, chain: &str, comment: &str, exprs: &[Expr]) {
        self.rule(CREATE | APPEND, table, chain, comment, exprs);
    }

    /// Adds a rule before the others of its chain.
    pub fn insert_rule(&mut self, table: Table, chain: &str, comment: &str, exprs: &[Expr]) {
        self.rule(CREATE, table, chain, comment, exprs);
    }

    fn rule(&mut self, flags: u16, table: Table, chain: &str, comment: &str, exprs: &[Expr]) {
        self.message(table, NEWRULE, flags, |attrs| {
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
    pub fn add_set(&mut self, table: Table, set: &Set) {
        self.sets += 1;
        let id = self.sets;
        self.message(table, NEWSET, CREATE, |attrs| write_set(attrs, set, id));
    }

    /// Deletes a set or map that no rule uses.
    pub fn delete_set(&mut self, table: Table, name: &str) {
        self.message(table, DELSET, 0, |attrs| {
            attrs.put_str(SET_NAME, name);
        });
    }

    /// Adds elements; those that exist stay. An interval is two elements in a row.
    pub fn add_elements(&mut self, table: Table, set: &str, elements: &[Element]) {
        self.elements(NEWSETELEM, CREATE, table, set, elements);
    }

    /// Deletes elements. One that does not exist fails the transaction.
    pub fn delete_elements(&mut self, table: Table, set: &str, elements: &[Element]) {
        self.elements(DELSETELEM, 0, table, set, elements);
    }

    fn elements(&mut self, what: u16, flags: u16, table: Table, set: &str, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS) {
            self.element_list(what, flags, table, set, |list| {
                for element in some {
                    list.0
                        .nest(LIST_ELEM, |attrs| write_element(attrs, element));
                }
            });
        }
    }

    /// One message, at most [`ELEMENTS`] long. Gives its number, by which it is refused.
    pub(super) fn change_elements(
        &mut self,
        add: bool,
        table: Table,
        set: &str,
        fill: impl FnOnce(&mut ElementList<'_, '_>),
    ) -> u32 {
        let (what, flags) = if add {
            (NEWSETELEM, CREATE)
        } else {
            (DELSETELEM, 0)
        };
        self.element_list(what, flags, table, set, fill)
    }

    fn element_list(
        &mut self,
        what: u16,
        flags: u16,
        table: Table,
        set: &str,
        fill: impl FnOnce(&mut ElementList<'_, '_>),
    ) -> u32 {
        let seq = self.seq;
        self.message(table, what, flags, |attrs| {
            attrs.put_str(ELEM_LIST_SET, set);
            attrs.nest(ELEM_LIST_ELEMENTS, |attrs| fill(&mut ElementList(attrs)));
        });
        seq
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

    fn message(
        &mut self,
        table: Table,
        what: u16,
        flags: u16,
        attrs: impl FnOnce(&mut AttrWriter<'_>),
    ) {
        self.last = self.messages.len();
        let header = Header {
            kind: kind(what),
            flags: REQUEST | flags,
            seq: self.seq,
        };
        self.seq += 1;
        self.messages
            .message(header, &genmsg(table.family), |writer| {
                writer.put_str(TABLE_NAME, table.name);
                attrs(writer);
            });
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
