//! What a peer announces, as a session hands it over.

use std::net::{IpAddr, Ipv4Addr};

use dunlin_bgp::attrs::{self, AttrBuilder, Origin};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_net::{Afi, Ipv4Net};

/// One UPDATE with these prefixes; an internal peer adds LOCAL_PREF. `seed` is that of the core.
pub(crate) fn announce(
    seed: u64,
    nets: Vec<Ipv4Net>,
    next_hop: Ipv4Addr,
    local_pref: Option<u32>,
) -> RouteBatch {
    let mut attrs = AttrBuilder::originated(Origin::Igp);
    if let Some(local_pref) = local_pref {
        attrs = attrs.local_pref(local_pref);
    }
    announce_with(seed, nets, next_hop, &attrs)
}

/// One UPDATE with these prefixes and attributes.
pub(crate) fn announce_with(
    seed: u64,
    nets: Vec<Ipv4Net>,
    next_hop: Ipv4Addr,
    attrs: &AttrBuilder,
) -> RouteBatch {
    let bytes = attrs.build();
    let next_hop = NextHop::new(IpAddr::V4(next_hop));
    let mut batch = RouteBatch::default();
    batch.items.push(BatchItem::Announce {
        afi: Afi::Ipv4,
        attrs: 0..u32::try_from(bytes.len()).unwrap(),
        hash: attrs::hash(seed, &bytes, &next_hop),
        next_hop,
        nlri: 0..u32::try_from(nets.len()).unwrap(),
    });
    batch.attr_bytes = bytes;
    batch.nlri.v4 = nets;
    batch
}

/// One UPDATE that withdraws these prefixes.
pub(crate) fn withdraw(nets: Vec<Ipv4Net>) -> RouteBatch {
    let mut batch = RouteBatch::default();
    batch.items.push(BatchItem::Withdraw {
        afi: Afi::Ipv4,
        nlri: 0..u32::try_from(nets.len()).unwrap(),
    });
    batch.nlri.v4 = nets;
    batch
}
