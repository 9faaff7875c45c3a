//! A real API server takes the definitions in `deploy/crds`, takes good objects and refuses bad ones with a message that helps.
//!
//! The tests run on the main thread, one after the other: the control plane's processes end with the thread that started
//! them.
#![allow(clippy::print_stderr)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dunlin_e2e::control::ControlPlane;
use dunlin_e2e::kubectl::Kubectl;
use dunlin_e2e::network::{CONTROL, Network};
use dunlin_e2e::{PATIENCE, wait_for};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

struct World {
    // Dropped first: its processes hold a namespace.
    plane: ControlPlane,
    _network: Network,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

type Test = (&'static str, fn(&Kubectl));

const TESTS: &[Test] = &[
    ("the_definitions_are_taken_without_a_warning", definitions),
    ("the_examples_are_taken", examples),
    ("bad_objects_are_refused_with_what_to_write", bad_objects),
    ("good_objects_of_every_shape_are_taken", good_objects),
    ("status_is_written_apart_from_the_rest", status),
    ("people_find_their_way", people),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = TESTS
        .iter()
        .map(|&(name, test)| Trial::test(name, move || run(test)));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    WORLD.take();
    conclusion.exit_code()
}

fn run(test: fn(&Kubectl)) -> Result<(), Failed> {
    let program = match dunlin_e2e::control_plane() {
        Ok(program) => program,
        Err(lack) if std::env::var_os("DUNLIN_ALLOW_SKIP").is_some() => {
            // The name of the test stands on this line.
            eprintln!("\nskipped: {lack}");
            return Ok(());
        }
        Err(lack) => {
            return Err(format!(
                "{lack}; this test must not be skipped (DUNLIN_ALLOW_SKIP=1 lets it)"
            )
            .into());
        }
    };
    let kubectl = WORLD.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(|| start(program));
        world.plane.kubectl()
    });
    test(&kubectl);
    Ok(())
}

