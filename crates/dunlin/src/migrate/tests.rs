//! Long because it is the table of what becomes of each flag and annotation.

use serde_json::{Value, json};

use super::{Migration, flags, kube_router, parse};

const NODES: &str = r#"
apiVersion: v1
kind: Node
metadata:
  name: n1
  labels: {kubernetes.io/hostname: n1}
  annotations: {ANNOTATIONS}
spec: {podCIDRs: [10.244.1.0/24]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {kubernetes.io/hostname: n2}}
spec: {podCIDRs: [10.244.2.0/24]}
"#;

fn daemonset(args: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "kube-router", "namespace": "kube-system" },
        "spec": { "template": { "spec": { "containers": [{ "name": "kube-router", "args": args }] } } },
    })
}

fn migrate(args: &[&str], annotations: &str, services: &str) -> Migration {
    let mut objects = parse(&NODES.replace("{ANNOTATIONS}", annotations)).unwrap();
    objects.push(daemonset(args));
    objects.extend(parse(services).unwrap());
    kube_router(&objects).unwrap()
}

fn spec(migration: &Migration, kind: &str, name: &str) -> Value {
    let found = |o: &&Value| o["kind"] == kind && o["metadata"]["name"] == name;
    match migration.objects.iter().find(found) {
        Some(object) => object["spec"].clone(),
        None => panic!("no {kind} {name} in {:?}", migration.objects),
    }
}

const ROUTER: [&str; 2] = ["--peer-router-ips=192.0.2.1", "--peer-router-asns=65000"];

fn with_router<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&ROUTER as &[&str], args].concat()
}

#[test]
fn each_flag_of_the_cluster_has_its_place() {
    for (args, kind, name, pointer, expected) in [
        (
            &["--cluster-asn=65001"] as &[&str],
            "BGPConfiguration",
            "default",
            "/asn",
            json!(65001),
        ),
        (
            &["--bgp-port", "1179"],
            "BGPConfiguration",
            "default",
            "/listenPort",
            json!(1179),
        ),
        (
            &["--enable-ibgp=false"],
            "BGPConfiguration",
            "default",
            "/topology/mode",
            json!("None"),
        ),
        (
            &["--enable-pod-egress=false"],
            "BGPConfiguration",
            "default",
            "/podEgress/masquerade",
            json!(false),
        ),
        (
            &ROUTER,
            "BGPPeer",
            "router-192-0-2-1",
            "/peerAddress",
            json!("192.0.2.1"),
        ),
        (
            &ROUTER,
            "BGPPeer",
            "router-192-0-2-1",
            "/peerASN",
            json!(65000),
        ),
        (
            &ROUTER,
            "BGPPeer",
            "router-192-0-2-1",
            "/gracefulRestart/enabled",
            json!(false),
        ),
        (
            &ROUTER,
            "BGPAdvertisement",
            "pod-cidrs",
            "/podCIDRs",
            json!({}),
        ),
        (
            &with_router(&["--bgp-graceful-restart"]),
            "BGPPeer",
            "router-192-0-2-1",
            "/gracefulRestart/restartSeconds",
            json!(90),
        ),
        (
            &with_router(&[
                "--bgp-graceful-restart=true",
                "--bgp-graceful-restart-time=2m",
            ]),
            "BGPPeer",
            "router-192-0-2-1",
            "/gracefulRestart/restartSeconds",
            json!(120),
        ),
        (
            &with_router(&["--bgp-holdtime=1m30s"]),
            "BGPPeer",
            "router-192-0-2-1",
            "/timers",
            Value::Null,
        ),
        (
            &with_router(&["--bgp-holdtime=9s"]),
            "BGPPeer",
            "router-192-0-2-1",
            "/timers/holdTimeSeconds",
            json!(9),
        ),
        (
            &with_router(&["--peer-router-multihop-ttl=5"]),
            "BGPPeer",
            "router-192-0-2-1",
            "/ebgpMultihop",
            json!(5),
        ),
        (
            &with_router(&["--peer-router-multihop-ttl=1"]),
            "BGPPeer",
            "router-192-0-2-1",
            "/ebgpMultihop",
            Value::Null,
        ),
        (
            &with_router(&["--peer-router-ports=1790"]),
            "BGPPeer",
            "router-192-0-2-1",
            "/port",
            json!(1790),
        ),
        (
            &with_router(&["--peer-router-passwords=c2VjcmV0"]),
            "BGPPeer",
            "router-192-0-2-1",
            "/passwordSecretRef/name",
            json!("bgp-router-192-0-2-1"),
        ),
        (
            &with_router(&["--advertise-cluster-ip"]),
            "BGPAdvertisement",
            "cluster-ips",
            "/services",
            json!({ "addresses": ["ClusterIP"] }),
        ),
        (
            &with_router(&["--advertise-external-ip=true"]),
            "BGPAdvertisement",
            "external-ips",
            "/services",
            json!({ "addresses": ["ExternalIP"] }),
        ),
        (
            &with_router(&["--advertise-loadbalancer-ip=1"]),
            "BGPAdvertisement",
            "load-balancer-ips",
            "/services",
            json!({ "addresses": ["LoadBalancerIP"] }),
        ),
        (
            &[
                "--run-loadbalancer",
                "--loadbalancer-ip-range=198.51.100.0/24,2001:db8::/112",
            ],
            "LoadBalancerPool",
            "kube-router",
            "/addresses",
            json!(["198.51.100.0/24", "2001:db8::/112"]),
        ),
    ] {
        let migration = migrate(args, "{}", "");
        let spec = spec(&migration, kind, name);
        let found = spec.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{args:?}");
    }
}

