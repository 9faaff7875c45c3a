//! The advertisements of services that this node heeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_bgp::policy::AttrEdits;
use dunlin_net::PerFamily;

use super::Cluster;
use super::prefixes::Conflict;
use crate::fact::{AdvertisementFact, PeerFact, ServiceAddressKind};
use crate::filters::{check_attributes, edits, merge};
use crate::intent::OriginKind;
use crate::problem::{ObjectKind, ObjectRef, Problem, Reason};
use crate::selector::Selector;
use crate::settings::Faults;

/// The label of Nodes that announce no external addresses, whatever its value.
const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The refused aggregates that an advertisement's problems name; how many more there are is said too.
const MAX_REFUSED: usize = 8;

/// An advertisement of services that is without fault and selects this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) name: Arc<str>,
    pub(super) kinds: Vec<ServiceAddressKind>,
    pub(super) selector: Option<Selector>,
    pub(super) namespace_selector: Option<Selector>,
    pub(super) aggregation: PerFamily<Option<u8>>,
}

impl Cluster {
    /// Works out again which advertisements of services this node heeds.
    pub(super) fn evaluate_active(&mut self) {
        let labels = self.own_labels();
        let heeded = labels.into_iter().flat_map(|labels| {
            self.advertisements.iter().filter(move |(_, a)| {
                let selector = a.fact.node_selector.as_ref();
                a.usable && selector.is_none_or(|s| s.matches(labels))
            })
        });
        let active = heeded.filter_map(|(name, a)| {
            let services = a.fact.services.as_ref()?;
            Some(Active {
                name: name.as_str().into(),
                kinds: services.addresses.clone(),
                selector: services.selector.clone(),
                namespace_selector: services.namespace_selector.clone(),
                aggregation: PerFamily {
                    v4: a.fact.aggregation_length_ipv4,
                    v6: a.fact.aggregation_length_ipv6,
                },
            })
        });
        let active: Vec<Active> = active.collect();
        let excluded = labels.is_some_and(|labels| labels.contains_key(EXCLUDE_LABEL));
        let services = &mut self.services;
        if active == services.active && excluded == services.excluded {
            return;
        }
        let alone = active.iter().map(|a| {
            let name = std::slice::from_ref(&a.name);
            services.classes.hold(name)
        });
        let before = std::mem::replace(&mut services.alone, alone.collect());
        for class in before {
            services.classes.release(class);
        }
        services.active = active;
        services.excluded = excluded;
        services.dirty.all = true;
    }

    /// The advertisements' problems: their own, and the aggregates that are refused.
    pub(super) fn evaluate_advertisements(&mut self) {
        let mut refused: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
        for (net, aggregate) in self.services.aggregates.iter() {
            let Some(conflict) = &aggregate.conflict else {
                continue;
            };
            let classes = aggregate.classes.iter();
            let mut names: Vec<&Arc<str>> = classes
                .flat_map(|(class, _)| self.services.classes.names(*class))
                .collect();
            names.sort();
            names.dedup();
            let what = match conflict {
                Conflict::NodeAddress(addr) => format!("the Node address {addr}"),
                Conflict::PodSubnet(subnet) => format!("addresses of the pod subnet {subnet}"),
            };
            let message = format!(
                "the aggregate {net} would cover {what}, so its service addresses are announced one by one: give a longer length"
            );
            for name in names {
                refused
                    .entry(name.clone())
                    .or_default()
                    .push(message.clone());
            }
        }
        let names: Vec<String> = self.advertisements.keys().cloned().collect();
        for name in names {
            let Some(advertisement) = self.advertisements.get(&name) else {
                continue;
            };
            let mut problems = advertisement_problems(&advertisement.fact);
            if let Some(refused) = refused.get(name.as_str()) {
                problems.extend(refusals(&name, refused));
            }
            let object = ObjectRef::new(ObjectKind::BgpAdvertisement, &name);
            self.set_object_problems(object, problems);
        }
    }

