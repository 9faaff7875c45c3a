//! kube-router's annotations of Services.

use serde_json::Value;

use super::flags::Flags;
use super::{Migration, annotations, name};

/// A kind of address that is announced, by our name for it.
pub(super) struct AddressKind {
    pub(super) ours: &'static str,
    pub(super) flag: &'static str,
    annotation: &'static str,
    /// The label that stands where the annotation stood.
    pub(super) label: &'static str,
    /// What the advertisement is called.
    pub(super) object: &'static str,
}

pub(super) const KINDS: [AddressKind; 3] = [
    AddressKind {
        ours: "ClusterIP",
        flag: "advertise-cluster-ip",
        annotation: "service.advertise.clusterip",
        label: "advertise.dunlin.dev/cluster-ip",
        object: "cluster-ips",
    },
    AddressKind {
        ours: "ExternalIP",
        flag: "advertise-external-ip",
        annotation: "service.advertise.externalip",
        label: "advertise.dunlin.dev/external-ip",
        object: "external-ips",
    },
    AddressKind {
        ours: "LoadBalancerIP",
        flag: "advertise-loadbalancer-ip",
        annotation: "service.advertise.loadbalancerip",
        label: "advertise.dunlin.dev/load-balancer-ip",
        object: "load-balancer-ips",
    },
];

/// Which services differ from what the flag of a kind says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceptions {
    pub(super) any: bool,
}

/// Whether there are exceptions, for each of [`KINDS`]; their labels become commands.
pub(super) fn read(objects: &[Value], flags: &Flags, migration: &mut Migration) -> [Exceptions; 3] {
    let mut exceptions = [Exceptions::default(); 3];
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        let namespace = service["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default");
        let who = format!("Service {namespace}/{}", name(service));
        let mut wants: [Option<bool>; 3] = [None; 3];
        for (key, value) in annotations(service) {
            if let Some(at) = KINDS.iter().position(|kind| kind.annotation == key) {
                // What does not parse means false there, too.
                wants[at] = Some(matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE"));
                continue;
            }
            if key != "service.skiplbips" {
                migration.note(format!("{who}, {key}: {}", fate(key, value)));
            }
        }
        // Its mere presence decides, above the other annotation.
        if annotations(service).any(|(key, _)| key == "service.skiplbips") {
            wants[2] = Some(false);
            migration.note(format!(
                "{who}, service.skiplbips: not announced any more; kube-proxy still serves the address"
            ));
        }
        for ((kind, want), exception) in KINDS.iter().zip(wants).zip(&mut exceptions) {
            if let Some(want) = want.filter(|want| *want != flags.on(kind.flag, false)) {
                exception.any = true;
                migration.commands.push(format!(
                    "kubectl -n {namespace} label service {} {}={want}",
                    name(service),
                    kind.label
                ));
            }
        }
    }
    exceptions
}

fn fate(key: &str, value: &str) -> &'static str {
    match key {
        "service.local" if value == "true" => {
            "no equivalent: give the service externalTrafficPolicy: Local"
        }
        "service.local" => "not needed",
        "service.dsr"
        | "service.scheduler"
        | "service.schedflags"
        | "service.hairpin"
        | "service.hairpin.externalips" => "no equivalent: the service proxy is kube-proxy",
        _ => "not known, not migrated",
    }
}
