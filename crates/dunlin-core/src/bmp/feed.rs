//! What one station has been told on one connection, and what comes next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use dunlin_bgp::bmp::{self, PeerDown, PeerHeader, PeerUp, Routes, Table};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::rib::{RibFamily, Seen, SourceId, Watch, WatchId, Watched};
use dunlin_net::{Afi, PeerId, PerFamily, V4, V6};

use super::CHUNK;
use crate::peers::Peers;
use crate::routes::Routing;

/// Prefixes looked at together, so that those with equal attributes meet in one UPDATE.
const LOOKED_AT: usize = 8 * 1024;

/// The station is so far behind that something is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overrun;

/// Whose table: a peer's Adj-RIB-In, or the Loc-RIB (`None`).
type Holder = Option<PeerId>;

#[derive(Debug)]
struct Told {
    source: SourceId,
    header: PeerHeader,
    peer_type: PeerType,
}

/// What one station has been told on one connection, and what comes next. At most one entry for each peer in each of its
/// collections.
#[derive(Debug)]
pub(super) struct Feed {
    id: WatchId,
    watch: Watch,
    loc_rib: PeerHeader,
    /// Whole messages that come before all else: Initiation, and Peer Downs, at most one for each peer that was told.
    first: Vec<u8>,
    /// Peers whose session is up and which the station was not told of.
    due: BTreeSet<PeerId>,
    told: BTreeMap<PeerId, Told>,
    by_source: BTreeMap<SourceId, PeerId>,
    /// Tables that are to be marked as told completely, once they are.
    end_of_rib: BTreeSet<(Holder, Afi)>,
    /// The last table whose statistics were told in this round; `None` when all were.
    statistics: Option<Bound<Holder>>,
    /// Everything that was there at the beginning has been told: from here on, what is told happens now.
    begun: bool,
    routes: Routes,
}

impl Feed {
    pub(super) fn begin(watch: Watch, name: &str, routing: &mut Routing, peers: &Peers) -> Feed {
        let config = routing.rib.config();
        let loc_rib = PeerHeader::loc_rib(config.local_asn, config.router_id);
        let mut feed = Feed {
            id: routing.rib.watch(watch),
            watch,
            loc_rib,
            first: Vec::new(),
            due: BTreeSet::new(),
            told: BTreeMap::new(),
            by_source: BTreeMap::new(),
            end_of_rib: BTreeSet::new(),
            statistics: None,
            begun: false,
            routes: Routes::default(),
        };
        let description = concat!("Dunlin ", env!("CARGO_PKG_VERSION"));
        bmp::initiation(name, description, &mut feed.first);
        if watch.loc_rib {
            bmp::loc_rib_up(&feed.loc_rib, &mut feed.first);
            feed.end_of_rib.extend(Afi::ALL.map(|afi| (None, afi)));
        }
        for peer in peers.sorted().iter().filter(|peer| peer.is_established()) {
            feed.on_up(peer.id);
        }
        feed
    }

    pub(super) fn watch(&self) -> WatchId {
        self.id
    }

    pub(super) fn on_up(&mut self, peer: PeerId) {
        if self.watch.adj_rib_in {
            self.due.insert(peer);
        }
    }

    pub(super) fn on_down(&mut self, peer: PeerId, why: &PeerDown) {
        self.due.remove(&peer);
        if let Some(told) = self.told.remove(&peer) {
            self.by_source.remove(&told.source);
            why.encode(&told.header, &mut self.first);
            for afi in Afi::ALL {
                self.end_of_rib.remove(&(Some(peer), afi));
            }
        }
    }

    /// The peer has told all it had.
    pub(super) fn on_end_of_rib(&mut self, peer: PeerId, afi: Afi) {
        if self.told.contains_key(&peer) {
            self.end_of_rib.insert((Some(peer), afi));
        }
    }

    /// Statistics of all tables are due.
    pub(super) fn report_statistics(&mut self) {
        self.statistics = Some(Bound::Unbounded);
    }

    /// Encodes about [`CHUNK`] octets of what comes next; nothing if nothing does.
    pub(super) fn tell(
        &mut self,
        wall: Duration,
        routing: &mut Routing,
        peers: &Peers,
        out: &mut Vec<u8>,
    ) -> Result<(), Overrun> {
        out.append(&mut self.first);
        self.tell_ups(wall, routing, peers, out);
        self.tell_statistics(wall, routing, out);
        if out.len() >= CHUNK {
            return Ok(());
        }
        let at = self.begun.then_some(wall);
        let all = self.tell_routes::<V4>(at, routing, out)?
            && self.tell_routes::<V6>(at, routing, out)?;
        if all {
            self.begun = true;
            self.tell_ends(out);
        }
        Ok(())
    }

