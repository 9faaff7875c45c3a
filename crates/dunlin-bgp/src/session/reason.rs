//! Every way a connection can end, each with the NOTIFICATION that says so.

use dunlin_net::{Afi, Asn, RouterId, ScopedAddr};

use super::{FsmState, RemoteAsn, Stop, TransportError};
use crate::policy::Role;
use crate::wire::{Notification, open_message};

const OPEN: u8 = 2;
const HOLD_TIMER: u8 = 4;
const FSM: u8 = 5;
const CEASE: u8 = 6;
/// RFC 9687.
const SEND_HOLD_TIMER: u8 = 8;

/// Why a connection, or an attempt at one, ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// Below BGP.
    #[error("{0}")]
    Transport(#[from] TransportError),
    /// The peer was silent for the hold time.
    #[error("hold timer expired: nothing was heard from the peer for {hold_time_secs} s")]
    HoldTimerExpired {
        /// The hold time in use.
        hold_time_secs: u16,
    },
    /// The peer's OPEN did not come in time.
    #[error("the peer sent no OPEN in time")]
    OpenTimedOut,
    /// The peer did not read for too long (RFC 9687).
    #[error("send hold timer expired: the peer does not read what we send")]
    SendHoldTimerExpired,
    /// A message that RFC 4271 6.1 to 6.3 or RFC 7606 does not let pass.
    #[error("{what} ({notification})")]
    Malformed {
        /// What was sent for it.
        notification: Notification,
        /// What was wrong.
        what: &'static str,
    },
    /// A message that may not come in this state (RFC 6608).
    #[error("a message of type {message} may not come in {state}")]
    UnexpectedMessage {
        /// The connection's state.
        state: FsmState,
        /// The message's type octet.
        message: u8,
    },
    /// The peer is of another AS than configured.
    #[error("the peer says it is of AS {got}, but AS {expected} is configured")]
    BadPeerAs {
        /// As configured.
        expected: RemoteAsn,
        /// As the OPEN says.
        got: Asn,
    },
    /// An internal peer has our router id (RFC 6286).
    #[error("the peer has our own router id {got} in the same AS: give one of the two another")]
    SameRouterId {
        /// The id of both.
        got: RouterId,
    },
    /// The peer takes us for something else than we are (RFC 9234 4.2).
    #[error(
        "the peer says it is {} to us, but we are {ours} to it, which takes a {}: set `role` or the peer's to what is true",
        role_text(.got), ours.counterpart()
    )]
    RoleMismatch {
        /// What we are.
        ours: Role,
        /// The number of what the peer says to be.
        got: u8,
    },
    /// The peer does not say what it is to us, and has to (RFC 9234 4.2, strict mode).
    #[error("the peer does not say that it is {} to us, which strictRole asks for: set its role, or strictRole to false", ours.counterpart())]
    RoleMissing {
        /// What we are.
        ours: Role,
    },
    /// No family is offered by both.
    #[error("no address family in common: the peer offers none of ours")]
    NoCommonFamily {
        /// One that we need.
        wanted: Afi,
    },
    /// The peer ended it.
    #[error("the peer sent {0}")]
    NotificationReceived(Notification),
    /// Another connection with the peer was kept (RFC 4271 6.8).
    #[error("another connection with the same peer was kept")]
    Collision,
    /// The peer has restarted and speaks on a new connection (RFC 4724 4.2).
    #[error("the peer has restarted and opened a new connection")]
    ReplacedByRestart,
    /// The core ended it.
    #[error("closed with {0}")]
    Reset(Notification),
    /// On purpose.
    #[error("{}", stop_text(.0))]
    Stopped(Stop),
    /// Something that the OPEN carried was changed.
    #[error("the peer's configuration was changed")]
    ConfigChanged,
    /// The peer is to be found elsewhere now.
    #[error("the peer has another address now, and had {from}")]
    Moved {
        /// Where it was.
        from: ScopedAddr,
    },
}

fn role_text(number: &u8) -> String {
    match Role::from_number(*number) {
        Some(role) => role.to_string(),
        None => format!("of the unknown role {number}"),
    }
}

fn stop_text(stop: &Stop) -> &'static str {
    match stop {
        Stop::Administrative { .. } => "stopped by the operator",
        Stop::PeerRemoved => "the peer was removed from the configuration",
        Stop::GracefulRestart => "we restart",
    }
}

/// Who ended a connection, or kept it from coming about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndedBy {
    /// This side: by intent, by a timer, or since something the peer said does not do.
    Us,
    /// The other side.
    Peer,
    /// Nobody answered.
    Network,
}

impl std::fmt::Display for EndedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EndedBy::Us => "us",
            EndedBy::Peer => "the peer",
            EndedBy::Network => "the network",
        })
    }
}

