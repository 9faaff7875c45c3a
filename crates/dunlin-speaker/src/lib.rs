//! Sockets around the BGP session machines: dial, accept, MD5, TTL, timers. Those around BFD sessions are in [`bfd`], those
//! that find the neighbours of unnumbered peers in [`discovery`]; connections to BMP stations have a thread and a
//! [`StationsHandle`] of their own.
//!
//! One or more I/O threads, each with an epoll, one receive buffer, and a [`dunlin_bgp::session::Sessions`] that decides
//! everything. The core gives [`dunlin_bgp::session::Command`]s through a [`SpeakerHandle`] and gets
//! [`dunlin_bgp::session::SessionEvent`]s through the [`EventSink`] it brought; [`inbox`] makes one that any thread can wait
//! on.
//!
//! ```text
//!  core thread ── Command ──► bounded channel ──► I/O thread: epoll ⇄ Sessions ── SessionEvent ──► EventSink
//! ```
//!
//! A thread sleeps until a socket is ready, a command comes or the earliest deadline of its sessions; nothing ticks. Inside
//! one turn it takes commands, accepts, reads, then looks at deadlines, then writes: so a hold timer never expires while
//! unread bytes wait.
//!
//! Bounds, and what happens there:
//!
//! | what | bound | then |
//! |---|---|---|
//! | commands on the way | 16,384 a thread | the core waits |
//! | events on the way | the sink's | reading stops, hold timers of peers with unread bytes wait, writing goes on |
//! | octets to write | what the core was given credit for, some 1 MiB a peer | the core keeps the rest as state |
//! | accepts in one turn | 128 | the rest in the next turn, after all others had theirs |
//! | connections without an OPEN | 2 a source, 15 s | refused, counted |
//! | closing connections that linger | 256 a thread, 2 s | closed at once |
#![deny(unsafe_op_in_unsafe_fn)]

pub mod bfd;
mod clock;
mod config;
mod datagram;
pub mod discovery;
mod handle;
mod inbox;
mod md5;
mod sink;
mod socket;
mod stations;
mod worker;
mod write_queue;

pub use clock::Clock;
pub use config::{SpeakerConfig, SpeakerError};
pub use handle::{Speaker, SpeakerHandle, SpeakerReport};
pub use inbox::{Inbox, InboxSender, InboxSink, Lane, SendError, inbox};
pub use md5::Md5Mismatches;
pub use sink::{EventSink, Waker};
pub use stations::StationsHandle;
pub use worker::WorkerCounters;
