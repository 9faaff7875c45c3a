//! Netlink messages and sockets: an encoder with nested attributes, a parser that accepts any bytes, a socket that knows
//! acknowledgements, dumps and overruns.

mod build;
mod filter;
mod parse;
mod socket;

#[cfg(test)]
mod tests;

pub use build::{AttrWriter, Header, MessageBuf};
pub use filter::{Filter, Label};
pub use parse::{Attrs, Message, Messages, Refusal, be_u32, ne_u16, ne_u32};
pub use socket::{DumpEnd, Received, Socket};

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x04;
/// `NLM_F_DUMP_INTR`: the tables changed while they were dumped.
pub const DUMP_INTR: u16 = 0x10;
/// `NLM_F_DUMP`, in a get request.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`, in a new request.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`, in a new request.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`, in a new request.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`, in a new request.
pub const APPEND: u16 = 0x800;
/// The length of `struct nlmsghdr`.
pub const HEADER_LEN: usize = 16;

const ERROR: u16 = 2;
const DONE: u16 = 3;
