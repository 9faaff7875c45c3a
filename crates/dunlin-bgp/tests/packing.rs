//! UPDATE packing and sharing at the sizes the RIB works with.

use std::net::Ipv4Addr;

use dunlin_bgp::attrs::{self, AttrBuilder, Attrs, Origin};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_bgp::policy::{AttrEdits, PeerType, RejectReason};
use dunlin_bgp::rib::{
    ExportAction, ExportNextHop, ExportPolicy, GroupKey, ImportPolicy, Rib, RibConfig, RibFamily,
    SourceId, SourceInfo,
};
use dunlin_bgp::wire::{ExportEncoding, Limits, frame};
use dunlin_net::{Afi, Asn, Family, Ipv4Net, PeerId, PerFamily, RouterId, V4};

const SEED: u64 = 3;

struct Transit;

impl ImportPolicy for Transit {
    fn judge<F: RibFamily>(
        &self,
        _: &SourceInfo,
        _: F::Net,
        _: Attrs<'_>,
        _: &NextHop,
    ) -> Result<Option<&AttrEdits>, RejectReason> {
        Ok(None)
    }
}

impl ExportPolicy for Transit {
    fn export<F: RibFamily>(
        &self,
        _: &GroupKey,
        _: F::Net,
        _: Attrs<'_>,
        _: &SourceInfo,
    ) -> Result<ExportAction<'_>, RejectReason> {
        Ok(ExportAction {
            edits: None,
            next_hop: ExportNextHop::Unchanged,
        })
    }
}

fn rib() -> (Rib, SourceId) {
    let mut config = RibConfig::new(SEED, RouterId(Ipv4Addr::new(10, 0, 0, 9)), Asn(64512));
    (config.resolve, config.fib) = (false, false);
    let mut rib = Rib::new(config);
    let addr = Ipv4Addr::new(10, 0, 0, 1);
    let source = rib.register(SourceInfo {
        peer: Some(PeerId(1)),
        peer_type: PeerType::External,
        router_id: RouterId(addr),
        remote_addr: addr.into(),
        remote_asn: Asn(65001),
        local_asn: Asn(64512),
        allow_own_as: 0,
        reflector_client: false,
        role: None,
    });
    (rib, source.expect("the first source"))
}

fn key() -> GroupKey {
    GroupKey {
        policy: 0,
        encoding: ExportEncoding {
            peer_type: PeerType::External,
            local_asn: Asn(64512),
            prepend_local_asn: true,
            four_octet_as: true,
            extended_message: false,
            add_path: PerFamily::default(),
            extended_next_hop: false,
        },
        reflector_client: false,
        role: None,
        families: PerFamily {
            v4: true,
            v6: false,
        },
        long_lived: true,
        own_next_hop: PerFamily::default(),
    }
}

fn net(number: u32) -> Ipv4Net {
    V4::net(Ipv4Addr::from(0x0A00_0000 + (number << 8)), 24).expect("24 bits are fine")
}

fn announce(rib: &mut Rib, source: SourceId, set: u32, nets: &[Ipv4Net]) {
    let bytes = AttrBuilder::originated(Origin::Igp)
        .as_path(&[Asn(65001), Asn(100_000 + set)])
        .build();
    let next_hop = NextHop::new(Ipv4Addr::new(10, 0, 0, 1).into());
    let mut batch = RouteBatch::default();
    batch.nlri.v4.extend_from_slice(nets);
    batch.items.push(BatchItem::Announce {
        afi: Afi::Ipv4,
        attrs: 0..bytes.len() as u32,
        hash: attrs::hash(SEED, &bytes, &next_hop),
        next_hop,
        nlri: 0..nets.len() as u32,
    });
    batch.attr_bytes = bytes;
    rib.apply(&Transit, source, &batch);
}

/// Lengths of the messages one peer is sent.
fn messages(rib: &mut Rib) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let Some(output) = rib.poll_output(&Transit, 64 * 1024) {
        let mut rest = &output.bytes[..];
        while !rest.is_empty() {
            let one = frame(rest, Limits::default())
                .expect("sound")
                .expect("whole");
            lengths.push(one.wire_len());
            rest = &rest[lengths[lengths.len() - 1]..];
        }
    }
    lengths
}

#[test]
fn prefixes_with_equal_attributes_meet_however_they_arrived() {
    let (mut rib, source) = rib();
    // One prefix at a time, round and round over a hundred sets.
    for number in 0..20_000 {
        announce(&mut rib, source, number % 100, &[net(number)]);
    }
    rib.join(PeerId(2), None, &key(), usize::MAX >> 1);
    let told = messages(&mut rib);
    // 200 prefixes of four octets a set fit one message each; one is End-of-RIB.
    assert_eq!(told.len(), 100 + 1);
}

#[test]
fn messages_are_filled_to_the_last_prefix_that_fits() {
    let (mut rib, source) = rib();
    let nets: Vec<_> = (0..10_000).map(net).collect();
    announce(&mut rib, source, 0, &nets);
    rib.join(PeerId(2), None, &key(), usize::MAX >> 1);
    let told = messages(&mut rib);
    let full = told.iter().filter(|&&len| len > 4_096 - 5).count();
    assert!(full + 2 >= told.len(), "{told:?}");
    rib.drop_source(source);
    while rib.poll_work(&Transit, 1 << 20) {}
    let withdrawn = messages(&mut rib);
    assert_eq!(withdrawn.len(), 10_000_usize.div_ceil((4_096 - 23) / 4));
    assert_eq!(rib.counts().prefixes.v4, 0);
}

#[test]
fn what_changes_back_before_it_is_told_is_not_told() {
    let (mut rib, source) = rib();
    announce(&mut rib, source, 0, &[net(0)]);
    rib.join(PeerId(2), None, &key(), usize::MAX >> 1);
    assert_eq!(messages(&mut rib).len(), 2);
    announce(&mut rib, source, 1, &[net(0)]);
    announce(&mut rib, source, 0, &[net(0)]);
    assert_eq!(messages(&mut rib), [0; 0]);
}
