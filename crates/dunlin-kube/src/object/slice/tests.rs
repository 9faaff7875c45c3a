use super::*;
use crate::object::{Resource, read_json};
use dunlin_intent::{Fact, Kind, NamespacedName};

fn slice(text: &str) -> EndpointSliceFact {
    match read_json(Resource::of(Kind::EndpointSlice), text.as_bytes()) {
        Ok(Fact::EndpointSlice(slice)) => slice,
        other => panic!("{other:?}"),
    }
}

fn endpoint(address: &str, node: Option<&str>) -> EndpointFact {
    EndpointFact {
        address: address.parse().ok(),
        node: node.map(Into::into),
        ..EndpointFact::default()
    }
}

#[test]
fn a_slice_is_read_as_the_api_server_shows_it() {
    let told = slice(
        r#"{"metadata": {"name": "web-x7", "namespace": "shop", "managedFields": [{}], "labels": {
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io", "kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "all"}, {"port": 81}, {"name": "zero", "port": 0}, {"name": "tcp", "port": 82}], "endpoints": [
            {"addresses": ["10.244.1.5"], "conditions": {"ready": true, "serving": true, "terminating": false},
             "nodeName": "n1", "targetRef": {"kind": "Pod", "name": "web-1"}, "zone": "a", "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n1"}]}},
            {"addresses": ["10.244.2.5", "10.244.2.6"], "conditions": {"ready": false, "serving": true, "terminating": true}, "nodeName": "n2"},
            {"addresses": ["10.244.3.5"], "hints": {"forZones": null}},
            {"addresses": ["10.244.3.6"], "conditions": {"ready": null}, "nodeName": null},
            {"addresses": ["10.244.3.7"], "conditions": {"ready": false}, "nodeName": ""},
            {"addresses": []}]}"#,
    );
    assert_eq!(told.name, NamespacedName::new("shop", "web-x7"));
    assert_eq!(told.service.as_deref(), Some("web"));
    assert_eq!(told.address_type, Some(Afi::Ipv4));
    assert_eq!(told.malformed, []);
    let want = [
        EndpointFact {
            zone_hints: vec!["a".into(), "b".into()],
            node_hints: vec!["n1".into()],
            ..endpoint("10.244.1.5", Some("n1"))
        },
        EndpointFact {
            ready: false,
            terminating: true,
            ..endpoint("10.244.2.5", Some("n2"))
        },
        endpoint("10.244.3.5", None),
        endpoint("10.244.3.6", None),
        EndpointFact {
            ready: false,
            serving: false,
            ..endpoint("10.244.3.7", None)
        },
        endpoint("", None),
    ];
    assert_eq!(told.endpoints, want);
    let ports = [
        ("", Protocol::Tcp, 80),
        ("dns", Protocol::Udp, 53),
        ("tcp", Protocol::Tcp, 82),
    ];
    let ports = ports.map(|(name, protocol, port)| EndpointPortFact {
        name: name.into(),
        protocol,
        port,
    });
    assert_eq!(told.ports, ports);
}

#[test]
fn a_bad_port_leaves_the_rest_in_force() {
    let told = slice(
        r#"{"metadata": {"name": "a"}, "addressType": "IPv4", "ports": [{"name": "a", "port": 70000},
            {"name": "b", "port": 80, "protocol": "QUIC"}, {"name": "c", "port": 81}],
            "endpoints": [{"addresses": ["10.0.0.1"]}]}"#,
    );
    let fields: Vec<&str> = told.malformed.iter().map(|m| m.field.as_str()).collect();
    assert_eq!(fields, ["ports[0].port", "ports[1].protocol"]);
    let ports: Vec<u16> = told.ports.iter().map(|port| port.port).collect();
    assert_eq!(ports, [81]);
    assert_eq!(told.endpoints.len(), 1);
}

#[test]
fn a_slice_may_be_of_no_service_and_of_no_endpoints() {
    for text in [
        r#"{"metadata": {"name": "a"}, "addressType": "IPv6", "endpoints": null}"#,
        r#"{"metadata": {"name": "a", "labels": {"kubernetes.io/service-name": ""}}, "addressType": "IPv6"}"#,
        r#"{"metadata": {"name": "a", "labels": null}, "addressType": "IPv6", "endpoints": []}"#,
    ] {
        let told = slice(text);
        assert_eq!(
            (told.service, told.endpoints, told.malformed),
            (None, vec![], vec![])
        );
    }
}

#[test]
fn addresses_of_another_family_or_of_none_are_told() {
    let told = slice(
        r#"{"metadata": {"name": "a"}, "addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]},
            {"addresses": ["fd00::1"]}, {"addresses": ["x"], "nodeName": "n1"}]}"#,
    );
    let fields: Vec<&str> = told.malformed.iter().map(|m| m.field.as_str()).collect();
    assert_eq!(
        fields,
        ["endpoints[0].addresses[0]", "endpoints[2].addresses[0]"]
    );
    let addresses: Vec<bool> = told.endpoints.iter().map(|e| e.address.is_some()).collect();
    assert_eq!(addresses, [false, true, false]);
}

#[test]
fn a_slice_of_names_is_no_fault_and_one_of_an_unknown_type_is() {
    let of = |kind: &str| {
        slice(&format!(
            r#"{{"metadata": {{"name": "a"}}{kind}, "endpoints": [{{"addresses": ["x.example"]}}]}}"#
        ))
    };
    let names = of(r#", "addressType": "FQDN""#);
    assert_eq!((names.address_type, names.malformed.len()), (None, 0));
    assert_eq!(names.endpoints[0].address, None);
    for kind in [r#", "addressType": "MAC""#, ""] {
        let told = of(kind);
        assert_eq!(told.address_type, None);
        assert_eq!(told.malformed.len(), 1, "{told:?}");
        assert_eq!(told.malformed[0].field, "addressType");
    }
}
