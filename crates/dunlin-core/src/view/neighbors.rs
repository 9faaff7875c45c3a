use dunlin_api::{
    FamilyCounts, Neighbor, NeighborCounters, NeighborLimit, NotificationSeen, Step, Verdict,
};
use dunlin_bgp::session::{Negotiated, PeerSnapshot};
use dunlin_bgp::wire::{Capability, Notification};
use dunlin_intent::{Remote, RemoteAsn, SessionIntent};
use dunlin_net::{Afi, Instant, PerFamily};

use super::explain::step;
use super::{Seen, age_secs};
use crate::core::Core;
use crate::peers::Peer;

impl Core {
    pub(super) fn neighbors(&self, seen: &Seen<'_>) -> Vec<Neighbor> {
        let peers = self.peers.sorted();
        peers.iter().map(|peer| self.neighbor(seen, peer)).collect()
    }

    pub(super) fn neighbor(&self, seen: &Seen<'_>, peer: &Peer) -> Neighbor {
        let session = &peer.intent.session;
        let mut neighbor = Neighbor {
            name: peer.name(),
            kind: peer.kind().into(),
            address: peer.address(),
            interface: peer.interface().map(|name| name.to_string()),
            port: match session.remote {
                Remote::Address(_, port) | Remote::Interface(_, port) if port != 179 => Some(port),
                _ => None,
            },
            asn: match session.remote_asn {
                RemoteAsn::Exactly(asn) => Some(asn),
                RemoteAsn::External => None,
            },
            local_asn: Some(session.local_asn),
            state: if peer.is_range() {
                "Listening".into()
            } else {
                peer.state.to_string()
            },
            since_secs: age_secs(seen.now, peer.since),
            families: session.families.clone(),
            hold_time_secs: session.timers.hold_time_secs,
            keepalive_secs: session.timers.keepalive_secs,
            routes: self.family_counts(peer),
            stale: peer.kept.any(),
            long_lived_stale: peer.kept.is_long_lived(),
            stale_ends_secs: peer.kept.ends().map(|at| at.since(seen.now).as_secs()),
            last_error: peer.last_error(),
            max_prefixes: limit(seen.now, peer),
            topology: peer.tie().map(Into::into),
            bfd: self.neighbor_bfd(seen, peer),
            ..Neighbor::default()
        };
        if let Some(up) = &peer.up {
            negotiated(&mut neighbor, &up.negotiated);
            neighbor.capabilities.extend(role(session, &up.negotiated));
        }
        if let Some(snapshot) = seen.sessions.get(&peer.id) {
            counted(&mut neighbor, seen.now, snapshot);
        }
        let snapshot = seen.sessions.get(&peer.id).copied();
        neighbor.down = super::down::down(seen.now, peer, snapshot);
        neighbor
    }

    pub(super) fn family_counts(&self, peer: &Peer) -> Vec<FamilyCounts> {
        let (Some(routing), Some(source)) = (&self.routing, peer.source) else {
            return Vec::new();
        };
        let families = &peer.intent.session.families;
        let counts = families.iter().map(|&family| {
            let counts = routing.rib.source_counts(source, family);
            let up = peer.up.as_ref();
            FamilyCounts {
                family,
                received: counts.received.into(),
                accepted: counts.accepted.into(),
                advertised: routing.rib.advertised(peer.id, family).into(),
                stale: counts.stale.into(),
                long_lived_stale: counts.long_lived.into(),
                refused: counts.refused.into(),
                end_of_rib_received: up.is_some_and(|up| *up.end_of_rib.get(family)),
            }
        });
        counts.collect()
    }
}

/// What we are to the peer, if both sides have said so.
fn role(session: &SessionIntent, with: &Negotiated) -> Option<String> {
    let said = with
        .capabilities
        .iter()
        .any(|it| matches!(it, Capability::Role(_)));
    let role = session.role.filter(|_| said)?;
    Some(format!("role ({role})"))
}

