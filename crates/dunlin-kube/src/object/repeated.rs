//! Texts that many objects have in common: namespaces, nodes, names of ports. Each is kept once, and not even copied out of
//! an object where the last ones said it too.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};

use super::value::read_text;

/// How many texts a thread remembers. Lists come in order, and clusters have some thousand nodes: those of a few racks
/// come again and again.
const REMEMBERED: usize = 1024;

/// Longer texts are not remembered: no name in Kubernetes is longer.
const MAX_OCTETS: usize = 253;

thread_local! {
    /// Each at the place that its hash says; what comes later to the same place counts.
    static MET: RefCell<Vec<Option<Arc<str>>>> = const { RefCell::new(Vec::new()) };
}

/// A text that other objects are likely to say as well.
pub(super) struct Repeated(pub(super) Arc<str>);

impl Repeated {
    pub(super) fn of(text: &str) -> Repeated {
        if text.len() > MAX_OCTETS {
            return Repeated(text.into());
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let at = hasher.finish() as usize % REMEMBERED;
        MET.with_borrow_mut(|met| {
            if met.is_empty() {
                met.resize(REMEMBERED, None);
            }
            match &mut met[at] {
                Some(met) if **met == *text => Repeated(met.clone()),
                place => Repeated(place.insert(text.into()).clone()),
            }
        })
    }
}

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, Repeated::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_say_is_kept_once_and_little_is_remembered() {
        let first = Repeated::of("default").0;
        let again: Repeated = serde_json::from_str("\"default\"").expect("a text");
        assert!(Arc::ptr_eq(&first, &again.0));
        for number in 0..100 * REMEMBERED {
            let text = number.to_string();
            assert_eq!(*Repeated::of(&text).0, *text);
        }
        let remembered = MET.with_borrow(Vec::len);
        assert_eq!(remembered, REMEMBERED);
        // Ours alone: it has been forgotten.
        assert_eq!(Arc::strong_count(&first), 2);
    }

    #[test]
    fn what_is_no_name_is_not_remembered() {
        let long = "x".repeat(MAX_OCTETS + 1);
        let text = Repeated::of(&long).0;
        assert_eq!((&*text, Arc::strong_count(&text)), (&*long, 1));
    }
}
