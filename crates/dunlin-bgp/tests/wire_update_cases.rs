//! UPDATEs: single cases worth a name.

mod wire_support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin};
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::wire::{
    DecodeContext, ExportEncoding, Limits, Outgoing, Reflection, UpdateWriter, encode_attrs,
};
use dunlin_net::{Afi, Asn, Family, RouterId, V4};
use wire_support::*;

#[test]
fn attributes_that_leave_no_room_are_refused_whole() {
    let writer = UpdateWriter::with_limits(Limits::default());
    let nets = [V4::net(Ipv4Addr::new(10, 0, 0, 0), 8).expect("a length")];
    let mut out = vec![1];
    for (len, fits) in [
        (4096 - 23 - 5, true),
        (4096 - 23 - 4, false),
        (70_000, false),
    ] {
        let attrs = vec![0; len];
        let told = writer.announce::<V4>(&attrs, &next_hop_v4(), nets, &mut out);
        assert_eq!(told.is_ok(), fits, "{len}");
        assert_eq!(out.len() > 1, fits);
        out.truncate(1);
    }
}

#[test]
fn end_of_rib_is_told_and_understood_in_both_families() {
    for afi in Afi::ALL {
        let mut out = Vec::new();
        UpdateWriter::end_of_rib(afi, &mut out);
        let said = decode_stream(&external(), &out, Limits::default());
        assert_eq!(said, [Said::EndOfRib(afi)]);
    }
    // IPv4 may also come as an empty MP_UNREACH_NLRI, and with an extended length.
    let v4 = update(&[], &[attr(0x90, 15, &[0, 1, 1])], &[]);
    let (_, said, _) = decode(&external(), &v4).expect("it is good");
    assert_eq!(said, [Said::EndOfRib(Afi::Ipv4)]);
    // Beside anything else it is no End-of-RIB.
    for body in [
        update(&[8, 10], &[attr(0x80, 15, &[0, 2, 1])], &[]),
        update(&[], &[attr(0x80, 15, &[0, 2, 1]), origin()], &[]),
    ] {
        let (_, said, _) = decode(&external(), &body).expect("it is good");
        assert!(!said.contains(&Said::EndOfRib(Afi::Ipv6)), "{said:?}");
    }
    let ctx = DecodeContext {
        families: dunlin_net::PerFamily {
            v4: false,
            v6: false,
        },
        ..external()
    };
    for afi in Afi::ALL {
        let mut out = Vec::new();
        UpdateWriter::end_of_rib(afi, &mut out);
        let (judgement, said, _) = decode(&ctx, &out[19..]).expect("it is good");
        assert_eq!(said, []);
        assert_eq!(judgement.findings.len(), 1);
    }
}

#[test]
fn one_update_can_announce_and_withdraw_in_both_families() {
    let unreach = attr(0x80, 15, &[0, 2, 1, 8, 0x20]);
    let attrs = [origin(), as_path(), next_hop(), mp_reach(), unreach];
    let (judgement, said, batch) =
        decode(&internal(), &update(&[8, 11], &attrs, NLRI)).expect("it is good");
    assert_eq!((judgement.announced, judgement.withdrawn), (3, 2));
    let v6 = NextHop::new("2001:db8::1".parse().expect("an address"));
    let expected = [
        Said::Withdraw(net("11.0.0.0/8")),
        Said::Withdraw(net("2000::/8")),
        Said::Announce(net("10.1.0.0/16"), next_hop_v4(), base_attrs()),
        Said::Announce(net("10.2.3.0/24"), next_hop_v4(), base_attrs()),
        Said::Announce(net("2001:db8::/32"), v6, base_attrs()),
    ];
    assert_eq!(said, expected);
    assert_eq!(
        batch.attr_bytes,
        base_attrs(),
        "both families share the bytes"
    );
}

