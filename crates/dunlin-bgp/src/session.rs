//! One peer: both its connections, collision, timers as deadlines, graceful restart; and the host of many peers.
//!
//! Words that pass: the core gives [`Command`]s and gets [`SessionEvent`]s; a session is given [`Input`]s and gives
//! [`Action`]s.

mod config;
mod event;
mod negotiated;
mod pace;
mod peer;
mod reason;
mod refusal;
mod sessions;
mod stats;

pub use config::{
    AddPath, ConfigError, GracefulRestart, Offer, Password, PeerConfig, Remote, RemoteAsn, Timers,
    Transport, Ttl,
};
pub use event::{
    Action, Command, ConnId, FsmState, Input, SessionEvent, StaleInfo, Stop, TransportError,
};
pub use negotiated::{Negotiated, Opens, PeerRestart};
pub use peer::Peer;
pub use reason::{DownReason, EndedBy};
pub use refusal::{Refusal, RefusedWhy};
pub use sessions::{RefusalCounts, Seeds, Sessions};
pub use stats::{Attempt, MessageCounts, PeerSnapshot, PeerStats};

/// Peer ids from here on name peers that came from a range; the core gives lower ones.
pub const DYNAMIC_PEERS: u32 = 1 << 31;