impl DownReason {
    /// Who ended it.
    pub fn ended_by(&self) -> EndedBy {
        use TransportError::{
            DistanceUnknown, Eof, NoRoomForKey, NoRoute, Os, Refused, Reset, Settings,
            SourceAddress, TimedOut, TooFar, Unreachable,
        };
        match self {
            DownReason::Transport(error) => match error {
                Eof | Reset | Refused => EndedBy::Peer,
                TimedOut | Unreachable | NoRoute => EndedBy::Network,
                SourceAddress
                | Settings(_)
                | NoRoomForKey
                | TooFar { .. }
                | DistanceUnknown
                | Os(_) => EndedBy::Us,
            },
            DownReason::NotificationReceived(_) | DownReason::ReplacedByRestart => EndedBy::Peer,
            DownReason::HoldTimerExpired { .. }
            | DownReason::OpenTimedOut
            | DownReason::SendHoldTimerExpired
            | DownReason::Malformed { .. }
            | DownReason::UnexpectedMessage { .. }
            | DownReason::BadPeerAs { .. }
            | DownReason::SameRouterId { .. }
            | DownReason::NoCommonFamily { .. }
            | DownReason::RoleMismatch { .. }
            | DownReason::RoleMissing { .. }
            | DownReason::Collision
            | DownReason::Reset(_)
            | DownReason::Stopped(_)
            | DownReason::ConfigChanged
            | DownReason::Moved { .. } => EndedBy::Us,
        }
    }

    /// What the peer is told, before any wrapping as a Hard Reset. `None`: the connection is just closed.
    pub fn notification(&self) -> Option<Notification> {
        Some(match self {
            DownReason::Transport(_)
            | DownReason::NotificationReceived(_)
            | DownReason::ReplacedByRestart => return None,
            DownReason::HoldTimerExpired { .. } | DownReason::OpenTimedOut => {
                Notification::new(HOLD_TIMER, 0)
            }
            DownReason::SendHoldTimerExpired => Notification::new(SEND_HOLD_TIMER, 0),
            DownReason::Malformed { notification, .. } | DownReason::Reset(notification) => {
                notification.clone()
            }
            DownReason::UnexpectedMessage { state, message } => Notification {
                code: FSM,
                subcode: match state {
                    FsmState::OpenSent => 1,
                    FsmState::OpenConfirm => 2,
                    FsmState::Established => 3,
                    FsmState::Idle | FsmState::Active | FsmState::Connect => 0,
                },
                data: vec![*message],
            },
            DownReason::BadPeerAs { .. } => Notification::new(OPEN, 2),
            DownReason::SameRouterId { .. } => Notification::new(OPEN, 3),
            DownReason::RoleMismatch { .. } | DownReason::RoleMissing { .. } => {
                Notification::new(OPEN, open_message::ROLE_MISMATCH)
            }
            DownReason::NoCommonFamily { wanted } => {
                let [high, low] = wanted.number().to_be_bytes();
                // The capability that was missed (RFC 5492 3): multiprotocol, unicast.
                Notification {
                    code: OPEN,
                    subcode: 7,
                    data: vec![1, 4, high, low, 0, 1],
                }
            }
            DownReason::Collision => Notification::new(CEASE, 7),
            DownReason::ConfigChanged | DownReason::Moved { .. } => Notification::new(CEASE, 6),
            DownReason::Stopped(stop) => stop_notification(stop),
        })
    }

    /// Whether trying again soon is pointless until someone changes a configuration.
    pub fn is_config_error(&self) -> bool {
        match self {
            DownReason::BadPeerAs { .. }
            | DownReason::SameRouterId { .. }
            | DownReason::RoleMismatch { .. }
            | DownReason::RoleMissing { .. }
            | DownReason::NoCommonFamily { .. } => true,
            DownReason::Malformed { notification, .. } => notification.code == OPEN,
            DownReason::NotificationReceived(notification) => notification.code == OPEN,
            _ => false,
        }
    }

    /// Whether it speaks of a fault at all, rather than of something meant.
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            DownReason::Collision
                | DownReason::ReplacedByRestart
                | DownReason::Stopped(_)
                | DownReason::ConfigChanged
                | DownReason::Moved { .. }
        )
    }
}

fn stop_notification(stop: &Stop) -> Notification {
    match stop {
        Stop::Administrative { text } => shutdown(2, text),
        Stop::PeerRemoved => Notification::new(CEASE, 3),
        Stop::GracefulRestart => Notification::new(CEASE, 4),
    }
}

/// Cease with a text for people (RFC 9003): a length octet and at most 255 octets, cut between characters.
fn shutdown(subcode: u8, text: &str) -> Notification {
    let mut len = text.len().min(255);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    let mut notification = Notification::new(CEASE, subcode);
    if let (Ok(octet @ 1..), Some(text)) = (u8::try_from(len), text.get(..len)) {
        notification.data.push(octet);
        notification.data.extend_from_slice(text.as_bytes());
    }
    notification
}
