use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::rib::dirty::IdSet;

#[derive(Debug, Clone)]
enum Op {
    Insert(u32),
    Remove(u32),
    Next(u32),
    PopFirst,
    Take,
}

fn op() -> impl Strategy<Value = Op> {
    // Near the borders of words and of groups of words, and far off.
    let id = prop_oneof![0..70u32, 4_090..4_100u32, 8_000..300_000u32];
    prop_oneof![
        6 => id.clone().prop_map(Op::Insert),
        2 => id.clone().prop_map(Op::Remove),
        2 => id.prop_map(Op::Next),
        3 => Just(Op::PopFirst),
        1 => Just(Op::Take),
    ]
}

proptest! {
    #[test]
    fn a_set_of_ids_is_a_set(ops in prop::collection::vec(op(), 1..200)) {
        let (mut set, mut naive) = (IdSet::default(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Insert(id) => prop_assert_eq!(set.insert(id), naive.insert(id)),
                Op::Remove(id) => prop_assert_eq!(set.remove(id), naive.remove(&id)),
                Op::Next(from) => {
                    prop_assert_eq!(set.next(from), naive.range(from..).next().copied());
                    prop_assert_eq!(set.contains(from), naive.contains(&from));
                }
                Op::PopFirst => prop_assert_eq!(set.pop_first(), naive.pop_first()),
                Op::Take => {
                    let taken: Vec<u32> = set.take().iter().collect();
                    prop_assert_eq!(taken, std::mem::take(&mut naive).into_iter().collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(set.is_empty(), naive.is_empty());
        }
        prop_assert!(set.iter().eq(naive));
    }
}
