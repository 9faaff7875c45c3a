//! The configuration, advertisements, filters and Secrets.

use std::sync::Arc;

use dunlin_bgp::policy::Filter as Compiled;

use super::Cluster;
use super::services::advertisement_problems;
use crate::fact::{AdvertisementFact, ConfigurationFact, FilterFact, Kind, Secret, SecretRef};
use crate::filters::compile;
use crate::intent::Auth;
use crate::problem::{ObjectKind, ObjectRef, Problem, Reason};
use crate::selector::Labels;
use crate::settings::{CONFIGURATION, DEFAULT_ASN, Faults, Settings};

/// The longest key of TCP MD5, in octets (`TCP_MD5SIG_MAXKEYLEN`).
const MAX_PASSWORD_LEN: usize = 80;

#[derive(Clone, Debug)]
pub(super) struct Advertisement {
    pub(super) fact: AdvertisementFact,
    /// Without fault.
    pub(super) usable: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Filter {
    fact: FilterFact,
    /// `None` if the filter is refused.
    pub(super) compiled: Option<Arc<Compiled>>,
}

impl Cluster {
    pub(super) fn apply_configuration(&mut self, fact: ConfigurationFact) {
        let is_default = fact.name == CONFIGURATION;
        if !is_default {
            let object = ObjectRef::new(ObjectKind::BgpConfiguration, &fact.name);
            let message = format!(
                "only the BGPConfiguration named {CONFIGURATION} has an effect: rename or remove this one"
            );
            let problem =
                Problem::of_field(object.clone(), Reason::Invalid, "metadata.name", message);
            self.set_object_problems(object, vec![problem]);
        }
        self.configurations.insert(fact.name.clone(), fact);
        if is_default {
            self.refresh_settings();
        }
    }

    pub(super) fn remove_configuration(&mut self, name: &str) {
        if self.configurations.remove(name).is_none() {
            return;
        }
        if name == CONFIGURATION {
            self.refresh_settings();
        } else {
            let object = ObjectRef::new(ObjectKind::BgpConfiguration, name);
            self.set_object_problems(object, Vec::new());
        }
    }

    /// Works the effective configuration out again; a change concerns every peer.
    pub(super) fn refresh_settings(&mut self) {
        let settings = match self.configurations.get(CONFIGURATION) {
            Some(fact) => Some(Settings::from_fact(fact).0),
            None if self.synced.contains(&Kind::Configuration) => Some(Settings::default()),
            None => None,
        };
        self.dirty.mesh = true;
        if settings == self.settings {
            return;
        }
        let had = self.settings.take();
        let excluded = |s: &Option<Settings>| s.as_ref().map_or(Vec::new(), |s| s.exclude.clone());
        for net in excluded(&had) {
            self.exclude_from_masquerade(net, false);
        }
        for net in excluded(&settings) {
            self.exclude_from_masquerade(net, true);
        }
        let asn_changed = had.map(|s| s.asn) != settings.as_ref().map(|s| s.asn);
        self.settings = settings;
        if asn_changed {
            let names: Vec<String> = self.filters.keys().cloned().collect();
            for name in names {
                self.compile_filter(&name);
            }
        }
        self.dirty.local = true;
        self.dirty.selection = true;
        self.topology.dirty = true;
        self.topology.ranking = None;
        self.mark_all_nodes();
    }

    /// The problems of the configuration, which also depend on how many Nodes there are.
    pub(super) fn evaluate_configuration(&mut self) {
        let mut faults = Faults::new(ObjectRef::new(ObjectKind::BgpConfiguration, CONFIGURATION));
        if let Some(fact) = self.configurations.get(CONFIGURATION) {
            faults.problems = Settings::from_fact(fact).1;
        }
        if let Some(at) = self.settings.as_ref().and_then(|s| s.password.as_ref())
            && let Some(message) = self.password_fault(at)
        {
            faults.add(Reason::SecretMissing, "spec.passwordSecretRef", message);
        }
        let profile = self.settings.as_ref().and_then(|s| s.bfd_profile.as_ref());
        self.report_bfd(profile, &mut faults);
        self.report_topology(&mut faults);
        let object = ObjectRef::new(ObjectKind::BgpConfiguration, CONFIGURATION);
        self.set_object_problems(object, faults.problems);
    }

