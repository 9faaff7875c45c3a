//! What sources may tell, in any order, and the facts that are left of it.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_intent::*;

/// The node that decides.
pub(crate) const OWN: &str = "n0";

#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Apply(Fact),
    Remove(Key),
    Synced(Kind),
    /// A consumer follows what has changed.
    Poll,
}

/// What holds after some steps, whatever they were.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) facts: BTreeMap<Key, Fact>,
    pub(crate) synced: BTreeSet<Kind>,
}

impl Facts {
    /// Tells a cluster the steps, which `follow` follows at each [`Step::Poll`] and at the end.
    pub(crate) fn play(
        &mut self,
        cluster: &mut Cluster,
        steps: impl IntoIterator<Item = Step>,
        mut follow: impl FnMut(&mut Cluster),
    ) {
        for step in steps {
            match step {
                Step::Apply(fact) => {
                    self.facts.insert(fact.key(), fact.clone());
                    cluster.apply(fact);
                }
                Step::Remove(key) => {
                    self.facts.remove(&key);
                    cluster.remove(&key);
                }
                Step::Synced(kind) => {
                    self.synced.insert(kind);
                    cluster.synced(kind);
                }
                Step::Poll => follow(cluster),
            }
        }
        follow(cluster);
    }

    /// A cluster that is told these facts alone.
    pub(crate) fn cluster(&self) -> Cluster {
        self.told_to(Cluster::new(OWN))
    }

    /// A cluster after it was told these facts too.
    pub(crate) fn told_to(&self, mut cluster: Cluster) -> Cluster {
        let facts = self.facts.values().cloned();
        facts.for_each(|fact| cluster.apply(fact));
        self.synced.iter().for_each(|kind| cluster.synced(*kind));
        cluster
    }
}
