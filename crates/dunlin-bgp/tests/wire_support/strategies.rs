//! Routes of all kinds for property tests.

use dunlin_bgp::attrs::{Aggregator, AttrBuilder, Origin, SegmentKind};
use dunlin_net::{Asn, Family, RouterId, V4, V6};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65_535_u32, 1..=u32::MAX].prop_map(Asn)
}

pub fn router_id() -> impl Strategy<Value = RouterId> {
    any::<u32>().prop_map(|id| RouterId(id.into()))
}

pub fn segment() -> impl Strategy<Value = (SegmentKind, Vec<Asn>)> {
    let kind = prop_oneof![
        4 => Just(SegmentKind::Sequence),
        1 => Just(SegmentKind::Set)
    ];
    let few = vec(asn(), 1..5);
    let many = vec(asn(), 250..=255);
    (kind, prop_oneof![8 => few, 1 => many])
}

prop_compose! {
    /// Attributes of all kinds but those of a reflector.
    pub fn builder()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        path in vec(segment(), 0..4),
        med in option::of(any::<u32>()),
        local_pref in any::<u32>(),
        atomic in any::<bool>(),
        aggregator in option::of((asn(), router_id())),
        communities in vec(any::<u32>(), 0..100),
        extended in vec(any::<[u8; 8]>(), 0..5),
        large in vec(any::<[u32; 3]>(), 0..30),
        unknown in vec((200..=250_u8, vec(any::<u8>(), 0..300)), 0..3),
    ) -> AttrBuilder {
        let path: Vec<_> = path.iter().map(|(kind, asns)| (*kind, asns.as_slice())).collect();
        let mut builder = AttrBuilder::originated(origin)
            .as_path_segments(&path)
            .local_pref(local_pref)
            .communities(&communities)
            .extended_communities(&extended)
            .large_communities(&large);
        if let Some(med) = med {
            builder = builder.med(med);
        }
        if atomic {
            builder = builder.atomic_aggregate();
        }
        if let Some((asn, router_id)) = aggregator {
            builder = builder.aggregator(Aggregator { asn, router_id });
        }
        for (code, value) in unknown {
            builder = builder.unknown(code, &value);
        }
        builder
    }
}

prop_compose! {
    /// Attributes of all kinds.
    pub fn reflected()(
        builder in builder(),
        ids in option::of((router_id(), vec(router_id(), 1..80))),
    ) -> Vec<u8> {
        match ids {
            Some((originator, clusters)) => {
                builder.originator_id(originator).cluster_list(&clusters).build()
            }
            None => builder.build(),
        }
    }
}

pub fn v4_prefix() -> impl Strategy<Value = dunlin_net::Ipv4Net> {
    (any::<u32>(), 0..=32_u8)
        .prop_map(|(addr, len)| V4::net(addr.into(), len).expect("a length"))
        .prop_filter("multicast", |net| !net.addr().is_multicast())
}

pub fn v6_prefix() -> impl Strategy<Value = dunlin_net::Ipv6Net> {
    (any::<u128>(), 0..=128_u8)
        .prop_map(|(addr, len)| V6::net(addr.into(), len).expect("a length"))
        .prop_filter("multicast", |net| !net.addr().is_multicast())
}
