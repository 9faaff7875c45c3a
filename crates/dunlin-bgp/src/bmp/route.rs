//! Routes as stations are told them.

use dunlin_net::{Afi, Family};

use super::{PeerHeader, Table, begin_of_peer, finish, kind};
use crate::attrs::Attrs;
use crate::batch::NextHop;
use crate::policy::PeerType;
use crate::wire::{
    AttrsTooLong, ExportEncoding, HEADER_LEN, Limits, Outgoing, UpdateWriter, encode_attrs, frame,
};

/// Encodes Route Monitoring messages (RFC 7854 4.6): one for each UPDATE.
#[derive(Debug, Default)]
pub struct Routes {
    attrs: Vec<u8>,
    updates: Vec<u8>,
}

impl Routes {
    /// Appends messages that announce prefixes with these attributes; with path identifiers (RFC 7911) if there are any, one
    /// for each prefix. `peer_type` is that of the session: between external
    /// peers, attributes that only internal ones tell are left out. UPDATEs are as short as all peers take (4,096 octets)
    /// unless the attributes do not fit.
    ///
    /// # Errors
    /// The attributes fit no message at all.
    pub fn announce<F: Family>(
        &mut self,
        peer: &PeerHeader,
        peer_type: PeerType,
        attrs: Attrs<'_>,
        next_hop: NextHop,
        (nets, path_ids): (&[F::Net], &[u32]),
        out: &mut Vec<u8>,
    ) -> Result<(), AttrsTooLong> {
        let peer_type = match peer.table {
            Table::AdjRibIn => peer_type,
            // There LOCAL_PREF decides, whoever told the route.
            Table::LocRib => PeerType::Internal,
        };
        let route = Outgoing {
            attrs,
            next_hop,
            keep_med: true,
            reflection: None,
        };
        self.attrs.clear();
        encode_attrs::<F>(&route, &ExportEncoding::as_held(peer_type), &mut self.attrs);
        self.updates.clear();
        let write = |extended_message: bool, updates: &mut Vec<u8>| {
            let writer = UpdateWriter::with_limits(Limits {
                extended_message,
                ..Limits::default()
            });
            let nets = nets.iter().copied();
            if path_ids.is_empty() {
                return writer.announce::<F>(&self.attrs, &next_hop, nets, updates);
            }
            let paths = path_ids.iter().copied().zip(nets);
            writer.announce_paths::<F>(&self.attrs, &next_hop, paths, updates)
        };
        if write(false, &mut self.updates).is_err() {
            write(true, &mut self.updates)?;
        }
        wrap(peer, &self.updates, out);
        Ok(())
    }

    /// Appends messages that withdraw prefixes.
    pub fn withdraw<F: Family>(
        &mut self,
        peer: &PeerHeader,
        (nets, path_ids): (&[F::Net], &[u32]),
        out: &mut Vec<u8>,
    ) {
        self.updates.clear();
        let writer = UpdateWriter::with_limits(Limits {
            extended_message: false,
            ..Limits::default()
        });
        let nets = nets.iter().copied();
        if path_ids.is_empty() {
            writer.withdraw::<F>(nets, &mut self.updates);
        } else {
            let paths = path_ids.iter().copied().zip(nets);
            writer.withdraw_paths::<F>(paths, &mut self.updates);
        }
        wrap(peer, &self.updates, out);
    }
}

/// Appends the End-of-RIB that ends a first telling of a table (RFC 7854 5).
pub fn end_of_rib(peer: &PeerHeader, afi: Afi, out: &mut Vec<u8>) {
    let mut update = Vec::with_capacity(HEADER_LEN + 16);
    UpdateWriter::end_of_rib(afi, &mut update);
    wrap(peer, &update, out);
}

/// Puts each message of a stream into one of ours.
fn wrap(peer: &PeerHeader, mut updates: &[u8], out: &mut Vec<u8>) {
    let limits = Limits {
        extended_message: true,
        ..Limits::default()
    };
    // They are our own, so each is whole.
    while let Ok(Some(message)) = frame(updates, limits) {
        let Some((update, rest)) = updates.split_at_checked(message.wire_len()) else {
            return;
        };
        updates = rest;
        let start = begin_of_peer(kind::ROUTE_MONITORING, peer, out);
        out.extend_from_slice(update);
        finish(start, out);
    }
}
