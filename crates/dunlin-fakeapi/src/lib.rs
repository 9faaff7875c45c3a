//! A small Kubernetes API server in memory, for tests and benchmarks: no server to install, and it fails on demand.
//!
//! [`FakeApi`] holds objects as JSON and is a `tower` service over `http` types, so that a client can be put on it without
//! a socket; [`FakeApi::serve`] puts it on a TCP port. It does lists (pages, `resourceVersion`), watches (bookmarks,
//! streaming lists, 410), selectors, create, update, patch (merge, server-side apply), the status subresource and
//! conflicts. [`Faults`] says what it does wrong.
//!
//! Not there: authentication, validation, defaults, admission, garbage collection, `fieldSelector`s other than of
//! `metadata.name` and `metadata.namespace`, protobuf.
#![forbid(unsafe_code)]

mod answer;
mod body;
mod faults;
mod list;
mod merge;
mod request;
mod selector;
mod server;
mod store;
mod watch;
mod write;

pub use body::Streamed;
pub use faults::{Fault, Faults};
pub use server::{FakeApi, Seen};
pub use store::{Change, ChangeKind};
