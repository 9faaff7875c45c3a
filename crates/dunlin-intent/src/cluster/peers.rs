//! `BGPPeer`s: which of them this node has, and what is learned from and told to each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_bgp::policy::{PeerType, RejectReason};
use dunlin_net::IpNet;

use super::Cluster;
use crate::configured::{Place, max_prefixes, session};
use crate::fact::{Kind, PeerFact};
use crate::intent::{
    ExportFilter, ExportPolicy, ImportPolicy, Initiative, PeerIntent, PeerKey, PolicyIntent,
    Remote, SessionIntent,
};
use crate::origin::Protected;
use crate::problem::{ObjectKind, ObjectRef, Problem, Reason};
use crate::settings::Faults;

/// A `BGPPeer` with what depends on it alone, on the configuration and on our labels.
#[derive(Clone, Debug)]
pub(super) struct Configured {
    pub(super) fact: PeerFact,
    /// The session asked for, if nothing is wrong and this node is selected.
    session: Option<(Place, SessionIntent)>,
    faults: Vec<Problem>,
}

/// Which peers are at which place.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The usable `BGPPeer`s; the first by name has the place.
    configured: BTreeMap<Place, BTreeSet<Arc<str>>>,
    /// The node that the session with an address is with.
    nodes: BTreeMap<IpAddr, Arc<str>>,
    /// The `BGPPeer`s that name an address, whether they are for this node or not.
    pub(super) addresses: BTreeMap<IpAddr, BTreeSet<Arc<str>>>,
}

impl Cluster {
    pub(super) fn apply_peer(&mut self, fact: PeerFact) {
        let name: Arc<str> = fact.name.as_str().into();
        if self.configured.get(&name).is_some_and(|c| c.fact == fact) {
            return;
        }
        self.remove_place(&name);
        self.forget_address(&name);
        if let Some(addr) = fact.peer_address {
            let names = self.places.addresses.entry(addr).or_default();
            names.insert(name.clone());
            self.services.dirty.nets.insert(IpNet::from(addr));
        }
        let configured = Configured {
            fact,
            session: None,
            faults: Vec::new(),
        };
        self.configured.insert(name.clone(), configured);
        self.admit(&name);
    }

    pub(super) fn remove_peer(&mut self, name: &str) {
        self.remove_place(name);
        self.forget_address(name);
        if let Some((name, _)) = self.configured.remove_entry(name) {
            self.dirty.configured.insert(name);
        }
    }

    /// Judges every `BGPPeer` again by itself, after the configuration, our labels or our addresses changed.
    pub(super) fn admit_all(&mut self) {
        let names: Vec<Arc<str>> = self.configured.keys().cloned().collect();
        for name in names {
            self.remove_place(&name);
            self.admit(&name);
        }
    }

    /// Judges a `BGPPeer` by itself and enters its place.
    fn admit(&mut self, name: &Arc<str>) {
        self.dirty.configured.insert(name.clone());
        let Some(configured) = self.configured.get(name) else {
            return;
        };
        let fact = &configured.fact;
        let selected = self.own_labels().is_some_and(|labels| {
            fact.node_selector
                .as_ref()
                .is_none_or(|s| s.matches(labels))
        });
        let settings = self.settings.clone().unwrap_or_default();
        let judged = session(fact, &settings);
        let own = self.nodes.get(&self.own);
        let judged = judged.and_then(|(place, session)| match place {
            Place::Address(addr) if own.is_some_and(|own| own.addresses.contains(&addr)) => {
                let mut faults = peer_faults(name);
                // A peer meant for all nodes may well be one of them: that node alone leaves it out.
                if selected {
                    faults.invalid(
                        "spec.peerAddress",
                        format!("{addr} is the address of the Node {} itself: exclude that Node by the nodeSelector", self.own),
                    );
                }
                Err(faults.problems)
            }
            _ => Ok((place, session)),
        });
        let (session, faults) = match judged {
            Ok(session) => (selected.then_some(session), Vec::new()),
            Err(faults) => (None, faults),
        };
        if let Some((place, _)) = &session {
            let place = *place;
            let sharing = self.places.configured.entry(place).or_default();
            sharing.insert(name.clone());
            self.dirty.configured.extend(sharing.iter().cloned());
        }
        if let Some(configured) = self.configured.get_mut(name) {
            configured.session = session;
            configured.faults = faults;
        }
    }

