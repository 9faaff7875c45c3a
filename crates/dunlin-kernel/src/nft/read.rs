use super::transaction::comment;
use super::{
    DATA_VALUE, ELEM_FLAGS, ELEM_INTERVAL_END, ELEM_KEY, ELEM_LIST_ELEMENTS, ELEM_LIST_SET,
    Element, GENMSG_LEN, GETRULE, GETSETELEM, GETTABLE, INET, LIST_ELEM, NEWRULE, NEWSETELEM, Nft,
    RULE_CHAIN, RULE_USERDATA, TABLE_NAME, genmsg, kind,
};
use crate::Error;
use crate::netlink::{
    ACK, AttrWriter, Attrs, DUMP, DumpEnd, Header, Message, MessageBuf, REQUEST, be_u32,
};

/// How often a table that changes while it is read is read again.
const ATTEMPTS: usize = 5;

impl Nft {
    /// Whether there is a table of family `inet` with this name.
    pub fn has_table(&mut self, name: &str) -> Result<bool, Error> {
        let seq = self.socket.take_seqs(1);
        let mut request = MessageBuf::new();
        let header = Header {
            kind: kind(GETTABLE),
            flags: REQUEST | ACK,
            seq,
        };
        request.message(header, &genmsg(INET), |attrs| {
            attrs.put_str(TABLE_NAME, name)
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
    pub fn rule_comments(&mut self, table: &str, chain: &str) -> Result<Vec<String>, Error> {
        let attrs = |attrs: &mut AttrWriter<'_>| {
            attrs.put_str(TABLE_NAME, table);
            attrs.put_str(RULE_CHAIN, chain);
        };
        let read = |message: &Message<'_>, comments: &mut Vec<String>| {
            let attrs = message.attrs(GENMSG_LEN);
            // Old kernels do not select by chain.
            if message.kind == kind(NEWRULE) && attrs.get(RULE_CHAIN) == Some(&zero(chain)[..]) {
                let text = attrs
                    .get(RULE_USERDATA)
                    .and_then(comment)
                    .unwrap_or_default();
                comments.push(text.to_owned());
            }
        };
        match self.read_all("reading nf_tables rules", GETRULE, attrs, read) {
            Err(Error::Refused {
                errno: libc::ENOENT,
                ..
            }) => Ok(Vec::new()),
            other => other,
        }
    }

    /// The keys of a set's elements. `None` if there is no such set.
    pub fn elements(&mut self, table: &str, set: &str) -> Result<Option<Vec<Element>>, Error> {
        let attrs = |attrs: &mut AttrWriter<'_>| {
            attrs.put_str(TABLE_NAME, table);
            attrs.put_str(ELEM_LIST_SET, set);
        };
        let read = |message: &Message<'_>, elements: &mut Vec<Element>| {
            if message.kind == kind(NEWSETELEM)
                && let Some(list) = message.attrs(GENMSG_LEN).get(ELEM_LIST_ELEMENTS)
            {
                let items = Attrs::new(list).filter(|(kind, _)| *kind == LIST_ELEM);
                elements.extend(items.filter_map(|(_, item)| element(item)));
            }
        };
        match self.read_all("reading nf_tables sets", GETSETELEM, attrs, read) {
            Ok(elements) => Ok(Some(elements)),
            Err(Error::Refused {
                errno: libc::ENOENT,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_all<T>(
        &mut self,
        what: &'static str,
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
            request.message(header, &genmsg(INET), &attrs);
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

fn element(item: &[u8]) -> Option<Element> {
    let attrs = Attrs::new(item);
    let key = Attrs::new(attrs.get(ELEM_KEY)?).get(DATA_VALUE)?.to_vec();
    let flags = attrs.get(ELEM_FLAGS).and_then(be_u32).unwrap_or(0);
    Some(Element {
        key,
        end: flags & ELEM_INTERVAL_END != 0,
        data: None,
    })
}

fn zero(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
