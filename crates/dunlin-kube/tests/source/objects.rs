//! Objects for tests.

use serde_json::{Value, json};

pub(crate) const OURS: &str = "dunlin.dev/v1alpha1";

pub(crate) fn node(name: &str, subnet: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDRs": [format!("10.244.{subnet}.0/24")]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": format!("192.0.2.{subnet}")}],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
        },
    })
}

pub(crate) fn peer(name: &str, secret: Option<&str>) -> Value {
    let mut peer = json!({
        "apiVersion": OURS, "kind": "BGPPeer",
        "metadata": {"name": name},
        "spec": {"peerAddress": "192.0.2.200", "peerASN": 64513},
    });
    if let Some(secret) = secret {
        peer["spec"]["passwordSecretRef"] = json!({"name": secret, "namespace": "kube-system"});
    }
    peer
}

/// A Secret with the password `one` or `two`.
pub(crate) fn secret(name: &str, password: &str) -> Value {
    let encoded = match password {
        "one" => "b25l",
        _ => "dHdv",
    };
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {"password": encoded},
    })
}
