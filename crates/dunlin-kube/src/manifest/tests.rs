use super::*;
use dunlin_bgp::policy::{CommunityValue, FilterAction, PeerType};
use dunlin_intent::*;
use dunlin_net::{Afi, Asn};

const CLUSTER: &str = include_str!("../../testdata/cluster.yaml");
const PEERING: &str = include_str!("../../testdata/peering.yaml");

fn yaml(text: &str) -> Vec<Fact> {
    read(text, Format::Yaml)
        .unwrap()
        .into_iter()
        .map(|l| l.fact)
        .collect()
}

fn one(text: &str) -> Fact {
    let facts = yaml(text);
    let [fact] = <[Fact; 1]>::try_from(facts).unwrap();
    fact
}

fn fault(text: &str) -> Fault {
    read(text, Format::Yaml).unwrap_err()
}

fn ours(kind: &str, spec: &str) -> String {
    format!("apiVersion: dunlin.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n")
}

#[test]
fn nodes_are_read_as_the_api_server_shows_them() {
    let facts = yaml(CLUSTER);
    let nodes: Vec<NodeFact> = facts
        .into_iter()
        .map(|fact| match fact {
            Fact::Node(node) => node,
            other => panic!("{other:?}"),
        })
        .collect();
    let n1 = NodeFact {
        uid: Some("4f1c9f6e-0000-4000-8000-000000000001".to_owned()),
        created: Timestamp::parse_rfc3339("2026-01-01T00:00:00Z"),
        ready: Some(true),
        ..NodeFact::new("n1")
            .with_label("rack", "r1")
            .with_label("kubernetes.io/hostname", "n1")
            .with_internal_ip("192.0.2.1".parse().unwrap())
            .with_internal_ip("2001:db8::1".parse().unwrap())
            .with_pod_cidr("10.244.1.0/24".parse().unwrap())
            .with_pod_cidr("fd00:244:1::/64".parse().unwrap())
    };
    assert_eq!(nodes[0], n1);
    assert!(nodes[1].unschedulable && nodes[1].created > nodes[0].created);
    assert_eq!(nodes[2].pod_cidrs, ["10.244.3.0/24".parse().unwrap()]);
    assert_eq!(nodes[2].created, None);
}

#[test]
fn a_node_is_drained_by_its_annotation_alone() {
    let node = |annotations: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n1, annotations: {annotations}}}\n"
        );
        match one(&text) {
            Fact::Node(fact) => fact,
            other => panic!("{other:?}"),
        }
    };
    assert!(node("{a/b: c, dunlin.dev/drain: \"true\"}").drain);
    for no in [
        "{}",
        "{dunlin.dev/drain: \"false\"}",
        "{dunlin.dev/drained: \"true\"}",
    ] {
        let node = node(no);
        assert!(!node.drain && node.malformed.is_empty(), "{no}");
    }
    let unclear = node("{dunlin.dev/drain: \"maybe\"}");
    assert!(!unclear.drain);
    assert_eq!(
        unclear.malformed[0].field,
        "metadata.annotations[dunlin.dev/drain]"
    );
    let Fact::Configuration(fact) = one(&ours("BGPConfiguration", "{drainOnCordon: true}")) else {
        panic!("a BGPConfiguration was given");
    };
    assert_eq!(fact.drain_on_cordon, Some(true));
}

#[test]
fn a_file_says_where_it_holds_a_node() {
    assert_eq!(holds_node(CLUSTER, Format::Yaml, "n9"), None);
    let text = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\n";
    assert_eq!(holds_node(text, Format::Yaml, "n2"), Some(5));
    assert_eq!(holds_node("kind: [", Format::Yaml, "n2"), None);
}

#[test]
fn each_fact_says_the_line_its_object_begins_at() {
    let lines: Vec<usize> = read(CLUSTER, Format::Yaml)
        .unwrap()
        .iter()
        .map(|l| l.line)
        .collect();
    assert_eq!(lines, [2, 28, 39]);
}

