//! Tables as MRT dumps, a piece at a time.
//!
//! A dump is a value that goes to and fro between whoever writes it and the core, which keeps nothing of it: so it costs the core
//! the time of one piece, and nobody waits for a slow reader. What changes meanwhile is in it or not, as it happens.

use std::time::Duration;

use dunlin_api::DumpedTable;
use dunlin_bgp::mrt::{Entry, Peer, Records};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::rib::{PathView, RibFamily, SourceInfo};
use dunlin_net::{Afi, V4, V6};

use crate::core::Core;
use crate::routes::Routing;

/// A piece ends with the prefix that brings it here.
const PIECE_OCTETS: usize = 128 * 1024;

/// Prefixes looked at in one step, and most of one piece.
const STEP: usize = 256;
const PIECE_PREFIXES: usize = 4096;

/// A dump in the making.
#[derive(Clone, Debug)]
pub struct TableDump {
    table: DumpedTable,
    /// The wall clock when it was asked for, since 1970.
    at: Duration,
    /// Sorted. Those that come up later are in no dump that began before.
    peers: Vec<Peer>,
    records: Option<Records>,
    /// The family and the cursor that come next; `None` at the end.
    next: Option<(Afi, u32)>,
}

/// What [`Core::dump`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dumped {
    /// Whole records; there may be more.
    Piece(Vec<u8>),
    /// That was all.
    All,
    /// There are no tables: it is not known yet who we are.
    NoTables,
}

impl TableDump {
    /// A dump of a table, at this time since 1970.
    pub fn new(table: DumpedTable, at: Duration) -> TableDump {
        TableDump {
            table,
            at,
            peers: Vec::new(),
            records: None,
            next: Some((Afi::Ipv4, 0)),
        }
    }

    fn begin(&mut self, core: &Core, routing: &Routing) -> Vec<u8> {
        let sources = core.peers.sorted();
        let sources = sources.iter().filter_map(|peer| peer.source);
        let infos = sources
            .chain(routing.own)
            .filter_map(|source| routing.rib.source(source));
        self.peers = infos.map(peer).collect();
        self.peers.sort_unstable();
        self.peers.dedup();
        let mut out = Vec::new();
        let view = match self.table {
            DumpedTable::AdjRibIn => "Adj-RIB-In",
            DumpedTable::LocRib => "Loc-RIB",
        };
        let collector = routing.rib.config().router_id;
        let records = Records::begin(self.at, collector, view, &self.peers, &mut out);
        self.records = Some(records);
        out
    }

    fn entry<'a, F: RibFamily>(&self, path: &PathView<'a>) -> Option<Entry<'a>> {
        let (attrs, peer_type) = match self.table {
            DumpedTable::AdjRibIn if path.info.is_local() => return None,
            DumpedTable::AdjRibIn => (path.received, path.info.peer_type),
            DumpedTable::LocRib if !path.best => return None,
            // There LOCAL_PREF decides, whoever told the route.
            DumpedTable::LocRib => (path.used.ok()?, PeerType::Internal),
        };
        let at = self.peers.binary_search(&peer(path.info)).ok()?;
        Some(Entry {
            peer: u16::try_from(at).ok()?,
            path_id: path.path_id.filter(|_| self.table == DumpedTable::AdjRibIn),
            peer_type,
            attrs,
            next_hop: path.info.told_next_hop(F::AFI, path.next_hop),
        })
    }

    /// Goes on with a family; gives the cursor to go on from.
    fn rows<F: RibFamily>(
        &mut self,
        routing: &Routing,
        from: u32,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        let mut records = self.records.take()?;
        let mut cursor = Some(from);
        let mut prefixes = 0;
        while let Some(at) = cursor
            && out.len() < PIECE_OCTETS
            && prefixes < PIECE_PREFIXES
        {
            let (views, next) = routing.rib.scan::<F>(at, STEP);
            for view in &views {
                let entries: Vec<Entry<'_>> = (view.paths.iter())
                    .filter_map(|path| self.entry::<F>(path))
                    .collect();
                records.prefix::<F>(view.net, &entries, out);
            }
            prefixes += views.len();
            cursor = next;
        }
        self.records = Some(records);
        cursor
    }
}

fn peer(info: &SourceInfo) -> Peer {
    Peer {
        addr: info.remote_addr.to_canonical(),
        router_id: info.router_id,
        asn: info.remote_asn,
    }
}

impl Core {
    /// Writes the next piece of a dump.
    pub fn dump(&self, dump: &mut TableDump) -> Dumped {
        let Some(routing) = &self.routing else {
            return Dumped::NoTables;
        };
        if dump.records.is_none() {
            return Dumped::Piece(dump.begin(self, routing));
        }
        let mut out = Vec::new();
        while let Some((afi, from)) = dump.next
            && out.is_empty()
        {
            let cursor = match afi {
                Afi::Ipv4 => dump.rows::<V4>(routing, from, &mut out),
                Afi::Ipv6 => dump.rows::<V6>(routing, from, &mut out),
            };
            dump.next = match (cursor, afi) {
                (Some(cursor), afi) => Some((afi, cursor)),
                (None, Afi::Ipv4) => Some((Afi::Ipv6, 0)),
                (None, Afi::Ipv6) => None,
            };
        }
        if out.is_empty() {
            return Dumped::All;
        }
        Dumped::Piece(out)
    }
}
