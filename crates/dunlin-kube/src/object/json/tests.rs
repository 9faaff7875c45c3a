use super::*;
use dunlin_intent::BfdProfileFact;
use dunlin_intent::{Kind, NamespacedName};

fn read_as(kind: Kind, text: &str) -> Result<Fact, ObjectFault> {
    let resource = Resource::of(kind);
    let told = read_json(resource, text.as_bytes());
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let parsed = read_value(resource, &value);
        assert_eq!(
            told.as_ref().map_err(|f| (&f.key, &f.field)),
            parsed.as_ref().map_err(|f| (&f.key, &f.field)),
            "text and parsed text say the same"
        );
    }
    told
}

fn fault(kind: Kind, text: &str) -> ObjectFault {
    read_as(kind, text).unwrap_err()
}

#[test]
fn an_object_of_a_list_says_neither_version_nor_kind() {
    for head in [
        "",
        r#""apiVersion": "dunlin.dev/v1alpha1", "kind": "BGPPeer", "#,
    ] {
        let text = format!(
            r#"{{{head}"metadata": {{"name": "tor", "generation": 3, "managedFields": [{{"f:spec": {{}}}}]}},
                "spec": {{"peerAddress": "192.0.2.1", "peerASN": 65001}}, "status": {{"conditions": []}}}}"#
        );
        let Fact::Peer(peer) = read_as(Kind::Peer, &text).unwrap() else {
            panic!()
        };
        assert_eq!(
            (peer.name.as_str(), peer.peer_address),
            ("tor", Some("192.0.2.1".parse().unwrap()))
        );
    }
}

#[test]
fn keys_of_tcp_ao_are_seen_whatever_they_look_like() {
    let text = r#"{"metadata": {"name": "tor"},
        "spec": {"peerAddress": "192.0.2.1", "peerASN": 65001, "tcpAO": {"keys": [{"sendID": 1}]}}}"#;
    let Fact::Peer(peer) = read_as(Kind::Peer, text).unwrap() else {
        panic!()
    };
    assert!(peer.tcp_ao);
}

#[test]
fn what_a_newer_version_brings_is_a_problem_of_the_object_with_the_field() {
    for (kind, spec, field, said) in [
        (Kind::Peer, r#"{"color": "red"}"#, "spec.color", "color"),
        (
            Kind::Peer,
            r#"{"timers": {"idleSeconds": 3}}"#,
            "spec.timers.idleSeconds",
            "idleSeconds",
        ),
        (
            Kind::Peer,
            r#"{"nextHop": "Closest"}"#,
            "spec.nextHop",
            "Closest",
        ),
        (
            Kind::Peer,
            r#"{"addressFamilies": ["IPv4", "L2VPN"]}"#,
            "spec.addressFamilies[1]",
            "L2VPN",
        ),
        (
            Kind::Peer,
            r#"{"peerASN": "confederation"}"#,
            "spec.peerASN",
            "confederation",
        ),
        (
            Kind::Configuration,
            r#"{"topology": {"mode": "Ring"}}"#,
            "spec.topology.mode",
            "Ring",
        ),
        (
            Kind::Configuration,
            r#"{"listenPort": 70000}"#,
            "spec.listenPort",
            "70000",
        ),
        (
            Kind::Advertisement,
            r#"{"services": {"addresses": ["PodIP"]}}"#,
            "spec.services.addresses[0]",
            "PodIP",
        ),
        (
            Kind::Filter,
            r#"{"rules": [{"action": "Accept"}, {"action": "Defer"}]}"#,
            "spec.rules[1].action",
            "Defer",
        ),
        (
            Kind::Filter,
            r#"{"rules": [{"match": {}}]}"#,
            "spec.rules[0]",
            "action",
        ),
        (
            Kind::Pool,
            r#"{"addresses": [1]}"#,
            "spec.addresses[0]",
            "integer",
        ),
    ] {
        let fault = fault(
            kind,
            &format!(r#"{{"metadata": {{"name": "x"}}, "spec": {spec}}}"#),
        );
        assert_eq!(fault.field.as_deref(), Some(field), "{fault}");
        assert!(fault.message.contains(said), "{fault}");
        assert!(!fault.message.contains("line"), "{fault}");
        let object = fault.object().unwrap();
        assert_eq!(
            (object.kind, object.name.as_str()),
            (Resource::of(kind).kind, "x")
        );
        let (kept, lost) = (fault.problem(true).unwrap(), fault.problem(false).unwrap());
        assert_eq!(
            (kept.reason, kept.field),
            (Reason::Unreadable, fault.field.clone())
        );
        assert_ne!(kept.message, lost.message);
    }
}

#[test]
fn an_object_of_kubernetes_that_is_not_as_it_should_be_is_named() {
    let fault = fault(
        Kind::EndpointSlice,
        r#"{"metadata": {"name": "web-1", "namespace": "shop"}, "endpoints": [{"addresses": "10.0.0.1"}]}"#,
    );
    assert_eq!(fault.field.as_deref(), Some("endpoints[0].addresses"));
    assert_eq!(
        fault.key,
        Some(Key::EndpointSlice(NamespacedName::new("shop", "web-1")))
    );
    assert_eq!(
        fault.object().unwrap().to_string(),
        "EndpointSlice/shop/web-1"
    );
}

#[test]
fn what_is_no_object_at_all_names_none() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        "\"\"",
        "{\"metadata\": {}}",
        "{\"metadata\": {\"name\": \"\"}}",
        "\u{fffd}",
    ] {
        let fault = fault(Kind::Node, text);
        assert_eq!(
            (fault.key.clone(), fault.problem(true)),
            (None, None),
            "{text:?}: {fault}"
        );
    }
    assert!(read_json(Resource::of(Kind::Node), &[0xff, 0xfe]).is_err());
}