    /// What the advertisements that this node heeds announce to a `BGPPeer`: pod subnets, and service addresses by class.
    pub(in crate::cluster) fn advertised(
        &self,
        peer: &PeerFact,
    ) -> BTreeMap<OriginKind, AttrEdits> {
        let Some((settings, labels)) = self.settings.as_ref().zip(self.own_labels()) else {
            return BTreeMap::new();
        };
        let told = |fact: &AdvertisementFact| {
            let selector = fact.peer_selector.as_ref();
            selector.is_none_or(|s| s.matches(&peer.labels))
        };
        let edits = |fact: &AdvertisementFact| edits(&fact.attributes, settings.asn);
        let pods = self
            .advertisements
            .values()
            .filter(|a| a.usable && a.fact.pod_cidrs)
            .filter(|a| {
                let selector = a.fact.node_selector.as_ref();
                selector.is_none_or(|s| s.matches(labels))
            })
            .filter(|a| told(&a.fact))
            .map(|a| edits(&a.fact))
            .reduce(merge)
            .map(|edits| (OriginKind::PodSubnet, edits));
        let services = self.services.classes.iter().filter_map(|(class, names)| {
            let edits = names
                .iter()
                .filter_map(|name| self.advertisements.get(&**name))
                .filter(|a| told(&a.fact))
                .map(|a| edits(&a.fact))
                .reduce(merge)?;
            Some((OriginKind::Service(class), edits))
        });
        pods.into_iter().chain(services).collect()
    }
}

fn refusals(name: &str, messages: &[String]) -> Vec<Problem> {
    let mut faults = Faults::new(ObjectRef::new(ObjectKind::BgpAdvertisement, name));
    for (at, message) in messages.iter().enumerate().take(MAX_REFUSED) {
        let mut message = message.clone();
        let more = messages.len().saturating_sub(MAX_REFUSED);
        if at + 1 == MAX_REFUSED && more > 0 {
            message.push_str(&format!("; and {more} more aggregates"));
        }
        faults.add(Reason::AggregateRefused, "spec", message);
    }
    faults.problems
}

/// What is wrong with an advertisement by itself; if anything, nothing of it is announced.
pub(in crate::cluster) fn advertisement_problems(fact: &AdvertisementFact) -> Vec<Problem> {
    let mut faults = Faults::new(ObjectRef::new(ObjectKind::BgpAdvertisement, &fact.name));
    faults.malformed(&fact.malformed);
    if !fact.pod_cidrs && fact.services.is_none() && faults.problems.is_empty() {
        faults.invalid(
            "spec",
            "names nothing to announce: give podCIDRs: {}, services or both",
        );
    }
    let services = fact.services.as_ref();
    if let Some(services) = services
        && services.addresses.is_empty()
        && !fact
            .malformed
            .iter()
            .any(|m| m.field.starts_with("spec.services.addresses"))
    {
        faults.invalid(
            "spec.services.addresses",
            "is empty: give ClusterIP, ExternalIP, LoadBalancerIP or several of them",
        );
    }
    for (selector, field) in [
        (fact.node_selector.as_ref(), "spec.nodeSelector"),
        (fact.peer_selector.as_ref(), "spec.peerSelector"),
        (
            services.and_then(|s| s.selector.as_ref()),
            "spec.services.selector",
        ),
        (
            services.and_then(|s| s.namespace_selector.as_ref()),
            "spec.services.namespaceSelector",
        ),
    ] {
        if let Some(fault) = selector.and_then(|s| s.fault()) {
            faults.invalid(field, fault);
        }
    }
    for (length, bits, field) in [
        (
            fact.aggregation_length_ipv4,
            32,
            "spec.aggregationLengthIPv4",
        ),
        (
            fact.aggregation_length_ipv6,
            128,
            "spec.aggregationLengthIPv6",
        ),
    ] {
        let Some(length) = length else { continue };
        if length > bits {
            faults.invalid(
                field,
                format!("{length} is longer than an address: give 0 to {bits}"),
            );
        } else if services.is_none() && fact.pod_cidrs {
            faults.invalid(
                field,
                "has no meaning without services: pod subnets are announced as they are; remove it",
            );
        }
    }
    check_attributes(&fact.attributes, "spec.attributes", &mut faults);
    faults.problems
}
