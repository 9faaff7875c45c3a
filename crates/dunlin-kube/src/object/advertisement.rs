use std::collections::BTreeSet;

use dunlin_intent::{AdvertisementFact, ServiceAddressKind, ServicesFact};
use serde::Deserialize;

use super::meta::Meta;
use super::shared::{AttributesSpec, SelectorSpec};
use super::value::Values;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<PodCidrsSpec>,
    services: Option<ServicesSpec>,
    node_selector: Option<SelectorSpec>,
    peer_selector: Option<SelectorSpec>,
    #[serde(default)]
    attributes: AttributesSpec,
    #[serde(rename = "aggregationLengthIPv4")]
    aggregation_length_ipv4: Option<u8>,
    #[serde(rename = "aggregationLengthIPv6")]
    aggregation_length_ipv6: Option<u8>,
}

/// `podCIDRs: {}`: there is nothing to say beyond that they are announced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PodCidrsSpec {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServicesSpec {
    #[serde(default)]
    addresses: Vec<AddressKind>,
    selector: Option<SelectorSpec>,
    namespace_selector: Option<SelectorSpec>,
}

#[derive(Clone, Copy, Deserialize)]
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
        let kinds: BTreeSet<ServiceAddressKind> =
            spec.addresses.into_iter().map(Into::into).collect();
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
