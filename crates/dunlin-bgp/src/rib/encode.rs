//! From what is told to the octets of UPDATEs.

use dunlin_net::{Afi, Family};

use super::Store;
use super::group::{Group, GroupKey, KEEP_MED, set_of};
use super::table::Table;
use crate::attrs::{AttrBuilder, Attrs};
use crate::batch::NextHop;
use crate::policy::PeerType;
use crate::wire::{Outgoing, Reflection, UpdateWriter, encode_attrs};

impl Store {
    /// The next hop told with a set, or none if the peer could not use it.
    #[inline]
    pub(super) fn next_hop_told(&self, key: &GroupKey, afi: Afi, out: u32) -> Option<NextHop> {
        key.next_hop(afi, out, || {
            let set = self.attrs.get(set_of(out));
            self.hops.get(set.hop).next_hop
        })
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
        let marked;
        let attrs = if key.adds_only_to_customer(set.key.flags) {
            let builder = AttrBuilder::from_attrs(Attrs::new(&set.bytes));
            marked = builder.only_to_customer(key.encoding.local_asn).build();
            Attrs::new(&marked)
        } else {
            Attrs::new(&set.bytes)
        };
        let route = Outgoing {
            attrs,
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
        let fits = match *key.encoding.add_path.get(F::AFI) {
            false => writer.announce::<F>(buffer, &next_hop, None, &mut Vec::new()),
            true => writer.announce_paths::<F>(buffer, &next_hop, None, &mut Vec::new()),
        };
        fits.is_ok().then_some(next_hop)
    }

    /// Appends UPDATEs that announce entries of Adj-RIB-Out; false, and nothing is appended, if the attributes are too
    /// long.
    pub(super) fn announce<F: Family>(
        &self,
        group: &Group,
        out: u32,
        table: &Table<F>,
        ids: impl Iterator<Item = u32>,
        (scratch, bytes): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> bool {
        let key = &group.key;
        let Some(next_hop) = self.attributes::<F>(key, out, scratch) else {
            return false;
        };
        let writer = UpdateWriter::new(&key.encoding);
        let written = match &group.out.get(F::AFI).paths {
            None => {
                let nets = ids.map(|id| table.net(id));
                writer.announce::<F>(scratch, &next_hop, nets, bytes)
            }
            Some(paths) => {
                let told = ids.map(|id| paths.told(id, table));
                writer.announce_paths::<F>(scratch, &next_hop, told, bytes)
            }
        };
        written.is_ok()
    }

    /// Appends UPDATEs that withdraw entries of Adj-RIB-Out.
    pub(super) fn withdraw<F: Family>(
        group: &Group,
        table: &Table<F>,
        ids: impl Iterator<Item = u32>,
        bytes: &mut Vec<u8>,
    ) {
        let writer = UpdateWriter::new(&group.key.encoding);
        match &group.out.get(F::AFI).paths {
            None => writer.withdraw::<F>(ids.map(|id| table.net(id)), bytes),
            Some(paths) => writer.withdraw_paths::<F>(ids.map(|id| paths.told(id, table)), bytes),
        };
    }
}
