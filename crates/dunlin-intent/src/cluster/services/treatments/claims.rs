use std::collections::BTreeSet;

use dunlin_net::service::Frontend;

use crate::dense::DenseMap;
use crate::fact::NamespacedName;

/// Which Services ask for which frontends.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(DenseMap<(Frontend, NamespacedName), ()>);

impl Claims {
    /// The Services that claim a frontend, by name.
    pub(super) fn of(&self, frontend: Frontend) -> impl Iterator<Item = &NamespacedName> {
        let from = (frontend, NamespacedName::new("", ""));
        let claims = self.0.starting_at(&from);
        claims
            .take_while(move |((claimed, _), ())| *claimed == frontend)
            .map(|((_, name), ())| name)
    }

    /// Takes in what a Service claims now. Returns the other Services that claim, or had to leave to it, any of what it
    /// claimed or claims: its age may be another too.
    pub(super) fn change(
        &mut self,
        name: &NamespacedName,
        had: &BTreeSet<Frontend>,
        has: &BTreeSet<Frontend>,
    ) -> Vec<NamespacedName> {
        for frontend in had.difference(has) {
            self.0.remove(&(*frontend, name.clone()));
        }
        for frontend in has.difference(had) {
            self.0.insert((*frontend, name.clone()), ());
        }
        let claimants = had.union(has).flat_map(|frontend| self.of(*frontend));
        claimants.filter(|other| *other != name).cloned().collect()
    }
}
