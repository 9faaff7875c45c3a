use std::net::IpAddr;

use dunlin_intent::{
    Choice, IngressFact, IpFamilyPolicy, Labels, NamespacedName, Protocol, ServiceFact,
    ServicePortFact, ServiceType, TrafficDistribution, TrafficPolicy,
};
use dunlin_net::{Afi, IpNet};
use serde::Deserialize;

use super::meta::{created, namespaced};
use super::repeated::Repeated;
use super::value::{Parsed, Values};

/// The annotation that asks for addresses, separated by commas.
const ASKED_IPS: &str = "metadata.annotations[dunlin.dev/load-balancer-ips]";
const ASKED_POOL: &str = "metadata.annotations[dunlin.dev/load-balancer-pool]";
const SHARING_KEY: &str = "metadata.annotations[dunlin.dev/sharing-key]";
const LOAD_BALANCING: &str = "metadata.annotations[dunlin.dev/load-balancing]";
const MAGLEV_TABLE_SIZE: &str = "metadata.annotations[dunlin.dev/maglev-table-size]";
const SOURCE_RANGES: &str = ServiceFact::SOURCE_RANGES;
/// The label of a Service that another proxy than the cluster's delivers to, whatever its value.
const FOREIGN_PROXY: &str = "service.kubernetes.io/service-proxy-name";

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
pub(super) const PROTOCOLS: [(&str, Protocol); 3] = [
    ("TCP", Protocol::Tcp),
    ("UDP", Protocol::Udp),
    ("SCTP", Protocol::Sctp),
];
/// Whether a client comes back to the endpoint that it had.
const AFFINITIES: [(&str, bool); 2] = [("None", false), ("ClientIP", true)];
/// For how long, where it is not said, and at most, in seconds.
const AFFINITY_SECS: (u32, i64) = (10_800, 86_400);
const DISTRIBUTIONS: [(&str, TrafficDistribution); 3] = [
    ("PreferClose", TrafficDistribution::PreferSameZone),
    ("PreferSameZone", TrafficDistribution::PreferSameZone),
    ("PreferSameNode", TrafficDistribution::PreferSameNode),
];
/// The sizes that a Maglev table may have: primes, each about twice the one before. Few, since the kernel has a set and a
/// rule for each size in use; the first where none is said.
const MAGLEV_SIZES: [u32; 7] = [251, 509, 1_021, 2_039, 4_093, 8_191, 16_381];
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
    namespace: Option<Repeated>,
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
    #[serde(rename = "dunlin.dev/load-balancing")]
    load_balancing: Option<String>,
    #[serde(rename = "dunlin.dev/maglev-table-size")]
    maglev_table_size: Option<String>,
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
    session_affinity: Option<String>,
    session_affinity_config: Option<AffinityConfig>,
    health_check_node_port: Option<i64>,
    load_balancer_source_ranges: Option<Vec<String>>,
    traffic_distribution: Option<String>,
}

#[derive(Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIpConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIpConfig {
    timeout_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortSpec {
    name: Option<Repeated>,
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
        let namespace = metadata.namespace.map(|namespace| namespace.0);
        let name = namespaced(namespace, metadata.name);
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
        let delivery = delivery(name, &spec, &annotations, &mut values);
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
            uid: metadata.uid,
            foreign_proxy: is_foreign(metadata.labels.as_ref()),
            labels: metadata.labels.unwrap_or_default(),
            malformed: values.malformed,
            ..delivery
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

/// A Service of which nothing is said but how connections are delivered to it.
fn delivery(
    name: NamespacedName,
    spec: &ServiceSpec,
    annotations: &Annotations,
    values: &mut Values,
) -> ServiceFact {
    let ranges = spec.load_balancer_source_ranges.as_deref();
    let distribution = spec.traffic_distribution.as_deref();
    let distribution = distribution.filter(|word| !word.is_empty());
    let health_check = spec.health_check_node_port.unwrap_or_default();
    ServiceFact {
        session_affinity_secs: affinity_secs(spec, values),
        health_check_node_port: values.optional_port("spec.healthCheckNodePort", health_check),
        load_balancer_source_ranges: source_ranges(ranges.unwrap_or_default(), values),
        traffic_distribution: values.word("spec.trafficDistribution", distribution, &DISTRIBUTIONS),
        choice: choice(annotations, values),
        ..ServiceFact::named(name)
    }
}

fn is_foreign(labels: Option<&Labels>) -> bool {
    labels.is_some_and(|labels| labels.contains_key(FOREIGN_PROXY))
}

fn affinity_secs(spec: &ServiceSpec, values: &mut Values) -> Option<u32> {
    let affinity = spec.session_affinity.as_deref();
    let affinity = affinity.filter(|word| !word.is_empty());
    values
        .word("spec.sessionAffinity", affinity, &AFFINITIES)
        .filter(|sticky| *sticky)?;
    let (default, max) = AFFINITY_SECS;
    let config = spec.session_affinity_config.as_ref();
    let asked = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let Some(secs) = asked else {
        return Some(default);
    };
    let fits = u32::try_from(secs)
        .ok()
        .filter(|_| (1..=max).contains(&secs));
    if fits.is_none() {
        values.fault(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format!("{secs} is not from 1 to {max}: {default} is used"),
        );
    }
    fits.or(Some(default))
}

fn source_ranges(ranges: &[String], values: &mut Values) -> Vec<IpNet> {
    let ranges = values.each(SOURCE_RANGES, ranges, |values, field, text| {
        values.net(field, text.trim())
    });
    ranges.iter().map(IpNet::trunc).collect()
}

fn choice(annotations: &Annotations, values: &mut Values) -> Choice {
    match annotations.load_balancing.as_deref() {
        None | Some("random") => return Choice::Random,
        Some("maglev") => {}
        Some(other) => {
            let message = format!("{other:?} is neither \"maglev\" nor \"random\", which it stays");
            values.fault(LOAD_BALANCING, message);
            return Choice::Random;
        }
    }
    let [default, ..] = MAGLEV_SIZES;
    let Some(text) = annotations.maglev_table_size.as_deref() else {
        return Choice::Maglev { slots: default };
    };
    let asked = text.parse().ok().filter(|size| MAGLEV_SIZES.contains(size));
    if asked.is_none() {
        let sizes = MAGLEV_SIZES.map(|size| size.to_string()).join(", ");
        let message = format!("{text:?} is none of {sizes}: {default} is used");
        values.fault(MAGLEV_TABLE_SIZE, message);
    }
    Choice::Maglev {
        slots: asked.unwrap_or(default),
    }
}

fn ports(ports: Option<Vec<PortSpec>>, values: &mut Values) -> Vec<ServicePortFact> {
    let ports = ports.unwrap_or_default().into_iter().enumerate();
    let mut read = |at: usize, spec: PortSpec| {
        let field = |name: &str| format!("spec.ports[{at}].{name}");
        let protocol = match spec.protocol.as_deref() {
            None => Protocol::Tcp,
            word => values.word(&field("protocol"), word, &PROTOCOLS)?,
        };
        Some(ServicePortFact {
            name: spec.name.unwrap_or_else(|| Repeated::of("")).0,
            protocol,
            port: values.port(&field("port"), spec.port.unwrap_or_default())?,
            node_port: spec
                .node_port
                .and_then(|port| values.optional_port(&field("nodePort"), port)),
        })
    };
    ports.filter_map(|(at, spec)| read(at, spec)).collect()
}

#[cfg(test)]
mod tests;
