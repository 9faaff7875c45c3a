//! `BFDProfile`s, and which sessions use them.

use super::Cluster;
use crate::bfd::profile;
use crate::fact::{BfdProfileFact, Kind};
use crate::intent::BfdIntent;
use crate::problem::{ObjectKind, ObjectRef, Reason};
use crate::settings::Faults;

/// A profile with what it asks for.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    fact: BfdProfileFact,
    /// `None` if the profile is refused.
    intent: Option<BfdIntent>,
}

impl Cluster {
    pub(super) fn apply_bfd_profile(&mut self, fact: BfdProfileFact) {
        if self
            .bfd_profiles
            .get(&fact.name)
            .is_some_and(|profile| profile.fact == fact)
        {
            return;
        }
        let object = ObjectRef::new(ObjectKind::BfdProfile, &fact.name);
        let (intent, problems) = match profile(&fact) {
            Ok(intent) => (Some(intent), Vec::new()),
            Err(problems) => (None, problems),
        };
        self.set_object_problems(object, problems);
        let name = fact.name.clone();
        self.bfd_profiles
            .insert(name.clone(), Profile { fact, intent });
        self.mark_bfd_users(Some(&name));
    }

    pub(super) fn remove_bfd_profile(&mut self, name: &str) {
        if self.bfd_profiles.remove(name).is_some() {
            let object = ObjectRef::new(ObjectKind::BfdProfile, name);
            self.set_object_problems(object, Vec::new());
            self.mark_bfd_users(Some(name));
        }
    }

    /// Marks all that refer to a profile, or to any.
    pub(super) fn mark_bfd_users(&mut self, name: Option<&str>) {
        let concerned = |given: &Option<String>| match (given, name) {
            (Some(given), Some(name)) => given == name,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.mark_configured(|fact| concerned(&fact.bfd_profile));
        let between_nodes = self.settings.as_ref().map(|s| &s.bfd_profile);
        if between_nodes.is_some_and(concerned) {
            self.dirty.mesh = true;
            self.mark_all_nodes();
        }
    }

    /// What a reference to a profile asks for; nothing if there is none that can be used.
    pub(super) fn bfd(&self, name: Option<&String>) -> Option<BfdIntent> {
        self.bfd_profiles.get(name?)?.intent
    }

    /// Says why a reference gives no profile. One may still be to come until all have been told.
    pub(super) fn report_bfd(&self, name: Option<&String>, faults: &mut Faults) {
        let Some(name) = name else { return };
        const EFFECT: &str =
            "the session is there without BFD, and a dead peer is noticed by the hold time";
        let message = match self.bfd_profiles.get(name) {
            Some(profile) if profile.intent.is_some() => return,
            Some(_) => {
                format!("the BFDProfile {name} is refused: {EFFECT}; see its own problems")
            }
            None if !self.synced.contains(&Kind::BfdProfile) => return,
            None => {
                format!("there is no BFDProfile {name}: {EFFECT}; create it or remove the field")
            }
        };
        faults.add(Reason::BfdProfileMissing, "spec.bfdProfile", message);
    }
}
