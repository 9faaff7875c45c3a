//! Two connections with one peer: which one stays (RFC 4271 6.8, RFC 6286 2.3, RFC 4724 4.2).
//!
//! Both connections live until an OPEN tells them apart. With Dunlin on both ends one always survives: a dial that
//! completes when the peer's OPEN has been accepted on another connection is given up before its OPEN is sent, and the side
//! whose own dial is to be kept drops the other connection as soon as it knows the peer's router id.

use std::time::Duration;

use dunlin_net::Instant;

use super::Peer;
use super::conn::{Conn, Direction, Stage};
use crate::session::{ConnId, DownReason, Negotiated};

/// An OPEN on a connection made so shortly after another became Established is the end of a collision and no restart.
const COLLISION_GRACE: Duration = Duration::from_secs(1);

/// How long a dial that succeeded is trusted to bring an OPEN, so that the peer's own dial can be dropped for it.
const DIAL_TRUST: Duration = Duration::from_secs(2);

/// Which of two connections ends.
enum Loser {
    New,
    Old(DownReason),
}

impl Peer {
    /// The peer's OPEN on `conn` was good and said `negotiated`. Ends the connections that lose against it; an error means
    /// that `conn` itself is the one to end.
    pub(super) fn resolve_collision(
        &mut self,
        now: Instant,
        conn: ConnId,
        negotiated: &Negotiated,
    ) -> Result<(), DownReason> {
        let Some(new) = self.conn(conn) else {
            return Ok(());
        };
        let mut losers = Vec::new();
        for old in self.conns.iter().filter(|old| old.id != conn) {
            match loser(now, new, old, negotiated) {
                Some(Loser::New) => return Err(DownReason::Collision),
                Some(Loser::Old(reason)) => losers.push((old.id, reason)),
                None => {}
            }
        }
        for (old, reason) in losers {
            self.end(now, old, reason);
        }
        Ok(())
    }
}

fn loser(now: Instant, new: &Conn, old: &Conn, negotiated: &Negotiated) -> Option<Loser> {
    match &old.stage {
        Stage::Dialing => None,
        Stage::OpenSent(_) => {
            let kept = old.direction == Direction::Outgoing
                && new.direction == Direction::Incoming
                && keep_outgoing(negotiated)
                && now < old.since + DIAL_TRUST;
            kept.then_some(Loser::New)
        }
        Stage::OpenConfirm(_) => Some(if keep_new(new, old, negotiated) {
            Loser::Old(DownReason::Collision)
        } else {
            Loser::New
        }),
        Stage::Established(old_negotiated, up_since) => {
            let restarted = old_negotiated.graceful_restart.is_some()
                && new.since > *up_since + COLLISION_GRACE;
            Some(if restarted {
                Loser::Old(DownReason::ReplacedByRestart)
            } else {
                Loser::New
            })
        }
    }
}

fn keep_new(new: &Conn, old: &Conn, negotiated: &Negotiated) -> bool {
    if new.direction == old.direction {
        // The peer dialled twice: it has forgotten the first.
        new.id > old.id
    } else {
        (new.direction == Direction::Outgoing) == keep_outgoing(negotiated)
    }
}

/// The connection that the side with the higher router id dialled is kept; if the ids are equal, the higher AS decides.
fn keep_outgoing(negotiated: &Negotiated) -> bool {
    (negotiated.local_router_id, negotiated.local_asn)
        > (negotiated.remote_router_id, negotiated.remote_asn)
}
