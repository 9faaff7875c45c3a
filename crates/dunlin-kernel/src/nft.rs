//! nf_tables: an encoder of transactions, one open socket, and the rules the agent keeps there.
//!
//! A [`Transaction`] is applied whole or not at all. Sets may be intervals, concatenations and maps; [`Expr`] has what the
//! rules so far need and takes more.

mod expr;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod monitor;
pub mod proxy;
mod read;
mod rule_list;
mod rules;
mod set;
mod transaction;

pub use expr::{Cmp, CtKey, Direction, Expr, Register, Reject, Verdict, ct, reg};
pub use monitor::Monitor;
pub use rules::{RULES_TABLE, RuleKeeper};
pub use set::{DataType, Element, ElementData, MapData, Set};
pub use transaction::{Chain, ChainBase, Transaction};

use crate::Error;
use crate::netlink::{Received, Refusal, Socket};

const SUBSYSTEM: u16 = 10;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const GETSET: u16 = 10;
const DELSET: u16 = 11;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;
const NEWGEN: u16 = 15;
const GETGEN: u16 = 16;

/// `struct nfgenmsg`.
const GENMSG_LEN: usize = 4;
/// The name of the table is attribute 1 in every message about something in a table.
const TABLE_NAME: u16 = 1;
/// `NFTA_LIST_ELEM`.
const LIST_ELEM: u16 = 1;

const SET_NAME: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const ELEM_LIST_SET: u16 = 2;
const ELEM_LIST_ELEMENTS: u16 = 3;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const ELEM_EXPR: u16 = 7;
const ELEM_FLAGS: u16 = 3;
const ELEM_KEY_END: u16 = 10;
const ELEM_INTERVAL_END: u32 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// A transaction larger than this is split by its maker where it may be.
const MAX_SEND: usize = 8 * 1024 * 1024;

fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

fn genmsg(family: Family) -> [u8; GENMSG_LEN] {
    [family as u8, 0, 0, 0]
}

/// What packets a table sees (`NFPROTO_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both families.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// IPv6.
    Ip6 = 10,
}

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Tables of different families may have the same name.
    pub family: Family,
    /// Its name.
    pub name: &'static str,
}

/// An open nf_tables socket. Keep it open: closing one after a delete stalls.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
    /// Transactions that were done.
    committed: u32,
    /// So many octets it was asked to send at once.
    asked: usize,
    /// So many it can.
    room: usize,
}

/// How often the nf_tables of this network namespace have changed, and how many of these changes were one socket's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    all: u32,
    own: u32,
}

impl Generation {
    /// Whether nobody else changed anything between an earlier one and this.
    pub fn is_undisturbed_since(self, earlier: Generation) -> bool {
        let all = self.all.wrapping_sub(earlier.all);
        all == self.own.wrapping_sub(earlier.own)
    }
}

impl Nft {
    /// Opens a socket.
    pub fn open() -> Result<Nft, Error> {
        Ok(Nft {
            socket: Socket::open(libc::NETLINK_NETFILTER)?,
            committed: 0,
            asked: 0,
            room: 0,
        })
    }

    /// The port that notifications of our own changes carry.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// How many octets of messages a transaction may have here: without privileges in the first user namespace, little.
    pub fn limit(&mut self) -> usize {
        self.room_for(MAX_SEND)
    }

    fn room_for(&mut self, octets: usize) -> usize {
        if self.asked < octets {
            self.room = self.socket.ensure_send_buffer(octets);
            self.asked = octets;
        }
        self.room
    }

    /// Applies a transaction, whole or not at all. Tells the first refusal.
    pub fn commit(&mut self, what: &'static str, transaction: Transaction) -> Result<(), Error> {
        match self.attempt(what, transaction)? {
            None => Ok(()),
            Some((_, Refusal { errno, message })) => Err(Error::Refused {
                what,
                errno,
                message,
            }),
        }
    }

    /// As [`Nft::commit`], and says which message was refused first.
    fn attempt(
        &mut self,
        what: &'static str,
        transaction: Transaction,
    ) -> Result<Option<(u32, Refusal)>, Error> {
        let Some((messages, last)) = transaction.finish() else {
            return Ok(None);
        };
        self.room_for(messages.len().saturating_add(4096));
        // What an earlier failure may have left behind.
        while !matches!(self.socket.receive(false)?, Received::Nothing) {}
        let mut first = None;
        self.socket
            .transact(what, &messages, last, |seq, refusal| {
                first.get_or_insert((seq, refusal));
            })?;
        if first.is_none() {
            self.committed = self.committed.wrapping_add(1);
        }
        Ok(first)
    }
}

/// Removes a table with everything in it. Tells whether it was there.
pub fn delete_table(table: Table) -> Result<bool, Error> {
    let mut nft = Nft::open()?;
    if !nft.has_table(table)? {
        return Ok(false);
    }
    let mut transaction = Transaction::new();
    transaction.delete_table(table);
    nft.commit("deleting the nf_tables table", transaction)?;
    Ok(true)
}
