use dunlin_net::{Asn, Family, IpNet, V4, V6};
use proptest::prelude::*;

use super::*;
use crate::attrs::{AttrBuilder, Attrs, Origin};

fn attrs(path: &[u32], communities: &[u32], large: &[[u32; 3]]) -> Vec<u8> {
    let path: Vec<Asn> = path.iter().copied().map(Asn).collect();
    AttrBuilder::originated(Origin::Igp)
        .as_path(&path)
        .communities(communities)
        .large_communities(large)
        .build()
}

fn judge<'a>(filter: &'a Filter, net: &str, bytes: &[u8], peer_type: PeerType) -> Verdict<'a> {
    let net: IpNet = net.parse().unwrap();
    let attrs = Attrs::new(bytes);
    match net {
        IpNet::V4(net) => filter.judge::<V4>(net, attrs, peer_type),
        IpNet::V6(net) => filter.judge::<V6>(net, attrs, peer_type),
    }
}

fn rule(matches: Match, action: FilterAction) -> FilterRule {
    FilterRule {
        matches,
        action,
        edits: AttrEdits::default(),
    }
}

#[test]
fn every_condition_is_tried_on_both_sides_of_its_border() {
    let bytes = attrs(&[65001, 65002], &[0x0001_0002], &[[1, 2, 3]]);
    let cidr = |text: &str| Match {
        cidr: Some(text.parse().unwrap()),
        ..Match::default()
    };
    let lengths = |length_min, length_max| Match {
        length_min,
        length_max,
        ..Match::default()
    };
    let path = |asns: &[u32]| Match {
        as_path_prefix: asns.iter().copied().map(Asn).collect(),
        ..Match::default()
    };
    let community = |values: &[CommunityValue]| Match {
        communities: values.to_vec(),
        ..Match::default()
    };
    let kind = |peer_type| Match {
        peer_type: Some(peer_type),
        ..Match::default()
    };
    let (one, other) = (
        CommunityValue::Standard(0x0001_0002),
        CommunityValue::Large(1, 2, 3),
    );
    let table = [
        (Match::default(), "10.1.0.0/16", true),
        (cidr("10.0.0.0/8"), "10.1.0.0/16", true),
        (cidr("10.0.0.0/8"), "10.0.0.0/8", true),
        (cidr("10.0.0.0/8"), "0.0.0.0/0", false),
        (cidr("10.0.0.0/8"), "11.0.0.0/16", false),
        (cidr("10.0.0.0/8"), "a00::/8", false),
        (cidr("::/0"), "a00::/8", true),
        (cidr("::/0"), "10.1.0.0/16", false),
        (lengths(Some(16), None), "10.1.0.0/16", true),
        (lengths(Some(17), None), "10.1.0.0/16", false),
        (lengths(None, Some(16)), "10.1.0.0/16", true),
        (lengths(None, Some(15)), "10.1.0.0/16", false),
        (lengths(Some(16), Some(16)), "10.1.0.0/16", true),
        (path(&[65001]), "10.1.0.0/16", true),
        (path(&[65001, 65002]), "10.1.0.0/16", true),
        (path(&[65002]), "10.1.0.0/16", false),
        (path(&[65001, 65002, 1]), "10.1.0.0/16", false),
        (community(&[one]), "10.1.0.0/16", true),
        (community(&[one, other]), "10.1.0.0/16", true),
        (
            community(&[CommunityValue::Standard(1)]),
            "10.1.0.0/16",
            false,
        ),
        (
            community(&[one, CommunityValue::Large(3, 2, 1)]),
            "10.1.0.0/16",
            false,
        ),
        (kind(PeerType::External), "10.1.0.0/16", true),
        (kind(PeerType::Internal), "10.1.0.0/16", false),
    ];
    for (matches, net, expected) in table {
        let filter = Filter {
            name: "f".into(),
            rules: vec![rule(matches.clone(), FilterAction::Accept)],
        };
        let verdict = judge(&filter, net, &bytes, PeerType::External);
        let wanted = match expected {
            true => Verdict::Accept(&filter.rules[0].edits),
            false => Verdict::Reject(RejectReason::FilterNoMatch),
        };
        assert_eq!(verdict, wanted, "{matches:?} on {net}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_is_named() {
    let long = Match {
        length_min: Some(25),
        ..Match::default()
    };
    let mut accept = rule(Match::default(), FilterAction::Accept);
    accept.edits.local_pref = Some(7);
    let filter = Filter {
        name: "f".into(),
        rules: vec![
            rule(long.clone(), FilterAction::Reject),
            accept,
            rule(Match::default(), FilterAction::Reject),
        ],
    };
    let bytes = attrs(&[1], &[], &[]);
    let reject = judge(&filter, "10.0.0.0/26", &bytes, PeerType::Internal);
    assert_eq!(reject.into_result(), Err(RejectReason::FilterRule(0)));
    let accepted = judge(&filter, "10.0.0.0/24", &bytes, PeerType::Internal);
    assert_eq!(accepted.into_result().unwrap().unwrap().local_pref, Some(7));
    let nothing = Filter::default();
    let verdict = judge(&nothing, "10.0.0.0/24", &bytes, PeerType::Internal);
    assert_eq!(verdict, Verdict::Reject(RejectReason::FilterNoMatch));
}

#[test]
fn what_no_route_could_pass_for_is_known_by_its_prefix() {
    let within = |cidr: &str, peer_type| Match {
        cidr: Some(cidr.parse().unwrap()),
        peer_type,
        ..Match::default()
    };
    let filter = Filter {
        name: "f".into(),
        rules: vec![
            rule(within("10.0.0.0/8", None), FilterAction::Reject),
            rule(
                within("192.168.0.0/16", Some(PeerType::Internal)),
                FilterAction::Reject,
            ),
            rule(within("0.0.0.0/0", None), FilterAction::Accept),
        ],
    };
    let may = |net: &str| filter.may_accept::<V4>(net.parse().unwrap());
    assert!(!may("10.1.0.0/16"), "rejected whatever it carries");
    assert!(may("192.168.1.0/24"), "an external peer's would pass");
    assert!(may("172.16.0.0/12"));
    assert!(!filter.may_accept::<V6>("2001:db8::/32".parse().unwrap()));
}

#[test]
fn reasons_survive_their_codes_and_read_differently() {
    let all = (0..=27u32)
        .map(|kind| RejectReason::from_code((kind << 16) | (u32::from(kind == 0) * 65_535)));
    let mut texts = std::collections::BTreeSet::new();
    for reason in all {
        assert_eq!(RejectReason::from_code(reason.code()), reason);
        assert!(reason.code() < 1 << 24);
        assert!(texts.insert(reason.to_string()), "{reason}");
    }
}

/// A filter's answer read off its rules the plain way.
fn naive(
    filter: &Filter,
    addr: u32,
    len: u8,
    path: &[u32],
    communities: &[u32],
    external: bool,
) -> Option<usize> {
    filter.rules.iter().position(|rule| {
        let m = &rule.matches;
        let bits = |addr: u32, len: u8| (0..len).map(move |bit| (addr >> (31 - bit)) & 1);
        let inside = match m.cidr {
            None => true,
            Some(IpNet::V6(_)) => false,
            Some(IpNet::V4(cidr)) => {
                cidr.prefix_len() <= len
                    && bits(cidr.addr().into(), cidr.prefix_len()).eq(bits(addr, cidr.prefix_len()))
            }
        };
        inside
            && len >= m.length_min.unwrap_or(0)
            && len <= m.length_max.unwrap_or(255)
            && m.communities.iter().all(|c| match c {
                CommunityValue::Standard(value) => communities.contains(value),
                CommunityValue::Large(..) => false,
            })
            && m.as_path_prefix.len() <= path.len()
            && m.as_path_prefix.iter().zip(path).all(|(a, b)| a.0 == *b)
            && m.peer_type
                .is_none_or(|kind| (kind == PeerType::External) == external)
    })
}

prop_compose! {
    fn any_match()(
        cidr in prop::option::of((0..4u32, 0..=10u8)),
        length_min in prop::option::of(0..12u8),
        length_max in prop::option::of(0..12u8),
        communities in prop::collection::vec(1..4u32, 0..2),
        path in prop::collection::vec(1..3u32, 0..3),
        external in prop::option::of(any::<bool>()),
    ) -> Match {
        let cidr = cidr.and_then(|(addr, len)| V4::net(((addr << 30) | (addr << 22)).into(), len));
        Match {
            cidr: cidr.map(IpNet::V4),
            length_min,
            length_max,
            communities: communities.into_iter().map(CommunityValue::Standard).collect(),
            as_path_prefix: path.into_iter().map(Asn).collect(),
            peer_type: external.map(|yes| if yes { PeerType::External } else { PeerType::Internal }),
        }
    }
}

proptest! {
    #[test]
    fn filters_answer_as_their_rules_read(
        rules in prop::collection::vec((any_match(), any::<bool>()), 0..6),
        addr in (0..4u32, 0..4u32),
        len in 0..=12u8,
        path in prop::collection::vec(1..3u32, 0..4),
        communities in prop::collection::vec(1..4u32, 0..3),
        external: bool,
    ) {
        let rules = rules.into_iter().map(|(matches, accept)| {
            rule(matches, if accept { FilterAction::Accept } else { FilterAction::Reject })
        });
        let filter = Filter { name: "f".into(), rules: rules.collect() };
        let net = V4::net(((addr.0 << 30) | (addr.1 << 22)).into(), len).unwrap();
        let bytes = attrs(&path, &communities, &[]);
        let peer_type = if external { PeerType::External } else { PeerType::Internal };
        let verdict = filter.judge::<V4>(net, Attrs::new(&bytes), peer_type);
        let hit = naive(&filter, net.addr().into(), len, &path, &communities, external);
        let expected = match hit {
            None => Verdict::Reject(RejectReason::FilterNoMatch),
            Some(at) if filter.rules[at].action == FilterAction::Accept => {
                Verdict::Accept(&filter.rules[at].edits)
            }
            Some(at) => Verdict::Reject(RejectReason::FilterRule(at as u16)),
        };
        prop_assert_eq!(verdict, expected);
    }
}
