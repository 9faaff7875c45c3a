//! How long it takes from what a source says of a Service to the UPDATEs that follow from it being written.
//!
//! Cheap and honest: nothing is marked on its way. A measurement begins with the first word of a Service or its endpoints
//! since the core last drew its conclusions, if what this node originates changed by them; it ends when the session of
//! every peer that was told something in drawing these conclusions says that all it was handed up to there is written.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dunlin_bgp::session::ConnId;
use dunlin_intent::{Fact, ObjectKind, OriginKind, SourceEvent};
use dunlin_net::{Afi, Instant, PeerId};

use crate::core::Core;
use crate::peers::{Peers, Up};

/// Measurements that wait for peers; beyond, a change is not measured.
const WAITING_MAX: usize = 1024;

/// Times, counted by how long they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    /// How many were within each bound and not within the one before; the last beyond all.
    pub(crate) counts: [u64; Histogram::BOUNDS_MICROS.len() + 1],
    pub(crate) sum: Duration,
}

impl Histogram {
    /// The bounds, microseconds.
    pub(crate) const BOUNDS_MICROS: [u64; 19] = [
        100, 150, 200, 250, 300, 400, 500, 700, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000,
        100_000, 1_000_000, 5_000_000, 30_000_000,
    ];

    /// The same for others to read.
    pub(crate) fn shown(&self) -> dunlin_api::Histogram {
        let secs = |micros: u64| Duration::from_micros(micros).as_secs_f64();
        dunlin_api::Histogram {
            bounds_secs: Histogram::BOUNDS_MICROS.map(secs).to_vec(),
            counts: self.counts.to_vec(),
            sum_secs: self.sum.as_secs_f64(),
        }
    }

    pub(crate) fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = Histogram::BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += took;
    }
}

/// One change on its way.
#[derive(Debug)]
struct Measure {
    since: Instant,
    /// What each peer's session has to have written, in octets since it came up.
    owed: BTreeMap<PeerId, (ConnId, u64)>,
}

/// The measurements.
#[derive(Debug, Default)]
pub(crate) struct Announcing {
    /// When the first word of a Service was heard since conclusions were last drawn.
    heard: Option<Instant>,
    /// A service address is originated anew, otherwise or no longer.
    touched: bool,
    /// The change whose UPDATEs are being handed out.
    open: Option<Measure>,
    waiting: VecDeque<Measure>,
    pub(crate) histogram: Histogram,
    /// What sources said, by kind of object.
    pub(crate) events: BTreeMap<&'static str, u64>,
}

impl Announcing {
    pub(crate) fn on_source(&mut self, now: Instant, event: &SourceEvent) {
        let Some(kind) = kind(event) else { return };
        *self.events.entry(kind.as_str()).or_default() += 1;
        if matches!(kind, ObjectKind::Service | ObjectKind::EndpointSlice) {
            self.heard.get_or_insert(now);
        }
    }

    /// A prefix was one kind of origination and is another now.
    pub(crate) fn on_origination(&mut self, kinds: [Option<OriginKind>; 2]) {
        let service = |kind: &Option<OriginKind>| matches!(kind, Some(OriginKind::Service(_)));
        self.touched |= kinds.iter().any(service);
    }

    /// All that was heard is taken in. Before the sources have told everything once, nothing is measured.
    pub(crate) fn begin(&mut self, synced: bool) {
        let heard = self.heard.take();
        let touched = std::mem::take(&mut self.touched);
        if let Some(since) = heard.filter(|_| touched && synced)
            && self.open.is_none()
        {
            let owed = BTreeMap::new();
            self.open = Some(Measure { since, owed });
        }
    }

    /// A peer was handed UPDATEs.
    pub(crate) fn on_sent(&mut self, peer: PeerId, up: &Up) {
        if let Some(open) = &mut self.open {
            open.owed.insert(peer, (up.conn, up.sent));
        }
    }

    /// All UPDATEs of the open measurement were handed out.
    fn seal(&mut self) {
        if let Some(measure) = self.open.take()
            && !measure.owed.is_empty()
            && self.waiting.len() < WAITING_MAX
        {
            self.waiting.push_back(measure);
        }
    }

    /// A session has written what it was handed.
    pub(crate) fn on_written(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        peer: PeerId,
        conn: ConnId,
        bytes: usize,
    ) {
        let Some(up) = peers
            .established(peer, conn)
            .and_then(|peer| peer.up.as_mut())
        else {
            return;
        };
        up.written += bytes as u64;
        let done = |(of, owed): &(ConnId, u64)| *of == conn && *owed <= up.written;
        if let Some(open) = &mut self.open
            && open.owed.get(&peer).is_some_and(done)
        {
            open.owed.remove(&peer);
        }
        let histogram = &mut self.histogram;
        self.waiting.retain_mut(|measure| {
            if measure.owed.get(&peer).is_some_and(done) {
                measure.owed.remove(&peer);
                if measure.owed.is_empty() {
                    histogram.add(now.since(measure.since));
                }
            }
            !measure.owed.is_empty()
        });
    }

    /// Who is gone is not waited for; a change that nobody else was told is not counted.
    pub(crate) fn on_down(&mut self, peer: PeerId) {
        if let Some(open) = &mut self.open {
            open.owed.remove(&peer);
        }
        self.waiting.retain_mut(|measure| {
            measure.owed.remove(&peer);
            !measure.owed.is_empty()
        });
    }
}

impl Core {
    /// Ends handing out where nobody has to be handed more. Nodes are told no service addresses.
    pub(crate) fn settle_announcing(&mut self, more: bool) {
        if more || self.announcing.open.is_none() {
            return;
        }
        let Some(routing) = &self.routing else { return };
        let mut told = self
            .peers
            .iter()
            .filter(|peer| peer.is_established() && !peer.key().is_node());
        if told.all(|peer| {
            Afi::ALL
                .iter()
                .all(|afi| routing.rib.is_in_pace(peer.id, *afi))
        }) {
            self.announcing.seal();
        }
    }
}

/// The kind of object that an event is about.
fn kind(event: &SourceEvent) -> Option<ObjectKind> {
    match event {
        SourceEvent::Apply(fact) => Some(match fact {
            Fact::Node(_) => ObjectKind::Node,
            Fact::Configuration(_) => ObjectKind::BgpConfiguration,
            Fact::Peer(_) => ObjectKind::BgpPeer,
            Fact::Advertisement(_) => ObjectKind::BgpAdvertisement,
            Fact::Filter(_) => ObjectKind::BgpFilter,
            Fact::Secret(_) => ObjectKind::Secret,
            Fact::Service(_) => ObjectKind::Service,
            Fact::EndpointSlice(_) => ObjectKind::EndpointSlice,
            Fact::Namespace(_) => ObjectKind::Namespace,
            Fact::ServiceCidr(_) => ObjectKind::ServiceCidr,
            Fact::Pool(_) => ObjectKind::LoadBalancerPool,
            Fact::BfdProfile(_) => ObjectKind::BfdProfile,
        }),
        SourceEvent::Remove(key) => Some(key.object().kind),
        SourceEvent::Synced(_) | SourceEvent::Problems(..) | SourceEvent::ApiServers(_) => None,
    }
}
