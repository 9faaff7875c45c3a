//! What becomes of connections to Services, for the service proxy: told is which Services to ask for, and what is asked for is
//! worked out from the Service and its slices alone.
//!
//! The rules are kube-proxy's: policies, terminating endpoints (KEP-1669), hints, and who is refused or dropped.

mod backends;
mod choose;
mod claims;
mod delivery;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dunlin_net::Afi;
use dunlin_net::service::{
    Balance, Frontend, FrontendRule, NodePorts, Protocol, ProxyOptions, Treatment,
};

use super::{Cluster, Service, Services, Spec, WithheldReason};
use crate::fact::{
    EndpointSliceFact, NamespacedName, ServiceAddressKind, ServicePortFact, TrafficPolicy,
};
use crate::problem::Reason;
use crate::reflectors::ZONE;
use crate::settings::Faults;

use backends::Backends;
use choose::Chosen;
pub use choose::Hint;
use claims::Claims;
pub(super) use delivery::Delivery;
use delivery::Outcome;
pub use view::{EndpointCondition, EndpointView, FrontendOffer};

/// What is kept for the service proxy, and only with it: the endpoints themselves, at some 20 octets each, and who claims
/// which frontend.
#[derive(Clone, Debug, Default)]
pub(super) struct Treatments {
    backends: Backends,
    claims: Claims,
    /// The own Node's zone, if it is labelled with one.
    zone: Option<Box<str>>,
    options: ProxyOptions,
    /// All addresses that this machine has; known only where node ports need them.
    machine: Vec<IpAddr>,
    /// The Services to ask for.
    changed: BTreeSet<NamespacedName>,
}

impl Services {
    /// Keeps what is needed for the service proxy from now on.
    pub(in crate::cluster) fn deliver(&mut self) {
        self.treatments = Some(Box::default());
    }

    /// Takes in what a Service was, what it claims now, and whether it is delivered to.
    pub(super) fn treat_service(
        &mut self,
        name: &NamespacedName,
        had: Option<&Spec>,
        claims: &BTreeSet<Frontend>,
        delivered: bool,
    ) {
        let Some(treatments) = &mut self.treatments else {
            return;
        };
        if delivered || had.is_some_and(|had| had.delivery.is_some()) {
            treatments.changed.insert(name.clone());
        }
        let before = had.map(Spec::claims).unwrap_or_default();
        for other in treatments.claims.change(name, &before, claims) {
            treatments.changed.insert(other.clone());
            // It complains of it, or no longer.
            self.dirty.services.insert(other);
        }
    }

    /// Takes in a slice that was of one Service before and is of another, or the same, now.
    pub(super) fn treat_slice(
        &mut self,
        fact: &EndpointSliceFact,
        before: Option<NamespacedName>,
        now: Option<NamespacedName>,
    ) {
        let Some(treatments) = &mut self.treatments else {
            return;
        };
        let mut touched = Vec::new();
        if let Some(before) = before.filter(|before| now.as_ref() != Some(before))
            && treatments.backends.remove(&before, &fact.name.name)
        {
            touched.push(before);
        }
        if let Some(now) = now
            && treatments.backends.apply(&now, fact, &self.places.node)
        {
            touched.push(now);
        }
        touched.into_iter().for_each(|name| self.treat(name));
    }

    /// Takes in that a slice of a Service is gone.
    pub(super) fn untreat_slice(&mut self, name: &NamespacedName, of: Option<NamespacedName>) {
        if let Some(treatments) = &mut self.treatments
            && let Some(of) = of
            && treatments.backends.remove(&of, &name.name)
        {
            self.treat(of);
        }
    }

    /// A Service that is delivered to has to be asked for.
    pub(super) fn treat(&mut self, name: NamespacedName) {
        let service = self.services.get(&name);
        if let Some(treatments) = &mut self.treatments
            && service.is_some_and(|service| service.spec.delivery.is_some())
        {
            treatments.changed.insert(name);
        }
    }

    /// All Services have to be asked for: this node is another, or elsewhere.
    pub(super) fn treat_all(&mut self) {
        if let Some(treatments) = &mut self.treatments {
            let delivered = self
                .services
                .iter()
                .filter(|(_, s)| s.spec.delivery.is_some());
            let names = delivered.map(|(name, _)| name.clone());
            treatments.changed.extend(names);
        }
    }
}

/// A Service whose load balancer asks each node whether it has ready endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service.
    pub service: NamespacedName,
    /// `spec.healthCheckNodePort`: where it asks.
    pub node_port: u16,
    /// How many ready endpoints are on this node; one of both families counts once.
    pub local_ready: u32,
}

impl Cluster {
    /// The same with what the service proxy needs. To be said before the first fact: of what was told before, endpoints are not
    /// known.
    #[must_use]
    pub fn with_service_proxy(mut self) -> Cluster {
        self.services.deliver();
        self
    }