#[test]
fn host_bits_are_cleared_and_multicast_is_ignored() {
    let nlri = [9, 10, 0xff, 4, 0xff, 8, 224, 3, 0xe0, 0, 24, 239, 1, 1];
    let body = update(&[], &[origin(), as_path(), next_hop()], &nlri);
    let (judgement, said, _) = decode(&internal(), &body).expect("it is good");
    assert_eq!((judgement.announced, judgement.ignored), (4, 2));
    let nets: Vec<_> = said
        .iter()
        .map(|said| match said {
            Said::Announce(net, ..) => net.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        nets,
        ["10.128.0.0/9", "240.0.0.0/4", "224.0.0.0/3", "0.0.0.0/0"]
    );
}

#[test]
fn next_hops_of_ipv6_come_alone_or_with_a_link_local_one() {
    let global: Ipv6Addr = "2001:db8::1".parse().expect("an address");
    let local: Ipv6Addr = "fe80::1".parse().expect("an address");
    let other: Ipv6Addr = "2001:db8::2".parse().expect("an address");
    let hop = |addr: Ipv6Addr, link_local| NextHop {
        addr: IpAddr::V6(addr),
        link_local,
        interface: 0,
    };
    let cases = [
        (vec![global], hop(global, None)),
        (vec![local], hop(local, None)),
        (vec![global, local], hop(global, Some(local))),
        (vec![global, other], hop(global, None)),
        (vec![Ipv6Addr::UNSPECIFIED, local], hop(local, None)),
    ];
    for (addrs, expected) in cases {
        let mut value = vec![0, 2, 1, 16 * addrs.len() as u8];
        value.extend(addrs.iter().flat_map(Ipv6Addr::octets));
        value.extend_from_slice(&[0, 0]);
        let body = update(&[], &[attr(0x80, 14, &value), origin(), as_path()], &[]);
        let (_, said, _) = decode(&internal(), &body).expect("it is good");
        assert_eq!(said, [Said::Announce(net("::/0"), expected, base_attrs())]);
    }
}

#[test]
fn over_a_link_a_link_local_next_hop_is_on_it_and_is_the_one_that_counts() {
    let global: Ipv6Addr = "2001:db8::1".parse().expect("an address");
    let local: Ipv6Addr = "fe80::1".parse().expect("an address");
    let any = Ipv6Addr::UNSPECIFIED;
    let ctx = DecodeContext {
        interface: 7,
        ..internal()
    };
    let on_link = NextHop::on_interface(local, 7);
    let cases = [
        (vec![local], on_link),
        (vec![local, local], on_link),
        (vec![any, local], on_link),
        (vec![global, local], on_link),
        (vec![global], NextHop::new(global.into())),
    ];
    for (addrs, expected) in cases {
        let mut value = vec![0, 2, 1, 16 * addrs.len() as u8];
        value.extend(addrs.iter().flat_map(Ipv6Addr::octets));
        value.extend_from_slice(&[0, 0]);
        let body = update(&[], &[attr(0x80, 14, &value), origin(), as_path()], &[]);
        let (_, said, _) = decode(&ctx, &body).expect("it is good");
        assert_eq!(said, [Said::Announce(net("::/0"), expected, base_attrs())]);
    }
}

#[test]
fn unknown_attributes_go_by_their_flags() {
    let attrs = [
        origin(),
        as_path(),
        next_hop(),
        attr(0x80, 98, &[1]),
        attr(0xc0, 99, &[2]),
        attr(0xe0, 100, &[3]),
    ];
    let (judgement, said, batch) =
        decode(&internal(), &update(&[], &attrs, &[8, 10])).expect("it is good");
    assert_eq!(judgement.findings.as_slice(), []);
    assert_eq!(said.len(), 1);
    let kept: Vec<_> = Attrs::new(&batch.attr_bytes).unknown().collect();
    assert_eq!(
        kept.iter()
            .map(|it| (it.flags, it.code))
            .collect::<Vec<_>>(),
        [(0xc0, 99), (0xe0, 100)]
    );
    let mut out = Vec::new();
    let mut bytes = batch.attr_bytes.clone();
    bytes.extend(attr(0x80, 101, &[4])); // cannot come from a peer; must not go to one either
    encode_attrs::<V4>(&outgoing(&bytes, next_hop_v4()), &to_internal(), &mut out);
    let told: Vec<_> = Attrs::new(&out)
        .unknown()
        .map(|it| (it.flags, it.code))
        .collect();
    assert_eq!(told, [(0xe0, 99), (0xe0, 100)]);
}

#[test]
fn repeated_large_communities_are_told_once() {
    let one = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    let two = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0];
    for copies in [2, 20] {
        let value = [one, two].concat().repeat(copies);
        let attrs = [origin(), as_path(), next_hop(), attr(0xd0, 32, &value)];
        let (_, _, batch) = decode(&internal(), &update(&[], &attrs, &[8, 10])).expect("good");
        let kept: Vec<_> = Attrs::new(&batch.attr_bytes).large_communities().collect();
        assert_eq!(kept, [[1, 2, 3], [1, 2, 0]], "in the order they came");
    }
}

#[test]
fn internal_peers_get_a_local_pref_and_what_a_reflector_adds() {
    let attrs = base_attrs();
    let reflection = Reflection {
        originator_id: RouterId(Ipv4Addr::new(192, 0, 2, 7)),
        cluster_id: RouterId(Ipv4Addr::new(192, 0, 2, 8)),
    };
    let told = |attrs: &[u8], reflection| {
        let mut out = Vec::new();
        let route = Outgoing {
            reflection,
            ..outgoing(attrs, next_hop_v4())
        };
        encode_attrs::<V4>(&route, &to_internal(), &mut out);
        out
    };
    let plain = told(&attrs, None);
    assert_eq!(codes(&plain), [1, 2, 3, 5]);
    assert_eq!(Attrs::new(&plain).local_pref(), Some(100));
    let once = told(&attrs, Some(reflection));
    assert_eq!(codes(&once), [1, 2, 3, 5, 9, 10]);
    let other = Reflection {
        originator_id: RouterId(Ipv4Addr::new(192, 0, 2, 9)),
        cluster_id: RouterId(Ipv4Addr::new(192, 0, 2, 10)),
    };
    let twice = told(&once, Some(other));
    assert_eq!(
        Attrs::new(&twice).originator_id(),
        Some(reflection.originator_id)
    );
    let clusters: Vec<_> = Attrs::new(&twice).cluster_list().collect();
    assert_eq!(clusters, [other.cluster_id, reflection.cluster_id]);
}

