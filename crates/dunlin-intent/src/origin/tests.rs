use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const NODE: RouteSource<'_> = RouteSource::Node("n2");
const ROUTER: RouteSource<'_> = RouteSource::Configured;
const FABRIC: RouteSource<'_> = RouteSource::Fabric;

/// We are n1 (192.0.2.1, 10.244.1.0/24); n2 (192.0.2.2, 198.51.100.2) has 10.244.2.0/24 and fd00:2::/64; a router is at 203.0.113.9.
fn tables() -> OriginValidation {
    let mut origin = OriginValidation::default();
    let owner = |node: &str, addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| addr(a)).collect();
        Some(Owner {
            node: node.to_owned(),
            next_hops: PerFamily {
                v4: addresses.first().copied(),
                v6: None,
            },
            addresses,
        })
    };
    let n2 = ["192.0.2.2", "198.51.100.2", "2001:db8::2"];
    origin.set_owner(net("10.244.1.0/24"), owner("n1", &["192.0.2.1"]));
    origin.set_owner(net("10.244.2.0/24"), owner("n2", &n2));
    origin.set_owner(net("fd00:2::/64"), owner("n2", &n2));
    origin.set_owner(net("10.244.3.0/24"), owner("n3", &["192.0.2.3"]));
    for node in ["192.0.2.1", "192.0.2.2", "198.51.100.2", "2001:db8::2"] {
        origin.protect(addr(node), Protected::Node);
    }
    origin.protect(addr("203.0.113.9"), Protected::Session);
    origin.protect(addr("203.0.113.200"), Protected::ApiServer);
    origin.set_own_addresses([addr("192.0.2.1")].into());
    origin.set_own_pod_subnets([net("10.244.1.0/24")].into());
    origin
}

#[test]
fn routes_are_judged_as_the_rules_say() {
    use RejectReason::*;
    let origin = tables();
    for (prefix, next_hop, from, want) in [
        // From a node: its own pod subnets with its own address, nothing else.
        ("10.244.2.0/24", "192.0.2.2", NODE, Ok(())),
        ("10.244.2.0/24", "198.51.100.2", NODE, Ok(())),
        ("fd00:2::/64", "2001:db8::2", NODE, Ok(())),
        ("10.244.2.0/24", "192.0.2.3", NODE, Err(NextHopNotOwner)),
        ("10.244.2.0/25", "192.0.2.2", NODE, Err(NotAPodSubnet)),
        ("10.244.2.0/23", "192.0.2.2", NODE, Err(NotAPodSubnet)),
        ("10.244.4.0/24", "192.0.2.2", NODE, Err(NotAPodSubnet)),
        ("0.0.0.0/0", "192.0.2.2", NODE, Err(NotAPodSubnet)),
        ("10.244.1.0/24", "192.0.2.2", NODE, Err(WithinOwnPodSubnet)),
        (
            "10.244.1.128/25",
            "192.0.2.2",
            NODE,
            Err(WithinOwnPodSubnet),
        ),
        ("10.244.2.0/24", "192.0.2.1", NODE, Err(NextHopIsSelf)),
        // Through a reflector the session is another's; the next hop counts.
        (
            "10.244.2.0/24",
            "192.0.2.2",
            RouteSource::Node("n3"),
            Ok(()),
        ),
        // From a router: what its filter let through, but no pod subnet and nothing that captures what is protected.
        ("172.16.0.0/12", "203.0.113.9", ROUTER, Ok(())),
        ("0.0.0.0/0", "203.0.113.9", ROUTER, Ok(())),
        ("::/0", "2001:db8::9", ROUTER, Ok(())),
        ("10.244.0.0/16", "203.0.113.9", ROUTER, Ok(())),
        ("10.244.2.0/24", "203.0.113.9", ROUTER, Err(NextHopNotOwner)),
        ("10.244.2.0/24", "192.0.2.2", ROUTER, Ok(())),
        ("10.244.2.7/32", "203.0.113.9", ROUTER, Err(NextHopNotOwner)),
        (
            "10.244.1.7/32",
            "203.0.113.9",
            ROUTER,
            Err(WithinOwnPodSubnet),
        ),
        (
            "192.0.2.0/24",
            "203.0.113.9",
            ROUTER,
            Err(CoversNodeAddress),
        ),
        (
            "192.0.2.2/32",
            "203.0.113.9",
            ROUTER,
            Err(CoversNodeAddress),
        ),
        ("192.0.2.4/30", "203.0.113.9", ROUTER, Ok(())),
        (
            "2001:db8::/64",
            "2001:db8::9",
            ROUTER,
            Err(CoversNodeAddress),
        ),
        ("203.0.113.0/25", "198.51.100.1", ROUTER, Err(CoversSession)),
        (
            "203.0.113.128/25",
            "198.51.100.1",
            ROUTER,
            Err(CoversApiServer),
        ),
        ("128.0.0.0/1", "203.0.113.9", ROUTER, Err(CoversNodeAddress)),
        // From a router of the fabric: other Nodes' pod subnets too, but as they are and not by way of a third Node.
        ("10.244.2.0/24", "203.0.113.9", FABRIC, Ok(())),
        ("10.244.2.0/24", "192.0.2.2", FABRIC, Ok(())),
        ("fd00:2::/64", "2001:db8::9", FABRIC, Ok(())),
        ("10.244.3.0/24", "192.0.2.2", FABRIC, Err(NextHopNotOwner)),
        ("10.244.2.0/25", "203.0.113.9", FABRIC, Err(NotAPodSubnet)),
        ("10.244.0.0/16", "203.0.113.9", FABRIC, Ok(())),
        ("10.244.2.0/24", "192.0.2.1", FABRIC, Err(NextHopIsSelf)),
        (
            "10.244.1.0/24",
            "203.0.113.9",
            FABRIC,
            Err(WithinOwnPodSubnet),
        ),
        (
            "192.0.2.0/24",
            "203.0.113.9",
            FABRIC,
            Err(CoversNodeAddress),
        ),
        // Bits beyond the length change nothing.
        ("10.244.2.9/24", "192.0.2.2", NODE, Ok(())),
    ] {
        let got = origin.judge(net(prefix), addr(next_hop), from);
        assert_eq!(got, want, "{prefix} via {next_hop} from {from:?}");
    }
}

