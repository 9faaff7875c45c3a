//! From what is told to the octets of UPDATEs.

use dunlin_net::{Afi, Family};

use super::Store;
use super::group::{GroupKey, KEEP_MED, OWN_NEXT_HOP, set_of};
use super::table::{NetId, Table};
use crate::attrs::Attrs;
use crate::batch::NextHop;
use crate::policy::PeerType;
use crate::wire::{Outgoing, Reflection, UpdateWriter, encode_attrs};

impl Store {
    /// The next hop told with a set, or none if the peer could not use it.
    #[inline]
    pub(super) fn next_hop_told(&self, key: &GroupKey, afi: Afi, out: u32) -> Option<NextHop> {
        if out & OWN_NEXT_HOP != 0 {
            return *key.own_next_hop.get(afi);
        }
        let set = self.attrs.get(set_of(out));
        let next_hop = self.hops.get(set.hop).next_hop;
        (Afi::of(next_hop.addr) == afi).then_some(next_hop)
    }

    /// Encodes attributes as a group is told them; `None` if no prefix would fit beside them.
    pub(super) fn attributes<F: Family>(
        &self,
        key: &GroupKey,
        out: u32,
        buffer: &mut Vec<u8>,
    ) -> Option<NextHop> {
        buffer.clear();
        let next_hop = self.next_hop_told(key, F::AFI, out)?;
        let set = self.attrs.get(set_of(out));
        let source = &self.sources.get(set.source).info;
        let internal = PeerType::Internal;
        let reflected = source.peer_type == internal
            && key.encoding.peer_type == internal
            && !source.is_local();
        let route = Outgoing {
            attrs: Attrs::new(&set.bytes),
            next_hop,
            keep_med: out & KEEP_MED != 0,
            reflection: reflected.then_some(Reflection {
                originator_id: source.router_id,
                cluster_id: self.config.cluster_id,
            }),
        };
        encode_attrs::<F>(&route, &key.encoding, buffer);
        let writer = UpdateWriter::new(&key.encoding);
        // Asked to write no prefix, the writer only says whether there is room for one.
        let fits = writer.announce::<F>(buffer, &next_hop, None, &mut Vec::new());
        fits.is_ok().then_some(next_hop)
    }

    /// Appends UPDATEs that announce prefixes; false, and nothing is appended, if the attributes are too long.
    pub(super) fn announce<F: Family>(
        &self,
        key: &GroupKey,
        out: u32,
        table: &Table<F>,
        ids: impl Iterator<Item = NetId>,
        scratch: &mut Vec<u8>,
        bytes: &mut Vec<u8>,
    ) -> bool {
        let Some(next_hop) = self.attributes::<F>(key, out, scratch) else {
            return false;
        };
        let nets = ids.map(|id| table.net(id));
        UpdateWriter::new(&key.encoding)
            .announce::<F>(scratch, &next_hop, nets, bytes)
            .is_ok()
    }

    /// Appends UPDATEs that withdraw prefixes.
    pub(super) fn withdraw<F: Family>(
        key: &GroupKey,
        table: &Table<F>,
        ids: impl Iterator<Item = NetId>,
        bytes: &mut Vec<u8>,
    ) {
        let nets = ids.map(|id| table.net(id));
        UpdateWriter::new(&key.encoding).withdraw::<F>(nets, bytes);
    }
}
