use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

proptest! {
    /// Against a plain set.
    #[test]
    fn like_a_set(steps in prop::collection::vec((any::<bool>(), 0u128..60, 0u128..6), 0..60), other in prop::collection::vec(0u128..70, 0..20)) {
        let mut intervals = Intervals::default();
        let mut plain = BTreeSet::new();
        for (insert, first, more) in steps {
            if insert {
                intervals.insert(first, first + more);
                plain.extend(first..=first + more);
            } else {
                intervals.remove(first);
                plain.remove(&first);
            }
            let listed: Vec<u128> = intervals.iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(&listed, &plain.iter().copied().collect::<Vec<_>>());
            let pairs: Vec<_> = intervals.iter().collect();
            prop_assert!(pairs.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "not coalesced: {:?}", pairs);
            prop_assert_eq!(intervals.len(), plain.len() as u128);
        }
        let mut reserved = Intervals::default();
        for number in &other {
            reserved.insert(*number, *number);
        }
        for first in 0..70 {
            let expected = (first..70).find(|n| !plain.contains(n) && !other.contains(n));
            prop_assert_eq!(first_absent([&intervals, &reserved], first, 69), expected);
            prop_assert_eq!(intervals.touches(first, first + 3), (first..=first + 3).any(|n| plain.contains(&n)));
        }
    }
}

#[test]
fn the_ends_of_the_space() {
    let mut all = Intervals::default();
    all.insert(0, 0);
    all.insert(u128::MAX, u128::MAX);
    let none = Intervals::default();
    assert_eq!(first_absent([&all, &none], 0, u128::MAX), Some(1));
    all.insert(0, u128::MAX);
    assert_eq!(all.len(), u128::MAX, "saturates");
    assert_eq!(first_absent([&all, &none], 0, u128::MAX), None);
    all.remove(u128::MAX);
    assert_eq!(first_absent([&all, &none], 5, u128::MAX), Some(u128::MAX));
}

#[test]
fn numbers_are_addresses() {
    for text in [
        "0.0.0.0",
        "192.0.2.7",
        "255.255.255.255",
        "::",
        "2001:db8::7",
    ] {
        let addr: IpAddr = text.parse().unwrap();
        assert_eq!(address(Afi::of(addr), number(addr)), addr);
    }
}

#[test]
fn what_is_in_of_a_range_is_counted_where_intervals_reach_over_its_ends() {
    let mut set = Intervals::default();
    for (first, last) in [(10, 19), (30, 30), (40, 59)] {
        set.insert(first, last);
    }
    for (first, last, len) in [
        (0, 9, 0),
        (0, 10, 1),
        (12, 14, 3),
        (15, 45, 5 + 1 + 6),
        (20, 29, 0),
        (30, 30, 1),
        (50, u128::MAX, 10),
        (0, u128::MAX, 31),
    ] {
        assert_eq!(set.len_within(first, last), len, "{first} to {last}");
    }
    set.insert(0, u128::MAX);
    assert_eq!(set.len_within(0, u128::MAX), u128::MAX);
}
