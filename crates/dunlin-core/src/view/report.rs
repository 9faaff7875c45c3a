//! What the node tells the cluster of itself, and of the cluster's objects.

use dunlin_api::{NodeReport, ObjectProblem, ObjectReport, OriginationReport, SessionReport};
use dunlin_intent::{Initiative, NodeView, ObjectKind, OriginKind};
use dunlin_net::{Instant, IpNet, PeerId};

use super::Seen;
use crate::core::Core;
use crate::peers::Peer;

/// How many peers are asked what they were told, over all prefixes of a report: beyond, prefixes are left out.
const LOOKUPS: usize = 20_000;

/// A Node with which there has been no session for so long has no agent: longer than an agent takes to start anew.
const SILENT_SECS: u64 = 120;

/// So many of the oldest Nodes' agents write conditions although they have no session with any node.
const LONE_WRITERS: usize = 3;

/// The kinds of objects that carry conditions.
const OUR_KINDS: [ObjectKind; 6] = [
    ObjectKind::BgpConfiguration,
    ObjectKind::BgpPeer,
    ObjectKind::BgpAdvertisement,
    ObjectKind::BgpFilter,
    ObjectKind::BfdProfile,
    ObjectKind::LoadBalancerPool,
];

impl Core {
    pub(super) fn node_report(&mut self, seen: &Seen<'_>) -> NodeReport {
        let mut report = NodeReport {
            status: self.status(seen),
            now_micros: seen.now.as_micros(),
            started_micros: self.started.as_micros(),
            role: "None".into(),
            ..NodeReport::default()
        };
        let own = self.config.node_name.clone();
        for node in self.cluster.nodes() {
            report.nodes += 1;
            report.rank += u32::from(node.fact.name.as_str() < &*own);
            if node.is_own {
                report.node_uid.clone_from(&node.fact.uid);
            }
        }
        let peers = self.peers.sorted();
        report.sessions = peers
            .iter()
            .filter(|peer| !peer.is_range())
            .map(|peer| self.session_report(peer))
            .collect();
        if report.sessions.iter().any(|session| session.is_node) {
            report.role = self.cluster.role(&own).as_str().into();
        }
        report.originations = self.origination_reports();
        report
    }

    fn session_report(&self, peer: &Peer) -> SessionReport {
        let timers = &peer.intent.session.timers;
        let negotiated = peer.up.as_ref().map(|up| &up.negotiated);
        let asn = match peer.intent.session.remote_asn {
            dunlin_intent::RemoteAsn::Exactly(asn) => Some(asn),
            dunlin_intent::RemoteAsn::External => None,
        };
        let mut report = SessionReport {
            peer: peer.name(),
            is_node: peer.key().is_node(),
            address: peer.address(),
            asn: negotiated.map(|with| with.remote_asn).or(asn),
            state: peer.state.to_string(),
            established: peer.is_established(),
            since_micros: peer.turned.as_micros(),
            last_error: peer.last_error(),
            hold_time_secs: negotiated.map_or(timers.hold_time_secs, |with| with.hold_time_secs),
            keepalive_secs: negotiated
                .map_or(timers.keepalive_secs, |with| with.keepalive_time_secs),
            ..SessionReport::default()
        };
        for counts in self.family_counts(peer) {
            report.received += counts.received;
            report.accepted += counts.accepted;
            report.advertised += counts.advertised;
        }
        report
    }

    /// Pod subnets are told to all peers, service addresses to those outside alone.
    fn origination_reports(&mut self) -> Vec<OriginationReport> {
        let mut own: Vec<(OriginKind, IpNet)> = self
            .cluster
            .originations()
            .map(|(net, origination)| (origination.kind, net))
            .collect();
        own.sort_unstable_by_key(|(kind, net)| (*kind != OriginKind::PodSubnet, *net));
        let established = |peer: &&&Peer| peer.is_established();
        let peers = self.peers.sorted();
        let all: Vec<PeerId> = peers
            .iter()
            .filter(established)
            .map(|peer| peer.id)
            .collect();
        let outside: Vec<PeerId> = peers
            .iter()
            .filter(established)
            .filter(|peer| !peer.key().is_node())
            .map(|peer| peer.id)
            .collect();
        let mut lookups = LOOKUPS;
        let mut reports = Vec::new();
        for (kind, net) in own.into_iter().take(NodeReport::MAX_ORIGINATIONS) {
            let (peers, object) = match kind {
                OriginKind::PodSubnet => (&all, format!("Node/{}", self.config.node_name)),
                _ => (&outside, self.services_text(net)),
            };
            let Some(left) = lookups.checked_sub(peers.len()) else {
                break;
            };
            lookups = left;
            reports.push(self.origination_report(net, object, peers));
        }
        reports
    }

