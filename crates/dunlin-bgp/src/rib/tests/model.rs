//! A member as the far end sees it: decodes what it is sent and keeps what that says.

use std::collections::BTreeMap;

use dunlin_net::{Afi, Family, IpNet, PerFamily, V4, V6};

use super::world::SEED;
use crate::batch::{BatchFamily, BatchItem, NextHop, RouteBatch};
use crate::policy::PeerType;
use crate::wire::{DecodeContext, Limits, decode_update, frame};

pub(super) type Told = BTreeMap<IpNet, (Vec<u8>, NextHop)>;

#[derive(Debug, Default, Clone)]
pub(super) struct FarEnd {
    pub(super) told: Told,
    pub(super) end_of_rib: PerFamily<u32>,
    pub(super) withdrawals: u32,
    pub(super) messages: u32,
}

pub(super) fn context(peer_type: PeerType) -> DecodeContext {
    DecodeContext {
        peer_type,
        four_octet_as: true,
        families: PerFamily { v4: true, v6: true },
        extended_next_hop: false,
        enforce_first_as: None,
        hash_seed: SEED,
    }
}

/// Decodes whole messages.
pub(super) fn decode(peer_type: PeerType, mut bytes: &[u8]) -> (RouteBatch, u32) {
    let mut batch = RouteBatch::default();
    let mut messages = 0;
    while !bytes.is_empty() {
        let limits = Limits::default();
        let one = frame(bytes, limits)
            .expect("a sound header")
            .expect("a whole message");
        let len = one.wire_len();
        decode_update(&context(peer_type), one.body, &mut batch).expect("a sound UPDATE");
        bytes = &bytes[len..];
        messages += 1;
    }
    (batch, messages)
}

impl FarEnd {
    /// Takes what was sent; `withdrawn` sees each withdrawn prefix and whether it was known.
    pub(super) fn receive(
        &mut self,
        peer_type: PeerType,
        bytes: &[u8],
        mut withdrawn: impl FnMut(IpNet, bool),
    ) {
        let (batch, messages) = decode(peer_type, bytes);
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
                        self.told.insert(net, (bytes.to_vec(), *next_hop));
                    }
                }
                BatchItem::Withdraw { afi, nlri } => {
                    for net in nets(&batch, *afi, nlri) {
                        self.withdrawals += 1;
                        withdrawn(net, self.told.remove(&net).is_some());
                    }
                }
                BatchItem::EndOfRib(afi) => *self.end_of_rib.get_mut(*afi) += 1,
            }
        }
    }
}

fn nets(batch: &RouteBatch, afi: Afi, range: &std::ops::Range<u32>) -> Vec<IpNet> {
    fn of<F: BatchFamily>(batch: &RouteBatch, range: &std::ops::Range<u32>) -> Vec<IpNet> {
        F::nlri(batch)[range.start as usize..range.end as usize]
            .iter()
            .map(|&net| <F as Family>::Net::into(net))
            .collect()
    }
    match afi {
        Afi::Ipv4 => of::<V4>(batch, range),
        Afi::Ipv6 => of::<V6>(batch, range),
    }
}
