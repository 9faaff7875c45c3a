use serde_json::{Value, json};

use super::slim;

#[test]
fn only_what_facts_read_is_kept() {
    let node = json!({
        "metadata": {
            "name": "n1", "uid": "u", "resourceVersion": "9", "managedFields": [{"manager": "kubelet"}],
            "annotations": {"dunlin.dev/a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "labels": {"a": "b"}
        },
        "spec": {"podCIDRs": ["10.244.1.0/24"]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
            "images": [{"names": ["x"]}]
        }
    });
    let kept: Value = slim(node.to_string().as_bytes())
        .and_then(|text| serde_json::from_slice(&text).ok())
        .expect("an object");
    assert_eq!(
        kept,
        json!({
            "metadata": {"name": "n1", "uid": "u", "annotations": {"dunlin.dev/a": "b"}, "labels": {"a": "b"}},
            "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                "conditions": [{"type": "Ready", "status": "True"}]
            }
        })
    );
    assert_eq!(slim(b"{}"), None);
    assert_eq!(slim(b"garbage"), None);
}