    fn origination_report(
        &mut self,
        prefix: IpNet,
        object: String,
        peers: &[PeerId],
    ) -> OriginationReport {
        let mut report = OriginationReport {
            prefix,
            object,
            advertised: 0,
            wanted: 0,
            reason: None,
        };
        for to in peers
            .iter()
            .filter_map(|id| self.advertised_to(prefix, *id))
        {
            if to.advertised {
                report.advertised += 1;
                report.wanted += 1;
            } else {
                // One that has a next hop for it is on its way.
                report.wanted += u32::from(to.next_hop.is_some());
                if report.reason.is_none() {
                    report.reason = to.reason.map(|why| format!("{}: {why}", to.name));
                }
            }
        }
        if peers.is_empty() {
            report.reason = Some("no session is up that could tell it".into());
        }
        report
    }

    /// The Services that an announced prefix is of.
    fn services_text(&self, net: IpNet) -> String {
        let mut names: Vec<String> = self
            .cluster
            .services_within(net)
            .into_iter()
            .map(|(_, name)| name.to_string())
            .collect();
        names.dedup();
        match names.as_slice() {
            [] => "Service".into(),
            [one] => format!("Service/{one}"),
            [first, more @ ..] => format!("Service/{first} and {} more", more.len()),
        }
    }

    /// The Node whose agent writes the conditions of objects, and when to ask again because that may change by itself: the
    /// oldest that could, of those that have not been silent for long.
    ///
    /// Whoever has a session with nobody sees all others silent. Then only the oldest few take themselves for the one, so
    /// that never a whole cluster writes.
    fn object_writer(&self, now: Instant) -> (Option<String>, Option<u32>) {
        let able = |node: &NodeView<'_>| {
            node.fact.ready == Some(true)
                && !node.addresses.is_empty()
                && !node.fact.pod_cidrs.is_empty()
        };
        let age = |node: &NodeView<'_>| {
            let created = node.fact.created;
            (created.is_none(), created, node.fact.name.clone())
        };
        let mut able: Vec<NodeView<'_>> = self.cluster.nodes().filter(able).collect();
        able.sort_by_cached_key(age);
        let mut again: Option<u64> = None;
        let mut writer = None;
        for (place, node) in able.iter().enumerate() {
            let silent = self.silent_secs(now, node);
            let left = silent.and_then(|secs| SILENT_SECS.checked_sub(secs));
            match left.filter(|left| *left > 0) {
                Some(left) => again = Some(left),
                None if silent.is_some() => continue,
                None => {}
            }
            let is_alone = || {
                !self
                    .peers
                    .iter()
                    .any(|p| p.key().is_node() && p.is_established())
            };
            let too_young = node.is_own && place >= LONE_WRITERS && is_alone();
            writer = (!too_young).then_some(node);
            break;
        }
        let writer = writer.or(able.first());
        let again = again.and_then(|secs| u32::try_from(secs).ok());
        (writer.map(|node| node.fact.name.clone()), again)
    }

    /// How long there has been no session with a Node that there should be one with.
    fn silent_secs(&self, now: Instant, node: &NodeView<'_>) -> Option<u64> {
        let peer = self.peers.node(&node.fact.name)?;
        let wanted = peer.intent.initiative == Initiative::Ours;
        (wanted && !peer.is_established()).then(|| super::age_secs(now, peer.turned))
    }

    pub(super) fn object_report(&self, seen: &Seen<'_>) -> ObjectReport {
        let own = self.cluster.nodes().find(|node| node.is_own);
        let (writer, again_secs) = self.object_writer(seen.now);
        let is_us = writer.as_deref() == Some(&*self.config.node_name);
        let mut report = ObjectReport {
            writer,
            is_us: is_us && self.synced,
            again_secs,
            clear_network_unavailable: self.pod_network.is_some()
                && own.is_some_and(|node| node.fact.network_unavailable),
            problems: Vec::new(),
        };
        if !report.is_us {
            return report;
        }
        let problems = self.cluster.problems().into_iter();
        report.problems = problems
            .filter(|problem| OUR_KINDS.contains(&problem.object.kind))
            .map(|problem| ObjectProblem {
                kind: problem.object.kind.as_str().into(),
                name: problem.object.name.clone(),
                reason: problem.reason.as_str().into(),
                field: problem.field.clone(),
                message: problem.message.clone(),
            })
            .collect();
        report
    }
}
