//! Small worlds for tests: named prefixes, attribute sets, peers; policies whose facts can be changed.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use dunlin_net::{Afi, Asn, Family, IpNet, Ipv4Net, Ipv6Net, PeerId, PerFamily, RouterId, V4, V6};

use super::model::Kind;
use crate::attrs::{self, AttrBuilder, Attrs, Origin};
use crate::batch::{BatchFamily, BatchItem, NextHop, RouteBatch};
use crate::policy::{AttrEdits, PeerType, RejectReason};
use crate::rib::{
    ExportAction, ExportNextHop, ExportPolicy, GroupKey, ImportPolicy, RibConfig, RibFamily,
    SourceInfo,
};
use crate::wire::ExportEncoding;

pub(super) const SEED: u64 = 42;
pub(super) const US: Asn = Asn(64512);

pub(super) fn router_id(last: u8) -> RouterId {
    RouterId(Ipv4Addr::new(10, 255, 0, last))
}

pub(super) fn config() -> RibConfig {
    RibConfig::new(SEED, router_id(254), US)
}

/// A family with test prefixes and next hops.
pub(super) trait TestFamily: RibFamily {
    fn test_net(number: u8) -> Self::Net;
    fn test_hop(number: u8) -> NextHop;
}

impl TestFamily for V4 {
    fn test_net(number: u8) -> Ipv4Net {
        V4::net(Ipv4Addr::new(20, number, 0, 0), 16).unwrap()
    }

    fn test_hop(number: u8) -> NextHop {
        NextHop::new(Ipv4Addr::new(10, 9, 0, number).into())
    }
}

impl TestFamily for V6 {
    fn test_net(number: u8) -> Ipv6Net {
        V6::net(
            Ipv6Addr::new(0x2001, 0xdb8, number.into(), 0, 0, 0, 0, 0),
            48,
        )
        .unwrap()
    }

    fn test_hop(number: u8) -> NextHop {
        NextHop::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into())
    }
}

/// A peer of the given kind; everything about it follows from its number.
pub(super) fn peer(number: u8, peer_type: PeerType) -> SourceInfo {
    SourceInfo {
        peer: Some(PeerId(number.into())),
        peer_type,
        router_id: router_id(number),
        remote_addr: Ipv4Addr::new(10, 0, 0, number).into(),
        remote_asn: match peer_type {
            PeerType::Internal => US,
            PeerType::External => Asn(65000 + u32::from(number)),
        },
        local_asn: US,
        allow_own_as: 0,
        reflector_client: false,
        role: None,
    }
}

pub(super) fn key(policy: u32, peer_type: PeerType, reflector_client: bool) -> GroupKey {
    GroupKey {
        policy,
        encoding: ExportEncoding {
            peer_type,
            local_asn: US,
            prepend_local_asn: peer_type == PeerType::External,
            four_octet_as: true,
            extended_message: false,
            add_path: PerFamily::default(),
            extended_next_hop: false,
        },
        reflector_client,
        role: None,
        families: PerFamily { v4: true, v6: true },
        long_lived: true,
        own_next_hop: PerFamily {
            v4: Some(V4::test_hop(254)),
            v6: Some(V6::test_hop(254)),
        },
    }
}

/// How what a group is told reads.
pub(super) fn kind(key: &GroupKey) -> Kind {
    (key.encoding.peer_type, key.encoding.add_path)
}

pub(super) const ATTR_VARIANTS: u8 = 14;

/// Attribute sets that differ in one thing or another.
pub(super) fn attrs(variant: u8) -> Vec<u8> {
    let base = AttrBuilder::originated(Origin::Igp).as_path(&[Asn(65001), Asn(1)]);
    match variant {
        0 => base,
        1 => base.as_path(&[Asn(65001), Asn(2), Asn(3)]),
        2 => base.origin(Origin::Incomplete),
        3 => base.med(10),
        4 => base.med(20),
        5 => base.as_path(&[Asn(65002), Asn(1)]).med(5),
        6 => base.as_path(&[Asn(65002), Asn(7)]),
        7 => base.as_path(&[Asn(65002), US]),
        8 => base.communities(&[0xFFFF_FF01]),
        9 => base.communities(&[0xFFFF_FF02]),
        10 => base.local_pref(300),
        11 => base.originator_id(router_id(1)),
        12 => base
            .originator_id(router_id(9))
            .cluster_list(&[router_id(250)]),
        _ => base
            .originator_id(router_id(9))
            .cluster_list(&[router_id(254)]),
    }
    .build()
}