    /// No route of a peer is told before the peer is.
    fn tell_ups(&mut self, wall: Duration, routing: &Routing, peers: &Peers, out: &mut Vec<u8>) {
        while out.len() < CHUNK
            && let Some(id) = self.due.pop_first()
        {
            let Some(peer) = peers.get(id) else { continue };
            let (Some(up), Some(source)) = (&peer.up, peer.source) else {
                continue;
            };
            let with = &up.negotiated;
            let header = PeerHeader {
                table: Table::AdjRibIn,
                addr: with.remote.ip(),
                asn: with.remote_asn,
                router_id: with.remote_router_id,
                at: self.begun.then_some(wall),
            };
            let ends = PeerUp {
                local: with.local,
                remote: with.remote,
                sent: &with.opens.sent,
                received: &with.opens.received,
            };
            bmp::peer_up(&header, &ends, out);
            debug_assert!(routing.rib.source(source).is_some());
            for afi in Afi::ALL {
                // A peer that does not say when it has told all is taken as it is.
                let told_all = *up.end_of_rib.get(afi) || with.graceful_restart.is_none();
                if *with.families.get(afi) && told_all {
                    self.end_of_rib.insert((Some(id), afi));
                }
            }
            self.by_source.insert(source, id);
            let told = Told {
                source,
                header,
                peer_type: with.peer_type,
            };
            self.told.insert(id, told);
        }
    }

    fn tell_statistics(&mut self, wall: Duration, routing: &Routing, out: &mut Vec<u8>) {
        let Some(from) = self.statistics.take() else {
            return;
        };
        if from == Bound::Unbounded && self.watch.loc_rib {
            let counts = routing.rib.best_counts();
            let header = PeerHeader {
                at: Some(wall),
                ..self.loc_rib.clone()
            };
            bmp::statistics(&header, counts, out);
        }
        let from = match from {
            Bound::Excluded(Some(peer)) => Bound::Excluded(peer),
            _ => Bound::Unbounded,
        };
        for (id, told) in self.told.range((from, Bound::Unbounded)) {
            let of = |afi| u64::from(routing.rib.source_counts(told.source, afi).received);
            let counts = PerFamily {
                v4: of(Afi::Ipv4),
                v6: of(Afi::Ipv6),
            };
            let header = PeerHeader {
                at: Some(wall),
                ..told.header.clone()
            };
            bmp::statistics(&header, counts, out);
            if out.len() >= CHUNK {
                self.statistics = Some(Bound::Excluded(Some(*id)));
                return;
            }
        }
    }

    /// Whether all of the family has been told.
    fn tell_routes<F: RibFamily>(
        &mut self,
        at: Option<Duration>,
        routing: &mut Routing,
        out: &mut Vec<u8>,
    ) -> Result<bool, Overrun> {
        while out.len() < CHUNK {
            let (told, by_source) = (&self.told, &self.by_source);
            let (loc_rib, routes) = (&self.loc_rib, &mut self.routes);
            let tell = |seen: Seen<'_, F>| {
                let of_peer = |source| told.get(by_source.get(&source)?);
                let whose = match seen.of {
                    None => Some((loc_rib, PeerType::Internal)),
                    Some(source) => of_peer(source).map(|told| (&told.header, told.peer_type)),
                };
                // Whose session is down has been withdrawn by that.
                if let Some((header, peer_type)) = whose {
                    let header = PeerHeader {
                        at,
                        ..header.clone()
                    };
                    tell_seen(routes, &header, peer_type, &seen, out);
                }
                out.len() < CHUNK
            };
            match routing.rib.poll_watch::<F>(self.id, LOOKED_AT, tell) {
                Watched::All => return Ok(true),
                Watched::More => {}
                Watched::Overrun => return Err(Overrun),
            }
        }
        Ok(false)
    }

    fn tell_ends(&mut self, out: &mut Vec<u8>) {
        while out.len() < CHUNK
            && let Some((holder, afi)) = self.end_of_rib.pop_first()
        {
            let header = match holder {
                None => Some(&self.loc_rib),
                Some(peer) => self.told.get(&peer).map(|told| &told.header),
            };
            if let Some(header) = header {
                bmp::end_of_rib(header, afi, out);
            }
        }
    }
}

fn tell_seen<F: RibFamily>(
    routes: &mut Routes,
    header: &PeerHeader,
    peer_type: PeerType,
    seen: &Seen<'_, F>,
    out: &mut Vec<u8>,
) {
    let Some(route) = &seen.route else {
        routes.withdraw::<F>(header, (seen.nets, seen.path_ids), out);
        return;
    };
    let (attrs, next_hop) = (route.attrs, route.next_hop);
    let nets = (seen.nets, seen.path_ids);
    let told = routes.announce::<F>(header, peer_type, attrs, next_hop, nets, out);
    if told.is_err() {
        // They came in a message that held attributes we sorted out, so this is not met; if it were, no route is better
        // than an old one.
        routes.withdraw::<F>(header, (seen.nets, seen.path_ids), out);
    }
}
