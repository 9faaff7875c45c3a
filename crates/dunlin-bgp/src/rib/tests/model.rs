//! A member as the far end sees it: decodes what it is sent and keeps what that says.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_net::{Afi, Family, IpNet, PerFamily, V4, V6};

use super::world::SEED;
use crate::batch::{BatchFamily, BatchItem, NextHop, RouteBatch};
use crate::policy::PeerType;
use crate::wire::{
    DecodeContext, Limits, MessageType, RefreshSubtype, RouteRefresh, decode_update, frame,
};

/// By prefix and path identifier, where there are such.
pub(super) type Told = BTreeMap<(IpNet, Option<u32>), (Vec<u8>, NextHop)>;

#[derive(Debug, Default, Clone)]
pub(super) struct FarEnd {
    pub(super) told: Told,
    pub(super) end_of_rib: PerFamily<u32>,
    pub(super) withdrawals: u32,
    pub(super) messages: u32,
    /// Marks of RFC 7313: of the beginning, of the end.
    pub(super) marks: PerFamily<(u32, u32)>,
    /// What was not told again since the first mark.
    stale: BTreeSet<(IpNet, Option<u32>)>,
}

/// The kind of session, and which families come with path identifiers.
pub(super) type Kind = (PeerType, PerFamily<bool>);

pub(super) fn context((peer_type, add_path): Kind) -> DecodeContext {
    DecodeContext {
        peer_type,
        four_octet_as: true,
        families: PerFamily { v4: true, v6: true },
        add_path,
        extended_next_hop: true,
        enforce_first_as: None,
        interface: 0,
        hash_seed: SEED,
    }
}

/// Decodes whole messages.
pub(super) fn decode(kind: Kind, mut bytes: &[u8]) -> (RouteBatch, u32) {
    let mut batch = RouteBatch::default();
    let mut messages = 0;
    while !bytes.is_empty() {
        let limits = Limits::default();
        let one = frame(bytes, limits)
            .expect("a sound header")
            .expect("a whole message");
        let len = one.wire_len();
        decode_update(&context(kind), one.body, &mut batch).expect("a sound UPDATE");
        bytes = &bytes[len..];
        messages += 1;
    }
    (batch, messages)
}

impl FarEnd {
    /// Takes what was sent; `withdrawn` sees each withdrawn prefix and whether it was known.
    pub(super) fn receive(
        &mut self,
        kind: Kind,
        bytes: &[u8],
        mut withdrawn: impl FnMut(IpNet, bool),
    ) {
        if bytes.get(18) == Some(&(MessageType::RouteRefresh as u8)) {
            self.messages += 1;
            return self.mark(RouteRefresh::parse(&bytes[19..], true).expect("a sound mark"));
        }
        let (batch, messages) = decode(kind, bytes);
        self.messages += messages;
        for item in &batch.items {
            match item {
                BatchItem::Announce {
                    afi,
                    attrs,
                    next_hop,
                    nlri,
                    ..
                } => {
                    let bytes = &batch.attr_bytes[attrs.start as usize..attrs.end as usize];
                    for net in nets(&batch, *afi, nlri) {
                        self.stale.remove(&net);
                        self.told.insert(net, (bytes.to_vec(), *next_hop));
                    }
                }
                BatchItem::Withdraw { afi, nlri } => {
                    for net in nets(&batch, *afi, nlri) {
                        self.withdrawals += 1;
                        withdrawn(net.0, self.told.remove(&net).is_some());
                    }
                }
                BatchItem::EndOfRib(afi) => *self.end_of_rib.get_mut(*afi) += 1,
            }
        }
    }
}

impl FarEnd {
    fn mark(&mut self, mark: RouteRefresh) {
        let afi = mark.family.as_unicast().expect("a family of ours");
        let marks = self.marks.get_mut(afi);
        let of_family = |net: &IpNet| matches!(net, IpNet::V4(_)) == (afi == Afi::Ipv4);
        match mark.subtype {
            RefreshSubtype::Begin => {
                marks.0 += 1;
                assert!(*self.end_of_rib.get(afi) > 0, "RFC 7313 4");
                let told = self.told.keys().filter(|net| of_family(&net.0));
                self.stale.extend(told.copied());
            }
            RefreshSubtype::End => {
                marks.1 += 1;
                let gone = self.stale.extract_if(.., |net| of_family(&net.0));
                for net in gone {
                    self.told.remove(&net);
                }
            }
            other => panic!("{other:?} was not asked for"),
        }
    }
}

fn nets(batch: &RouteBatch, afi: Afi, range: &std::ops::Range<u32>) -> Vec<(IpNet, Option<u32>)> {
    fn of<F: BatchFamily>(
        batch: &RouteBatch,
        range: &std::ops::Range<u32>,
    ) -> Vec<(IpNet, Option<u32>)> {
        let range = range.start as usize..range.end as usize;
        let ids = batch.path_ids.get(F::AFI);
        assert!(ids.is_empty() || ids.len() == F::nlri(batch).len());
        let id = |at: usize| ids.get(at).copied();
        let net = |at: usize| <F as Family>::Net::into(F::nlri(batch)[at]);
        range.map(|at| (net(at), id(at))).collect()
    }
    match afi {
        Afi::Ipv4 => of::<V4>(batch, range),
        Afi::Ipv6 => of::<V6>(batch, range),
    }
}
