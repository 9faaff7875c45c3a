//! nf_tables: an encoder of transactions, one open socket, and the rules the agent keeps there.
//!
//! A [`Transaction`] is applied whole or not at all. Sets may be intervals, concatenations and maps; [`Expr`] has what the
//! rules so far need and takes more.

mod expr;
mod monitor;
mod read;
mod rules;
mod transaction;

pub use expr::{Cmp, Expr, Register, Verdict, reg};
pub use monitor::Monitor;
pub use rules::RuleKeeper;
pub use transaction::{
    Chain, ChainBase, DataType, Element, ElementData, MapData, Set, Transaction,
};

use crate::Error;
use crate::netlink::{Received, Refusal, Socket};

const SUBSYSTEM: u16 = 10;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const DELSET: u16 = 11;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;

/// `NFPROTO_INET`: both families.
const INET: u8 = 1;
/// `struct nfgenmsg`.
const GENMSG_LEN: usize = 4;
/// The name of the table is attribute 1 in every message about something in a table.
const TABLE_NAME: u16 = 1;
/// `NFTA_LIST_ELEM`.
const LIST_ELEM: u16 = 1;

const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const ELEM_LIST_SET: u16 = 2;
const ELEM_LIST_ELEMENTS: u16 = 3;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const ELEM_FLAGS: u16 = 3;
const ELEM_INTERVAL_END: u32 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// A transaction larger than this is split by its maker where it may be.
const MAX_SEND: usize = 8 * 1024 * 1024;

fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

fn genmsg(family: u8) -> [u8; GENMSG_LEN] {
    [family, 0, 0, 0]
}

/// An open nf_tables socket. Keep it open: closing one after a delete stalls.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
}

impl Nft {
    /// Opens a socket.
    pub fn open() -> Result<Nft, Error> {
        Ok(Nft {
            socket: Socket::open(libc::NETLINK_NETFILTER)?,
        })
    }

    /// The port that notifications of our own changes carry.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// How many octets of messages a transaction may have here: without privileges in the first user namespace, little.
    pub fn limit(&self) -> usize {
        self.socket.ensure_send_buffer(MAX_SEND)
    }

    /// Applies a transaction, whole or not at all. Tells the first refusal.
    pub fn commit(&mut self, what: &'static str, transaction: Transaction) -> Result<(), Error> {
        let Some((messages, last)) = transaction.finish() else {
            return Ok(());
        };
        self.socket
            .ensure_send_buffer(messages.len().saturating_add(4096));
        // What an earlier failure may have left behind.
        while !matches!(self.socket.receive(false)?, Received::Nothing) {}
        let mut first: Option<Refusal> = None;
        self.socket.transact(what, &messages, last, |_, refusal| {
            first.get_or_insert(refusal);
        })?;
        match first {
            None => Ok(()),
            Some(Refusal { errno, message }) => Err(Error::Refused {
                what,
                errno,
                message,
            }),
        }
    }
}

/// Removes a table of family `inet` with everything in it. Tells whether it was there.
pub fn delete_table(name: &str) -> Result<bool, Error> {
    let mut nft = Nft::open()?;
    if !nft.has_table(name)? {
        return Ok(false);
    }
    let mut transaction = Transaction::new();
    transaction.delete_table(name);
    nft.commit("deleting the nf_tables table", transaction)?;
    Ok(true)
}
