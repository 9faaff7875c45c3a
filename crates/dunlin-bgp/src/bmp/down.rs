//! How a session ended, as stations are told.

use super::{PeerHeader, TABLE_NAME, TABLE_NAME_TLV, Table, begin_of_peer, finish, kind, put_tlv};
use crate::session::DownReason;
use crate::wire::{HEADER_LEN, Notification};

/// Events of RFC 4271 8.1.
const MANUAL_STOP: u16 = 2;
const AUTOMATIC_STOP: u16 = 8;
const TCP_CONNECTION_CONFIRMED: u16 = 17;

/// The reasons of a Peer Down (RFC 7854 4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerDown {
    /// We ended it with this NOTIFICATION.
    Local(Notification),
    /// We ended it without a word, by this event of the state machine.
    LocalSilent(u16),
    /// The peer ended it with this NOTIFICATION.
    Remote(Notification),
    /// The connection ended without a word from the peer.
    RemoteSilent,
    /// We go on with the session, but tell the station no more of it.
    Unmonitored,
}

impl PeerDown {
    /// From what the session says, and the NOTIFICATION that was sent.
    pub fn new(reason: &DownReason, sent: Option<&Notification>) -> PeerDown {
        match (reason, sent) {
            (DownReason::NotificationReceived(notification), _) => {
                PeerDown::Remote(notification.clone())
            }
            (_, Some(sent)) => PeerDown::Local(sent.clone()),
            (DownReason::Transport(_), None) => PeerDown::RemoteSilent,
            (DownReason::Stopped(_), None) => PeerDown::LocalSilent(MANUAL_STOP),
            (DownReason::ReplacedByRestart, None) => {
                PeerDown::LocalSilent(TCP_CONNECTION_CONFIRMED)
            }
            (_, None) => PeerDown::LocalSilent(AUTOMATIC_STOP),
        }
    }

    /// Appends the message; of the Loc-RIB with its own reason, whatever this one is (RFC 9069 5.3).
    pub fn encode(&self, peer: &PeerHeader, out: &mut Vec<u8>) {
        const LOC_RIB_CLOSED: u8 = 6;
        let start = begin_of_peer(kind::PEER_DOWN, peer, out);
        match self {
            _ if peer.table == Table::LocRib => {
                out.push(LOC_RIB_CLOSED);
                put_tlv(TABLE_NAME_TLV, TABLE_NAME.as_bytes(), out);
            }
            PeerDown::Local(notification) => {
                out.push(1);
                put_notification(notification, out);
            }
            PeerDown::LocalSilent(event) => {
                out.push(2);
                out.extend_from_slice(&event.to_be_bytes());
            }
            PeerDown::Remote(notification) => {
                out.push(3);
                put_notification(notification, out);
            }
            PeerDown::RemoteSilent => out.push(4),
            PeerDown::Unmonitored => out.push(5),
        }
        finish(start, out);
    }
}

fn put_notification(notification: &Notification, out: &mut Vec<u8>) {
    let before = out.len();
    notification.encode(out);
    debug_assert!(out.len() >= before + HEADER_LEN);
}
