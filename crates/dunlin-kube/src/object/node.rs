use dunlin_intent::NodeFact;
use serde::Deserialize;

use super::meta::Meta;
use super::value::Values;

/// A Node as the API server gives it: what is not named here is not looked at.
#[derive(Deserialize)]
pub(super) struct NodeObject {
    metadata: Meta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
    unschedulable: Option<bool>,
}

#[derive(Default, Deserialize)]
struct NodeStatus {
    addresses: Option<Vec<NodeAddress>>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct NodeAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl NodeObject {
    pub(super) fn into_fact(mut self) -> NodeFact {
        let mut values = Values::default();
        let created = self.metadata.created(&mut values);
        let mut pod_cidrs = self.spec.pod_cidrs.unwrap_or_default();
        // Kubernetes keeps podCIDR equal to podCIDRs[0]; a manifest by hand may give only the former.
        if pod_cidrs.is_empty() {
            pod_cidrs.extend(self.spec.pod_cidr);
        }
        let addresses = self.status.addresses.unwrap_or_default();
        let internal_ips = addresses
            .iter()
            .enumerate()
            .filter(|(_, address)| address.kind == "InternalIP")
            .filter_map(|(at, address)| {
                values.addr(&format!("status.addresses[{at}]"), &address.address)
            })
            .collect();
        let condition = |kind| {
            let conditions = self.status.conditions.iter().flatten();
            let found = conditions
                .into_iter()
                .find(|condition| condition.kind == kind);
            found.map(|condition| condition.status == "True")
        };
        let (ready, network_unavailable) = (condition("Ready"), condition("NetworkUnavailable"));
        NodeFact {
            created,
            labels: self.metadata.labels(),
            internal_ips,
            pod_cidrs: values.each("spec.podCIDRs", &pod_cidrs, |v, f, text| v.net(f, text)),
            drain: self.metadata.drain(&mut values),
            unschedulable: self.spec.unschedulable.unwrap_or(false),
            ready,
            network_unavailable: network_unavailable.unwrap_or(false),
            uid: self.metadata.uid,
            name: self.metadata.name,
            malformed: values.malformed,
        }
    }
}