    fn remove_place(&mut self, name: &str) {
        let session = self.configured.get_mut(name).and_then(|c| c.session.take());
        if let Some((place, _)) = session
            && let Some(sharing) = self.places.configured.get_mut(&place)
        {
            sharing.remove(name);
            self.dirty.configured.extend(sharing.iter().cloned());
            if sharing.is_empty() {
                self.places.configured.remove(&place);
            }
        }
    }

    fn forget_address(&mut self, name: &str) {
        let addr = self.configured.get(name).and_then(|c| c.fact.peer_address);
        if let Some(addr) = addr
            && let Some(names) = self.places.addresses.get_mut(&addr)
        {
            names.remove(name);
            if names.is_empty() {
                self.places.addresses.remove(&addr);
            }
            self.services.dirty.nets.insert(IpNet::from(addr));
        }
    }

    /// Marks the `BGPPeer`s that a change concerns.
    pub(super) fn mark_configured(&mut self, concerned: impl Fn(&PeerFact) -> bool) {
        let names = self
            .configured
            .iter()
            .filter(|(_, configured)| concerned(&configured.fact))
            .map(|(name, _)| name.clone());
        self.dirty.configured.extend(names);
    }

    pub(super) fn mark_all_configured(&mut self) {
        self.mark_configured(|_| true);
    }

    /// Judges a `BGPPeer` against everything else.
    pub(super) fn evaluate_configured(&mut self, name: &Arc<str>) {
        let object = ObjectRef::new(ObjectKind::BgpPeer, &**name);
        let key = PeerKey::Configured(name.clone());
        let mut faults = peer_faults(name);
        let intent = self.configured.get(name).and_then(|configured| {
            faults.problems.clone_from(&configured.faults);
            self.configured_peer(name, configured, &mut faults)
        });
        self.set_object_problems(object, faults.problems);
        self.set_peer(key, intent);
    }

    fn configured_peer(
        &self,
        name: &Arc<str>,
        configured: &Configured,
        faults: &mut Faults,
    ) -> Option<PeerIntent> {
        self.settings.as_ref()?;
        let Some((place, session)) = configured.session.as_ref() else {
            // Not for this node, but one that names what is not there is wrong wherever it is looked at: whoever tells of
            // objects need not be a node that they are for.
            if faults.problems.is_empty() {
                self.report_references(&configured.fact, faults);
            }
            return None;
        };
        let first = self.places.configured.get(place).and_then(BTreeSet::first);
        if let Some(first) = first
            && first != name
        {
            faults.add(
                Reason::DuplicateAddress,
                "spec",
                format!("the BGPPeer {first} has the same address, range or interface on this node and comes first by name: remove one"),
            );
            return None;
        }
        if let Place::Address(addr) = place
            && let Some(node) = self.places.nodes.get(addr)
        {
            faults.add(
                Reason::DuplicateAddress,
                "spec.peerAddress",
                format!("{addr} is the Node {node}, which this node peers with already: remove this BGPPeer or set topology.mode None"),
            );
            return None;
        }
        let mut session = session.clone();
        if let Some(at) = &configured.fact.password {
            session.auth = self.auth(at);
            if let Some(message) = self.password_fault(at) {
                faults.add(Reason::SecretMissing, "spec.passwordSecretRef", message);
            }
        }
        self.report_bfd(configured.fact.bfd_profile.as_ref(), faults);
        let peer_type = session.peer_type();
        let policy = self.configured_policy(&configured.fact, peer_type, faults);
        Some(PeerIntent {
            key: PeerKey::Configured(name.clone()),
            session,
            policy,
            bfd: self.bfd(configured.fact.bfd_profile.as_ref()),
            reflector_client: configured.fact.reflector_client == Some(true),
            max_prefixes: configured.fact.max_prefixes.as_ref().and_then(max_prefixes),
            reflector: false,
            initiative: Initiative::Ours,
        })
    }

