//! BGP messages: bytes → frame → parsed → judged, and values → bytes.
//!
//! * [`frame`] cuts one message off a receive buffer and checks its header (RFC 4271 6.1).
//! * [`Open`], [`Notification`], [`RouteRefresh`]: the small messages as values.
//! * [`decode_update`] parses an UPDATE, judges its attributes by RFC 7606 and adds what is left to a
//!   [`RouteBatch`](crate::batch::RouteBatch).
//! * [`encode_attrs`] and [`UpdateWriter`] make UPDATEs for an export group.
//!
//! A [`Fault`] is what ends a session: it holds the exact NOTIFICATION to send. Nothing here panics on any input, and
//! nothing allocates more than a small multiple of the message it is given.

mod as_path;
mod capability;
mod check;
mod encode;
mod frame;
mod judge;
mod nlri;
mod notification;
mod open;
mod parse;
mod refresh;
mod update;
mod writer;

pub use capability::{
    AddPathFamily, AddPathMode, AfiSafi, Capability, ExtendedNextHopFamily, GracefulRestart,
    LlgrFamily, RestartFamily,
};
pub(crate) use encode::is_classic;
pub use encode::{ExportEncoding, Outgoing, Reflection, encode_attrs};
pub use frame::{Frame, HEADER_LEN, KEEPALIVE, Limits, MessageType, frame};
pub use judge::{AttrFault, Disposition, Finding, UpdateJudgement};
pub use notification::{
    Notification, cease, code, fsm, header, open_message, refresh_message, update_message,
};
pub use open::Open;
pub use refresh::{RefreshSubtype, RouteRefresh};
pub use update::{DecodeContext, decode_update};
pub use writer::{AttrsTooLong, UpdateWriter};

/// Why a message ends the session, and the NOTIFICATION that tells the peer so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{notification}: {what}")]
pub struct Fault {
    /// What to send before closing.
    pub notification: Notification,
    /// What was wrong, in words, for the log.
    pub what: &'static str,
}

impl Fault {
    /// A fault without data in its NOTIFICATION.
    pub fn new(code: u8, subcode: u8, what: &'static str) -> Fault {
        Fault {
            notification: Notification::new(code, subcode),
            what,
        }
    }

    /// A fault whose NOTIFICATION carries `data`.
    pub fn with_data(code: u8, subcode: u8, data: &[u8], what: &'static str) -> Fault {
        Fault {
            notification: Notification::with_data(code, subcode, data),
            what,
        }
    }
}
