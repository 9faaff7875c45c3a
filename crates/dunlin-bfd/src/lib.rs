//! Bidirectional Forwarding Detection as a pure machine: RFC 5880 in asynchronous mode, over one hop (RFC 5881) and over
//! several (RFC 5883), for clients as RFC 5882 wants them served.
//!
//! [`Sessions`] is a table of sessions. It is driven by three kinds of calls: [`Sessions::set`], [`Sessions::remove`] and
//! [`Sessions::receive`] say what happened and when; [`Sessions::poll_output`] gives what is to be done, until it gives
//! nothing; [`Sessions::next_deadline`] says when to call [`Sessions::on_deadline`] if nothing happens before.
//!
//! What it does not do: authentication (a packet with the A bit is dropped and counted), the echo function (zero is
//! advertised), demand mode of our own (a peer's is honoured), multipoint.
//!
//! Where the RFC leaves room, or is left:
//!
//! * A packet that knows our discriminator must also come from the session's peer, by its interface and to its local
//!   address, where these are set: RFC 5880 6.3 would take it from anywhere.
//! * Packets out of turn (answers to polls, changes of state) are at most eight at once and then one each 10 ms: nobody can
//!   make us send without bound. 10 ms is the least interval that can be set, so RFC 5880 6.8.7 allows it.
//! * A session that goes to AdminDown repeats this at the pace it had, for the peer's detection time, and only then slows
//!   down: one lost packet must not make a planned stop look like a failure.
//! * After one poll sequence the next waits for the peer's detection time, at most a second, so that no late answer to the
//!   first can be taken for one to the second.
#![forbid(unsafe_code)]

mod config;
mod event;
mod packet;
mod session;
mod stats;
mod table;

pub use config::{ConfigError, Discriminator, Hops, Role, SessionConfig, SessionId};
pub use event::{Cause, Output, StateChange, Transmit};
pub use packet::{CONTROL_LEN, ControlPacket, Diagnostic, State};
pub use session::SessionSnapshot;
pub use stats::{DropReason, Drops, SessionStats};
pub use table::{Datagram, Seeds, Sessions};
