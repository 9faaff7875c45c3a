use std::net::IpAddr;

use dunlin_intent::{
    IngressFact, IpFamilyPolicy, Labels, Protocol, ServiceFact, ServicePortFact, ServiceType,
    TrafficPolicy,
};
use dunlin_net::Afi;
use serde::Deserialize;

use super::meta::{created, namespaced};
use super::value::{Parsed, Values};

/// The annotation that asks for addresses, separated by commas.
const ASKED_IPS: &str = "metadata.annotations[dunlin.dev/load-balancer-ips]";
const ASKED_POOL: &str = "metadata.annotations[dunlin.dev/load-balancer-pool]";
const SHARING_KEY: &str = "metadata.annotations[dunlin.dev/sharing-key]";

const TYPES: [(&str, ServiceType); 4] = [
    ("ClusterIP", ServiceType::ClusterIp),
    ("NodePort", ServiceType::NodePort),
    ("LoadBalancer", ServiceType::LoadBalancer),
    ("ExternalName", ServiceType::ExternalName),
];
const POLICIES: [(&str, TrafficPolicy); 2] = [
    ("Cluster", TrafficPolicy::Cluster),
    ("Local", TrafficPolicy::Local),
];
const FAMILY_POLICIES: [(&str, IpFamilyPolicy); 3] = [
    ("SingleStack", IpFamilyPolicy::SingleStack),
    ("PreferDualStack", IpFamilyPolicy::PreferDualStack),
    ("RequireDualStack", IpFamilyPolicy::RequireDualStack),
];
pub(super) const FAMILIES: [(&str, Afi); 2] = [("IPv4", Afi::Ipv4), ("IPv6", Afi::Ipv6)];
const PROTOCOLS: [(&str, Protocol); 3] = [
    ("TCP", Protocol::Tcp),
    ("UDP", Protocol::Udp),
    ("SCTP", Protocol::Sctp),
];
/// Whether packets come with the address of the entry as destination.
const IP_MODES: [(&str, bool); 2] = [("VIP", true), ("Proxy", false)];

