//! What the service proxy is asked for, for people to look at.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dunlin_net::service::Frontend;
use dunlin_net::{Afi, IpNet};

use super::choose::{Candidate, Hint, Marks, hint, sort};
use crate::cluster::Cluster;
use crate::fact::{NamespacedName, ServiceAddressKind, TrafficPolicy};

/// An address, protocol and port that a Service asks the service proxy for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendOffer {
    /// Where clients come to.
    pub frontend: Frontend,
    /// `spec.ports[].name`; empty where it has none.
    pub port_name: Arc<str>,
    /// What its address is to the Service; none for a node port.
    pub kind: Option<ServiceAddressKind>,
    /// The policy that it goes by.
    pub policy: TrafficPolicy,
    /// Why its address can be no Service's, in a sentence.
    pub unfit: Option<String>,
    /// The older Service that has it, too, and its connections.
    pub older: Option<NamespacedName>,
    /// The hints that the policy Cluster goes by, if it does.
    pub hint: Option<Hint>,
    /// All endpoints of its port and family, ascending, each once. Those of one port are shared.
    pub endpoints: Arc<[EndpointView]>,
}

/// An endpoint of a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// Where it is reached.
    pub addr: SocketAddr,
    /// How it stands.
    pub condition: EndpointCondition,
    /// It is on this node.
    pub here: bool,
    /// The Node that its address is of, where that is known.
    pub node: Option<Arc<str>>,
}

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointCondition {
    /// It is ready.
    Ready,
    /// It serves while it terminates.
    Terminating,
    /// It is neither.
    NotReady,
}

impl EndpointCondition {
    /// As machines are told.
    pub fn as_str(self) -> &'static str {
        match self {
            EndpointCondition::Ready => "Ready",
            EndpointCondition::Terminating => "Terminating",
            EndpointCondition::NotReady => "NotReady",
        }
    }
}

impl Cluster {
    /// What a Service asks the service proxy for, in order of frontend, as of the last poll: also what it does not get.
    /// Nothing for one that is not there, that is not ours to deliver to, or without the service proxy.
    pub fn frontend_offers(&self, name: &NamespacedName) -> Vec<FrontendOffer> {
        let mut offers = Vec::new();
        let Some((service, delivery)) = self.delivered(name) else {
            return offers;
        };
        let mut behind = BTreeMap::new();
        for offer in service.spec.offers() {
            let Some(port) = delivery.ports.get(offer.port) else {
                continue;
            };
            let (frontend, family) = (offer.frontend, offer.frontend.afi());
            let unfit = offer.kind.and_then(|kind| self.unfit(frontend.addr, kind));
            let (endpoints, hint) = behind
                .entry((offer.port, family))
                .or_insert_with(|| self.endpoints_behind(name, port, family))
                .clone();
            let shown = FrontendOffer {
                frontend,
                port_name: port.name.clone(),
                kind: offer.kind,
                policy: match offer.kind {
                    Some(ServiceAddressKind::ClusterIp) => service.spec.internal,
                    _ => service.spec.external,
                },
                unfit: unfit.map(|unfit| format!("{} {unfit}", frontend.addr)),
                older: self.older_claim(name, frontend).cloned(),
                hint,
                endpoints,
            };
            match offer.kind {
                Some(_) => offers.push(shown),
                None => {
                    let here = self.node_port_addresses(family).into_iter();
                    offers.extend(here.map(|addr| FrontendOffer {
                        frontend: Frontend { addr, ..frontend },
                        ..shown.clone()
                    }));
                }
            }
        }
        offers.sort_by_key(|offer| offer.frontend);
        offers
    }

    /// How many of [`Cluster::frontend_offers`] there are, without looking at each.
    pub fn frontend_count(&self, name: &NamespacedName) -> usize {
        let Some((service, _)) = self.delivered(name) else {
            return 0;
        };
        let here = |family| self.node_port_addresses(family).len();
        let (v4, v6) = (here(Afi::Ipv4), here(Afi::Ipv6));
        let offers = service.spec.offers().into_iter();
        let of_each = offers.map(|offer| match (offer.kind, offer.frontend.afi()) {
            (Some(_), _) => 1,
            (None, Afi::Ipv4) => v4,
            (None, Afi::Ipv6) => v6,
        });
        of_each.sum()
    }

    fn endpoints_behind(
        &self,
        name: &NamespacedName,
        port: &crate::fact::ServicePortFact,
        family: Afi,
    ) -> (Arc<[EndpointView]>, Option<Hint>) {
        let places = &self.services.places;
        let all = self.services.treatments.as_ref().map(|treatments| {
            let zone = treatments.zone.as_deref();
            treatments
                .backends
                .all_behind(name, family, port, places, zone)
        });
        let mut all = all.unwrap_or_default();
        let mut serving: Vec<Candidate> = all.iter().copied().filter(Candidate::serves).collect();
        sort(&mut all);
        sort(&mut serving);
        let views = all.iter().map(|candidate| {
            let here = candidate.marks.has(Marks::LOCAL);
            EndpointView {
                addr: candidate.addr,
                condition: if candidate.marks.has(Marks::READY) {
                    EndpointCondition::Ready
                } else if candidate.serves() {
                    EndpointCondition::Terminating
                } else {
                    EndpointCondition::NotReady
                },
                here,
                node: match here {
                    true => Some(places.node.clone()),
                    false => self.node_with(candidate.addr.ip()),
                },
            }
        });
        (views.collect(), hint(&serving))
    }

    /// The Node that an address or the pod subnet around it is of. It is not kept of each endpoint: there are too many.
    fn node_with(&self, addr: IpAddr) -> Option<Arc<str>> {
        match self.origin.owner_covering(IpNet::from(addr)) {
            Some((_, owner)) => Some(owner.node.as_str().into()),
            None => self.node_at(addr),
        }
    }
}