    pub(super) fn apply_advertisement(&mut self, fact: AdvertisementFact) {
        let usable = advertisement_problems(&fact).is_empty();
        self.services.dirty.active = true;
        self.services.dirty.advertisements = true;
        let name = fact.name.clone();
        let before = self
            .advertisements
            .insert(name.clone(), Advertisement { fact, usable });
        let labels = before.into_iter().map(|a| a.fact.peer_selector);
        let now = self.advertisements.get(&name);
        let selectors: Vec<_> = labels
            .chain(now.map(|a| a.fact.peer_selector.clone()))
            .collect();
        self.mark_configured(|fact| {
            selectors
                .iter()
                .any(|s| s.as_ref().is_none_or(|s| s.matches(&fact.labels)))
        });
    }

    pub(super) fn remove_advertisement(&mut self, name: &str) {
        if let Some(gone) = self.advertisements.remove(name) {
            self.services.dirty.active = true;
            let selector = gone.fact.peer_selector;
            self.mark_configured(|fact| selector.as_ref().is_none_or(|s| s.matches(&fact.labels)));
            let object = ObjectRef::new(ObjectKind::BgpAdvertisement, name);
            self.set_object_problems(object, Vec::new());
        }
    }

    pub(super) fn apply_filter(&mut self, fact: FilterFact) {
        if self.filters.get(&fact.name).is_some_and(|f| f.fact == fact) {
            return;
        }
        let name = fact.name.clone();
        let filter = Filter {
            fact,
            compiled: None,
        };
        self.filters.insert(name.clone(), filter);
        self.compile_filter(&name);
        self.mark_filter_users(&name);
    }

    pub(super) fn remove_filter(&mut self, name: &str) {
        if self.filters.remove(name).is_some() {
            let object = ObjectRef::new(ObjectKind::BgpFilter, name);
            self.set_object_problems(object, Vec::new());
            self.mark_filter_users(name);
        }
    }

    fn compile_filter(&mut self, name: &str) {
        let own_asn = self.settings.as_ref().map_or(DEFAULT_ASN, |s| s.asn);
        if let Some(filter) = self.filters.get_mut(name) {
            let (compiled, problems) = compile(&filter.fact, own_asn);
            filter.compiled = compiled;
            let object = ObjectRef::new(ObjectKind::BgpFilter, name);
            self.set_object_problems(object, problems);
        }
    }

    fn mark_filter_users(&mut self, name: &str) {
        self.mark_configured(|fact| {
            [&fact.import_filter, &fact.export_filter]
                .into_iter()
                .any(|filter| filter.as_deref() == Some(name))
        });
    }

    /// Keeps the Secret's password; the outer `None` means the Secret is gone.
    pub(super) fn set_secret(&mut self, at: SecretRef, password: Option<Option<Secret>>) {
        if self.secrets.get(&at) == password.as_ref() {
            return;
        }
        match password {
            Some(password) => self.secrets.insert(at.clone(), password),
            None => self.secrets.remove(&at),
        };
        self.mark_configured(|fact| fact.password.as_ref() == Some(&at));
        if self.settings.as_ref().and_then(|s| s.password.as_ref()) == Some(&at) {
            self.dirty.mesh = true;
            self.mark_all_nodes();
        }
    }

    /// The authentication that a reference asks for. Never an empty password.
    pub(super) fn auth(&self, at: &SecretRef) -> Auth {
        match self.secrets.get(at) {
            Some(Some(password)) if is_usable(password) => Auth::Password(password.clone()),
            _ => Auth::Missing,
        }
    }

    /// Why a reference gives no password. A Secret may still be to come until all have been told.
    pub(super) fn password_fault(&self, at: &SecretRef) -> Option<String> {
        const DOWN: &str = "the session stays down";
        match self.secrets.get(at) {
            None if !self.synced.contains(&Kind::Secret) => None,
            None => Some(format!(
                "there is no Secret {at}: {DOWN}; create it with the key password"
            )),
            Some(None) => Some(format!(
                "the Secret {at} has no readable key password: {DOWN}; give it under stringData, or base64 under data"
            )),
            Some(Some(password)) if !is_usable(password) => Some(format!(
                "the password of the Secret {at} must have 1 to {MAX_PASSWORD_LEN} octets: {DOWN}; change it"
            )),
            Some(Some(_)) => None,
        }
    }

    /// The own Node's labels, if it is known.
    pub(super) fn own_labels(&self) -> Option<&Labels> {
        self.nodes.get(&self.own).map(|node| &node.fact.labels)
    }
}

fn is_usable(password: &Secret) -> bool {
    (1..=MAX_PASSWORD_LEN).contains(&password.expose().len())
}