fn start(program: PathBuf) -> World {
    let network = Network::new();
    let plane = ControlPlane::start(program, network.netns(CONTROL));
    install(&plane.kubectl());
    World {
        plane,
        _network: network,
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn crds() -> String {
    repository().join("deploy/crds").display().to_string()
}

fn install(kubectl: &Kubectl) {
    kubectl.ok(&["apply", "--server-side", "--filename", &crds()]);
    kubectl.ok(&[
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "--filename",
        &crds(),
    ]);
    // Discovery follows a little later.
    wait_for("the kinds to be served", PATIENCE, || {
        kubectl.run(&["get", "bgppeers,bgpnodes,loadbalancerpools,bfdprofiles"])
    });
}

fn definitions(kubectl: &Kubectl) {
    // What an API server warns of (unknown formats, say) is on standard error.
    let again = kubectl
        .command(&["apply", "--server-side", "--filename", &crds()])
        .output()
        .expect("kubectl starts");
    assert!(again.status.success(), "{again:?}");
    assert_eq!(String::from_utf8_lossy(&again.stderr), "");

    let found = kubectl.get(&["crds"]).expect("definitions");
    let ours: Vec<&Value> = found["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|crd| crd["spec"]["group"] == "dunlin.dev")
        .collect();
    assert_eq!(ours.len(), 7);
    for crd in ours {
        let conditions = crd["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let holds = |kind: &str| {
            conditions
                .iter()
                .any(|c| c["type"] == kind && c["status"] == "True")
        };
        assert!(holds("Established") && holds("NamesAccepted"), "{crd}");
        assert!(!holds("NonStructuralSchema"), "{crd}");
    }
}

/// The objects that the documents and the readers' tests show.
fn examples(kubectl: &Kubectl) {
    let peering = repository().join("crates/dunlin-kube/testdata/peering.yaml");
    let docs = std::fs::read_to_string(repository().join("docs/objects.md")).expect("docs");
    let mut texts = vec![std::fs::read_to_string(peering).expect("testdata")];
    texts.extend(
        docs.split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .map(str::to_owned),
    );
    assert!(texts.len() > 1, "docs/objects.md has examples");
    for text in texts {
        kubectl.apply(&text);
        let said = kubectl.run_with(&text, &["delete", "--filename=-"]);
        assert!(said.is_ok(), "{said:?}");
    }
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion": "dunlin.dev/v1alpha1", "kind": "{kind}", "metadata": {{"name": "{name}"}}, "spec": {spec}}}"#
    )
}

fn bad_objects(kubectl: &Kubectl) {
    let peer =
        |fields: &str| format!(r#"{{"peerASN": 65001, "peerAddress": "192.0.2.1", {fields}}}"#);
    let accept = |fields: &str| format!(r#"{{"rules": [{{"action": "Accept", {fields}}}]}}"#);
    let cases: Vec<(&str, String, &str, &str)> = vec![
        (
            "BGPConfiguration",
            r#"{"asn": 65535}"#.into(),
            "spec.asn",
            "reserved",
        ),
        (
            "BGPConfiguration",
            r#"{"asn": 4294967296}"#.into(),
            "spec.asn",
            "4294967295",
        ),
        (
            "BGPConfiguration",
            r#"{"listenPort": 0}"#.into(),
            "spec.listenPort",
            "1",
        ),
        (
            "BGPConfiguration",
            r#"{"topology": {"mode": "Ring"}}"#.into(),
            "spec.topology.mode",
            "Mesh",
        ),
        (
            "BGPConfiguration",
            r#"{"timers": {"holdTimeSeconds": 2}}"#.into(),
            "spec.timers.holdTimeSeconds",
            "0 (never expires) or at least 3",
        ),
        (
            "BGPConfiguration",
            r#"{"timers": {"holdTimeSeconds": 9, "keepaliveSeconds": 9}}"#.into(),
            "spec.timers.keepaliveSeconds",
            "less than holdTimeSeconds",
        ),
        (
            "BGPConfiguration",
            r#"{"timers": {"connectRetrySeconds": 0}}"#.into(),
            "spec.timers.connectRetrySeconds",
            "1",
        ),
        (
            "BGPConfiguration",
            r#"{"gracefulRestart": {"restartSeconds": 4096}}"#.into(),
            "spec.gracefulRestart.restartSeconds",
            "4095",
        ),
        (
            "BGPConfiguration",
            r#"{"podEgress": {"exclude": ["10.0.0.0/8", "10.0.0.1/8"]}}"#.into(),
            "spec.podEgress.exclude[1]",
            "without bits set beyond its length",
        ),
        (
            "BGPConfiguration",
            r#"{"ASN": 1}"#.into(),
            "spec.ASN",
            "unknown field",
        ),
        (
            "BGPPeer",
            r#"{"peerAddress": "192.0.2.1"}"#.into(),
            "spec.peerASN",
            "Required",
        ),
        (
            "BGPPeer",
            r#"{"peerASN": 65001}"#.into(),
            "spec",
            "exactly one of peerAddress, peerRange and interface",
        ),
        (
            "BGPPeer",
            peer(r#""peerRange": "192.0.2.0/24""#),
            "spec",
            "exactly one of peerAddress, peerRange and interface",
        ),
        (
            "BGPPeer",
            r#"{"peerASN": 1, "peerAddress": "router1"}"#.into(),
            "spec.peerAddress",
            "must be an address",
        ),
        (
            "BGPPeer",
            r#"{"peerASN": 1, "peerRange": "192.0.2.1/24"}"#.into(),
            "spec.peerRange",
            "must be a prefix",
        ),
        (
            "BGPPeer",
            r#"{"peerASN": 1, "peerRange": "192.0.2.0/24", "port": 179}"#.into(),
            "spec.port",
            "has no meaning with peerRange",
        ),
        (
            "BGPPeer",
            r#"{"peerASN": "any", "peerAddress": "192.0.2.1"}"#.into(),
            "spec.peerASN",
            "internal or external",
        ),
        (
            "BGPPeer",
            r#"{"peerASN": 0, "peerAddress": "192.0.2.1"}"#.into(),
            "spec.peerASN",
            "internal or external",
        ),
        (
            "BGPPeer",
            r#"{"peerASN": "internal", "peerAddress": "192.0.2.1", "ebgpMultihop": 2}"#.into(),
            "spec.ebgpMultihop",
            "own AS",
        ),
        (
            "BGPPeer",
            peer(r#""sourceAddress": "2001:db8::1""#),
            "spec.sourceAddress",
            "family of peerAddress",
        ),
        ("BGPPeer", peer(r#""port": 70000"#), "spec.port", "65535"),
        (
            "BGPPeer",
            peer(r#""addressFamilies": []"#),
            "spec.addressFamilies",
            "at least 1",
        ),
        (
            "BGPPeer",
            peer(r#""addressFamilies": ["IPv4", "IPv4"]"#),
            "spec.addressFamilies[1]",
            "Duplicate",
        ),
        (
            "BGPPeer",
            peer(r#""nodeSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}"#),
            "spec.nodeSelector.matchExpressions[0]",
            "at least one value",
        ),
        (
            "BGPPeer",
            peer(r#""passwordSecretRef": {"namespace": "a"}"#),
            "spec.passwordSecretRef.name",
            "Required",
        ),
        (
            "BGPAdvertisement",
            "{}".into(),
            "spec",
            "podCIDRs: {} or services",
        ),
        (
            "BGPAdvertisement",
            r#"{"services": {}}"#.into(),
            "spec.services.addresses",
            "Required",
        ),
        (
            "BGPAdvertisement",
            r#"{"services": {"addresses": ["PodIP"]}}"#.into(),
            "spec.services.addresses[0]",
            "LoadBalancerIP",
        ),
        (
            "BGPAdvertisement",
            r#"{"podCIDRs": {}, "attributes": {"communities": {"standard": ["1:65536"]}}}"#.into(),
            "spec.attributes.communities.standard",
            "16 bits",
        ),
        (
            "BGPAdvertisement",
            r#"{"podCIDRs": {}, "attributes": {"communities": {"large": ["1:2"]}}}"#.into(),
            "spec.attributes.communities.large[0]",
            "should match",
        ),
        (
            "BGPAdvertisement",
            r#"{"podCIDRs": {}, "attributes": {"communities": {"wellKnown": ["no-way"]}}}"#.into(),
            "spec.attributes.communities.wellKnown[0]",
            "no-export",
        ),
        (
            "BGPAdvertisement",
            r#"{"podCIDRs": {}, "attributes": {"prepend": {"count": 33}}}"#.into(),
            "spec.attributes.prepend.count",
            "32",
        ),
        (
            "BGPFilter",
            r#"{"rules": [{}]}"#.into(),
            "spec.rules[0].action",
            "Required",
        ),
        (
            "BGPFilter",
            accept(r#""match": {"cidr": "10.0.0.1/8"}"#),
            "spec.rules[0].match.cidr",
            "must be a prefix",
        ),
        (
            "BGPFilter",
            accept(r#""match": {"lengthMin": 24, "lengthMax": 16}"#),
            "spec.rules[0].match.lengthMax",
            "match nothing",
        ),
        (
            "BGPFilter",
            accept(r#""match": {"communities": ["1"]}"#),
            "spec.rules[0].match.communities[0]",
            "should match",
        ),
        (
            "BGPFilter",
            r#"{"rules": [{"action": "Reject", "attributes": {"med": 1}}]}"#.into(),
            "spec.rules[0].attributes",
            "changes nothing",
        ),
        (
            "BFDProfile",
            r#"{"detectMultiplier": 0}"#.into(),
            "spec.detectMultiplier",
            "1",
        ),
        (
            "LoadBalancerPool",
            "{}".into(),
            "spec.addresses",
            "Required",
        ),
        (
            "LoadBalancerPool",
            r#"{"addresses": []}"#.into(),
            "spec.addresses",
            "at least 1",
        ),
        (
            "LoadBalancerPool",
            r#"{"addresses": ["192.0.2.1"]}"#.into(),
            "spec.addresses[0]",
            "must be a prefix",
        ),
        (
            "LoadBalancerPool",
            r#"{"addresses": ["192.0.2.1/24"]}"#.into(),
            "spec.addresses[0]",
            "must be a prefix",
        ),
        (
            "LoadBalancerPool",
            r#"{"addresses": ["192.0.2.1-x"]}"#.into(),
            "spec.addresses[0]",
            "must be a range",
        ),
        (
            "LoadBalancerPool",
            r#"{"addresses": ["192.0.2.1-2001:db8::1"]}"#.into(),
            "spec.addresses[0]",
            "one family",
        ),
        (
            "LoadBalancerPool",
            r#"{"addresses": ["192.0.2.1-192.0.2.2-192.0.2.3"]}"#.into(),
            "spec.addresses[0]",
            "must be a range",
        ),
    ];
    let mut wrong = Vec::new();
    for (kind, spec, field, said) in cases {
        let name = if kind == "BGPConfiguration" {
            "default"
        } else {
            "bad"
        };
        match try_create(kubectl, &object(kind, name, &spec)) {
            Ok(_) => wrong.push(format!("{kind} {spec} was taken")),
            Err(message) if message.contains(field) && message.contains(said) => {}
            Err(message) => wrong.push(format!(
                "{kind} {spec}: no {field:?}, {said:?} in: {message}"
            )),
        }
    }
    let other = try_create(kubectl, &object("BGPConfiguration", "other", "{}"));
    if !other
        .as_ref()
        .is_err_and(|said| said.contains("its name is default"))
    {
        wrong.push(format!("{other:?}"));
    }
    assert_eq!(wrong, Vec::<String>::new(), "{}", wrong.join("\n"));
}

/// As people do it, with strict field validation, and nothing is kept.
fn try_create(kubectl: &Kubectl, object: &str) -> Result<String, String> {
    kubectl.run_with(object, &["create", "--dry-run=server", "--filename=-"])
}

fn good_objects(kubectl: &Kubectl) {
    let rules = vec![
        r#"{"match": {"cidr": "10.0.0.0/8", "communities": ["65010:1"]}, "action": "Accept"}"#;
        5000
    ];
    let many = format!(r#"{{"rules": [{}]}}"#, rules.join(","));
    for (kind, spec) in [
        ("BGPConfiguration", "{}"),
        (
            "BGPConfiguration",
            r#"{"timers": {"holdTimeSeconds": 0, "keepaliveSeconds": 0}}"#,
        ),
        (
            "BGPPeer",
            r#"{"peerASN": 4200000000, "peerAddress": "2001:db8::1", "sourceAddress": "2001:db8::2"}"#,
        ),
        (
            "BGPPeer",
            r#"{"peerASN": "external", "peerRange": "192.0.2.0/24", "ebgpMultihop": 2}"#,
        ),
        (
            "BGPPeer",
            r#"{"peerASN": "internal", "peerAddress": "192.0.2.1", "nodeSelector": {}}"#,
        ),
        ("BGPAdvertisement", r#"{"podCIDRs": {}}"#),
        (
            "BGPAdvertisement",
            r#"{"services": {"addresses": ["ClusterIP", "ExternalIP", "LoadBalancerIP"], "selector": {}}}"#,
        ),
        ("BGPFilter", "{}"),
        ("BGPFilter", many.as_str()),
        ("BFDProfile", "{}"),
        (
            "LoadBalancerPool",
            r#"{"addresses": ["192.0.2.0/24", "192.0.2.1-192.0.2.9", "2001:db8::1 - 2001:db8::9", "2001:db8::/64"]}"#,
        ),
    ] {
        let name = if kind == "BGPConfiguration" {
            "default"
        } else {
            "good"
        };
        let said = try_create(kubectl, &object(kind, name, spec));
        let shown = spec.get(..spec.len().min(200));
        assert!(said.is_ok(), "{kind} {shown:?}: {said:?}");
    }
}

fn status(kubectl: &Kubectl) {
    kubectl.apply(&object(
        "BGPPeer",
        "tor",
        r#"{"peerASN": 65001, "peerAddress": "192.0.2.1"}"#,
    ));
    let condition = json!({
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    kubectl.patch_status(&["bgppeer", "tor"], &json!({"conditions": [condition]}));
    let peer = kubectl.get(&["bgpp", "tor"]).expect("short name");
    assert_eq!(peer["status"]["conditions"], json!([condition]));
    assert_eq!(
        peer["metadata"]["generation"], 1,
        "a status is no change of the object"
    );
    let table = kubectl.ok(&["get", "bgppeers"]);
    for shown in ["ADDRESS", "192.0.2.1", "65001", "ACCEPTED", "True"] {
        assert!(table.contains(shown), "{table}");
    }

    kubectl.apply(
        r#"{"apiVersion": "dunlin.dev/v1alpha1", "kind": "BGPNode", "metadata": {"name": "n1"}}"#,
    );
    kubectl.patch_status(
        &["bgpnode", "n1"],
        &json!({
            "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "agentVersion": "0.1.0", "role": "Mesh", "asn": 64512, "sessionCounts": {"established": 2, "expected": 3},
            "routeCounts": {"learned": 7}, "problemCount": 1,
            "sessions": [{"peer": "n2", "kind": "Node", "address": "192.0.2.2", "state": "Established", "since": "2026-01-01T00:00:00Z"}],
            "originations": [{"prefix": "10.244.1.0/24", "object": "Node/n1", "advertised": 2, "wanted": 3}],
            "problems": [{"object": "BGPPeer/tor", "reason": "SecretMissing", "field": "spec.passwordSecretRef", "message": "x"}],
            "truncated": {"sessions": 1},
        }),
    );
    let table = kubectl.ok(&["get", "bgpnodes"]);
    for shown in ["ROLE", "Mesh", "UP", "EXPECTED", "LEARNED", "PROBLEMS"] {
        assert!(table.contains(shown), "{table}");
    }
    let said = kubectl.run(&[
        "patch",
        "bgpnode",
        "n1",
        "--subresource=status",
        "--type=merge",
        "--patch",
        r#"{"status": {"role": "King"}}"#,
    ]);
    assert!(said.is_err_and(|said| said.contains("status.role")));
    kubectl.ok(&["delete", "bgppeer/tor", "bgpnode/n1"]);
}

fn people(kubectl: &Kubectl) {
    let explained = kubectl.ok(&["explain", "bgppeer.spec.peerRange"]);
    assert!(
        explained.contains("Whoever dials from this prefix"),
        "{explained}"
    );
    let kinds = kubectl.ok(&["api-resources", "--api-group=dunlin.dev", "--output=wide"]);
    for name in [
        "bgpconf", "bgpp", "bgpadv", "bgpf", "bfdp", "lbpool", "bgpn",
    ] {
        assert!(kinds.contains(&format!("{name} ")), "{kinds}");
    }
    kubectl.apply(&object(
        "LoadBalancerPool",
        "public",
        r#"{"addresses": ["192.0.2.0/24"]}"#,
    ));
    let all = kubectl.ok(&["get", "dunlin"]);
    assert!(all.contains("loadbalancerpool.dunlin.dev/public"), "{all}");
    kubectl.ok(&["delete", "lbpool", "public"]);
}