#[test]
fn an_address_reached_over_a_link_is_captured_only_by_a_longer_route() {
    let mut origin = tables();
    origin.set_on_link(&[net("192.0.2.0/24"), net("203.0.113.0/24")].into());
    for (prefix, captured) in [
        ("192.0.0.0/16", None),
        ("192.0.2.0/24", None),
        ("192.0.2.0/25", Some(("192.0.2.1", Protected::Node))),
        ("192.0.2.2/32", Some(("192.0.2.2", Protected::Node))),
        // Past what is on the link lies one that is not.
        ("192.0.0.0/5", Some(("198.51.100.2", Protected::Node))),
        ("203.0.112.0/20", None),
        ("203.0.113.0/28", Some(("203.0.113.9", Protected::Session))),
        ("2001:db8::/32", Some(("2001:db8::2", Protected::Node))),
    ] {
        let want = captured.map(|(a, kind)| (addr(a), kind));
        assert_eq!(origin.captured(net(prefix)), want, "{prefix}");
    }
    // The last address there is ends the walk.
    origin.protect(addr("255.255.255.255"), Protected::Session);
    origin.set_on_link(&[net("255.0.0.0/8")].into());
    assert_eq!(origin.captured(net("255.0.0.0/8")), None);
}

#[test]
fn protection_counts_so_that_one_end_does_not_end_another() {
    let mut origin = OriginValidation::default();
    let a = addr("192.0.2.1");
    assert!(origin.protect(a, Protected::Node));
    assert!(!origin.protect(a, Protected::Node));
    assert!(origin.protect(a, Protected::Session));
    assert!(!origin.unprotect(a, Protected::Node));
    assert!(origin.unprotect(a, Protected::Node));
    assert_eq!(
        origin.captured(net("192.0.2.0/24")),
        Some((a, Protected::Session))
    );
    assert!(origin.unprotect(a, Protected::Session));
    assert!(!origin.unprotect(a, Protected::Session));
    assert_eq!(origin, OriginValidation::default());
}

proptest::proptest! {
    #[test]
    fn a_prefix_map_finds_what_a_walk_finds(
        entries in proptest::collection::vec((0u32..64, 24u8..=32), 0..12),
        removed in proptest::collection::vec(0usize..12, 0..6),
        (query, len) in (0u32..64, 22u8..=32),
    ) {
        let prefix = |n: u32, len: u8| IpNet::new_assert(IpAddr::from((0x0a00_0000 + n * 7).to_be_bytes()), len).trunc();
        let mut map = PrefixMap::default();
        let mut model = BTreeMap::new();
        for (n, len) in &entries {
            let changed = map.set(prefix(*n, *len), Some(*n));
            proptest::prop_assert_eq!(changed, model.insert(prefix(*n, *len), *n) != Some(*n));
        }
        for at in removed {
            if let Some((n, len)) = entries.get(at) {
                let was = model.remove(&prefix(*n, *len)).is_some();
                proptest::prop_assert_eq!(map.set(prefix(*n, *len), None), was);
            }
        }
        let query = prefix(query, len);
        let longest = model.iter().filter(|(net, _)| net.contains(&query)).max_by_key(|(net, _)| net.prefix_len());
        proptest::prop_assert_eq!(map.longest_covering(query), longest.map(|(net, n)| (*net, n)));
        let within: Vec<_> = model.iter().filter(|(net, _)| query.contains(*net) && **net != query).map(|(net, n)| (*net, n)).collect();
        proptest::prop_assert_eq!(map.within(query).collect::<Vec<_>>(), within);
        let lens = map.lengths.v4.values().sum::<u32>();
        proptest::prop_assert_eq!(lens as usize, model.len());
    }
}