#[test]
fn our_kinds_are_read_with_every_field() {
    let facts = yaml(PEERING);
    let Fact::Configuration(configuration) = &facts[0] else {
        panic!("{:?}", facts[0])
    };
    assert_eq!(configuration.asn, Some(Asn(65001)));
    assert_eq!(configuration.topology, Some(TopologyMode::Auto));
    assert_eq!(configuration.timers.hold_time_secs, Some(90));
    assert_eq!(configuration.graceful_restart.restart_secs, Some(120));
    assert_eq!(
        configuration.pod_egress.exclude,
        ["10.0.0.0/8".parse().unwrap()]
    );
    assert_eq!(
        configuration.route_installation,
        Some(RouteInstallation::Kernel)
    );

    let Fact::Peer(peer) = &facts[1] else {
        panic!("{:?}", facts[1])
    };
    assert_eq!(peer.labels["role"], "tor");
    let selector = peer.node_selector.as_ref().unwrap();
    assert!(selector.matches(&[("rack".to_owned(), "r1".to_owned())].into()));
    assert_eq!(selector.match_expressions.len(), 2);
    assert_eq!(peer.peer_address, Some("192.0.2.254".parse().unwrap()));
    assert_eq!(peer.peer_asn, Some(PeerAsn::Number(Asn(65010))));
    assert_eq!(peer.ebgp_multihop, Some(2));
    assert_eq!(
        peer.password,
        Some(SecretRef::new("kube-system", "bgp-rack1"))
    );
    assert_eq!(peer.graceful_restart.enabled, Some(false));
    assert_eq!(peer.address_families, Some(Afi::ALL.to_vec()));
    assert_eq!(peer.next_hop, Some(NextHopMode::SelfAddress));

    let Fact::Secret(secret) = &facts[2] else {
        panic!("{:?}", facts[2])
    };
    assert_eq!(secret.password.as_ref().unwrap().expose(), b"secret");

    let Fact::Advertisement(pods) = &facts[3] else {
        panic!("{:?}", facts[3])
    };
    assert!(pods.pod_cidrs && pods.malformed.is_empty());
    assert_eq!(pods.attributes.communities.len(), 3);
    assert_eq!(
        pods.attributes.prepend,
        Some(Prepend {
            asn: None,
            count: 2
        })
    );

    let Fact::Filter(filter) = &facts[4] else {
        panic!("{:?}", facts[4])
    };
    let first = &filter.rules[0];
    assert_eq!(
        first.matches.communities,
        [CommunityValue::Standard(65010 << 16 | 1)]
    );
    assert_eq!(first.matches.as_path_prefix, [Asn(65010)]);
    assert_eq!(first.matches.peer_type, Some(PeerType::External));
    assert_eq!(filter.rules[2].action, FilterAction::Reject);
    assert_eq!(facts.len(), 6);
}

#[test]
fn the_examples_give_a_cluster_without_problems() {
    let mut cluster = Cluster::new("n1");
    for fact in yaml(CLUSTER).into_iter().chain(yaml(PEERING)) {
        cluster.apply(fact);
    }
    Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
    while cluster.poll_change().is_some() {}
    assert_eq!(cluster.problems(), Vec::<&Problem>::new());
    assert_eq!(cluster.peers().count(), 3);
}

#[test]
fn an_unknown_field_of_our_kinds_is_refused_with_its_line_and_name() {
    for (kind, spec, line, name) in [
        (
            "BGPPeer",
            "\n  peerAddress: 192.0.2.1\n  peerAs: 65001",
            6,
            "peerAs",
        ),
        ("BGPPeer", "\n  timers:\n    holdtime: 3", 6, "holdtime"),
        ("BGPConfiguration", "\n  ASN: 1", 5, "ASN"),
        ("BGPAdvertisement", "\n  podCIDRs: {all: true}", 5, "all"),
        (
            "BGPFilter",
            "\n  rules:\n  - action: Accept\n    set: {}",
            7,
            "set",
        ),
        (
            "BGPFilter",
            "\n  rules:\n  - match: {prefix: 10.0.0.0/8}\n    action: Accept",
            6,
            "prefix",
        ),
    ] {
        let fault = fault(&ours(kind, spec));
        assert_eq!(fault.line, line, "{fault}");
        assert!(fault.message.contains(name), "{fault}");
    }
}

#[test]
fn lines_count_from_the_beginning_of_the_file_not_of_the_document() {
    let text = format!("{CLUSTER}---\n# more\n{}", ours("BGPPeer", "\n  peerAs: 1"));
    assert_eq!(fault(&text).line, CLUSTER.lines().count() + 7);
}

#[test]
fn what_is_no_yaml_says_where() {
    for (text, line) in [
        ("apiVersion: v1\nkind: Node\nmetadata: {name: a\n", 3..=4),
        ("apiVersion: v1\nkind: Node\n\tmetadata: {}\n", 2..=3),
        ("a: [1, 2\nb: 3\n", 1..=3),
        (
            "apiVersion: v1\nkind: Node\nkind: Node\nmetadata: {name: a}\n",
            3..=3,
        ),
        ("just words\n", 1..=1),
    ] {
        let fault = fault(text);
        assert!(line.contains(&fault.line), "{text:?}: {fault}");
        assert!(
            !fault.message.is_empty() && !fault.message.contains('\n'),
            "{fault:?}"
        );
    }
}