    fn configured_policy(
        &self,
        fact: &PeerFact,
        peer_type: PeerType,
        faults: &mut Faults,
    ) -> PolicyIntent {
        let fabric = fact.fabric == Some(true);
        let import = match &fact.import_filter {
            None if fabric => ImportPolicy::Fabric(None),
            None => ImportPolicy::Nothing(RejectReason::NoImportFilter),
            Some(name) => match self.filters.get(name).and_then(|f| f.compiled.clone()) {
                Some(filter) if fabric => ImportPolicy::Fabric(Some(filter)),
                Some(filter) => ImportPolicy::Filter(filter),
                None => {
                    self.report_missing(name, "spec.importFilter", "nothing is learned", faults);
                    ImportPolicy::Nothing(RejectReason::NoImportFilter)
                }
            },
        };
        let filter = match &fact.export_filter {
            None => ExportFilter::None,
            Some(name) => match self.filters.get(name).and_then(|f| f.compiled.clone()) {
                Some(filter) => ExportFilter::Filter(filter),
                None => {
                    self.report_missing(name, "spec.exportFilter", "nothing is told", faults);
                    ExportFilter::Missing
                }
            },
        };
        let mut originated = self.advertised(fact);
        self.shut_down_gracefully(&mut originated, peer_type);
        PolicyIntent {
            import,
            allow_own_as: fact.allow_own_as.unwrap_or(0),
            export: ExportPolicy {
                originated: originated.into(),
                filter,
                next_hop: fact.next_hop.unwrap_or_default(),
            },
        }
    }

    fn report_references(&self, fact: &PeerFact, faults: &mut Faults) {
        if let Some(message) = fact
            .password
            .as_ref()
            .and_then(|at| self.password_fault(at))
        {
            faults.add(Reason::SecretMissing, "spec.passwordSecretRef", message);
        }
        self.report_bfd(fact.bfd_profile.as_ref(), faults);
        for (filter, field, effect) in [
            (
                &fact.import_filter,
                "spec.importFilter",
                "nothing is learned",
            ),
            (&fact.export_filter, "spec.exportFilter", "nothing is told"),
        ] {
            if let Some(name) = filter
                && self
                    .filters
                    .get(name)
                    .is_none_or(|filter| filter.compiled.is_none())
            {
                self.report_missing(name, field, effect, faults);
            }
        }
    }

    fn report_missing(&self, name: &str, field: &str, effect: &str, faults: &mut Faults) {
        if self.filters.contains_key(name) {
            faults.add(
                Reason::FilterMissing,
                field,
                format!("the BGPFilter {name} is refused, so {effect}: see its own problems"),
            );
        } else if self.synced.contains(&Kind::Filter) {
            faults.add(
                Reason::FilterMissing,
                field,
                format!("there is no BGPFilter {name}, so {effect}: create it or remove the field"),
            );
        }
    }

    /// Makes a peer wanted as said, or not wanted.
    pub(super) fn set_peer(&mut self, key: PeerKey, intent: Option<PeerIntent>) {
        let before = self.peers.get(&key);
        if before.map(|intent| &**intent) == intent.as_ref() {
            return;
        }
        let address = |intent: &PeerIntent| match intent.session.remote {
            Remote::Address(addr, _) => Some(addr),
            Remote::Range(_) | Remote::Interface(..) => None,
        };
        let had = before.and_then(|intent| address(intent));
        let has = intent.as_ref().and_then(address);
        match intent {
            Some(intent) => {
                self.dirty.peers.insert(key.clone());
                self.peers.insert(key.clone(), Arc::new(intent));
            }
            None => {
                self.dirty.gone_peers.insert(key.clone());
                self.peers.remove(&key);
            }
        }
        if had != has {
            for (addr, add) in [(had, false), (has, true)] {
                if let Some(addr) = addr {
                    self.move_session(&key, addr, add);
                }
            }
        }
    }

    fn move_session(&mut self, key: &PeerKey, addr: IpAddr, add: bool) {
        match key {
            PeerKey::Node(name) => {
                if add {
                    self.places.nodes.insert(addr, name.clone());
                } else if self.places.nodes.get(&addr) == Some(name) {
                    self.places.nodes.remove(&addr);
                }
                if let Some(sharing) = self.places.configured.get(&Place::Address(addr)) {
                    self.dirty.configured.extend(sharing.iter().cloned());
                }
            }
            PeerKey::Configured(_) => {
                let changed = match add {
                    true => self.origin.protect(addr, Protected::Session),
                    false => self.origin.unprotect(addr, Protected::Session),
                };
                if changed {
                    self.dirty.protection.insert(IpNet::from(addr));
                }
            }
        }
    }
}

fn peer_faults(name: &str) -> Faults {
    Faults::new(ObjectRef::new(ObjectKind::BgpPeer, name))
}
