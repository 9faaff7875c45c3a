use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;

proptest! {
    #[test]
    fn it_is_a_sorted_map(edits in prop::collection::vec((0..4_u8, prop::option::of(any::<u8>())), 0..20)) {
        let (mut few, mut tree) = (Few::default(), BTreeMap::new());
        for (key, edit) in edits {
            match edit {
                Some(value) => {
                    few.insert(key, value);
                    tree.insert(key, value);
                }
                None => {
                    few.remove(&key);
                    tree.remove(&key);
                }
            }
            prop_assert!(few.iter().eq(&tree));
            prop_assert_eq!(few.first(), tree.keys().next());
            prop_assert_eq!(few.get(&key), tree.get(&key));
            prop_assert_eq!(few.get_mut(&key), tree.get_mut(&key));
            prop_assert_eq!((few.len(), few.is_empty()), (tree.len(), tree.is_empty()));
        }
    }
}