/// A two-octet peer's UPDATE with these attributes beside ORIGIN and NEXT_HOP; the path and the aggregator read.
fn from_two_octet(attrs: &[Vec<u8>]) -> (String, Option<u32>) {
    let ctx = DecodeContext {
        four_octet_as: false,
        ..external()
    };
    let mut list = vec![origin(), next_hop()];
    list.extend_from_slice(attrs);
    let (judgement, said, batch) =
        decode(&ctx, &update(&[], &list, &[8, 10])).expect("no session reset");
    assert_eq!(judgement.findings.as_slice(), []);
    assert_eq!(said.len(), 1);
    let attrs = Attrs::new(&batch.attr_bytes);
    assert!(attrs.get(17).is_none() && attrs.get(18).is_none());
    (
        attrs.as_path().to_string(),
        attrs.aggregator().map(|it| it.asn.0),
    )
}

#[test]
fn as4_path_completes_what_a_two_octet_peer_tells() {
    // 100 AS_TRANS 200, and 70000 200 behind it.
    let path = attr(0x40, 2, &[2, 3, 0, 100, 0x5b, 0xa0, 0, 200]);
    let as4 = attr(0xc0, 17, &[2, 2, 0, 1, 0x11, 0x70, 0, 0, 0, 200]);
    assert_eq!(
        from_two_octet(std::slice::from_ref(&path)).0,
        "100 23456 200"
    );
    assert_eq!(
        from_two_octet(&[path.clone(), as4.clone()]).0,
        "100 70000 200"
    );
    // A longer AS4_PATH is ignored.
    let longer = attr(
        0xc0,
        17,
        &[2, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4],
    );
    assert_eq!(from_two_octet(&[path.clone(), longer]).0, "100 23456 200");
    // An AS_SET counts one.
    let with_set = attr(0x40, 2, &[1, 2, 0, 100, 0, 101, 2, 2, 0x5b, 0xa0, 0, 200]);
    assert_eq!(
        from_two_octet(&[with_set, as4.clone()]).0,
        "{100,101} 70000 200"
    );
    // Confederation segments of AS4_PATH are dropped.
    let confederation = [&[3, 1, 0, 0, 0, 9][..], &as4[3..]].concat();
    let confederation = attr(0xc0, 17, &confederation);
    assert_eq!(from_two_octet(&[path, confederation]).0, "100 70000 200");
}

#[test]
fn as4_aggregator_counts_only_for_as_trans() {
    let path = attr(0x40, 2, &[2, 2, 0, 100, 0x5b, 0xa0]);
    let as4_path = attr(0xc0, 17, &[2, 1, 0, 1, 0x11, 0x70]);
    let trans = attr(0xc0, 7, &[0x5b, 0xa0, 192, 0, 2, 9]);
    let real = attr(0xc0, 7, &[0, 100, 192, 0, 2, 9]);
    let as4 = attr(0xc0, 18, &[0, 1, 0x11, 0x70, 192, 0, 2, 9]);
    let all = |aggregator: &Vec<u8>| {
        from_two_octet(&[
            path.clone(),
            aggregator.clone(),
            as4_path.clone(),
            as4.clone(),
        ])
    };
    assert_eq!(all(&trans), ("100 70000".to_owned(), Some(70_000)));
    // Someone aggregated after the last four-octet speaker: AS4_PATH is of old.
    assert_eq!(all(&real), ("100 23456".to_owned(), Some(100)));
    assert_eq!(from_two_octet(&[path.clone(), as4.clone()]).1, None);
    assert_eq!(from_two_octet(&[path, trans]).1, Some(23_456));
}

#[test]
fn a_two_octet_peer_gets_as4_path_only_where_it_needs_it() {
    let encoding = ExportEncoding {
        four_octet_as: false,
        ..to_external()
    };
    let told = |path: &[Asn]| {
        let attrs = AttrBuilder::originated(Origin::Igp)
            .as_path(path)
            .large_communities(&[[1, 2, 3]])
            .build();
        let mut out = Vec::new();
        encode_attrs::<V4>(&outgoing(&attrs, next_hop_v4()), &encoding, &mut out);
        out
    };
    assert_eq!(codes(&told(&[Asn(100)])), [1, 2, 3, 32]);
    let lossy = told(&[Asn(70_000), Asn(100)]);
    assert_eq!(codes(&lossy), [1, 2, 3, 17, 32]);
    let path = Attrs::new(&lossy).get(2).expect("AS_PATH").value;
    assert_eq!(path, [2, 3, 0xfd, 0xe8, 0x5b, 0xa0, 0, 100]);
}
