//! The objects of a lab, as files: what the Kubernetes API would say.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use dunlin_net::Afi;

use crate::config::{LabConfig, RouterKind};
use crate::plan::{NODE_ASN, Plan, ROUTER_ASN};
use crate::state::PodRecord;
use crate::topology::ROUTER;

/// The port of a lab's Services.
pub const SERVICE_PORT: u16 = 80;
/// The port of the pods behind them.
pub const POD_PORT: u16 = 8080;

/// Writes the objects that the nodes' agents read.
///
/// # Errors
/// If a file cannot be written.
pub fn write_cluster(directory: &Path, config: &LabConfig) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    for node in config.plan.node_numbers() {
        write_node(directory, &config.plan, node)?;
    }
    let mut objects = String::new();
    if let Some(hold_time_secs) = config.hold_time_secs {
        let keepalive_secs = (hold_time_secs / 3).max(1);
        let _ = write!(
            objects,
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
             spec:\n  timers: {{holdTimeSeconds: {hold_time_secs}, keepaliveSeconds: {keepalive_secs}}}\n---\n"
        );
    }
    if config.router != RouterKind::None {
        let address = Plan::router_address(session_family(&config.plan));
        let _ = write!(
            objects,
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {ROUTER}}}\n\
             spec:\n  peerAddress: \"{address}\"\n  peerASN: {ROUTER_ASN}\n---\n\
             apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {{name: pods}}\n\
             spec:\n  podCIDRs: {{}}\n"
        );
    }
    if config.service_proxy {
        objects += &service_objects(config);
    }
    if !objects.is_empty() {
        put(directory, "bgp.yaml", &objects)?;
    }
    Ok(())
}

/// The range of cluster IPs, and that they are announced.
fn service_objects(config: &LabConfig) -> String {
    let ranges = config.plan.families().iter();
    let ranges: Vec<_> = ranges
        .map(|afi| format!("\"{}\"", Plan::services(*afi)))
        .collect();
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {{name: kubernetes}}\n\
         spec: {{cidrs: [{}]}}\n",
        ranges.join(", ")
    );
    if config.router != RouterKind::None {
        text += "---\napiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {name: services}\n\
                 spec:\n  services: {addresses: [ClusterIP]}\n";
    }
    text
}

/// Writes a Service with these pods behind it: port 80 of its cluster IPs is port 8080 of theirs.
///
/// # Errors
/// If the file cannot be written.
pub fn write_service(
    directory: &Path,
    plan: &Plan,
    name: &str,
    number: u8,
    pods: &[PodRecord],
) -> Result<()> {
    let families = plan.families();
    let each = |say: &dyn Fn(Afi) -> String| {
        families
            .iter()
            .map(|afi| say(*afi))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let addresses = each(&|afi| format!("\"{}\"", Plan::service_address(number, afi)));
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default, creationTimestamp: \"2026-01-01T00:00:00Z\"}}\n\
         spec:\n  type: ClusterIP\n  clusterIPs: [{addresses}]\n  ipFamilies: [{}]\n  ipFamilyPolicy: PreferDualStack\n  \
         ports: [{{name: http, protocol: TCP, port: {SERVICE_PORT}}}]\n",
        each(&|afi| family_name(afi).to_owned())
    );
    for afi in families {
        let family = family_name(*afi);
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}-{afi}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: {family}\nports: [{{name: http, protocol: TCP, port: {POD_PORT}}}]\nendpoints:\n"
        );
        for pod in pods {
            for address in pod.addresses.iter().filter(|a| Afi::of(**a) == *afi) {
                let _ = writeln!(
                    text,
                    "  - {{addresses: [\"{address}\"], nodeName: {}, conditions: {{ready: true}}}}",
                    pod.node
                );
            }
        }
    }
    put(directory, &service_file(name), &text)
}

/// As Kubernetes writes a family.
fn family_name(afi: Afi) -> &'static str {
    match afi {
        Afi::Ipv4 => "IPv4",
        Afi::Ipv6 => "IPv6",
    }
}

