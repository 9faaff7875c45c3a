//! The commands that ask the Kubernetes API: drain, undrain and `--all-nodes`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dunlin_fakeapi::FakeApi;
use serde_json::{Value, json};

const OURS: &str = "dunlin.dev/v1alpha1";
const ANNOTATION: &str = "/metadata/annotations/dunlin.dev~1drain";

/// An API server, a kubeconfig for it, and a place for files.
struct World {
    api: FakeApi,
    dir: PathBuf,
}

impl World {
    fn new(name: &str) -> World {
        let dir =
            std::env::temp_dir().join(format!("dunlin-cluster-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let api = FakeApi::new();
        let served = api.clone();
        // It lasts as long as the test's process.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                served.serve(listener).await.unwrap();
            });
        });
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
            "users": [{"name": "test", "user": {}}],
        });
        std::fs::write(dir.join("kubeconfig"), kubeconfig.to_string()).unwrap();
        World { api, dir }
    }

    fn dunlin(&self, args: &[&str]) -> Output {
        self.run(Path::new(env!("CARGO_BIN_EXE_dunlin")), args)
    }

    fn run(&self, program: &Path, args: &[&str]) -> Output {
        Command::new(program)
            .args(args)
            .env("DUNLIN_SOCKET", self.dir.join("none.sock"))
            .env("DUNLIN_KUBECONFIG", self.dir.join("kubeconfig"))
            .env_remove("NO_COLOR")
            .env_remove("DUNLIN_CLUSTER")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn node(&self, name: &str, ready: &str) {
        self.api.put(json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "annotations": {"other": "stays"}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }));
    }

    fn said(&self, name: &str, status: Value) {
        self.api.put(json!({
            "apiVersion": OURS,
            "kind": "BGPNode",
            "metadata": {"name": name},
            "status": status,
        }));
    }

    /// The value of the annotation on the Node n1.
    fn annotation(&self) -> Option<Value> {
        let node = self.api.get("v1", "Node", None, "n1").unwrap();
        assert_eq!(node["metadata"]["annotations"]["other"], "stays");
        node.pointer(ANNOTATION).cloned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn draining(status: &str, reason: &str) -> Value {
    json!({"conditions": [{
        "type": "Draining",
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-01-31T12:34:56Z",
    }]})
}

#[test]
fn drain_annotates_the_node_and_waits_for_its_agent() {
    let world = World::new("drain");
    world.node("n1", "True");
    world.said("n1", draining("False", "InUse"));
    std::thread::scope(|scope| {
        // The agent of n1: it takes the annotation up, lets its peers move, and is done.
        scope.spawn(|| {
            let end = Instant::now() + Duration::from_secs(60);
            while world.annotation().is_none() && Instant::now() < end {
                std::thread::yield_now();
            }
            world.said("n1", draining("True", "Lingering"));
            world.said("n1", draining("True", "Drained"));
        });
        let output = world.dunlin(&["drain", "n1", "--wait", "60"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        assert!(
            said.ends_with("Node n1 is drained: its service addresses are withdrawn\n"),
            "{said}"
        );
    });
    assert_eq!(world.annotation(), Some(json!("true")));

    let late = world.dunlin(&["undrain", "n1", "--wait", "1"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(
        text(&late.stderr).contains("it is still drained"),
        "{}",
        text(&late.stderr)
    );
    assert_eq!(world.annotation(), None);
    world.said("n1", draining("False", "InUse"));
    let output = world.dunlin(&["undrain", "n1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn what_cannot_be_drained_is_said() {
    let world = World::new("refused");
    world.node("n1", "True");
    let missing = world.dunlin(&["drain", "n9"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        text(&missing.stderr),
        "dunlin: there is no Node n9: `kubectl get nodes` lists them\n"
    );
    world.api.deny("nodes");
    let forbidden = world.dunlin(&["drain", "n1"]);
    assert_eq!(forbidden.status.code(), Some(1));
    assert!(
        text(&forbidden.stderr).starts_with("dunlin: annotate the Node n1: 403"),
        "{}",
        text(&forbidden.stderr)
    );

    let nodes = "apiVersion: v1\nkind: Node\nmetadata:\n  name: n0\n---\napiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n";
    let file = world.dir.join("nodes.yaml");
    std::fs::write(&file, nodes).unwrap();
    let source = format!("dir:{}", world.dir.display());
    let by_hand = world.dunlin(&["drain", "n1", "--cluster", &source]);
    assert_eq!(by_hand.status.code(), Some(1));
    let said = text(&by_hand.stderr);
    assert!(
        said.contains("annotations: {dunlin.dev/drain: \"true\"}"),
        "{said}"
    );
    let place = format!("{}, in the Node n1 at line ", file.display());
    assert!(said.contains(&place), "{said}");
}

/// n1 is fine, n2 has a session down, n3 has no agent, n4 is gone, and n5 is not Ready.
fn mixed(world: &World) {
    let status = |established: u32, sessions: Value, problems: Value| {
        json!({
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Ready", "message": "",
                "lastTransitionTime": "2026-01-31T12:34:56Z",
            }],
            "agentVersion": "0.1.0",
            "agentStarted": "2026-01-31T12:00:00Z",
            "role": "Mesh",
            "asn": 64512,
            "routerID": "192.0.2.1",
            "sessionCounts": {"established": established, "expected": 1},
            "routeCounts": {"learned": 3, "installed": 3, "failed": 0, "originated": 1},
            "problemCount": problems.as_array().unwrap().len(),
            "sessions": sessions,
            "problems": problems,
        })
    };
    let session = |state: &str, error: Option<&str>| {
        json!([{
            "peer": "tor", "kind": "BGPPeer", "address": "192.0.2.201", "asn": 65001, "state": state,
            "lastError": error, "received": 5, "accepted": 3, "advertised": 1,
        }])
    };
    for (name, ready) in [
        ("n1", "True"),
        ("n2", "True"),
        ("n3", "True"),
        ("n5", "Unknown"),
    ] {
        world.node(name, ready);
    }
    let up = || session("Established", None);
    world.said("n1", status(1, up(), json!([])));
    let problem = json!([{
        "object": "BGPPeer/tor", "reason": "SessionDown",
        "message": "the BGP session is Active: connection refused: does a router listen there on port 179?",
    }]);
    let down = session("Active", Some("connection refused"));
    world.said("n2", status(0, down, problem));
    world.said("n4", status(1, up(), json!([])));
    world.said("n5", status(1, up(), json!([])));
}

fn first_words(table: &str) -> Vec<&str> {
    let lines = table.lines().skip(1);
    lines
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

#[test]
fn all_nodes_are_shown_with_problems_first() {
    let world = World::new("all");
    mixed(&world);
    let output = world.dunlin(&["status", "--all-nodes"]);
    let table = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{table}{}",
        text(&output.stderr)
    );
    assert_eq!(
        first_words(&table),
        ["n2", "n3", "n4", "n5", "n1", "5"],
        "{table}"
    );
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
    assert!(table.contains("BGPPeer/tor SessionDown"), "{table}");
    assert!(table.ends_with("5 nodes, 1 without problems\n"), "{table}");
    let wide = text(
        &world
            .dunlin(&["status", "--all-nodes", "-o", "wide"])
            .stdout,
    );
    for note in [
        "no agent has said anything",
        "no such Node any more",
        "not Ready: what its agent said may be old",
    ] {
        assert!(wide.contains(note), "{wide}");
    }

    let output = world.dunlin(&["get", "neighbors", "--all-nodes"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(first_words(&table), ["n2", "n1", "n4", "n5"], "{table}");
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
    assert!(
        text(&output.stderr).contains("dunlin: n3: no agent"),
        "sessions that are not known are named"
    );

    let output = world.dunlin(&["get", "nodes", "--all-nodes", "-o", "json"]);
    let nodes: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 5);
    assert_eq!(nodes[0]["node"], "n2");
    assert_eq!(nodes[0]["status"]["routerID"], "192.0.2.1");
    assert_eq!(nodes[1]["status"], Value::Null);
}

#[test]
fn more_nodes_than_fit_one_answer_are_all_read() {
    let world = World::new("many");
    for number in 0..600 {
        world.node(&format!("n{number:03}"), "True");
    }
    let output = world.dunlin(&["get", "nodes", "--all-nodes", "-o", "json"]);
    let nodes: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 600);
}

#[test]
fn a_plugin_of_kubectl_calls_itself_so() {
    let world = World::new("plugin");
    let plugin = world.dir.join("kubectl-dunlin");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dunlin"), &plugin).unwrap();
    let help = text(&world.run(&plugin, &["drain", "--help"]).stdout);
    assert!(help.contains("Usage: kubectl dunlin drain "), "{help}");
    let usage = world.run(&plugin, &["drain"]);
    assert_eq!(usage.status.code(), Some(2));
    mixed(&world);
    let output = world.run(&plugin, &["get", "nodes", "--all-nodes"]);
    assert_eq!(first_words(&text(&output.stdout)).len(), 5);
    let help = text(&world.dunlin(&["drain", "--help"]).stdout);
    assert!(help.contains("Usage: dunlin drain "), "{help}");
}