/// A Service as the API server gives it: what is not named here is not looked at.
#[derive(Deserialize)]
pub(super) struct ServiceObject {
    metadata: ServiceMeta,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default)]
    status: ServiceStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceMeta {
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

/// The annotations that are ours.
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "dunlin.dev/load-balancer-ips")]
    ips: Option<String>,
    #[serde(rename = "dunlin.dev/load-balancer-pool")]
    pool: Option<String>,
    #[serde(rename = "dunlin.dev/sharing-key")]
    sharing_key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(rename = "type")]
    service_type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<Parsed<IpAddr>>>,
    internal_traffic_policy: Option<String>,
    external_traffic_policy: Option<String>,
    publish_not_ready_addresses: Option<bool>,
    ip_families: Option<Vec<String>>,
    ip_family_policy: Option<String>,
    load_balancer_class: Option<String>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Option<String>,
    ports: Option<Vec<PortSpec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortSpec {
    name: Option<String>,
    protocol: Option<String>,
    // Wider than a port, so that one out of range is a fault of this port alone.
    port: Option<i64>,
    node_port: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceStatus {
    load_balancer: Option<LoadBalancerStatus>,
}

#[derive(Deserialize)]
struct LoadBalancerStatus {
    ingress: Option<Vec<Ingress>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ingress {
    ip: Option<Parsed<IpAddr>>,
    ip_mode: Option<String>,
}

impl ServiceObject {
    pub(super) fn into_fact(self) -> ServiceFact {
        let mut values = Values::default();
        let ServiceObject {
            metadata,
            spec,
            status,
        } = self;
        let annotations = metadata.annotations.unwrap_or_default();
        let ServiceSpec {
            service_type,
            internal_traffic_policy: internal,
            external_traffic_policy: external,
            ip_family_policy,
            ..
        } = &spec;
        let policy = |field, word: &Option<String>, values: &mut Values| {
            let policy = values.word(field, word.as_deref(), &POLICIES);
            policy.unwrap_or_default()
        };
        let families = spec.ip_families.as_deref().unwrap_or_default();
        let ingress = status.load_balancer.and_then(|status| status.ingress);
        ServiceFact {
            created: created(metadata.creation_timestamp.as_deref(), &mut values),
            service_type: match service_type.as_deref() {
                None => ServiceType::ClusterIp,
                word => values
                    .word("spec.type", word, &TYPES)
                    .unwrap_or(ServiceType::Unknown),
            },
            internal_traffic_policy: policy("spec.internalTrafficPolicy", internal, &mut values),
            external_traffic_policy: policy("spec.externalTrafficPolicy", external, &mut values),
            ip_families: values.each("spec.ipFamilies", families, |v, field, text| {
                v.word(field, Some(text), &FAMILIES)
            }),
            ip_family_policy: values
                .word(
                    "spec.ipFamilyPolicy",
                    ip_family_policy.as_deref(),
                    &FAMILY_POLICIES,
                )
                .unwrap_or_default(),
            cluster_ips: cluster_ips(spec.cluster_ips, spec.cluster_ip, &mut values),
            external_ips: addrs("spec.externalIPs", spec.external_ips, &mut values),
            ingress: ingress_entries(ingress, &mut values),
            requested_ips: requested_ips(annotations.ips, spec.load_balancer_ip, &mut values),
            requested_pool: not_empty(ASKED_POOL, annotations.pool, &mut values),
            sharing_key: not_empty(SHARING_KEY, annotations.sharing_key, &mut values),
            ports: ports(spec.ports, &mut values),
            publish_not_ready_addresses: spec.publish_not_ready_addresses.unwrap_or(false),
            load_balancer_class: spec.load_balancer_class,
            deleting: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels.unwrap_or_default(),
            uid: metadata.uid,
            name: namespaced(metadata.namespace, metadata.name),
            malformed: values.malformed,
        }
    }
}

fn addrs(field: &str, list: Option<Vec<Parsed<IpAddr>>>, values: &mut Values) -> Vec<IpAddr> {
    let list = list.unwrap_or_default().into_iter().enumerate();
    list.filter_map(|(at, addr)| values.parsed_addr(|| format!("{field}[{at}]"), addr))
        .collect()
}

/// `clusterIPs`, or `clusterIP` of a manifest by hand. A headless Service has `None`, and an ExternalName nothing.
fn cluster_ips(list: Option<Vec<String>>, one: Option<String>, values: &mut Values) -> Vec<IpAddr> {
    let (field, list) = match list.unwrap_or_default() {
        list if list.is_empty() => ("spec.clusterIP", one.into_iter().collect()),
        list => ("spec.clusterIPs", list),
    };
    values.each(field, &list, |values, field, text| match text.as_str() {
        "" | "None" => None,
        text => values.addr(field, text),
    })
}

fn ingress_entries(entries: Option<Vec<Ingress>>, values: &mut Values) -> Vec<IngressFact> {
    let entries = entries.unwrap_or_default().into_iter().enumerate();
    let mut entry = |at: usize, entry: Ingress| {
        let field = format!("status.loadBalancer.ingress[{at}]");
        let mode = entry.ip_mode.as_deref();
        let vip = match mode {
            None => true,
            // Of a mode that is not known nobody can say that its packets come here.
            _ => values
                .word(&format!("{field}.ipMode"), mode, &IP_MODES)
                .unwrap_or(false),
        };
        let ip = entry
            .ip
            .and_then(|ip| values.parsed_addr(|| format!("{field}.ip"), ip));
        IngressFact { ip, vip }
    };
    entries.map(|(at, ingress)| entry(at, ingress)).collect()
}

fn requested_ips(
    annotation: Option<String>,
    field: Option<String>,
    values: &mut Values,
) -> Vec<IpAddr> {
    match (annotation, field) {
        (Some(list), _) => list
            .split(',')
            .filter_map(|text| values.addr(ASKED_IPS, text.trim()))
            .collect(),
        (None, Some(text)) if !text.is_empty() => {
            let addr = values.addr("spec.loadBalancerIP", &text);
            addr.into_iter().collect()
        }
        (None, _) => Vec::new(),
    }
}

fn not_empty(field: &str, text: Option<String>, values: &mut Values) -> Option<String> {
    let text = text?;
    if text.is_empty() {
        values.fault(field, "is empty: give a value, or remove the annotation");
    }
    (!text.is_empty()).then_some(text)
}

fn ports(ports: Option<Vec<PortSpec>>, values: &mut Values) -> Vec<ServicePortFact> {
    let ports = ports.unwrap_or_default().into_iter().enumerate();
    let mut read = |at: usize, spec: PortSpec| {
        let field = |name: &str| format!("spec.ports[{at}].{name}");
        let protocol = match spec.protocol.as_deref() {
            None => Protocol::Tcp,
            word => values.word(&field("protocol"), word, &PROTOCOLS)?,
        };
        let mut number = |name: &str, number: i64| {
            let port = u16::try_from(number).ok().filter(|port| *port > 0);
            if port.is_none() {
                values.fault(field(name), format!("{number} is no port: 1 to 65535"));
            }
            port
        };
        Some(ServicePortFact {
            name: spec.name.unwrap_or_default(),
            protocol,
            port: number("port", spec.port.unwrap_or_default())?,
            // 0 is how a manifest says none.
            node_port: spec
                .node_port
                .filter(|port| *port != 0)
                .and_then(|port| number("nodePort", port)),
        })
    };
    ports.filter_map(|(at, spec)| read(at, spec)).collect()
}

#[cfg(test)]
mod tests;