#[test]
fn defaults_need_no_configuration_but_some_warnings() {
    let migration = migrate(&["--run-router=true"], "{}", "");
    assert!(migration.objects.is_empty(), "{:?}", migration.objects);
    let warnings = migration.warnings.join("\n");
    for word in ["kube-proxy", "NetworkPolicy", "tunnels"] {
        assert!(warnings.contains(word), "{word}: {warnings}");
    }
    let off = [
        "--run-service-proxy=false",
        "--run-firewall=false",
        "--enable-overlay=false",
    ];
    assert!(migrate(&off, "{}", "").warnings.is_empty());
}

#[test]
fn every_flag_that_was_given_is_named() {
    for flag in flags::names() {
        if ["help", "version"].contains(&flag) {
            continue;
        }
        let mut args = with_router(&[]);
        let arg = format!(
            "--{flag}={}",
            match flag {
                "peer-router-ips" => "192.0.2.1",
                "peer-router-asns" => "65000",
                "bgp-holdtime" | "bgp-graceful-restart-time" => "30s",
                _ => "1",
            }
        );
        if !ROUTER
            .iter()
            .any(|known| known.starts_with(&format!("--{flag}=")))
        {
            args.push(&arg);
        }
        let migration = migrate(&args, "{}", "");
        let named = migration
            .notes
            .iter()
            .any(|note| note.starts_with(&format!("--{flag}=")));
        assert!(named, "--{flag}: {:?}", migration.notes);
    }
    let unknown = migrate(&["--teleport=on", "-v=3", "-v2"], "{}", "");
    assert!(
        unknown
            .notes
            .contains(&"--teleport: not known, not migrated".to_owned()),
        "{:?}",
        unknown.notes
    );
    assert_eq!(
        unknown
            .notes
            .iter()
            .filter(|note| note.starts_with("--v="))
            .count(),
        2
    );
}

#[test]
fn a_nodes_routers_are_its_own_and_equal_ones_are_one_object() {
    let peers = r#"{kube-router.io/peers: "- {remoteip: 192.0.2.9, remoteasn: 65009, localip: 192.0.2.10, port: 1179, password: c2VjcmV0}\n- {remoteip: '2001:db8::9', remoteasn: 65009, bfd: {enabled: true}}"}"#;
    let migration = migrate(&[], peers, "");
    let spec_of = |name| spec(&migration, "BGPPeer", name);
    assert_eq!(
        spec_of("router-192-0-2-9"),
        json!({
            "peerAddress": "192.0.2.9",
            "peerASN": 65009,
            "port": 1179,
            "sourceAddress": "192.0.2.10",
            "importFilter": "from-routers",
            "gracefulRestart": { "enabled": false },
            "passwordSecretRef": { "name": "bgp-router-192-0-2-9" },
            "nodeSelector": { "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"] }
            ] },
        })
    );
    assert_eq!(spec_of("router-2001-db8--9")["peerAddress"], "2001:db8::9");
    assert!(
        migration
            .notes
            .iter()
            .any(|note| note.contains("bfd: no equivalent"))
    );

    let old = "{kube-router.io/peer.ips: '192.0.2.9,192.0.2.8', kube-router.io/peer.asns: '65009,65008', kube-router.io/peer.passwords: 'c2VjcmV0,'}";
    let migration = migrate(&[], old, "");
    assert_eq!(
        spec(&migration, "BGPPeer", "router-192-0-2-8")["passwordSecretRef"],
        Value::Null
    );
    assert_eq!(migration.secrets.len(), 1);

    let wrong = "{kube-router.io/peer.ips: '192.0.2.9', kube-router.io/peer.asns: '1,2'}";
    let migration = migrate(&[], wrong, "");
    assert!(
        migration
            .notes
            .iter()
            .any(|note| note.contains("1 addresses and 2 AS numbers"))
    );
    // The flags' routers hide the Nodes'.
    let migration = migrate(&ROUTER, peers, "");
    assert!(
        !migration
            .objects
            .iter()
            .any(|o| o["metadata"]["name"] == "router-192-0-2-9")
    );
}

