//! What we write as MRT dumps, bgpkit reads.

#[path = "../../../crates/dunlin-bgp/tests/wire_support/mod.rs"]
mod wire_support;

use std::net::IpAddr;
use std::time::Duration;

use bgpkit_parser::models::{
    AttributeValue, MrtMessage, NextHopAddress, RibAfiEntries, TableDumpV2Message, TableDumpV2Type,
};
use bgpkit_parser::parser::mrt::mrt_record::parse_mrt_record;
use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::mrt::{Entry, PEERS_MAX, Peer, Records};
use dunlin_bgp::policy::PeerType;
use dunlin_net::{Asn, Family, IpNet, RouterId, V4, V6};
use proptest::collection::vec;
use proptest::prelude::*;
use wire_support::strategies::{asn, reflected, router_id, v4_prefix, v6_prefix};
use wire_support::*;

const AT: u64 = 1_700_000_000;

/// Reads every record of a dump; all have its time.
#[track_caller]
fn read(mut dump: &[u8]) -> Vec<TableDumpV2Message> {
    let mut read = Vec::new();
    while !dump.is_empty() {
        let record = parse_mrt_record(&mut dump).unwrap_or_else(|error| panic!("{}", error.error));
        assert_eq!(u64::from(record.common_header.timestamp), AT);
        match record.message {
            MrtMessage::TableDumpV2Message(message) => read.push(message),
            other => panic!("{other:?}"),
        }
    }
    read
}

fn rib(message: &TableDumpV2Message) -> &RibAfiEntries {
    match message {
        TableDumpV2Message::RibAfi(entries) => entries,
        other => panic!("{other:?}"),
    }
}

fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(IpAddr::from),
        any::<[u16; 7]>()
            .prop_map(|[a, b, c, d, e, f, g]| { IpAddr::from([0x2001, a, b, c, d, e, f, g]) }),
    ]
}

prop_compose! {
    fn peer()(addr in addr(), router_id in router_id(), asn in asn()) -> Peer {
        Peer { addr, router_id, asn }
    }
}

/// A path: whose, its identifier, whether it came from an internal peer, attributes.
type Told = (u16, Option<u32>, bool, Vec<u8>);

fn told() -> impl Strategy<Value = Vec<Told>> {
    vec(
        (
            any::<u16>(),
            any::<Option<u32>>(),
            any::<bool>(),
            reflected(),
        ),
        1..12,
    )
}

/// Writes one prefix, and compares what is read with what was meant.
fn prefix<F: Family>(net: F::Net, told: &[Told], next_hop: NextHop) -> Result<(), TestCaseError> {
    let entries: Vec<Entry<'_>> = told
        .iter()
        .map(|(peer, path_id, internal, attrs)| Entry {
            peer: *peer,
            path_id: *path_id,
            peer_type: if *internal {
                PeerType::Internal
            } else {
                PeerType::External
            },
            attrs: Attrs::new(attrs),
            next_hop,
        })
        .collect();
    let mut out = Vec::new();
    let id = RouterId([192, 0, 2, 1].into());
    let mut records = Records::begin(Duration::from_secs(AT), id, "v", &[], &mut out);
    records.prefix::<F>(net, &entries, &mut out);
    let all = read(&out);
    let records = &all[1..];
    prop_assert!((1..=2).contains(&records.len()));
    for (at, record) in records.iter().enumerate() {
        let record = rib(record);
        prop_assert_eq!(record.sequence_number as usize, at);
        let net: IpNet = net.into();
        prop_assert_eq!(record.prefix.prefix.to_string(), net.to_string());
        let with_ids = matches!(
            record.rib_type,
            TableDumpV2Type::RibIpv4UnicastAddPath | TableDumpV2Type::RibIpv6UnicastAddPath
        );
        let meant = entries
            .iter()
            .filter(|entry| entry.path_id.is_some() == with_ids);
        let meant: Vec<_> = meant.collect();
        prop_assert_eq!(record.rib_entries.len(), meant.len());
        for (theirs, ours) in record.rib_entries.iter().zip(meant) {
            prop_assert_eq!(theirs.peer_index, ours.peer);
            prop_assert_eq!(theirs.path_id, ours.path_id);
            prop_assert_eq!(u64::from(theirs.originated_time), AT);
            let attributes = &theirs.attributes;
            prop_assert_eq!(attributes.multi_exit_discriminator(), ours.attrs.med());
            let internal = ours.peer_type == PeerType::Internal;
            prop_assert_eq!(attributes.local_preference().is_some(), internal);
            let path = attributes.as_path().map(|path| path.to_u32_vec_opt(false));
            let meant: Vec<u32> = ours.attrs.as_path().asns().map(|asn| asn.0).collect();
            if let Some(Some(path)) = path {
                prop_assert_eq!(path, meant);
            }
            let reached = attributes.iter().find_map(|attribute| match attribute {
                AttributeValue::NextHop(addr) => Some(*addr),
                AttributeValue::MpReachNlri(nlri) => match nlri.next_hop {
                    Some(NextHopAddress::Ipv6(addr) | NextHopAddress::Ipv6LinkLocal(addr, _)) => {
                        Some(addr.into())
                    }
                    _ => None,
                },
                _ => None,
            });
            prop_assert_eq!(reached, Some(next_hop.addr));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn ipv4_prefixes(net in v4_prefix(), told in told()) {
        prefix::<V4>(net, &told, next_hop_v4())?;
    }

    /// RFC 8950.
    #[test]
    fn ipv4_prefixes_by_ipv6_next_hops(net in v4_prefix(), told in told()) {
        prefix::<V4>(net, &told, next_hop_v6(false))?;
    }

    #[test]
    fn ipv6_prefixes(net in v6_prefix(), told in told(), link_local: bool) {
        prefix::<V6>(net, &told, next_hop_v6(link_local))?;
    }

    #[test]
    fn peers(peers in vec(peer(), 0..50), collector in router_id(), view in "[ -~]{0,40}") {
        let mut out = Vec::new();
        Records::begin(Duration::from_secs(AT), collector, &view, &peers, &mut out);
        let all = read(&out);
        let [TableDumpV2Message::PeerIndexTable(table)] = &all[..] else {
            panic!("{all:?}");
        };
        prop_assert_eq!(table.collector_bgp_id, collector.0);
        prop_assert_eq!(&table.view_name, &view);
        prop_assert_eq!(table.id_peer_map.len(), peers.len());
        for (at, ours) in (0..).zip(&peers) {
            let theirs = &table.id_peer_map[&at];
            prop_assert_eq!(theirs.peer_ip, ours.addr.to_canonical());
            prop_assert_eq!(theirs.peer_bgp_id, ours.router_id.0);
            prop_assert_eq!(theirs.peer_asn.to_u32(), ours.asn.0);
        }
    }
}

#[test]
fn no_more_peers_are_written_than_places_can_name() {
    let peer = Peer {
        addr: [192, 0, 2, 7].into(),
        router_id: RouterId([192, 0, 2, 7].into()),
        asn: Asn(65_007),
    };
    let mut out = Vec::new();
    let peers = vec![peer; PEERS_MAX + 3];
    Records::begin(
        Duration::from_secs(AT),
        peer.router_id,
        "v",
        &peers,
        &mut out,
    );
    let all = read(&out);
    let [TableDumpV2Message::PeerIndexTable(table)] = &all[..] else {
        panic!("one record");
    };
    assert_eq!(table.id_peer_map.len(), PEERS_MAX);
}
