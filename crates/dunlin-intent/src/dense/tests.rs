use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

impl<K: Ord, V> DenseMap<K, V> {
    fn fill(&self) -> (usize, usize) {
        let entries = self.iter().count();
        (entries, self.chunks.iter().map(Vec::capacity).sum())
    }
}

#[test]
fn what_ascends_leaves_no_room() {
    let mut map = DenseMap::default();
    for key in 0..10_000 {
        map.insert(key, ());
    }
    let (entries, room) = map.fill();
    assert_eq!(entries, 10_000);
    assert!(room <= 10_000 + CHUNK, "{room}");
}

#[test]
fn what_goes_takes_its_chunks_along() {
    let mut map = DenseMap::default();
    for key in 0..10_000_u32 {
        map.insert(key.wrapping_mul(2_654_435_761), key);
    }
    let (_, room) = map.fill();
    assert!(room <= 20_000 + CHUNK, "{room}");
    for key in 100..10_000_u32 {
        assert_eq!(map.remove(&key.wrapping_mul(2_654_435_761)), Some(key));
    }
    let (entries, _) = map.fill();
    assert_eq!(entries, 100);
    assert!(map.chunks.len() <= 2 * 100 / (CHUNK / 2) + 1);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u8),
    Ensure(u16),
    Remove(u16),
    Change(u16, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..400_u16;
    prop_oneof![
        4 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Insert(k, v)),
        1 => key.clone().prop_map(Step::Ensure),
        3 => key.clone().prop_map(Step::Remove),
        1 => (key, any::<u8>()).prop_map(|(k, v)| Step::Change(k, v)),
    ]
}

proptest! {
    #[test]
    fn it_is_a_map(steps in proptest::collection::vec(step(), 0..2_000), from in 0..410_u16) {
        let (mut map, mut model) = (DenseMap::default(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Insert(k, v) => prop_assert_eq!(map.insert(k, v), model.insert(k, v)),
                Step::Ensure(k) => {
                    prop_assert_eq!(&*map.get_or_default(k), &*model.entry(k).or_default());
                }
                Step::Remove(k) => prop_assert_eq!(map.remove(&k), model.remove(&k)),
                Step::Change(k, v) => {
                    let ours = map.get_mut(&k).map(|value| *value = v);
                    prop_assert_eq!(ours, model.get_mut(&k).map(|value| *value = v));
                }
            }
        }
        prop_assert!(map.iter().eq(model.iter()));
        prop_assert!(map.starting_at(&from).eq(model.range(from..)));
        prop_assert_eq!(map.len(), model.len());
        prop_assert!(map.keys().eq(model.keys()));
        prop_assert_eq!(map.get_key_value(&from), model.get_key_value(&from));
        prop_assert_eq!(map.contains_key(&from), model.contains_key(&from));
        prop_assert!(map.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
    }
}
