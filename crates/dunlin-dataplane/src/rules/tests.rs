use proptest::prelude::*;

use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn prefixes_become_the_fewest_ranges() {
    let model = Rules::new(
        nets(&["10.244.0.0/24"]),
        nets(&[
            "10.244.1.0/24",
            "10.244.0.0/24",
            "10.244.0.128/25",
            "192.0.2.1/32",
            "fd00::/64",
        ]),
        Vec::new(),
    );
    let set = SetName {
        afi: Afi::Ipv4,
        role: Role::Cluster,
    };
    assert_eq!(
        model.ranges(set).as_slice(),
        [
            Range {
                first: 0x0AF4_0000,
                last: 0x0AF4_01FF
            },
            Range {
                first: 0xC000_0201,
                last: 0xC000_0201
            }
        ]
    );
    assert_eq!(model.cluster.v6.as_slice().len(), 1);
    assert!(model.pods.v6.as_slice().is_empty());
}

#[test]
fn the_whole_address_space_is_one_range() {
    let model = Rules::new(
        Vec::new(),
        nets(&["0.0.0.0/0", "::/0", "10.0.0.0/8"]),
        Vec::new(),
    );
    assert_eq!(
        model.cluster.v6.as_slice(),
        [Range {
            first: 0,
            last: u128::MAX
        }]
    );
    assert_eq!(
        model.cluster.v4.as_slice(),
        [Range {
            first: 0,
            last: 0xFFFF_FFFF
        }]
    );
}

#[test]
fn nothing_is_left_of_the_whole_address_space() {
    let all = ranges(nets(&["::/0"])).v6;
    assert!(all.without(&all).as_slice().is_empty());
    let top = ranges(nets(&["ff00::/8"])).v6;
    assert!(!all.without(&top).contains(u128::MAX));
    assert!(all.without(&top).contains(0));
}

#[test]
fn one_node_more_changes_few_elements() {
    let nodes = |count: u32| -> Vec<IpNet> {
        (0..count)
            .map(|i| {
                IpNet::new(
                    std::net::Ipv4Addr::from_bits(0x0A00_0000 + i * 512).into(),
                    24,
                )
                .unwrap()
            })
            .collect()
    };
    let before = Rules::new(Vec::new(), nodes(5000), Vec::new());
    let after = Rules::new(Vec::new(), nodes(5001), Vec::new());
    let changes = before.changes(&after);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].remove.len(), changes[0].add.len()), (0, 1));
    assert!(after.changes(&after).is_empty());
}

proptest! {
    #[test]
    fn ranges_hold_exactly_the_addresses_of_their_prefixes(
        prefixes in prop::collection::vec((any::<u8>(), 24u8..=32), 0..12),
        probe in any::<u8>(),
    ) {
        let nets: Vec<IpNet> = prefixes
            .iter()
            .map(|(low, len)| IpNet::new(std::net::Ipv4Addr::new(10, 0, 0, *low).into(), *len).unwrap().trunc())
            .collect();
        let model = Rules::new(Vec::new(), nets.clone(), Vec::new());
        let addr = IpAddr::from([10, 0, 0, probe]);
        let inside = nets.iter().any(|net| net.contains(&addr));
        prop_assert_eq!(model.cluster.v4.contains(bits(addr)), inside);
        let ranges = model.cluster.v4.as_slice();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
    }

    #[test]
    fn what_is_left_is_in_the_one_and_not_in_the_other(
        a in prop::collection::vec((any::<u8>(), 24u8..=32), 0..12),
        b in prop::collection::vec((any::<u8>(), 24u8..=32), 0..12),
    ) {
        let ranges = |prefixes: &[(u8, u8)]| ranges(
            prefixes.iter().map(|(low, len)| IpNet::new(std::net::Ipv4Addr::new(10, 0, 0, *low).into(), *len).unwrap()),
        ).v4;
        let (a, b) = (ranges(&a), ranges(&b));
        let left = a.without(&b);
        for low in 0..=255 {
            let addr = bits(IpAddr::from([10, 0, 0, low]));
            prop_assert_eq!(left.contains(addr), a.contains(addr) && !b.contains(addr));
        }
        prop_assert_eq!(Ranges::new(left.as_slice().to_vec()), left);
    }

    #[test]
    fn applying_the_changes_gives_what_is_wanted(
        a in prop::collection::vec((any::<u8>(), 24u8..=32), 0..12),
        b in prop::collection::vec((any::<u8>(), 24u8..=32), 0..12),
    ) {
        let model = |prefixes: &[(u8, u8)]| Rules::new(
            Vec::new(),
            prefixes.iter().map(|(low, len)| IpNet::new(std::net::Ipv4Addr::new(10, 0, 0, *low).into(), *len).unwrap()),
            Vec::new(),
        );
        let (before, after) = (model(&a), model(&b));
        let mut ranges: Vec<Range> = before.cluster.v4.as_slice().to_vec();
        for change in before.changes(&after) {
            ranges.retain(|range| !change.remove.contains(range));
            ranges.extend(change.add);
        }
        ranges.sort_unstable();
        prop_assert_eq!(&ranges[..], after.cluster.v4.as_slice());
    }
}
