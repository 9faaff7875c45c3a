//! Routes that outlive their session: kept while the peer restarts (RFC 4724), and for long after that (RFC 9494).

use std::time::Duration;

use dunlin_bgp::rib::{Rib, SourceId};
use dunlin_bgp::session::{PeerRestart, StaleInfo};
use dunlin_intent::PeerIntent;
use dunlin_net::{Afi, Instant, PeerId, PerFamily};

use crate::core::Core;
use crate::peers::Peer;

/// How long End-of-RIB of a peer that is back is waited for at least, however short its restart time.
const END_OF_RIB_AT_LEAST: Duration = Duration::from_secs(30);

/// What is kept of a peer beyond its session, and until when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// The peer is to be back by then; if it is back, to have told all.
    until: Option<Instant>,
    /// How long each family may stay after that.
    long_lived: PerFamily<Duration>,
    /// What is long-lived stale goes then.
    lingers: PerFamily<Option<Instant>>,
    /// That time ended before the peer, though back, had told all: should it break now, nothing of the family stays.
    spent: PerFamily<bool>,
}

impl Kept {
    /// Whether anything may be stale.
    pub(crate) fn any(&self) -> bool {
        self.until.is_some() || self.is_long_lived()
    }

    /// Whether anything may be long-lived stale.
    pub(crate) fn is_long_lived(&self) -> bool {
        Afi::ALL.iter().any(|&afi| self.lingers.get(afi).is_some())
    }

    /// When the last of it goes, should the peer not come back.
    pub(crate) fn ends(&self) -> Option<Instant> {
        let after = |afi: &Afi| match (self.lingers.get(*afi), self.until) {
            (&Some(at), _) => Some(at),
            (None, Some(until)) => Some(until + *self.long_lived.get(*afi)),
            (None, None) => None,
        };
        Afi::ALL.iter().filter_map(after).max()
    }

    /// What is still stale of a family was not told anew in time, or may not be kept.
    fn sweep(&mut self, rib: &mut Rib, source: SourceId, afi: Afi) {
        *self.lingers.get_mut(afi) = None;
        rib.sweep_stale(source, afi);
    }

    /// The restart time of a family is over: what is stale of it stays for long, or goes. A time that runs goes on
    /// (RFC 9494 4.2).
    fn outstays(&mut self, now: Instant, rib: &mut Rib, source: SourceId, afi: Afi) {
        let time = *self.long_lived.get(afi);
        if time.is_zero() {
            self.sweep(rib, source, afi);
        } else {
            self.lingers.get_mut(afi).get_or_insert(now + time);
            rib.begin_long_lived(source, afi);
        }
    }

    /// All of it stays until then and goes, whether or not the peer would be back.
    pub(crate) fn keep_until(
        &mut self,
        until: Instant,
        rib: &mut Rib,
        source: SourceId,
        was_up: bool,
    ) {
        // Of a session that was down already all is stale, and would be taken for what is stale twice.
        if was_up {
            let lingers = self.lingering();
            rib.mark_stale(source, lingers);
        }
        *self = Kept {
            until: Some(until),
            ..Kept::default()
        };
    }

    fn lingering(&self) -> PerFamily<bool> {
        PerFamily {
            v4: self.lingers.v4.is_some(),
            v6: self.lingers.v6.is_some(),
        }
    }

    /// Whether this is when the peer is to be back.
    pub(crate) fn ends_at(&self, at: Instant) -> bool {
        self.until == Some(at)
    }

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        [self.until, self.lingers.v4, self.lingers.v6]
            .into_iter()
            .flatten()
    }
}

impl Peer {
    /// How long a peer of this intent may be kept for at most.
    fn may_linger(intent: &PeerIntent) -> Duration {
        let restart = intent.session.graceful_restart;
        secs(restart.map_or(0, |restart| restart.long_lived_secs))
    }
}

