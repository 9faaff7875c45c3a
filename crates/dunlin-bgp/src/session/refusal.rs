//! Why an incoming connection is not taken.

use crate::wire::{Notification, cease, code};

/// An incoming connection that is not taken: to be closed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: RefusedWhy,
    /// An encoded NOTIFICATION to try to write before, without waiting.
    pub notification: Option<Vec<u8>>,
}

/// Why an incoming connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusedWhy {
    /// No peer has this address and no range holds it. Closed without a word: it costs the least.
    UnknownSource,
    /// The peer is stopped.
    Stopped,
    /// The peer is held back after failures.
    HeldBack,
    /// The peer has enough connections that have not brought an OPEN.
    TooManyConnections,
    /// The range has as many peers as it may.
    RangeFull,
}

impl Refusal {
    pub(super) fn new(why: RefusedWhy) -> Refusal {
        let subcode = match why {
            RefusedWhy::UnknownSource => None,
            RefusedWhy::Stopped | RefusedWhy::HeldBack => Some(cease::CONNECTION_REJECTED),
            RefusedWhy::TooManyConnections | RefusedWhy::RangeFull => Some(cease::OUT_OF_RESOURCES),
        };
        Refusal {
            why,
            notification: subcode.map(|subcode| {
                let mut bytes = Vec::new();
                Notification::new(code::CEASE, subcode).encode(&mut bytes);
                bytes
            }),
        }
    }
}