#[test]
fn no_part_of_a_secret_is_told() {
    for data in [
        r#""stringData": "hunter2""#,
        r#""data": {"password": {"hunter2": 1}}"#,
        r#""data": {"hunter2": 1}"#,
        r#""data": hunter2"#,
    ] {
        let text = format!(r#"{{"metadata": {{"name": "s", "namespace": "n"}}, {data}}}"#);
        let fault = fault(Kind::Secret, &text);
        assert!(!format!("{fault:?} {fault}").contains("hunter2"), "{fault}");
        if serde_json::from_str::<Value>(&text).is_ok() {
            assert_eq!(fault.object().unwrap().to_string(), "Secret/n/s");
        }
    }
}

#[test]
fn a_profile_is_read() {
    let bfd = Resource::named("dunlin.dev/v1alpha1", "BFDProfile").unwrap();
    let read = |spec: &str| {
        let text = format!(r#"{{"metadata": {{"name": "fast"}}, "spec": {spec}}}"#);
        read_json(bfd, text.as_bytes())
    };
    assert_eq!(
        read(r#"{"detectMultiplier": 5, "receiveIntervalMillis": 50, "minimumTTL": 250, "passive": true}"#).unwrap(),
        Fact::BfdProfile(BfdProfileFact {
            name: "fast".into(),
            transmit_interval_millis: None,
            receive_interval_millis: Some(50),
            detect_multiplier: Some(5),
            passive: Some(true),
            minimum_ttl: Some(250),
        })
    );
    let fault = read(r#"{"detectMultiplier": "x"}"#).unwrap_err();
    assert_eq!(fault.field.as_deref(), Some("spec.detectMultiplier"));
    assert!(matches!(fault.key, Some(Key::BfdProfile(_))), "{fault:?}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(kind in 0..Resource::ALL.len(), text in "(\\{|\\}|\"metadata\": \\{\"name\": \"a\"\\},?|\"(spec|status|endpoints|addresses|data|ports|type)\":|\\[|\\]|null|-?[0-9]{1,20}|\"[a-z0-9.:/-]{0,12}\"|,| ){0,25}") {
        let resource = Resource::ALL[kind];
        let _ = read_json(resource, text.as_bytes());
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = read_value(resource, &value);
        }
    }
}