impl Core {
    /// A session broke: what of its routes stays, and until when.
    pub(crate) fn keep_routes(&mut self, now: Instant, id: PeerId, stale: Option<StaleInfo>) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        let kept = &mut peer.kept;
        kept.until = None;
        let refreshing = std::mem::take(&mut peer.refreshing);
        let Some(source) = peer.source else { return };
        let Some(info) = stale else {
            *kept = Kept::default();
            routing.rib.drop_source(source);
            return;
        };
        // What was to be told again in this session may be told in the next one.
        let mut stays = kept.lingering();
        stays.v4 |= refreshing.is_of(Afi::Ipv4);
        stays.v6 |= refreshing.is_of(Afi::Ipv6);
        routing.rib.mark_stale(source, stays);
        kept.long_lived = PerFamily {
            v4: secs(info.long_lived_stale_secs.v4),
            v6: secs(info.long_lived_stale_secs.v6),
        };
        let restart_time = secs(info.restart_time_secs.into());
        for afi in Afi::ALL {
            if std::mem::take(kept.spent.get_mut(afi)) {
                kept.sweep(&mut routing.rib, source, afi);
            } else if *info.families.get(afi) && !restart_time.is_zero() {
                kept.until = Some(now + restart_time);
            } else {
                kept.outstays(now, &mut routing.rib, source, afi);
            }
        }
        self.timers.extend(kept.deadlines().map(|at| (at, id)));
    }

    /// The peer is back: what it did not keep forwarding for, it cannot mean any more (RFC 4724 4.2, RFC 9494 4.2).
    pub(crate) fn on_kept_back(&mut self, now: Instant, id: PeerId, restart: Option<PeerRestart>) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        let kept = &mut peer.kept;
        let Some(source) = peer.source.filter(|_| kept.any()) else {
            return;
        };
        for afi in Afi::ALL {
            let survived = restart.is_some_and(|restart| match kept.lingers.get(afi) {
                Some(_) => *restart.long_lived_forwarding.get(afi),
                None => *restart.forwarding.get(afi),
            });
            if !survived {
                kept.sweep(&mut routing.rib, source, afi);
            }
        }
        let restart_time = secs(restart.map_or(0, |restart| restart.restart_time_secs.into()));
        let until = now + restart_time.max(END_OF_RIB_AT_LEAST);
        kept.until = Some(until);
        self.timers.insert((until, id));
    }

    /// The peer has told all it has of a family.
    pub(crate) fn on_kept_told(&mut self, id: PeerId, afi: Afi) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        *peer.kept.spent.get_mut(afi) = false;
        // What is stale because it is being told again goes with the mark (RFC 7313 4).
        if peer.kept.any()
            && !peer.refreshing.is_of(afi)
            && let Some(source) = peer.source
        {
            peer.kept.sweep(&mut routing.rib, source, afi);
        }
        if peer.up.as_ref().is_some_and(|up| up.is_complete()) {
            peer.kept.until = None;
        }
    }

    /// A deadline of a peer may be one of these.
    pub(crate) fn on_kept_timer(&mut self, at: Instant, id: PeerId) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        let Some(source) = peer.source else { return };
        let kept = &mut peer.kept;
        let is_up = peer.up.is_some();
        if kept.until == Some(at) {
            kept.until = None;
            for afi in Afi::ALL {
                match kept.lingers.get(afi) {
                    // It has its own time.
                    Some(_) if is_up => {}
                    None if peer.refreshing.is_of(afi) => {}
                    None if is_up => kept.sweep(&mut routing.rib, source, afi),
                    _ => kept.outstays(at, &mut routing.rib, source, afi),
                }
            }
            self.timers.extend(kept.deadlines().map(|at| (at, id)));
        }
        for afi in Afi::ALL {
            if *kept.lingers.get(afi) == Some(at) {
                kept.sweep(&mut routing.rib, source, afi);
                *kept.spent.get_mut(afi) = is_up;
            }
        }
    }

    /// The peer's object says otherwise how long routes may stay: what stays already does not stay longer than that.
    pub(crate) fn on_kept_time_changed(&mut self, now: Instant, id: PeerId) {
        let (Some(peer), Some(routing)) = (self.peers.get_mut(id), &mut self.routing) else {
            return;
        };
        let Some(source) = peer.source else { return };
        let most = Peer::may_linger(&peer.intent);
        let kept = &mut peer.kept;
        for afi in Afi::ALL {
            let time = kept.long_lived.get_mut(afi);
            *time = most.min(*time);
            let Some(at) = kept.lingers.get_mut(afi) else {
                continue;
            };
            *at = (now + most).min(*at);
            if most.is_zero() {
                kept.sweep(&mut routing.rib, source, afi);
            }
        }
        self.timers.extend(kept.deadlines().map(|at| (at, id)));
    }
}

fn secs(secs: u32) -> Duration {
    Duration::from_secs(secs.into())
}