/// Takes a Service away.
///
/// # Errors
/// If the file cannot be removed.
pub fn remove_service(directory: &Path, name: &str) -> Result<()> {
    remove(directory, &service_file(name))
}

fn service_file(name: &str) -> String {
    format!("service-{name}.yaml")
}

/// The family that sessions run over.
pub fn session_family(plan: &Plan) -> Afi {
    plan.families().first().copied().unwrap_or(Afi::Ipv4)
}

/// Writes, or writes anew, the Node object of a node.
///
/// # Errors
/// If the file cannot be written.
pub fn write_node(directory: &Path, plan: &Plan, node: u16) -> Result<()> {
    let name = Plan::node_name(node);
    let mut cidrs = String::new();
    let mut addresses = String::new();
    for &afi in plan.families() {
        let _ = writeln!(cidrs, "    - \"{}\"", Plan::pod_cidr(node, afi));
        let address = Plan::node_address(node, afi);
        let _ = writeln!(
            addresses,
            "    - {{type: InternalIP, address: \"{address}\"}}"
        );
    }
    let text = format!(
        "{}spec:\n  podCIDRs:\n{cidrs}status:\n  addresses:\n{addresses}    - {{type: Hostname, address: {name}}}\n",
        node_head(&name, node)
    );
    put(directory, &node_file(node), &text)
}

/// Takes a Node object away.
///
/// # Errors
/// If the file cannot be removed.
pub fn remove_node(directory: &Path, node: u16) -> Result<()> {
    remove(directory, &node_file(node))
}

fn node_file(node: u16) -> String {
    format!("node-{}.yaml", Plan::node_name(node))
}

fn node_head(name: &str, age_rank: u16) -> String {
    // The oldest node wins a disputed subnet: give every node an age of its own.
    let (minute, second) = (age_rank / 60 % 60, age_rank % 60);
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  \
         labels: {{kubernetes.io/hostname: {name}}}\n  \
         creationTimestamp: \"2026-01-01T00:{minute:02}:{second:02}Z\"\n"
    )
}

/// Writes the objects of a Dunlin agent that is the router outside: its own AS, no mesh, and the pods' prefixes
/// accepted from whoever dials from the underlay.
///
/// # Errors
/// If a file cannot be written.
pub fn write_router(directory: &Path, config: &LabConfig) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let plan = &config.plan;
    let (mut addresses, mut rules) = (String::new(), String::new());
    for &afi in plan.families() {
        let address = Plan::router_address(afi);
        let _ = writeln!(
            addresses,
            "    - {{type: InternalIP, address: \"{address}\"}}"
        );
        for (net, len) in Plan::announced(afi) {
            let _ = writeln!(
                rules,
                "    - match: {{cidr: \"{net}\", lengthMin: {len}, lengthMax: {len}}}\n      action: Accept"
            );
        }
    }
    let timers = config.hold_time_secs.map_or_else(String::new, |hold| {
        format!(
            "  timers: {{holdTimeSeconds: {hold}, keepaliveSeconds: {}}}\n",
            (hold / 3).max(1)
        )
    });
    let range = Plan::underlay(session_family(plan));
    let text = format!(
        "{}status:\n  addresses:\n{addresses}---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec:\n  asn: {ROUTER_ASN}\n  topology: {{mode: None}}\n  routeInstallation: Kernel\n{timers}---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: nodes}}\n\
         spec:\n  peerRange: \"{range}\"\n  peerASN: {NODE_ASN}\n  importFilter: pod-subnets\n---\n\
         apiVersion: dunlin.dev/v1alpha1\nkind: BGPFilter\nmetadata: {{name: pod-subnets}}\n\
         spec:\n  rules:\n{rules}",
        node_head(ROUTER, 0)
    );
    put(directory, "router.yaml", &text)
}

fn remove(directory: &Path, name: &str) -> Result<()> {
    let path = directory.join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// In one step, so that a watcher never reads half a file.
fn put(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    // A name without a known extension: the watcher passes it by.
    let new = directory.join(format!(".{name}.new"));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
