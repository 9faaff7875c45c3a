//! The end of a connection: what the peer is told, what the core keeps.

use dunlin_net::{Instant, PerFamily};

use super::Peer;
use super::conn::{Conn, Direction, Stage};
use crate::session::{
    Action, ConnId, DownReason, Negotiated, PeerConfig, SessionEvent, StaleInfo, Stop,
    TransportError,
};
use crate::wire::Notification;

impl Peer {
    /// Ends a connection of ours: NOTIFICATION, close, and `Down` if it was Established.
    pub(super) fn end(&mut self, now: Instant, conn: ConnId, reason: DownReason) {
        if let Some(ended) = self.take(conn) {
            let notification = farewell(&self.config, &ended, &reason);
            self.bury(now, &ended, reason, notification.clone());
            if let Some(notification) = &notification {
                self.stats.sent.notifications += 1;
                self.stats.last_sent = Some((now, notification.clone()));
            }
            self.actions.push_back(Action::Close {
                conn,
                notification: notification.map(|notification| {
                    let mut bytes = Vec::new();
                    notification.encode(&mut bytes);
                    bytes
                }),
            });
        }
    }

    /// A connection has ended without our doing: there is nothing to close.
    pub(super) fn lost(&mut self, now: Instant, conn: ConnId, error: TransportError) {
        if let Some(ended) = self.take(conn) {
            self.bury(now, &ended, DownReason::Transport(error), None);
        }
    }

    /// Ends all connections.
    pub(super) fn end_all(&mut self, now: Instant, reason: &DownReason) {
        while let Some(conn) = self.conns.first() {
            self.end(now, conn.id, reason.clone());
        }
    }

    fn take(&mut self, conn: ConnId) -> Option<Conn> {
        let index = self.conns.iter().position(|c| c.id == conn)?;
        Some(self.conns.remove(index))
    }

    fn bury(&mut self, now: Instant, ended: &Conn, reason: DownReason, sent: Option<Notification>) {
        if let Stage::Established(negotiated, up_since) = &ended.stage {
            self.stats.flaps += 1;
            self.stats.last_down = Some((now, reason.clone()));
            if reason.is_fault() || reason == DownReason::ReplacedByRestart {
                self.damping.on_flap(now, now.since(*up_since));
            }
            self.actions.push_back(Action::Event(SessionEvent::Down {
                peer: self.id,
                conn: ended.id,
                reason: reason.clone(),
                sent,
                stale: stale(&self.config, negotiated, &reason),
            }));
        } else if reason.is_config_error() {
            self.damping.on_refusal(now);
        }
        if ended.direction == Direction::Outgoing || ended.is_established() {
            self.plan_dial(now, &reason);
        }
        if reason.is_fault() {
            self.stats.last_error = Some((now, reason));
        }
    }
}

/// What is written before the connection is closed.
fn farewell(config: &PeerConfig, ended: &Conn, reason: &DownReason) -> Option<Notification> {
    if matches!(ended.stage, Stage::Dialing) {
        return None;
    }
    let restart = ended.negotiated().and_then(|n| n.graceful_restart);
    let with_n_bit = restart.is_some_and(|restart| restart.notification);
    let notification = reason.notification()?;
    match reason {
        // A NOTIFICATION would make a peer without the N bit drop what it is to keep.
        DownReason::Stopped(Stop::GracefulRestart) if restart.is_some() && !with_n_bit => None,
        DownReason::Reset(_) if notification.is_hard_reset() => Some(if with_n_bit {
            notification
        } else {
            notification.inner()?
        }),
        _ if with_n_bit && is_hard(config, reason) => Some(Notification::hard_reset(&notification)),
        _ => Some(notification),
    }
}

/// Whether the session ends for good although both sides have the N bit (RFC 8538 4).
fn is_hard(config: &PeerConfig, reason: &DownReason) -> bool {
    match reason {
        DownReason::Stopped(Stop::Administrative { .. } | Stop::PeerRemoved) => true,
        DownReason::HoldTimerExpired { .. } => config
            .graceful_restart
            .is_none_or(|restart| restart.hard_reset_on_hold_expiry),
        DownReason::Transport(error) => {
            // Silence that TCP noticed before the hold timer did.
            !matches!(error, TransportError::Eof | TransportError::Reset)
        }
        DownReason::NotificationReceived(notification) | DownReason::Reset(notification) => {
            notification.is_hard_reset()
        }
        // Whoever is there now is somebody else.
        DownReason::Moved { .. } => true,
        _ => false,
    }
}

/// What the core keeps of the peer's routes (RFC 4724 4.2, RFC 8538 4).
fn stale(config: &PeerConfig, negotiated: &Negotiated, reason: &DownReason) -> Option<StaleInfo> {
    let restart = negotiated.graceful_restart?;
    let keeps = match reason {
        DownReason::Transport(_) => !is_hard(config, reason),
        DownReason::ReplacedByRestart | DownReason::Stopped(Stop::GracefulRestart) => true,
        _ => restart.notification && !is_hard(config, reason),
    };
    let any = restart.families != PerFamily::default()
        || restart.long_lived_stale_secs != PerFamily::default();
    (keeps && any).then_some(StaleInfo {
        restart_time_secs: restart.restart_time_secs,
        families: restart.families,
        long_lived_stale_secs: restart.long_lived_stale_secs,
    })
}
