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

#[test]
fn of_an_endpoint_everything_is_kept_but_its_pod() {
    let slice = json!({
        "metadata": {"name": "s-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["10.244.1.2"],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n1", "zone": "a", "hints": {"forZones": [{"name": "a"}]},
                "hostname": "s-0", "targetRef": {"kind": "Pod", "name": "s-5d4f8c7b9-abcde", "uid": "u"}
            },
            {"addresses": ["10.244.2.2"], "conditions": null}
        ],
        "ports": [{"name": "http", "port": 80}]
    });
    let kept: Value = slim(slice.to_string().as_bytes())
        .and_then(|text| serde_json::from_slice(&text).ok())
        .expect("an object");
    let mut wanted = slice;
    let endpoints = wanted["endpoints"].as_array_mut().expect("a list");
    let first = endpoints[0].as_object_mut().expect("an endpoint");
    first.retain(|name, _| name != "hostname" && name != "targetRef");
    endpoints[1]
        .as_object_mut()
        .expect("an endpoint")
        .remove("conditions");
    assert_eq!(kept, wanted);
}