    /// The same by these options.
    #[must_use]
    pub fn with_proxy_options(mut self, options: ProxyOptions) -> Cluster {
        if let Some(treatments) = &mut self.services.treatments {
            treatments.options = options;
        }
        self
    }

    /// Says which addresses this machine has, in any order. Kept only where node ports are at those within given networks.
    pub fn set_machine_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        let Some(treatments) = &mut self.services.treatments else {
            return;
        };
        let NodePorts::Within(nets) = &treatments.options.node_ports else {
            return;
        };
        let is_wanted =
            |addr: &IpAddr| !addr.is_loopback() && nets.iter().any(|net| net.contains(addr));
        let mut machine: Vec<IpAddr> = addresses.into_iter().filter(is_wanted).collect();
        machine.sort_unstable();
        machine.dedup();
        if treatments.machine != machine {
            treatments.machine = machine;
            self.services.treat_all();
        }
    }

    /// The next Service whose [`Cluster::treatment`] or [`Cluster::health_check`] may have changed since it was last told
    /// here, by name; `None` when all have been told, or without the service proxy. However often a Service changes, it is told
    /// once.
    pub fn poll_treatment_change(&mut self) -> Option<NamespacedName> {
        self.services.treatments.as_ref()?;
        self.settle();
        self.services.treatments.as_mut()?.changed.pop_first()
    }

    /// What becomes of connections to a Service, in order of frontend, as of the last poll. Nothing for one that is not there,
    /// that is not ours to deliver to, or without the service proxy. Costs what the Service and its slices are.
    pub fn treatment(&self, name: &NamespacedName) -> Vec<FrontendRule> {
        let mut rules = Vec::new();
        let Some((service, delivery)) = self.delivered(name) else {
            return rules;
        };
        let mut outcomes: BTreeMap<(usize, Afi), Outcome> = BTreeMap::new();
        for offer in service.spec.offers() {
            let Frontend { addr, .. } = offer.frontend;
            let family = offer.frontend.afi();
            let unfit = offer.kind.and_then(|kind| self.unfit(addr, kind));
            if unfit.is_some() || self.older_claim(name, offer.frontend).is_some() {
                continue;
            }
            let Some(port) = delivery.ports.get(offer.port) else {
                continue;
            };
            let outcome = outcomes.entry((offer.port, family)).or_insert_with(|| {
                let policy = (delivery, service.spec.internal);
                self.outcome(name, policy, port, family)
            });
            let serving = outcome.serving.clone();
            let (inside, outside) = service.spec.views(offer.kind, outcome);
            let balanced = offer.kind == Some(ServiceAddressKind::LoadBalancerIp);
            let rule = FrontendRule {
                frontend: offer.frontend,
                inside,
                outside,
                masquerade: self.masquerades(service, offer.kind),
                sources: delivery.sources.get(family).clone().filter(|_| balanced),
                serving,
            };
            match offer.kind {
                Some(_) => rules.push(rule),
                None => rules.extend(self.on_this_node(rule)),
            }
        }
        rules.sort_by_key(|rule| rule.frontend);
        rules
    }

    /// What a Service's load balancer is told, as of the last poll; none for a Service that none asks for.
    pub fn health_check(&self, name: &NamespacedName) -> Option<HealthCheck> {
        let (_, delivery) = self.delivered(name)?;
        let treatments = self.services.treatments.as_ref()?;
        let ready = |family| {
            let places = &self.services.places;
            treatments.backends.local_ready(name, family, places)
        };
        Some(HealthCheck {
            service: name.clone(),
            node_port: delivery.health_check_port?,
            local_ready: ready(Afi::Ipv4).max(ready(Afi::Ipv6)),
        })
    }

    /// What all load balancers are told, by Service.
    pub fn health_checks(&self) -> impl Iterator<Item = HealthCheck> {
        let names = self.services.services.keys();
        names.filter_map(|name| self.health_check(name))
    }

    /// Whether the source is rewritten though the answer would come back: not where the policy keeps it.
    fn masquerades(&self, service: &Service, kind: Option<ServiceAddressKind>) -> bool {
        let options = self.services.treatments.as_ref().map(|t| &t.options);
        let keeps = kind != Some(ServiceAddressKind::ClusterIp)
            && service.spec.external == TrafficPolicy::Local;
        options.is_some_and(|options| options.masquerade_all) && !keeps
    }

    /// Where this node's node ports of a family are.
    fn node_port_addresses(&self, family: Afi) -> Vec<IpAddr> {
        let of_family = |addr: &IpAddr| Afi::of(*addr) == family;
        let internal = self.services.places.addresses.iter().copied();
        let internal = internal.filter(of_family);
        let Some(treatments) = self.services.treatments.as_ref() else {
            return Vec::new();
        };
        match &treatments.options.node_ports {
            NodePorts::Internal => internal.collect(),
            NodePorts::Primary => internal.take(1).collect(),
            NodePorts::Within(nets) => {
                let within = |addr: &IpAddr| nets.iter().any(|net| net.contains(addr));
                let addresses = treatments.machine.iter().copied().filter(of_family);
                addresses.filter(within).collect()
            }
        }
    }

    /// A node port's rule at each of this node's addresses for them.
    fn on_this_node(&self, rule: FrontendRule) -> impl Iterator<Item = FrontendRule> {
        let addresses = self.node_port_addresses(rule.frontend.afi());
        addresses.into_iter().map(move |addr| FrontendRule {
            frontend: Frontend {
                addr,
                ..rule.frontend
            },
            ..rule.clone()
        })
    }

    fn delivered(&self, name: &NamespacedName) -> Option<(&Service, &Delivery)> {
        let service = self.services.services.get(name)?;
        Some((service, service.spec.delivery.as_ref()?))
    }

    fn outcome(
        &self,
        name: &NamespacedName,
        (delivery, internal): (&Delivery, TrafficPolicy),
        port: &ServicePortFact,
        family: Afi,
    ) -> Outcome {
        let places = &self.services.places;
        let candidates = self.services.treatments.as_ref().map(|treatments| {
            let zone = treatments.zone.as_deref();
            treatments.backends.behind(name, family, port, places, zone)
        });
        let candidates = candidates.unwrap_or_default();
        let Chosen { cluster, local } = choose::choose(&candidates);
        let balance = |endpoints: Vec<SocketAddr>| {
            Treatment::Balance(Arc::new(Balance {
                endpoints: endpoints.into(),
                choice: delivery.choice,
                affinity_secs: delivery.affinity_secs,
            }))
        };
        if cluster.is_empty() {
            return Outcome {
                cluster: Treatment::Reject,
                local: Treatment::Reject,
                serving: None,
            };
        }
        let same = cluster == local;
        // As kube-proxy has it, neither its end nor a policy takes a flow from an endpoint that serves.
        let no_local = internal == TrafficPolicy::Local && !same;
        let passed_over = no_local || cluster.len() < candidates.len();
        let serving = (port.protocol == Protocol::Udp && passed_over)
            .then(|| candidates.iter().map(|candidate| candidate.addr).collect());
        let cluster = balance(cluster);
        let local = match local {
            _ if same => cluster.clone(),
            local if local.is_empty() => Treatment::Drop,
            local => balance(local),
        };
        Outcome {
            cluster,
            local,
            serving,
        }
    }

    /// The oldest Service that claims the same frontend, if it is another.
    fn older_claim(&self, name: &NamespacedName, frontend: Frontend) -> Option<&NamespacedName> {
        let claims = &self.services.treatments.as_ref()?.claims;
        let mut claimants = claims.of(frontend);
        let first = claimants.next()?;
        let Some(second) = claimants.next() else {
            return (first != name).then_some(first);
        };
        let all = [first, second].into_iter().chain(claimants);
        let oldest = all.min_by_key(|name| self.service_age(name))?;
        (oldest != name).then_some(oldest)
    }

    /// What of a Service is not delivered though it asks for it, beyond what announcing has complained of.
    pub(super) fn complain_of_delivery(
        &self,
        name: &NamespacedName,
        spec: &Spec,
        verdicts: &[Option<WithheldReason>],
        faults: &mut Faults,
    ) {
        if spec.delivery.is_none() {
            return;
        }
        for (at, address) in spec.addresses.iter().enumerate() {
            let (addr, field) = (address.addr, address.field());
            let told = verdicts.get(at).copied().flatten();
            let told = told.is_some_and(WithheldReason::is_complained_of);
            let family = Afi::of(addr);
            if !address.vip || told {
                continue;
            }
            if let Some(unfit) = self.unfit(addr, address.kind) {
                unfit.complain(addr, field, "delivered", faults);
            } else if !spec.is_of(family) {
                let message = format!(
                    "{addr} is not delivered, since the Service has no cluster IP that is an {family} address: make it dual-stack"
                );
                faults.invalid(field, message);
            }
        }
        // One for each address is enough.
        let mut told = BTreeSet::new();
        for offer in spec.offers() {
            if let Some(older) = self.older_claim(name, offer.frontend)
                && told.insert(offer.frontend.addr)
            {
                let (what, field) = match offer.kind {
                    Some(_) => (offer.frontend.to_string(), "spec.ports"),
                    None => {
                        let Frontend { protocol, port, .. } = offer.frontend;
                        (format!("the node port {port}/{protocol}"), "spec.ports")
                    }
                };
                let message = format!(
                    "{what} is also of the Service {older}, which is older and has its connections: give one of them another"
                );
                faults.add(Reason::DuplicateAddress, field, message);
            }
        }
    }

    /// Takes in the own Node's zone; returns whether it is another.
    pub(super) fn evaluate_zone(&mut self) -> bool {
        let labels = self.own_labels();
        let zone = labels.and_then(|labels| labels.get(ZONE)).cloned();
        let Some(treatments) = &mut self.services.treatments else {
            return false;
        };
        let changed = treatments.zone.as_deref() != zone.as_deref();
        treatments.zone = zone.map(Into::into);
        changed
    }
}
