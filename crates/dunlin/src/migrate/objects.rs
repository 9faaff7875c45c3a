//! What the cluster as a whole is told, and what is announced.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Migration;
use super::flags::Flags;
use super::nodes::{Attributes, NodeSaid, grouped};
use super::services::{AddressKind, Exceptions, KINDS};

pub(super) fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "dunlin.dev/v1alpha1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// A selector of nodes by their names.
pub(super) fn hostnames(operator: &str, names: &[String]) -> Value {
    json!({ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": operator, "values": names }
    ] })
}

/// The `BGPConfiguration`, as far as it differs from the defaults.
pub(super) fn configuration(flags: &Flags, nodes: &[NodeSaid], migration: &mut Migration) {
    let mut spec = json!({});
    if let Some(asn) = asn(flags, nodes, migration) {
        spec["asn"] = json!(asn);
    }
    if !flags.on("enable-ibgp", true) {
        spec["topology"] = json!({ "mode": "None" });
    }
    let port = flags
        .text("bgp-port")
        .and_then(|text| text.parse::<u16>().ok());
    if let Some(port) = port.filter(|port| *port != 179) {
        spec["listenPort"] = json!(port);
    }
    if !flags.on("enable-pod-egress", true) {
        spec["podEgress"] = json!({ "masquerade": false });
    }
    if spec.as_object().is_some_and(|spec| !spec.is_empty()) {
        migration
            .objects
            .push(object("BGPConfiguration", "default", spec));
    }
}

/// The AS number of all nodes, if it is not the default of both.
fn asn(flags: &Flags, nodes: &[NodeSaid], migration: &mut Migration) -> Option<u32> {
    if flags.on("nodes-full-mesh", true) {
        let asn = flags
            .text("cluster-asn")
            .and_then(|text| text.parse::<u32>().ok());
        return asn.filter(|asn| ![0, 64512].contains(asn));
    }
    let asns: BTreeSet<u32> = nodes.iter().filter_map(|node| node.asn).collect();
    match asns.iter().collect::<Vec<_>>().as_slice() {
        [] => {
            migration.warn("--nodes-full-mesh=false, and no Node given says its AS number in node.asn: set asn in the BGPConfiguration");
            None
        }
        [asn] => {
            migration.note("node.asn: BGPConfiguration asn");
            Some(**asn)
        }
        several => {
            let several: Vec<String> = several.iter().map(|asn| asn.to_string()).collect();
            migration.warn(format!(
                "the Nodes have several AS numbers ({}), with sessions only among equals. Dunlin has one for the cluster, and all \
                 nodes peer: choose one, and tell the routers. Not migrated.",
                several.join(", ")
            ));
            None
        }
    }
}

/// `BGPAdvertisement`s: each of pod subnets and kinds of addresses, for each group of nodes with attributes of their own.
pub(super) fn advertisements(
    flags: &Flags,
    nodes: &[NodeSaid],
    exceptions: &[Exceptions; 3],
    migration: &mut Migration,
) {
    let has_routers = migration
        .objects
        .iter()
        .any(|object| object["kind"] == "BGPPeer");
    if !has_routers {
        return;
    }
    let mut groups = grouped(nodes, |node| node.attributes.clone());
    // Those without attributes of their own, and those of which nothing is known yet.
    let special: Vec<String> = groups
        .iter()
        .filter(|(attributes, _)| **attributes != Attributes::default())
        .flat_map(|(_, names)| names.clone())
        .collect();
    groups.insert(Attributes::default(), Vec::new());
    let mut services = false;
    for (at, (attributes, names)) in groups.iter().enumerate() {
        let mut common = json!({});
        if *attributes != Attributes::default() {
            common["nodeSelector"] = hostnames("In", names);
            common["attributes"] = attributes_of(attributes);
        } else if !special.is_empty() {
            common["nodeSelector"] = hostnames("NotIn", &special);
        }
        let called = |base: &str| match at {
            0 => base.to_owned(),
            at => format!("{base}-{}", at + 1),
        };
        if flags.on("advertise-pod-cidr", true) {
            let mut spec = common.clone();
            spec["podCIDRs"] = json!({});
            migration
                .objects
                .push(object("BGPAdvertisement", &called("pod-cidrs"), spec));
        }
        for (kind, exception) in KINDS.iter().zip(exceptions) {
            let on = flags.on(kind.flag, false);
            if !on && !exception.any {
                continue;
            }
            let mut spec = common.clone();
            spec["services"] = services_of(kind, on, exception.any);
            migration
                .objects
                .push(object("BGPAdvertisement", &called(kind.object), spec));
            services = true;
        }
    }
    if services {
        migration.note(
            "service addresses: kube-router announces them even without a ready endpoint; Dunlin withdraws external and load-balancer \
             addresses then, and counts only ready endpoints where a policy is Local",
        );
    }
}

/// Addresses of one kind, of all services but those that are excepted.
fn services_of(kind: &AddressKind, on: bool, exceptions: bool) -> Value {
    let mut services = json!({ "addresses": [kind.ours] });
    if exceptions {
        let (operator, value) = if on {
            ("NotIn", "false")
        } else {
            ("In", "true")
        };
        services["selector"] = json!({ "matchExpressions": [
            { "key": kind.label, "operator": operator, "values": [value] }
        ] });
    }
    services
}

fn attributes_of(attributes: &Attributes) -> Value {
    let mut value = json!({});
    let mut communities = json!({});
    if !attributes.standard.is_empty() {
        communities["standard"] = json!(attributes.standard);
    }
    if !attributes.well_known.is_empty() {
        communities["wellKnown"] = json!(attributes.well_known);
    }
    if communities.as_object().is_some_and(|map| !map.is_empty()) {
        value["communities"] = communities;
    }
    if let Some((asn, count)) = attributes.prepend {
        value["prepend"] = json!({ "asn": asn, "count": count });
    }
    value
}

/// The `LoadBalancerPool` of its allocator.
pub(super) fn pool(flags: &Flags, migration: &mut Migration) {
    let ranges = flags.list("loadbalancer-ip-range");
    if !flags.on("run-loadbalancer", false) || ranges.is_empty() {
        return;
    }
    migration.warn(
        "services with loadBalancerClass kube-router cannot change it: make them anew, without a class or with dunlin.dev/bgp",
    );
    let spec = json!({ "addresses": ranges });
    migration
        .objects
        .push(object("LoadBalancerPool", "kube-router", spec));
}
