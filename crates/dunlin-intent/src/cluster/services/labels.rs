//! Labels kept small: thousands of Services are kept with theirs.

use crate::selector::{Labels, Selector};

/// The label that the API server gives every Namespace, with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Labels in two allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PackedLabels {
    /// Keys and values, one after the other.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[usize]>,
}

impl PackedLabels {
    pub(super) fn new(labels: &Labels) -> PackedLabels {
        let mut text = String::with_capacity(labels.iter().map(|(k, v)| k.len() + v.len()).sum());
        let mut ends = Vec::with_capacity(labels.len() * 2);
        for part in labels.iter().flat_map(|(key, value)| [key, value]) {
            text.push_str(part);
            ends.push(text.len());
        }
        PackedLabels {
            text: text.into(),
            ends: ends.into(),
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        let mut start = 0;
        for pair in self.ends.chunks_exact(2) {
            let &[middle, end] = pair else { break };
            if self.text.get(start..middle) == Some(key) {
                return self.text.get(middle..end);
            }
            start = end;
        }
        None
    }

    /// Whether a selector selects what has these labels.
    pub(super) fn are_selected(&self, selector: &Selector) -> bool {
        selector.matches_by(|key| self.get(key))
    }

    /// Whether a selector selects the Namespace of this name with these labels.
    pub(super) fn select_namespace(&self, name: &str, selector: &Selector) -> bool {
        selector.matches_by(|key| {
            self.get(key)
                .or_else(|| (key == NAMESPACE_NAME).then_some(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_labels_give_back_what_went_in() {
        let labels: Labels = [("a", "1"), ("ab", ""), ("", "x"), ("b", "a1")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let packed = PackedLabels::new(&labels);
        for (key, value) in &labels {
            assert_eq!(packed.get(key), Some(value.as_str()), "{key}");
        }
        assert_eq!((packed.get("1"), packed.get("a1")), (None, None));
        assert_eq!(PackedLabels::default().get(""), None);
    }

    #[test]
    fn a_namespace_can_be_selected_by_its_name() {
        let selector = Selector {
            match_labels: [(NAMESPACE_NAME.to_owned(), "web".to_owned())].into(),
            ..Selector::default()
        };
        let none = PackedLabels::default();
        assert!(none.select_namespace("web", &selector));
        assert!(!none.select_namespace("db", &selector));
    }
}