#[test]
fn kinds_and_versions_that_are_not_read_are_refused_by_name() {
    for (text, named) in [
        (
            "apiVersion: v1\nkind: Noode\nmetadata: {name: a}\n",
            "\"Noode\"",
        ),
        (
            "apiVersion: dunlin.dev/v1\nkind: BGPPeer\nmetadata: {name: a}\n",
            "\"dunlin.dev/v1\"",
        ),
        (
            "apiVersion: v1\nkind: Node\nmetadata: {}\n",
            "metadata.name",
        ),
        (
            "apiVersion: v1\nkind: Node\nmetadata: {name: A/b}\n",
            "\"A/b\"",
        ),
    ] {
        let fault = fault(text);
        assert!(fault.message.contains(named), "{fault}");
    }
}

#[test]
fn kinds_that_may_be_there_are_passed_over_and_unbuilt_ones_are_told() {
    for (version, kind) in [
        ("v1", "Pod"),
        ("v1", "Endpoints"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("dunlin.dev/v1alpha1", "BGPNode"),
    ] {
        let text = format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{what: ever}}\n"
        );
        assert_eq!(yaml(&text), [], "{kind}");
    }
    let profile = one(&ours("BFDProfile", "{detectMultiplier: 3}"));
    assert_eq!(
        profile,
        Fact::BfdProfile(BfdProfileFact {
            name: "x".into(),
            detect_multiplier: Some(3),
            ..BfdProfileFact::default()
        })
    );
}

#[test]
fn a_value_that_does_not_parse_is_a_problem_of_its_object_alone() {
    let fact = one(
        "apiVersion: v1\nkind: Node\nmetadata: {name: a, creationTimestamp: soon}\n\
                    spec: {podCIDRs: [10.0.0.0/33, 10.1.0.0/24]}\n\
                    status: {addresses: [{type: InternalIP, address: 300.1.1.1}, {type: InternalIP, address: 192.0.2.1}]}\n",
    );
    let Fact::Node(node) = fact else { panic!() };
    let fields: Vec<&str> = node.malformed.iter().map(|m| m.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "metadata.creationTimestamp",
            "status.addresses[0]",
            "spec.podCIDRs[0]"
        ]
    );
    assert_eq!((node.pod_cidrs.len(), node.internal_ips.len()), (1, 1));

    let Fact::Peer(peer) = one(&ours(
        "BGPPeer",
        "{peerAddress: router1, peerRange: x, sourceAddress: y, peerASN: 1}",
    )) else {
        panic!()
    };
    let fields: Vec<&str> = peer.malformed.iter().map(|m| m.field.as_str()).collect();
    assert_eq!(
        fields,
        ["spec.peerAddress", "spec.sourceAddress", "spec.peerRange"]
    );

    let Fact::Filter(filter) = one(&ours(
        "BGPFilter",
        "{rules: [{match: {cidr: x, communities: [a]}, action: Accept, attributes: {communities: {large: [b]}}}]}",
    )) else {
        panic!()
    };
    let fields: Vec<&str> = filter.malformed.iter().map(|m| m.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.rules[0].match.communities[0]",
            "spec.rules[0].match.cidr",
            "spec.rules[0].attributes.communities.large[0]"
        ]
    );
}

#[test]
fn peer_asn_is_a_number_or_a_word() {
    for (text, want) in [
        ("65010", PeerAsn::Number(Asn(65010))),
        ("4200000000", PeerAsn::Number(Asn(4_200_000_000))),
        ("internal", PeerAsn::Internal),
        ("external", PeerAsn::External),
    ] {
        let Fact::Peer(peer) = one(&ours("BGPPeer", &format!("{{peerASN: {text}}}"))) else {
            panic!()
        };
        assert_eq!(peer.peer_asn, Some(want), "{text}");
    }
    for text in ["4294967296", "-1", "any", "1.5", "[1]"] {
        let fault = fault(&ours("BGPPeer", &format!("{{peerASN: {text}}}")));
        assert_eq!(fault.line, 4, "{text}: {fault}");
    }
}

