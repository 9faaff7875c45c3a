use super::set::ElementRef;
use super::transaction::comment;
use super::{
    DATA_VALUE, ELEM_DATA, ELEM_EXPR, ELEM_FLAGS, ELEM_INTERVAL_END, ELEM_KEY, ELEM_KEY_END,
    ELEM_LIST_ELEMENTS, ELEM_LIST_SET, Element, GENMSG_LEN, GETGEN, GETRULE, GETSET, GETSETELEM,
    GETTABLE, Generation, LIST_ELEM, NEWGEN, NEWRULE, NEWSET, NEWSETELEM, Nft, RULE_CHAIN,
    RULE_USERDATA, SET_NAME, TABLE_NAME, Table, genmsg, kind,
};
use crate::Error;
use crate::netlink::{
    ACK, AttrWriter, Attrs, DUMP, DumpEnd, Header, Message, MessageBuf, REQUEST, Refusal, be_u32,
};

/// How often a table that changes while it is read is read again.
const ATTEMPTS: usize = 5;

const READING_SETS: &str = "reading nf_tables sets";

/// Keys that are asked for at once. Each answer is a datagram of its own: together they must fit into the smallest receive
/// buffer.
const LOOK_UPS: usize = 128;

impl Nft {
    /// The kernel's count of changes (`NFTA_GEN_ID`), beside our own.
    pub fn generation(&mut self) -> Result<Generation, Error> {
        const ID: u16 = 1;
        let what = "reading the generation of nf_tables";
        let seq = self.socket.take_seqs(1);
        let mut request = MessageBuf::new();
        let header = Header {
            kind: kind(GETGEN),
            flags: REQUEST | ACK,
            seq,
        };
        request.message(header, &[0; GENMSG_LEN], |_| {});
        let (mut all, mut refused) = (None, None);
        let read = |message: &Message<'_>| {
            if message.kind == kind(NEWGEN) {
                all = message.attrs(GENMSG_LEN).get(ID).and_then(be_u32);
            }
        };
        let refuse = |_, refusal: Refusal| refused = Some(refusal);
        self.socket.converse(what, &request, seq, read, refuse)?;
        match (all, refused) {
            (Some(all), None) => Ok(Generation {
                all,
                own: self.committed,
            }),
            (_, Some(Refusal { errno, message })) => Err(Error::Refused {
                what,
                errno,
                message,
            }),
            (None, None) => Err(Error::Lost { what }),
        }
    }

    /// Whether there is such a table.
    pub fn has_table(&mut self, table: Table) -> Result<bool, Error> {
        let seq = self.socket.take_seqs(1);
        let mut request = MessageBuf::new();
        let header = Header {
            kind: kind(GETTABLE),
            flags: REQUEST | ACK,
            seq,
        };
        request.message(header, &genmsg(table.family), |attrs| {
            attrs.put_str(TABLE_NAME, table.name)
        });
        match self
            .socket
            .request("looking for the nf_tables table", &request, seq)
        {
            Ok(()) => Ok(true),
            Err(Error::Refused {
                errno: libc::ENOENT,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The comments of a chain's rules, in order; empty where a rule has none. No such chain has no rules.
    pub fn rule_comments(&mut self, table: Table, chain: &str) -> Result<Vec<String>, Error> {
        let attrs = |attrs: &mut AttrWriter<'_>| attrs.put_str(RULE_CHAIN, chain);
        let read = |message: &Message<'_>, comments: &mut Vec<String>| {
            let attrs = message.attrs(GENMSG_LEN);
            // Old kernels do not select by chain.
            if message.kind == kind(NEWRULE) && attrs.get(RULE_CHAIN) == Some(&zero(chain)[..]) {
                comments.push(comment_of(&attrs));
            }
        };
        let what = "reading nf_tables rules";
        Ok(unless_absent(self.read_all(what, table, GETRULE, attrs, read))?.unwrap_or_default())
    }

    /// All rules of a table: their chain and comment, in order within their chain. No such table has none.
    pub(super) fn all_rule_comments(
        &mut self,
        table: Table,
    ) -> Result<Vec<(String, String)>, Error> {
        let read = |message: &Message<'_>, found: &mut Vec<(String, String)>| {
            let attrs = message.attrs(GENMSG_LEN);
            // Old kernels do not select by table.
            if message.kind == kind(NEWRULE)
                && attrs.get(TABLE_NAME) == Some(&zero(table.name)[..])
                && let Some(chain) = attrs.get(RULE_CHAIN).and_then(text)
            {
                found.push((chain.to_owned(), comment_of(&attrs)));
            }
        };
        let what = "reading nf_tables rules";
        Ok(unless_absent(self.read_all(what, table, GETRULE, |_| {}, read))?.unwrap_or_default())
    }

    /// The names of a table's sets and maps, and how many elements each has where the kernel tells (from Linux 6.16 on).
    /// No such table has none.
    pub(super) fn sets(&mut self, table: Table) -> Result<Vec<(String, Option<u32>)>, Error> {
        const COUNT: u16 = 20;
        let read = |message: &Message<'_>, sets: &mut Vec<(String, Option<u32>)>| {
            let attrs = message.attrs(GENMSG_LEN);
            if message.kind == kind(NEWSET)
                && attrs.get(TABLE_NAME) == Some(&zero(table.name)[..])
                && let Some(name) = attrs.get(SET_NAME).and_then(text)
            {
                sets.push((name.to_owned(), attrs.get(COUNT).and_then(be_u32)));
            }
        };
        let what = "reading the names of nf_tables sets";
        Ok(unless_absent(self.read_all(what, table, GETSET, |_| {}, read))?.unwrap_or_default())
    }

    /// The keys of a set's elements. `None` if there is no such set.
    pub fn elements(&mut self, table: Table, set: &str) -> Result<Option<Vec<Element>>, Error> {
        self.read_elements(table, set, |element| {
            Some(Element {
                key: element.key.to_vec(),
                end: element.end,
                data: None,
            })
        })
    }

    /// What is made of a set's elements. `None` if there is no such set.
    pub(super) fn read_elements<T>(
        &mut self,
        table: Table,
        set: &str,
        make: impl Fn(&ElementRef<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let attrs = |attrs: &mut AttrWriter<'_>| attrs.put_str(ELEM_LIST_SET, set);
        let read = |message: &Message<'_>, found: &mut Vec<T>| {
            found.extend(elements(message).filter_map(|element| make(&element)));
        };
        unless_absent(self.read_all(READING_SETS, table, GETSETELEM, attrs, read))
    }

    /// What is made of a set's elements with these keys: of each run of keys, those before the first that is not there.
    ///
    /// The kernel begins a dump of a hash table from its first element again for each datagram, so that a dump of a large
    /// one takes time by the square of its size. This takes a microsecond or two for each key.
    pub(super) fn look_up<T, K: AsRef<[u8]>>(
        &mut self,
        table: Table,
        set: &str,
        runs: impl Iterator<Item = impl Iterator<Item = K>>,
        make: impl Fn(&ElementRef<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut asked = Asked::default();
        for mut run in runs {
            while asked.add(self, table, set, &mut run) {
                if asked.keys >= LOOK_UPS {
                    asked.answers(self, |message| {
                        found.extend(elements(message).filter_map(|element| make(&element)));
                    })?;
                }
            }
        }
        asked.answers(self, |message| {
            found.extend(elements(message).filter_map(|element| make(&element)));
        })?;
        Ok(found)
    }

    pub(super) fn read_all<T>(
        &mut self,
        what: &'static str,
        table: Table,
        message: u16,
        attrs: impl Fn(&mut AttrWriter<'_>),
        read: impl Fn(&Message<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        for _ in 0..ATTEMPTS {
            found.clear();
            let seq = self.socket.take_seqs(1);
            let mut request = MessageBuf::new();
            let header = Header {
                kind: kind(message),
                flags: REQUEST | DUMP,
                seq,
            };
            request.message(header, &genmsg(table.family), |writer| {
                writer.put_str(TABLE_NAME, table.name);
                attrs(writer);
            });
            let end = self
                .socket
                .dump(what, &request, seq, |message| read(message, &mut found))?;
            if end == DumpEnd::Complete {
                return Ok(found);
            }
        }
        Err(Error::Lost { what })
    }
}

/// Requests for elements by their keys.
#[derive(Default)]
struct Asked {
    messages: MessageBuf,
    /// Where the last message starts, and its number.
    last: Option<(usize, u32)>,
    keys: usize,
}

impl Asked {
    /// One more message, with the next keys of a run. False if there are none.
    fn add<K: AsRef<[u8]>>(
        &mut self,
        nft: &mut Nft,
        table: Table,
        set: &str,
        run: &mut impl Iterator<Item = K>,
    ) -> bool {
        let mut some = run.take(LOOK_UPS).peekable();
        if some.peek().is_none() {
            return false;
        }
        let seq = nft.socket.take_seqs(1);
        self.last = Some((self.messages.len(), seq));
        let header = Header {
            kind: kind(GETSETELEM),
            flags: REQUEST,
            seq,
        };
        let keys = &mut self.keys;
        self.messages
            .message(header, &genmsg(table.family), |attrs| {
                attrs.put_str(TABLE_NAME, table.name);
                attrs.put_str(ELEM_LIST_SET, set);
                attrs.nest(ELEM_LIST_ELEMENTS, |attrs| {
                    for key in some {
                        *keys += 1;
                        let key = ElementRef {
                            key: key.as_ref(),
                            ..ElementRef::default()
                        };
                        attrs.nest(LIST_ELEM, |attrs| key.write(attrs));
                    }
                });
            });
        true
    }

    /// Sends what was asked, tells the answers, and begins anew.
    fn answers(
        &mut self,
        nft: &mut Nft,
        on_message: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        let Some((at, seq)) = self.last.take() else {
            return Ok(());
        };
        self.messages.add_flags(at, ACK);
        let mut refused = None;
        nft.socket.converse(
            READING_SETS,
            &self.messages,
            seq,
            on_message,
            |_, refusal| {
                if refusal.errno != libc::ENOENT {
                    refused.get_or_insert(refusal);
                }
            },
        )?;
        self.messages.clear();
        self.keys = 0;
        match refused {
            None => Ok(()),
            Some(Refusal { errno, message }) => Err(Error::Refused {
                what: READING_SETS,
                errno,
                message,
            }),
        }
    }
}

/// What is not there is not an error.
fn unless_absent<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Refused {
            errno: libc::ENOENT,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The elements that a message tells.
pub(super) fn elements<'a>(
    message: &Message<'a>,
) -> impl Iterator<Item = ElementRef<'a>> + use<'a> {
    let list = (message.kind == kind(NEWSETELEM))
        .then(|| message.attrs(GENMSG_LEN).get(ELEM_LIST_ELEMENTS))
        .flatten();
    let items = Attrs::new(list.unwrap_or_default()).filter(|(kind, _)| *kind == LIST_ELEM);
    items.filter_map(|(_, item)| element(item))
}

fn element(item: &[u8]) -> Option<ElementRef<'_>> {
    let attrs = Attrs::new(item);
    let value = |kind: u16| Attrs::new(attrs.get(kind)?).get(DATA_VALUE);
    let flags = attrs.get(ELEM_FLAGS).and_then(be_u32).unwrap_or(0);
    Some(ElementRef {
        key: value(ELEM_KEY)?,
        key_end: value(ELEM_KEY_END),
        data: value(ELEM_DATA),
        end: flags & ELEM_INTERVAL_END != 0,
        packets: attrs.get(ELEM_EXPR).and_then(packets),
    })
}

/// What a counter has counted.
fn packets(expr: &[u8]) -> Option<u64> {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    const PACKETS: u16 = 2;
    let expr = Attrs::new(expr);
    if expr.get(NAME)? != b"counter\0" {
        return None;
    }
    let packets = Attrs::new(expr.get(DATA)?).get(PACKETS)?;
    Some(u64::from_be_bytes(packets.try_into().ok()?))
}

pub(super) fn comment_of(rule: &Attrs<'_>) -> String {
    let text = rule.get(RULE_USERDATA).and_then(comment);
    text.unwrap_or_default().to_owned()
}

/// A string without its terminating zero.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0])?).ok()
}

fn zero(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
