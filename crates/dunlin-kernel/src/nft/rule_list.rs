//! Rules of others, as far as they lead from chain to chain.

use std::collections::BTreeMap;

use super::read::text;
use super::{
    DATA_VERDICT, GENMSG_LEN, GETCHAIN, GETRULE, LIST_ELEM, NEWCHAIN, NEWRULE, Nft, RULE_CHAIN,
    RULE_EXPRESSIONS, RULE_HANDLE, TABLE_NAME, Table, genmsg, kind,
};
use crate::Error;
use crate::netlink::{ACK, Attrs, Header, Message, MessageBuf, REQUEST};
use crate::others::{Chain, Id, Rule, Rules};

const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
/// `NFTA_IMMEDIATE_DATA`.
const IMMEDIATE_DATA: u16 = 2;
const VERDICT_CHAIN: u16 = 2;
/// `NFTA_MATCH_NAME`.
const MATCH_NAME: u16 = 1;

impl Nft {
    /// Whether there is such a chain.
    pub(crate) fn has_chain(&mut self, table: Table, chain: &str) -> Result<bool, Error> {
        let seq = self.socket.take_seqs(1);
        let mut request = MessageBuf::new();
        let header = Header {
            kind: kind(GETCHAIN),
            flags: REQUEST | ACK,
            seq,
        };
        request.message(header, &genmsg(table.family), |attrs| {
            attrs.put_str(TABLE_NAME, table.name);
            attrs.put_str(CHAIN_NAME, chain);
        });
        let what = "looking for an nf_tables chain";
        match self.socket.request(what, &request, seq) {
            Ok(()) => Ok(true),
            Err(Error::Refused {
                errno: libc::ENOENT,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A table's chains and what their rules lead to. No such table has none.
    pub(crate) fn rules_of(&mut self, table: Table) -> Result<Rules, Error> {
        let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
        if !self.has_table(table)? {
            return Ok(Rules {
                table: table.name,
                chains,
            });
        }
        let is_in = |attrs: &Attrs<'_>| attrs.get(TABLE_NAME).and_then(text) == Some(table.name);
        let what = "reading nf_tables chains";
        let found = self.read_all(
            what,
            table,
            GETCHAIN,
            |_| {},
            |message: &Message<'_>, found| {
                let attrs = message.attrs(GENMSG_LEN);
                if message.kind == kind(NEWCHAIN)
                    && is_in(&attrs)
                    && let Some(name) = attrs.get(CHAIN_NAME).and_then(text)
                {
                    found.push((name.to_owned(), attrs.get(CHAIN_HOOK).is_some()));
                }
            },
        )?;
        for (name, base) in found {
            chains.entry(name).or_default().base = base;
        }
        let what = "reading nf_tables rules";
        let found = self.read_all(
            what,
            table,
            GETRULE,
            |_| {},
            |message: &Message<'_>, found| {
                let attrs = message.attrs(GENMSG_LEN);
                if message.kind == kind(NEWRULE)
                    && is_in(&attrs)
                    && let Some(chain) = attrs.get(RULE_CHAIN).and_then(text)
                    && let Some(rule) = rule(&attrs)
                {
                    found.push((chain.to_owned(), rule));
                }
            },
        )?;
        for (chain, rule) in found {
            chains.entry(chain).or_default().rules.push(rule);
        }
        Ok(Rules {
            table: table.name,
            chains,
        })
    }
}

pub(super) fn rule(attrs: &Attrs<'_>) -> Option<Rule> {
    let handle = attrs.get(RULE_HANDLE)?.try_into().ok()?;
    let mut rule = Rule {
        id: Id::Handle(u64::from_be_bytes(handle)),
        to: None,
        ipvs: false,
    };
    let exprs = attrs.get(RULE_EXPRESSIONS).unwrap_or_default();
    for (_, expr) in Attrs::new(exprs).filter(|(kind, _)| *kind == LIST_ELEM) {
        let expr = Attrs::new(expr);
        let Some(data) = expr.get(EXPR_DATA).map(Attrs::new) else {
            continue;
        };
        match expr.get(EXPR_NAME).and_then(text) {
            Some("immediate") => {
                let verdict = data.get(IMMEDIATE_DATA).map(Attrs::new);
                let verdict = verdict
                    .and_then(|data| data.get(DATA_VERDICT))
                    .map(Attrs::new);
                let chain = verdict.and_then(|verdict| verdict.get(VERDICT_CHAIN));
                if let Some(chain) = chain.and_then(text) {
                    rule.to = Some(chain.to_owned());
                }
            }
            Some("match") => rule.ipvs |= data.get(MATCH_NAME).and_then(text) == Some("ipvs"),
            _ => {}
        }
    }
    Some(rule)
}
