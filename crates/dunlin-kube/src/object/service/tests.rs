use super::*;
use crate::manifest::{Format, read};
use crate::object::{Resource, read_json};
use dunlin_intent::{Fact, Kind, NamespacedName};

fn json(text: &str) -> ServiceFact {
    match read_json(Resource::of(Kind::Service), text.as_bytes()) {
        Ok(Fact::Service(service)) => service,
        other => panic!("{other:?}"),
    }
}

fn yaml(text: &str) -> ServiceFact {
    let facts = read(text, Format::Yaml).unwrap();
    match &facts.as_slice() {
        [located] => match &located.fact {
            Fact::Service(service) => service.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn fields(fact: &ServiceFact) -> Vec<&str> {
    fact.malformed.iter().map(|m| m.field.as_str()).collect()
}

#[test]
fn a_service_is_read_as_the_api_server_shows_it() {
    let service = json(
        r#"{"metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            "labels": {"app": "web"}, "annotations": {"other": "x", "dunlin.dev/sharing-key": "k",
            "dunlin.dev/load-balancing": "maglev", "dunlin.dev/maglev-table-size": "1021",
            "dunlin.dev/load-balancer-ips": "192.0.2.7, 2001:db8::7", "dunlin.dev/load-balancer-pool": "p"}},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:96::7"],
            "externalIPs": ["198.51.100.7"], "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Local",
            "publishNotReadyAddresses": true, "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack",
            "loadBalancerClass": "dunlin.dev/bgp", "loadBalancerIP": "192.0.2.99", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}, "healthCheckNodePort": 32000,
            "loadBalancerSourceRanges": ["198.51.100.7/24", " 2001:db8::/32"], "trafficDistribution": "PreferClose",
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web", "nodePort": 30080},
                      {"port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ipMode": "VIP", "ports": []},
            {"hostname": "lb.example"}, {"ip": "192.0.2.8", "ipMode": "Proxy"}, {"ip": "2001:db8::7"}]}}}"#,
    );
    let want = ServiceFact {
        uid: Some("u1".to_owned()),
        created: dunlin_intent::Timestamp::parse_rfc3339("2026-01-01T00:00:00Z"),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: ips(&["10.96.0.7", "fd00:96::7"]),
        external_ips: ips(&["198.51.100.7"]),
        ingress: [
            (Some("192.0.2.7"), true),
            (None, true),
            (Some("192.0.2.8"), false),
            (Some("2001:db8::7"), true),
        ]
        .map(|(ip, vip)| IngressFact {
            ip: ip.map(|ip| ip.parse().unwrap()),
            vip,
        })
        .to_vec(),
        external_traffic_policy: TrafficPolicy::Local,
        publish_not_ready_addresses: true,
        ip_families: Afi::ALL.to_vec(),
        ip_family_policy: IpFamilyPolicy::RequireDualStack,
        load_balancer_class: Some("dunlin.dev/bgp".to_owned()),
        requested_ips: ips(&["192.0.2.7", "2001:db8::7"]),
        requested_pool: Some("p".to_owned()),
        sharing_key: Some("k".to_owned()),
        ports: vec![
            ServicePortFact {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: Some(30080),
            },
            ServicePortFact {
                name: "".into(),
                protocol: Protocol::Udp,
                port: 53,
                node_port: None,
            },
        ],
        session_affinity_secs: Some(600),
        health_check_node_port: Some(32000),
        load_balancer_source_ranges: ["198.51.100.0/24", "2001:db8::/32"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        traffic_distribution: Some(TrafficDistribution::PreferSameZone),
        choice: Choice::Maglev { slots: 1021 },
        deleting: true,
        ..ServiceFact::new("shop", "web")
    };
    assert_eq!(service, want);
}

#[test]
fn a_service_by_hand_needs_little() {
    let bare = yaml("{apiVersion: v1, kind: Service, metadata: {name: a}}");
    assert_eq!(bare, ServiceFact::new("default", "a"));
    let nulls = yaml(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: null, annotations: null, creationTimestamp: null}\n\
         spec: {clusterIP: 10.96.0.1, clusterIPs: null, ports: null, externalIPs: null, loadBalancerIP: ''}\n\
         status: {loadBalancer: {}}\n",
    );
    let want = ServiceFact {
        cluster_ips: ips(&["10.96.0.1"]),
        ..ServiceFact::new("default", "a")
    };
    assert_eq!(nulls, want);
    let asked = yaml(
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {loadBalancerIP: 192.0.2.9}}",
    );
    assert_eq!(asked.requested_ips, ips(&["192.0.2.9"]));
}

