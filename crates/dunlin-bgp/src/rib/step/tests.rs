use super::*;

const PEER: PeerId = PeerId(7);

fn rests(own: &[(usize, usize)]) -> (Bytes, Vec<Bytes>) {
    let block: Bytes = (0..10).collect::<Vec<u8>>().into();
    let own: Vec<_> = own.iter().map(|&(from, to)| (PEER, from..to)).collect();
    let rests = without(&block, &own).into_vec();
    (block, rests)
}

#[test]
fn what_a_member_is_told_shares_the_block_of_all() {
    for (own, expected) in [
        (vec![(2, 4)], vec![(0, 2), (4, 10)]),
        (vec![(0, 3)], vec![(3, 10)]),
        (vec![(7, 10)], vec![(0, 7)]),
        (vec![(1, 3), (3, 4), (8, 9)], vec![(0, 1), (4, 8), (9, 10)]),
    ] {
        let (block, rests) = rests(&own);
        let shared: Vec<Bytes> = expected
            .into_iter()
            .map(|(from, to)| block.slice(from..to))
            .collect();
        assert_eq!(rests, shared, "{own:?}");
        let place = |bytes: &Bytes| bytes.as_ptr();
        assert!(
            rests.iter().map(place).eq(shared.iter().map(place)),
            "{own:?}"
        );
    }
}

#[test]
fn a_little_rest_does_not_keep_a_block_in_memory() {
    let (block, rests) = rests(&[(1, 4), (5, 9)]);
    assert_eq!(rests, [Bytes::from_static(&[0, 4, 9])]);
    assert!(!block.as_ptr_range().contains(&rests[0].as_ptr()));
    assert!(block.is_unique());
}

#[test]
fn the_source_of_all_is_told_nothing() {
    assert!(rests(&[(0, 10)]).1.is_empty());
    assert!(rests(&[(0, 5), (5, 10)]).1.is_empty());
}

#[test]
fn routes_of_one_member_side_by_side_are_one_hole() {
    let mut block = Block::default();
    for (peer, octets) in [
        (Some(PEER), 3),
        (Some(PEER), 0),
        (Some(PEER), 4),
        (None, 2),
        (Some(PEER), 1),
    ] {
        let start = block.bytes.len();
        block.bytes.resize(start + octets, 0);
        block.note(peer, start);
    }
    assert_eq!(block.own, [(PEER, 0..7), (PEER, 9..10)]);
}
