use std::collections::BTreeSet;

use dunlin_intent::{AdvertisementFact, ServiceAddressKind, ServicesFact};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cel;
use super::meta::Meta;
use super::shared::{AttributesSpec, SelectorSpec};
use super::value::Values;

/// What is announced to whom, and with which attributes.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = spec_rules()))]
pub(super) struct Spec {
    /// Announces the pod subnets of each node. There is nothing to say beyond that: write {}.
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<PodCidrsSpec>,
    /// Announces addresses of Services, from each node that would deliver what is sent to them.
    services: Option<ServicesSpec>,
    /// The nodes that announce. Default all.
    node_selector: Option<SelectorSpec>,
    /// The BGPPeers, by their labels, that are told. Default all.
    peer_selector: Option<SelectorSpec>,
    /// What the announcement carries. Where several advertisements select the same node and peer: all communities, the
    /// higher local preference, the lower MED, the longer prepending.
    #[serde(default)]
    attributes: AttributesSpec,
    /// The length of the prefixes that IPv4 addresses of Services are announced as.
    #[serde(rename = "aggregationLengthIPv4")]
    #[schemars(range(max = 32))]
    aggregation_length_ipv4: Option<u8>,
    /// The length of the prefixes that IPv6 addresses of Services are announced as.
    #[serde(rename = "aggregationLengthIPv6")]
    #[schemars(range(max = 128))]
    aggregation_length_ipv6: Option<u8>,
}

fn spec_rules() -> serde_json::Value {
    let [standard, large] = cel::COMMUNITY_RULES;
    cel::rules(&[
        (
            "has(self.podCIDRs) || has(self.services)",
            "names nothing to announce: give podCIDRs: {} or services",
            None,
        ),
        standard,
        large,
    ])
}

/// `podCIDRs: {}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PodCidrsSpec {}

/// The Services whose addresses are announced.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServicesSpec {
    /// The kinds of addresses.
    #[schemars(required, length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    addresses: Option<Vec<AddressKind>>,
    /// The Services, by their labels. Default all.
    selector: Option<SelectorSpec>,
    /// The Namespaces, by their labels. Default all.
    namespace_selector: Option<SelectorSpec>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum AddressKind {
    #[serde(rename = "ClusterIP")]
    Cluster,
    #[serde(rename = "ExternalIP")]
    External,
    #[serde(rename = "LoadBalancerIP")]
    LoadBalancer,
}

impl From<AddressKind> for ServiceAddressKind {
    fn from(kind: AddressKind) -> ServiceAddressKind {
        match kind {
            AddressKind::Cluster => ServiceAddressKind::ClusterIp,
            AddressKind::External => ServiceAddressKind::ExternalIp,
            AddressKind::LoadBalancer => ServiceAddressKind::LoadBalancerIp,
        }
    }
}

impl From<ServicesSpec> for ServicesFact {
    fn from(spec: ServicesSpec) -> ServicesFact {
        let kinds: BTreeSet<ServiceAddressKind> = spec
            .addresses
            .into_iter()
            .flatten()
            .map(Into::into)
            .collect();
        ServicesFact {
            addresses: kinds.into_iter().collect(),
            selector: spec.selector.map(Into::into),
            namespace_selector: spec.namespace_selector.map(Into::into),
        }
    }
}

impl Spec {
    pub(super) fn into_fact(self, metadata: Meta) -> AdvertisementFact {
        let mut values = Values::default();
        AdvertisementFact {
            name: metadata.name,
            pod_cidrs: self.pod_cidrs.is_some(),
            services: self.services.map(Into::into),
            node_selector: self.node_selector.map(Into::into),
            peer_selector: self.peer_selector.map(Into::into),
            attributes: self.attributes.read("spec.attributes", &mut values),
            aggregation_length_ipv4: self.aggregation_length_ipv4,
            aggregation_length_ipv6: self.aggregation_length_ipv6,
            malformed: values.malformed,
        }
    }
}