/// Adds an announcement to a batch.
pub(super) fn announce<F: BatchFamily>(
    batch: &mut RouteBatch,
    bytes: &[u8],
    next_hop: NextHop,
    nets: &[F::Net],
) {
    let at = batch.attr_bytes.len() as u32;
    let nlri = F::nlri(batch).len() as u32;
    batch.attr_bytes.extend_from_slice(bytes);
    F::nlri_mut(batch).extend_from_slice(nets);
    batch.items.push(BatchItem::Announce {
        afi: F::AFI,
        attrs: at..at + bytes.len() as u32,
        hash: attrs::hash(SEED, bytes, &next_hop),
        next_hop,
        nlri: nlri..nlri + nets.len() as u32,
    });
}

/// Gives the prefixes last added to a batch one path identifier.
pub(super) fn identify<F: BatchFamily>(batch: &mut RouteBatch, path_id: u32) {
    let count = F::nlri(batch).len();
    batch.path_ids.get_mut(F::AFI).resize(count, path_id);
}

/// Adds a withdrawal to a batch.
pub(super) fn withdraw<F: BatchFamily>(batch: &mut RouteBatch, nets: &[F::Net]) {
    let nlri = F::nlri(batch).len() as u32;
    F::nlri_mut(batch).extend_from_slice(nets);
    batch.items.push(BatchItem::Withdraw {
        afi: F::AFI,
        nlri: nlri..nlri + nets.len() as u32,
    });
}

/// Policies in both directions, with facts that tests change.
#[derive(Debug, Default, Clone)]
pub(super) struct Facts {
    pub(super) import_rejects: BTreeSet<IpNet>,
    pub(super) import_edits: BTreeSet<IpNet>,
    pub(super) export_rejects: BTreeSet<IpNet>,
    pub(super) export_edits: BTreeSet<IpNet>,
    pub(super) prefer: AttrEdits,
    pub(super) with_med: AttrEdits,
}

impl Facts {
    pub(super) fn new() -> Facts {
        Facts {
            prefer: AttrEdits {
                local_pref: Some(200),
                ..AttrEdits::default()
            },
            with_med: AttrEdits {
                med: Some(77),
                prepend: Some((US, 1)),
                ..AttrEdits::default()
            },
            ..Facts::default()
        }
    }
}

impl ImportPolicy for Facts {
    fn judge<F: RibFamily>(
        &self,
        _: &SourceInfo,
        net: F::Net,
        _: Attrs<'_>,
        _: &NextHop,
    ) -> Result<Option<&AttrEdits>, RejectReason> {
        let net: IpNet = net.into();
        if self.import_rejects.contains(&net) {
            return Err(RejectReason::NotAPodSubnet);
        }
        Ok(self.import_edits.contains(&net).then_some(&self.prefer))
    }
}

impl ExportPolicy for Facts {
    fn export<F: RibFamily>(
        &self,
        group: &GroupKey,
        net: F::Net,
        _: Attrs<'_>,
        _: &SourceInfo,
    ) -> Result<ExportAction<'_>, RejectReason> {
        let net: IpNet = net.into();
        if group.policy == 0 && self.export_rejects.contains(&net) {
            return Err(RejectReason::NotAdvertised);
        }
        let external = group.encoding.peer_type == PeerType::External;
        Ok(ExportAction {
            edits: self.export_edits.contains(&net).then_some(&self.with_med),
            next_hop: if external {
                ExportNextHop::Own
            } else {
                ExportNextHop::Unchanged
            },
        })
    }
}

/// The family of a prefix number: the upper ones are IPv6.
pub(super) fn afi_of(number: u8, first_v6: u8) -> Afi {
    if number < first_v6 {
        Afi::Ipv4
    } else {
        Afi::Ipv6
    }
}
