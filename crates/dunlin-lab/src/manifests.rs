//! The objects of a lab, as files: what the Kubernetes API would say.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use dunlin_net::Afi;

use crate::config::{LabConfig, RouterKind};
use crate::plan::{NODE_ASN, Plan, ROUTER_ASN};
use crate::topology::ROUTER;

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
    if !objects.is_empty() {
        put(directory, "bgp.yaml", &objects)?;
    }
    Ok(())
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
    let path = directory.join(node_file(node));
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
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
        let (pods, len) = Plan::all_pods(afi);
        let _ = writeln!(
            rules,
            "    - match: {{cidr: \"{pods}\", lengthMin: {len}, lengthMax: {len}}}\n      action: Accept"
        );
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

/// In one step, so that a watcher never reads half a file.
fn put(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    // A name without a known extension: the watcher passes it by.
    let new = directory.join(format!(".{name}.new"));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