#[test]
fn communities_and_prepending_become_the_attributes_of_a_nodes_advertisements() {
    let annotations = "{kube-router.io/node.bgp.communities: '65000:7, 4259840100, no-export, llgr-stale', \
                       kube-router.io/path-prepend.as: '65001', kube-router.io/path-prepend.repeat-n: '3'}";
    let migration = migrate(&with_router(&["--advertise-cluster-ip"]), annotations, "");
    assert_eq!(
        spec(&migration, "BGPAdvertisement", "pod-cidrs")["nodeSelector"]["matchExpressions"][0]["operator"],
        "NotIn"
    );
    let own = spec(&migration, "BGPAdvertisement", "cluster-ips-2");
    assert_eq!(
        own["nodeSelector"]["matchExpressions"][0]["values"],
        json!(["n1"])
    );
    assert_eq!(
        own["attributes"],
        json!({
            "communities": { "standard": ["65000:100", "65000:7"], "wellKnown": ["no-export"] },
            "prepend": { "asn": 65001, "count": 3 },
        })
    );
    assert!(
        migration
            .notes
            .iter()
            .any(|note| note.contains("llgr-stale"))
    );
    let half = migrate(&ROUTER, "{kube-router.io/path-prepend.as: '65001'}", "");
    assert!(half.notes.iter().any(|note| note.contains("takes both")));
}

#[test]
fn what_is_not_taken_from_routers_is_a_filter() {
    let annotations = "{kube-router.io/node.bgp.customimportreject: '10.0.0.0/8, 2001:db8::/32'}";
    let migration = migrate(&ROUTER, annotations, "");
    let all = spec(&migration, "BGPFilter", "from-routers");
    assert_eq!(
        all["rules"],
        json!([
            { "match": { "cidr": "0.0.0.0/0", "lengthMax": 0 }, "action": "Reject" },
            { "match": { "cidr": "::/0", "lengthMax": 0 }, "action": "Reject" },
            { "action": "Accept" },
        ])
    );
    let some = spec(&migration, "BGPFilter", "from-routers-2");
    assert_eq!(
        some["rules"][0],
        json!({ "match": { "cidr": "10.0.0.0/8" }, "action": "Reject" })
    );
    // Each group of nodes has the router with its own filter.
    let first = spec(&migration, "BGPPeer", "router-192-0-2-1");
    let second = spec(&migration, "BGPPeer", "router-192-0-2-1-2");
    assert_eq!(
        (&first["importFilter"], &second["importFilter"]),
        (&json!("from-routers"), &json!("from-routers-2"))
    );
    assert_eq!(
        second["nodeSelector"]["matchExpressions"][0]["values"],
        json!(["n1"])
    );
}

#[test]
fn the_nodes_as_number_is_the_clusters_if_they_have_one() {
    let migration = migrate(
        &["--nodes-full-mesh=false"],
        "{kube-router.io/node.asn: '64600'}",
        "",
    );
    assert_eq!(
        spec(&migration, "BGPConfiguration", "default")["asn"],
        64600
    );
    let mut objects =
        parse(&NODES.replace("{ANNOTATIONS}", "{kube-router.io/node.asn: '64600'}")).unwrap();
    objects[1]["metadata"]["annotations"] = json!({ "kube-router.io/node.asn": "64601" });
    objects.push(daemonset(&["--nodes-full-mesh=false"]));
    let migration = kube_router(&objects).unwrap();
    assert!(
        migration
            .warnings
            .iter()
            .any(|text| text.contains("64600, 64601")),
        "{:?}",
        migration.warnings
    );
}