/// What is said of a limit, and what comes of it.
pub(super) fn limit_explained(limit: &NeighborLimit) -> Step {
    let then = match limit.restart_after_seconds {
        Some(secs) => format!("more end the session for {secs} s"),
        None => "more are a problem, and no more than that".to_owned(),
    };
    let text = format!("maxPrefixes: {} of each family; {then}", limit.limit);
    match limit.held_down_seconds {
        Some(secs) => {
            let text = format!("{text}; exceeded, held down for {secs} s more");
            step("session", Verdict::Stop, text)
        }
        None if !limit.near.is_empty() => step(
            "session",
            Verdict::Info,
            format!("{text}; from {} on it is near", limit.warning),
        ),
        None => step("session", Verdict::Info, text),
    }
}

fn limit(now: Instant, peer: &Peer) -> Option<NeighborLimit> {
    let max = peer.intent.max_prefixes?;
    let held = peer.announced.excess.map(|excess| excess.until.since(now));
    let near = Afi::ALL.into_iter();
    Some(NeighborLimit {
        limit: max.limit,
        warning: max.warning,
        restart_after_seconds: max.restart_after.map(|after| after.as_secs()),
        near: near.filter(|afi| *peer.announced.near.get(*afi)).collect(),
        exceeded: peer.announced.exceeded,
        held_down_seconds: held.map(|left| left.as_secs()),
    })
}

fn negotiated(neighbor: &mut Neighbor, with: &Negotiated) {
    neighbor.asn = Some(with.remote_asn);
    neighbor.local_asn = Some(with.local_asn);
    neighbor.router_id = Some(with.remote_router_id);
    neighbor.hold_time_secs = with.hold_time_secs;
    neighbor.keepalive_secs = with.keepalive_time_secs;
    neighbor.local_address = Some(with.local.ip());
    neighbor.families = Afi::ALL
        .into_iter()
        .filter(|&afi| *with.families.get(afi))
        .collect();
    let mut capabilities: Vec<String> = Vec::new();
    let mut note = |in_use: bool, name: &str| {
        if in_use {
            capabilities.push(name.into());
        }
    };
    note(with.four_octet_as, "four-octet-as");
    note(with.route_refresh, "route-refresh");
    note(with.enhanced_route_refresh, "enhanced-route-refresh");
    note(with.extended_message, "extended-message");
    let any = |families: PerFamily<bool>| families.v4 || families.v6;
    note(any(with.receives_paths()), "add-path-receive");
    note(any(with.sends_paths()), "add-path-send");
    note(with.extended_next_hop, "extended-next-hop");
    if let Some(restart) = with.graceful_restart {
        let seconds = restart.restart_time_secs;
        let bit = if restart.notification { ", N" } else { "" };
        capabilities.push(format!("graceful-restart ({seconds} s{bit})"));
        let long_lived = restart.long_lived_stale_secs;
        if long_lived != PerFamily::default() {
            let seconds = long_lived.v4.max(long_lived.v6);
            capabilities.push(format!("long-lived-graceful-restart ({seconds} s)"));
        }
    }
    neighbor.capabilities = capabilities;
}

fn counted(neighbor: &mut Neighbor, now: Instant, snapshot: &PeerSnapshot) {
    let stats = &snapshot.stats;
    neighbor.counters = NeighborCounters {
        messages_received: stats.received.total(),
        messages_sent: stats.sent.total(),
        updates_received: stats.received.updates,
        updates_sent: stats.sent.updates,
        notifications_received: stats.received.notifications,
        notifications_sent: stats.sent.notifications,
        treated_as_withdraw: stats.treated_as_withdraw,
        attributes_discarded: stats.attributes_discarded,
    };
    neighbor.flaps = stats.flaps;
    neighbor.output_queue_bytes = snapshot.output_queue_bytes as u64;
    neighbor.notification_sent = stats.last_sent.as_ref().map(|last| shown(now, last));
    neighbor.notification_received = stats.last_received.as_ref().map(|last| shown(now, last));
    if let Some((at, reason)) = &stats.last_error {
        neighbor.last_error_secs = Some(age_secs(now, *at));
        neighbor
            .last_error
            .get_or_insert_with(|| reason.to_string());
    }
}

fn shown(now: Instant, (at, notification): &(Instant, Notification)) -> NotificationSeen {
    NotificationSeen {
        code: notification.code,
        subcode: notification.subcode,
        text: notification.to_string(),
        age_secs: age_secs(now, *at),
    }
}
