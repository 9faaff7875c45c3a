//! Sets of advertisements, by number.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::intent::ServiceClass;

/// The names of advertisements, in order, without repeats.
pub(super) type Names = [Arc<str>];

/// Numbers for sets of advertisements. A set has the same number for as long as somebody holds it.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct Classes {
    numbers: BTreeMap<Arc<Names>, ServiceClass>,
    held: BTreeMap<ServiceClass, Held>,
    next: u32,
    /// A set came or went since this was last taken.
    pub(super) changed: bool,
}

#[derive(Clone, Debug)]
struct Held {
    names: Arc<Names>,
    holders: usize,
}

impl Classes {
    /// The number of a set, held once more.
    pub(super) fn hold(&mut self, names: &Names) -> ServiceClass {
        if let Some(class) = self.numbers.get(names) {
            if let Some(held) = self.held.get_mut(class) {
                held.holders += 1;
            }
            return *class;
        }
        while self.held.contains_key(&ServiceClass(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let class = ServiceClass(self.next);
        self.next = self.next.wrapping_add(1);
        let names: Arc<Names> = names.into();
        self.numbers.insert(names.clone(), class);
        self.held.insert(class, Held { names, holders: 1 });
        self.changed = true;
        class
    }

    /// Undoes one [`Classes::hold`].
    pub(super) fn release(&mut self, class: ServiceClass) {
        let Some(held) = self.held.get_mut(&class) else {
            return;
        };
        held.holders -= 1;
        if held.holders == 0
            && let Some(held) = self.held.remove(&class)
        {
            self.numbers.remove(&held.names);
            self.changed = true;
        }
    }

    /// The advertisements of a set.
    pub(in crate::cluster) fn names(&self, class: ServiceClass) -> &Names {
        self.held.get(&class).map_or(&[], |held| &held.names)
    }

    /// All sets in use.
    pub(in crate::cluster) fn iter(&self) -> impl Iterator<Item = (ServiceClass, &Names)> {
        self.held.iter().map(|(class, held)| (*class, &*held.names))
    }
}
