//! A changed configuration, applied to a living session.

use std::sync::Arc;

use dunlin_net::{Instant, ScopedAddr};

use super::conn::{Conn, Direction, Stage};
use super::{Peer, open};
use crate::session::{Action, ConnId, DownReason, Negotiated, PeerConfig, Remote};

impl Peer {
    pub(super) fn on_configure(&mut self, now: Instant, config: Arc<PeerConfig>) {
        if *self.config == *config {
            return;
        }
        let old = std::mem::replace(&mut self.config, config);
        let new = Arc::clone(&self.config);
        let reset: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|conn| must_reset(&old, &new, conn))
            .map(|conn| conn.id)
            .collect();
        let reason = match old.remote {
            Remote::Address(from) if address_changed(&old, &new) => {
                DownReason::Moved { from: from.into() }
            }
            _ => DownReason::ConfigChanged,
        };
        for conn in reset {
            self.end(now, conn, reason.clone());
        }
        if old.transport != new.transport {
            let retuned = self.conns.iter().map(|conn| conn.id);
            self.actions
                .extend(retuned.map(|conn| Action::Retune { conn }));
        }
        for conn in &mut self.conns {
            if let Some(negotiated) = conn.negotiated_mut() {
                let secs = open::keepalive_time_secs(&new, negotiated.hold_time_secs);
                if negotiated.keepalive_time_secs != secs {
                    Arc::make_mut(negotiated).keepalive_time_secs = secs;
                    // Sent at once, and in the new rhythm from then on.
                    conn.keepalive_at = (secs != 0).then_some(now);
                }
            }
        }
        self.forgive(now);
    }
}

impl PeerConfig {
    /// Whether a session that was negotiated under this configuration ends when it becomes `new`: something that our OPEN
    /// said is no longer so, or something that the session stands on. `dialled` says whether the connection is one that we
    /// opened.
    pub fn must_reset(&self, new: &PeerConfig, negotiated: &Negotiated, dialled: bool) -> bool {
        let moved = dialled
            && new
                .local_address
                .is_some_and(|local| local.to_canonical() != negotiated.local.ip());
        said_otherwise(self, new)
            || moved
            || address_changed(self, new)
            || !new
                .remote_asn
                .accepts(negotiated.local_asn, negotiated.remote_asn)
    }
}

/// Whether the connection stands on something that is no longer so.
fn must_reset(old: &PeerConfig, new: &PeerConfig, conn: &Conn) -> bool {
    match &conn.stage {
        Stage::Dialing => {
            said_otherwise(old, new)
                || dials(old, new)
                || old.transport != new.transport
                || new.passive
        }
        Stage::OpenSent(_) => said_otherwise(old, new) || address_changed(old, new),
        Stage::OpenConfirm(negotiated) | Stage::Established(negotiated, _) => {
            old.must_reset(new, negotiated, conn.direction == Direction::Outgoing)
        }
    }
}

/// Whether our OPEN would say something else.
fn said_otherwise(old: &PeerConfig, new: &PeerConfig) -> bool {
    let said = |config: &PeerConfig| {
        let mut said = config.clone();
        // R and F bits count for the next OPEN only; the last is no part of any OPEN.
        if let Some(restart) = &mut said.graceful_restart {
            restart.restarting = false;
            restart.forwarding = Default::default();
            restart.hard_reset_on_hold_expiry = false;
        }
        open::our_open(&said)
    };
    said(old) != said(new)
}

/// Whether a dial would go another way.
fn dials(old: &PeerConfig, new: &PeerConfig) -> bool {
    old.remote != new.remote || old.local_address != new.local_address
}

fn address_changed(old: &PeerConfig, new: &PeerConfig) -> bool {
    match (old.remote, new.remote) {
        (Remote::Address(old), Remote::Address(new)) => {
            ScopedAddr::from(old) != ScopedAddr::from(new)
        }
        (old, new) => old != new,
    }
}
