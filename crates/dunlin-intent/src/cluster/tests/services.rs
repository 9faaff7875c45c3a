//! Which addresses of Services are announced: the cases of kube-router's own tests (A1 to A7) and those that its users
//! asked for (4.10), and ours.
//!
//! Flags of kube-router are kinds of addresses in a `BGPAdvertisement`; its annotations on Services, which override
//! the flags, are advertisements that select Services by a label.

mod announced;
mod cases;
mod complaints;
mod cost;
mod policy;
mod ranges;

use super::*;
use crate::fact::{
    AdvertisementFact, EndpointFact, EndpointSliceFact, IngressFact, NamespaceFact, NamespacedName,
    PeerAsn, PeerFact, ServiceAddressKind, ServiceFact, ServiceType, ServicesFact, TrafficPolicy,
};
use crate::intent::OriginKind;
use ServiceAddressKind::{ClusterIp, ExternalIp, LoadBalancerIp};
use dunlin_net::Afi;

const ALL_KINDS: [ServiceAddressKind; 3] = [ClusterIp, ExternalIp, LoadBalancerIp];

fn service(name: &str, change: impl FnOnce(&mut ServiceFact)) -> ServiceFact {
    let mut fact = ServiceFact::new("web", name);
    change(&mut fact);
    fact
}

fn vip(text: &str) -> IngressFact {
    IngressFact {
        ip: Some(addr(text)),
        vip: true,
    }
}

fn ready(on: &str) -> EndpointFact {
    EndpointFact {
        address: Some(addr("10.244.9.9")),
        node: Some(on.into()),
        ..EndpointFact::default()
    }
}

fn unready(on: &str) -> EndpointFact {
    EndpointFact {
        ready: false,
        serving: false,
        ..ready(on)
    }
}

fn draining(on: &str) -> EndpointFact {
    EndpointFact {
        ready: false,
        serving: true,
        terminating: true,
        ..ready(on)
    }
}

/// An IPv4 slice of the Service, named after it.
fn slice(service: &str, endpoints: Vec<EndpointFact>) -> EndpointSliceFact {
    EndpointSliceFact {
        name: NamespacedName::new("web", format!("{service}-1")),
        service: Some(service.into()),
        address_type: Some(Afi::Ipv4),
        ports: Vec::new(),
        endpoints,
        malformed: Vec::new(),
    }
}

fn announce(
    name: &str,
    addresses: &[ServiceAddressKind],
    change: impl FnOnce(&mut AdvertisementFact),
) -> Fact {
    let mut fact = AdvertisementFact {
        name: name.to_owned(),
        services: Some(ServicesFact {
            addresses: addresses.to_vec(),
            ..ServicesFact::default()
        }),
        ..AdvertisementFact::default()
    };
    change(&mut fact);
    Fact::Advertisement(fact)
}

fn labelled(key: &str, value: &str) -> crate::Selector {
    crate::Selector {
        match_labels: [(key.to_owned(), value.to_owned())].into(),
        ..crate::Selector::default()
    }
}

/// The pair, an advertisement of these kinds, and these facts.
fn announcing(kinds: &[ServiceAddressKind], facts: impl IntoIterator<Item = Fact>) -> Cluster {
    let advertisement = (!kinds.is_empty()).then(|| announce("all", kinds, |_| {}));
    cluster(pair().into_iter().chain(advertisement).chain(facts))
}

/// What is announced of Services, as told.
fn announced(cluster: &Cluster) -> Vec<String> {
    let originations = cluster.originations();
    let of_services = originations.filter(|(_, o)| o.kind != OriginKind::PodSubnet);
    of_services.map(|(net, _)| net.to_string()).collect()
}

/// The same after the changes so far.
fn announced_now(cluster: &mut Cluster) -> Vec<String> {
    changes(cluster);
    announced(cluster)
}

fn withheld(cluster: &Cluster, service: &str) -> Vec<Option<WithheldReason>> {
    let name = NamespacedName::new("web", service);
    let view = cluster.service(&name).unwrap();
    let standing = view.addresses.into_iter().map(|a| a.standing);
    standing
        .map(|standing| match standing {
            AddressStanding::Withheld(reason) => Some(reason),
            AddressStanding::Announced(prefixes) => {
                assert!(!prefixes.is_empty());
                None
            }
        })
        .collect()
}