#[test]
fn lists_and_json_are_read_too() {
    let node = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": null}}"#;
    for kind in ["List", "NodeList"] {
        let list =
            format!(r#"{{"apiVersion": "v1", "kind": "{kind}", "items": [{node}, {node}]}}"#);
        assert_eq!(read(&list, Format::Json).unwrap().len(), 2);
        assert_eq!(read(&list, Format::Yaml).unwrap().len(), 2);
    }
    let stream = format!("{node}\n\n{node} {node}\n");
    let lines: Vec<usize> = read(&stream, Format::Json)
        .unwrap()
        .iter()
        .map(|l| l.line)
        .collect();
    assert_eq!(lines, [1, 3, 3]);

    let fault = read(
        &format!("{node}\n{{\"apiVersion\": \"v1\",\n oops}}"),
        Format::Json,
    )
    .unwrap_err();
    assert_eq!((fault.line, fault.column), (3, 2), "{fault}");
    let typed = r#"{"apiVersion": "dunlin.dev/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "a"},
        "spec": {"port": "x"}}"#;
    let fault = read(&format!("{node}\n{typed}"), Format::Json).unwrap_err();
    assert_eq!(fault.line, 3, "{fault}");
    let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{node}, {typed}]}}"#);
    assert!(
        read(&list, Format::Json)
            .unwrap_err()
            .message
            .starts_with("items[1]: ")
    );
}

#[test]
fn empty_documents_comments_and_directives_state_nothing() {
    for text in [
        "",
        "\n\n",
        "# only this\n",
        "---\n",
        "---\n---\n# x\n---\n",
        "%YAML 1.2\n---\n# x\n...\n",
    ] {
        assert_eq!(read(text, Format::Yaml), Ok(Vec::new()), "{text:?}");
    }
    assert_eq!(read("", Format::Json), Ok(Vec::new()));
    let text =
        "%YAML 1.2\n--- # first\napiVersion: v1\nkind: Node\nmetadata: {name: a}\n...\n---\n\n";
    assert_eq!(read(text, Format::Yaml).unwrap().len(), 1);
}

#[test]
fn dashes_within_a_line_do_not_begin_a_document() {
    let text = "apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  labels:\n    x: |\n      ---\n      y\n    z: a---b\n";
    let Fact::Node(node) = one(text) else {
        panic!()
    };
    assert_eq!(node.labels["x"], "---\ny\n");
}

#[test]
fn passwords_show_in_no_error_and_no_debug() {
    let secret =
        |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{data}\n");
    let Fact::Secret(fact) = one(&secret(
        "stringData: {password: hunter2}\ndata: {password: Zm9v}",
    )) else {
        panic!()
    };
    assert_eq!(fact.password.as_ref().unwrap().expose(), b"hunter2");
    assert_eq!(fact.at, SecretRef::new("default", "s"));
    assert!(!format!("{fact:?}").contains("hunter2"));
    for data in [
        "stringData: hunter2",
        "data: {password: {hunter2: 1}}",
        "data: [hunter2]",
    ] {
        let fault = fault(&secret(data));
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
        assert_eq!(fault.line, 4, "{fault}");
    }
    let Fact::Secret(fact) = one(&secret("data: {password: '%%%'}")) else {
        panic!()
    };
    assert_eq!(fact.password, None);
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text =
        "apiVersion: v1\nkind: Node\nmetadata: {name: a}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            .to_owned();
    for n in 1..10 {
        let of = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", [of.as_str(); 10].join(", "));
    }
    assert!(!fault(&text).message.is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(---|\\.\\.\\.|apiVersion: v1|kind: (Node|List|Secret)|metadata: \\{name: a\\}|items:|[ \\n\\t:{}\\[\\]&*!|>'\"%#,a-c0-9é-]){0,30}") {
        for format in [Format::Yaml, Format::Json] {
            if let Err(fault) = read(&text, format) {
                proptest::prop_assert!(fault.line >= 1 && fault.line <= text.lines().count() + 2, "{text:?}: {fault}");
            }
        }
    }
}

/// DEL, an escape sequence, and a mark that turns the direction of writing.
const HOSTILE: &str = r"no\u007fde\u001b[2JSelec\u202etor";

#[test]
fn nothing_of_an_input_that_is_told_acts_on_a_terminal() {
    let object = format!(
        r#"{{"apiVersion": "dunlin.dev/v1alpha1", "kind": "BGPPeer", "metadata": {{"name": "a"}}, "spec": {{"{HOSTILE}": 1}}}}"#
    );
    let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{object}]}}"#);
    for text in [object, list] {
        for format in [Format::Json, Format::Yaml] {
            let message = read(&text, format).unwrap_err().message;
            let acts = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!message.contains(acts), "{format:?}: {message:?}");
            let shown = r"no\u{7f}de\u{1b}[2JSelec\u{202e}tor";
            assert!(message.contains(shown), "{format:?}: {message}");
        }
    }
}