#[test]
fn services_that_differ_from_the_flag_get_a_label_and_a_selector() {
    let services = r#"
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Service, metadata: {name: a, namespace: x, annotations: {kube-router.io/service.advertise.clusterip: "true"}}}
  - {apiVersion: v1, kind: Service, metadata: {name: b, namespace: x, annotations: {kube-router.io/service.skiplbips: "", kube-router.io/service.advertise.loadbalancerip: "true"}}}
  - {apiVersion: v1, kind: Service, metadata: {name: c, namespace: x, annotations: {kube-router.io/service.local: "true", kube-router.io/service.dsr: tunnel}}}
  - {apiVersion: v1, kind: Service, metadata: {name: d, namespace: x, annotations: {kube-router.io/service.advertise.loadbalancerip: "yes"}}}
"#;
    let migration = migrate(
        &with_router(&["--advertise-loadbalancer-ip"]),
        "{}",
        services,
    );
    assert_eq!(
        migration.commands,
        [
            "kubectl -n x label service a advertise.dunlin.dev/cluster-ip=true",
            "kubectl -n x label service b advertise.dunlin.dev/load-balancer-ip=false",
            "kubectl -n x label service d advertise.dunlin.dev/load-balancer-ip=false",
        ]
    );
    let selector = |name| {
        spec(&migration, "BGPAdvertisement", name)["services"]["selector"]["matchExpressions"][0]
            .clone()
    };
    assert_eq!(
        selector("cluster-ips"),
        json!({ "key": "advertise.dunlin.dev/cluster-ip", "operator": "In", "values": ["true"] })
    );
    assert_eq!(
        selector("load-balancer-ips"),
        json!({ "key": "advertise.dunlin.dev/load-balancer-ip", "operator": "NotIn", "values": ["false"] })
    );
    let notes = migration.notes.join("\n");
    assert!(
        notes.contains("externalTrafficPolicy: Local") && notes.contains("service.dsr"),
        "{notes}"
    );
}

#[test]
fn every_annotation_of_a_node_is_named_or_told() {
    for key in [
        "node.asn",
        "rr.server",
        "rr.client",
        "bgp-local-addresses",
        "pod-cidr",
        "pod-cidrs",
        "node.bgp.customimportreject",
        "peers",
        "something.new",
    ] {
        let annotations = format!("{{kube-router.io/{key}: 'certainly not'}}");
        let migration = migrate(&ROUTER, &annotations, "");
        assert!(
            migration.notes.iter().any(|note| note.contains(key)),
            "{key}: {:?}",
            migration.notes
        );
    }
    let same = migrate(&[], "{kube-router.io/pod-cidr: 10.244.1.0/24}", "");
    assert!(
        same.notes
            .iter()
            .any(|note| note.contains("not needed: it is what spec.podCIDRs says"))
    );
}

#[test]
fn passwords_are_never_printed() {
    let peers = r#"{kube-router.io/peers: "- {remoteip: 192.0.2.9, remoteasn: 65009, password: c2VjcmV0}"}"#;
    let broken = r#"{kube-router.io/peers: "- {remoteip: nowhere, password: c2VjcmV0}"}"#;
    let flags = with_router(&["--peer-router-passwords", "c2VjcmV0"]);
    for migration in [
        migrate(&[], peers, ""),
        migrate(&[], broken, ""),
        migrate(&flags, "{}", ""),
    ] {
        for written in [false, true] {
            let text = migration.text(written).unwrap();
            assert!(
                !text.contains("c2VjcmV0") && !text.contains("secret\n"),
                "{text}"
            );
        }
    }
    assert_eq!(
        migrate(&flags, "{}", "").secrets["bgp-router-192-0-2-1"],
        "c2VjcmV0"
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    assert!(parse("[1, 2]").is_err());
    assert!(kube_router(&[daemonset(&[]), daemonset(&[])]).is_err());
    assert!(kube_router(&[daemonset(&["--peer-router-ips=192.0.2.1"])]).is_err());
    assert!(
        kube_router(&[daemonset(
            &[&ROUTER as &[&str], &["--bgp-holdtime=soon"]].concat()
        )])
        .is_err()
    );
    let nothing = kube_router(&[]).unwrap();
    assert!(
        nothing.warnings[0].contains("no kube-router DaemonSet"),
        "{:?}",
        nothing.warnings
    );
}
