//! The objects that both proxies read.

use std::net::Ipv4Addr;

use dunlin_fakeapi::FakeApi;
use serde_json::{Value, json};

use crate::netns::DAEMON_ADDRESS;

/// The nodes that endpoints are on; node 0, which is measured, has none.
const NODES: u32 = 100;
/// The addresses of a node's pods: a /20.
const PODS: u32 = 1 << 12;
const FIRST_POD: u32 = Ipv4Addr::new(10, 128, 0, 0).to_bits();
const FIRST_SERVICE: u32 = Ipv4Addr::new(10, 96, 0, 1).to_bits();

/// All pods of all nodes.
pub(super) const POD_RANGE: &str = "10.128.0.0/9";
/// A pod of node 0.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::from_bits(FIRST_POD + 10);
/// What services listen on, and what their endpoints do.
pub(super) const SERVICE_PORT: u16 = 80;
pub(super) const ENDPOINT_PORT: u16 = 8080;

/// How many of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) services: u32,
    pub(super) endpoints: u32,
}

impl Size {
    /// What they come to in Dunlin's tables, at least: each service is in a set and has its slots.
    pub(super) fn elements(self) -> u64 {
        u64::from(self.services) * (u64::from(self.endpoints) + 1)
    }

    pub(super) fn fill(self) -> FakeApi {
        let api = FakeApi::new();
        // Sessions are measured elsewhere, and here nobody would answer.
        api.put(json!({
            "apiVersion": "dunlin.dev/v1alpha1", "kind": "BGPConfiguration", "metadata": {"name": "default"},
            "spec": {"topology": {"mode": "None"}},
        }));
        api.put(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/12"]},
            "status": {"conditions": [{
                "type": "Ready", "status": "True", "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        }));
        for at in 0..NODES {
            api.put(node(at));
        }
        api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
        for at in 0..self.services {
            api.put(service(at));
            api.put(self.slice(at, 0));
        }
        api.write_texts();
        api
    }

    /// The slice of a service. Its first endpoint is another for each `generation`.
    pub(super) fn slice(self, at: u32, generation: u32) -> Value {
        let endpoints: Vec<Value> = (0..self.endpoints)
            .map(|n| {
                let n = match n {
                    0 => generation * self.services * self.endpoints + at * self.endpoints,
                    n => at * self.endpoints + n,
                };
                let (node, pod) = (1 + n % (NODES - 1), n / (NODES - 1));
                let address = Ipv4Addr::from_bits(FIRST_POD + node * PODS + 2 + pod % (PODS - 3));
                json!({
                    "addresses": [address.to_string()],
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                    "nodeName": format!("node-{node}"),
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("service-{at}-5d4f8c7b9-{n:05}")},
                })
            })
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("service-{at}-abcde"), "namespace": "default",
                "labels": {
                    "kubernetes.io/service-name": format!("service-{at}"),
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                },
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": ENDPOINT_PORT, "protocol": "TCP"}],
        })
    }
}

/// Where a service is.
pub(super) fn service_address(at: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_SERVICE + at)
}

fn node(at: u32) -> Value {
    let address = match at {
        0 => DAEMON_ADDRESS.to_string(),
        at => format!("10.100.0.{at}"),
    };
    let subnet = format!("{}/20", Ipv4Addr::from_bits(FIRST_POD + at * PODS));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": format!("node-{at}"),
            "labels": {"kubernetes.io/hostname": format!("node-{at}"), "kubernetes.io/os": "linux"},
        },
        "spec": {"podCIDR": subnet, "podCIDRs": [subnet]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
        },
    })
}

fn service(at: u32) -> Value {
    let ip = service_address(at).to_string();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("service-{at}"), "namespace": "default"},
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster", "sessionAffinity": "None", "selector": {"app": format!("service-{at}")},
            "ports": [{"name": "http", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": ENDPOINT_PORT}],
        },
        "status": {"loadBalancer": {}},
    })
}