#[test]
fn what_is_said_of_delivery_has_its_defaults_and_its_faults() {
    let sticky = |config: &str| {
        let text = format!(
            r#"{{"metadata": {{"name": "a"}}, "spec": {{"sessionAffinity": "ClientIP"{config}}}}}"#
        );
        let service = json(&text);
        let fields: Vec<String> = fields(&service).iter().map(ToString::to_string).collect();
        (service.session_affinity_secs, fields)
    };
    let of = |secs: &str| {
        sticky(&format!(
            r#", "sessionAffinityConfig": {{"clientIP": {{"timeoutSeconds": {secs}}}}}"#
        ))
    };
    assert_eq!(sticky(""), (Some(10_800), vec![]));
    assert_eq!(sticky(r#", "sessionAffinityConfig": {}"#).0, Some(10_800));
    assert_eq!(of("86400"), (Some(86_400), vec![]));
    let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
    for secs in ["0", "-1", "86401", "99999999999"] {
        assert_eq!(of(secs), (Some(10_800), vec![field.to_owned()]), "{secs}");
    }
    let bad = json(
        r#"{"metadata": {"name": "a", "labels": {"service.kubernetes.io/service-proxy-name": ""},
            "annotations": {"dunlin.dev/load-balancing": "hash", "dunlin.dev/maglev-table-size": "7"}},
        "spec": {"sessionAffinity": "Cookie", "healthCheckNodePort": 99999, "trafficDistribution": "PreferFar",
            "loadBalancerSourceRanges": ["10.0.0.0/8", "10.0.0.0/33"]}}"#,
    );
    assert_eq!(
        fields(&bad),
        [
            "spec.sessionAffinity",
            "spec.healthCheckNodePort",
            "spec.loadBalancerSourceRanges[1]",
            "spec.trafficDistribution",
            "metadata.annotations[dunlin.dev/load-balancing]",
        ]
    );
    let want = ServiceFact {
        labels: bad.labels.clone(),
        load_balancer_source_ranges: vec!["10.0.0.0/8".parse().unwrap()],
        foreign_proxy: true,
        malformed: bad.malformed.clone(),
        ..ServiceFact::new("default", "a")
    };
    assert_eq!(bad, want);
    for (annotations, choice, faults) in [
        (
            r#""dunlin.dev/load-balancing": "maglev""#,
            Choice::Maglev { slots: 251 },
            0,
        ),
        (
            r#""dunlin.dev/load-balancing": "random""#,
            Choice::Random,
            0,
        ),
        (
            r#""dunlin.dev/load-balancing": "maglev", "dunlin.dev/maglev-table-size": "65537""#,
            Choice::Maglev { slots: 251 },
            1,
        ),
    ] {
        let service = json(&format!(
            r#"{{"metadata": {{"name": "a", "annotations": {{{annotations}}}}}}}"#
        ));
        assert_eq!(
            (service.choice, service.malformed.len()),
            (choice, faults),
            "{annotations}"
        );
    }
    let none = json(
        r#"{"metadata": {"name": "a"}, "spec": {"sessionAffinity": "None", "healthCheckNodePort": 0,
            "trafficDistribution": null, "loadBalancerSourceRanges": null}}"#,
    );
    assert_eq!(none, ServiceFact::new("default", "a"));
}

#[test]
fn headless_and_external_name_services_have_no_addresses() {
    for spec in [
        r#"{"clusterIP": "None", "clusterIPs": ["None"]}"#,
        r#"{"clusterIP": "None"}"#,
        r#"{"type": "ExternalName", "externalName": "x.example", "clusterIP": ""}"#,
    ] {
        let service = json(&format!(
            r#"{{"metadata": {{"name": "a"}}, "spec": {spec}}}"#
        ));
        assert_eq!((service.cluster_ips, service.malformed), (vec![], vec![]));
    }
}

#[test]
fn a_bad_value_leaves_the_rest_in_force() {
    let service = json(
        r#"{"metadata": {"name": "a", "namespace": "n", "creationTimestamp": "soon",
            "annotations": {"dunlin.dev/load-balancer-ips": "192.0.2.1,,x", "dunlin.dev/load-balancer-pool": "",
                            "dunlin.dev/sharing-key": ""}},
        "spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.1", "10.96.0.256"], "externalIPs": ["a", "192.0.2.5"],
            "ports": [{"port": 0}, {"port": 70000}, {"port": 80, "protocol": "QUIC"}, {"port": 81, "nodePort": -1}, {"port": 82}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "x"}, {"ip": "192.0.2.6"}]}}}"#,
    );
    let mut fields = fields(&service);
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "metadata.annotations[dunlin.dev/load-balancer-ips]",
            "metadata.annotations[dunlin.dev/load-balancer-ips]",
            "metadata.annotations[dunlin.dev/load-balancer-pool]",
            "metadata.annotations[dunlin.dev/sharing-key]",
            "metadata.creationTimestamp",
            "spec.clusterIPs[1]",
            "spec.externalIPs[0]",
            "spec.ports[0].port",
            "spec.ports[1].port",
            "spec.ports[2].protocol",
            "spec.ports[3].nodePort",
            "status.loadBalancer.ingress[0].ip",
        ]
    );
    assert_eq!(service.cluster_ips, ips(&["10.96.0.1"]));
    assert_eq!(service.external_ips, ips(&["192.0.2.5"]));
    assert_eq!(service.requested_ips, ips(&["192.0.2.1"]));
    assert_eq!(service.ingress.len(), 2);
    let ports: Vec<u16> = service.ports.iter().map(|port| port.port).collect();
    assert_eq!(ports, [81, 82]);
    assert_eq!((service.requested_pool, service.sharing_key), (None, None));
}

#[test]
fn words_of_a_newer_kubernetes_are_told_and_stop_nothing() {
    let service = json(
        r#"{"metadata": {"name": "a"}, "spec": {"type": "Teleport", "internalTrafficPolicy": "Near",
            "externalTrafficPolicy": "Far", "ipFamilies": ["IPv4", "IPv7"], "ipFamilyPolicy": "Any", "newField": {"x": [1]}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "Tunnel"}]}, "newField": 1}}"#,
    );
    assert_eq!(
        fields(&service),
        [
            "spec.type",
            "spec.internalTrafficPolicy",
            "spec.externalTrafficPolicy",
            "spec.ipFamilies[1]",
            "spec.ipFamilyPolicy",
            "status.loadBalancer.ingress[0].ipMode",
        ]
    );
    assert_eq!(service.service_type, ServiceType::Unknown);
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(service.ip_families, [Afi::Ipv4]);
    // A mode that is not known is not announced.
    assert!(!service.ingress[0].vip);
    assert_eq!(service.name, NamespacedName::new("default", "a"));
}
