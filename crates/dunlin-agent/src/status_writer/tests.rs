//! Both writers against an API server in memory, which fails on demand.

use std::time::Duration;

use dunlin_api::{CniStatus, NodeReport, ObjectProblem, ObjectReport};
use dunlin_core::status_plan::Clocks;
use dunlin_fakeapi::{FakeApi, Fault};
use dunlin_intent::ObjectKind;
use dunlin_kube::api::Client;
use dunlin_kube::events;
use dunlin_kube::status::{ObjectNews, Observed, StatusApi};
use dunlin_net::Instant;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::mapping::tests::report;
use super::node::NodeWriter;
use super::objects::ObjectWriter;
use super::{Clock, Context, Troubles};
use crate::engine_handle::EngineState;
use crate::fake_engine;
use crate::overlay::Overlay;

const GROUP: &str = "dunlin.dev/v1alpha1";

fn context(api: &FakeApi) -> Context {
    let client = Client::new(api.clone(), "default");
    let troubles = Troubles::default();
    let (engine, ..) = fake_engine::idle(EngineState::default(), 1);
    Context {
        node: "n1".into(),
        api: StatusApi::new(client.clone()),
        client,
        engine,
        overlay: Overlay {
            counts: false,
            cni: watch::channel(CniStatus::default()).1,
            source: None,
            allocation: None,
            troubles: troubles.clone(),
        },
        troubles,
        clock: Clock::start(),
        notices: events::notices().0,
    }
}

/// A node writer whose time goes as fast as it likes.
struct Node {
    writer: NodeWriter,
    troubles: Troubles,
    now: Instant,
}

impl Node {
    fn new(api: &FakeApi) -> Node {
        let context = context(api);
        let troubles = context.troubles.clone();
        Node {
            writer: NodeWriter::new(context),
            troubles,
            now: Instant::from_micros(100_000_000),
        }
    }

    fn clocks(&self) -> Clocks {
        Clocks {
            now: self.now,
            wall_micros: 1_790_000_000_000_000 + self.now.as_micros(),
        }
    }

    /// Something changed, and the report says how things stand at each look until there is nothing to do or `looks` are
    /// over. How long that took.
    async fn change(&mut self, report: &NodeReport, looks: u32) -> Duration {
        let begun = self.now;
        self.writer.plan.changed(self.now);
        for _ in 0..looks {
            let Some(due) = self.writer.plan.due(self.clocks()) else {
                break;
            };
            self.now = self.now.max(due);
            assert!(self.writer.plan.look(self.clocks()));
            let mut report = report.clone();
            report.now_micros = self.now.as_micros();
            self.writer.tell(&report, self.clocks()).await;
        }
        self.now.since(begun)
    }

    fn reasons(&self) -> Vec<String> {
        let problems = self.troubles.problems();
        problems.into_iter().map(|problem| problem.reason).collect()
    }
}

fn stored(api: &FakeApi) -> Option<Value> {
    api.get(GROUP, "BGPNode", None, "n1")
}

fn writes(api: &FakeApi) -> usize {
    let requests = api.requests();
    requests.iter().filter(|r| r.method != "GET").count()
}

#[tokio::test]
async fn a_node_is_made_with_its_owner_and_written_and_then_left_alone() {
    let api = FakeApi::new();
    let mut node = Node::new(&api);
    node.change(&report(), 9).await;
    let object = stored(&api).unwrap();
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u1");
    assert_eq!(
        object["metadata"]["managedFields"][0]["manager"],
        "dunlin-agent"
    );
    assert_eq!(
        object["status"]["sessionCounts"],
        json!({"established": 1, "expected": 2})
    );
    assert_eq!(writes(&api), 2);
    // Nothing differs: nothing is written, however often something is said to have changed.
    for _ in 0..5 {
        node.change(&report(), 9).await;
    }
    assert_eq!(writes(&api), 2);
    let mut down = report();
    down.sessions[0].established = false;
    down.sessions[0].state = "Idle".into();
    down.sessions[0].since_micros += 1;
    let took = node.change(&down, 9).await;
    assert!(took <= Duration::from_secs(11), "{took:?}");
    assert_eq!(writes(&api), 3);
    assert_eq!(
        stored(&api).unwrap()["status"]["sessionCounts"]["established"],
        0
    );
    assert!(node.reasons().is_empty());
}

#[tokio::test]
async fn figures_alone_are_told_later() {
    let api = FakeApi::new();
    let mut node = Node::new(&api);
    node.change(&report(), 9).await;
    let mut figures = report();
    figures.sessions[0].received = 99;
    let took = node.change(&figures, 9).await;
    assert_eq!(writes(&api), 3);
    assert!(took >= Duration::from_secs(59), "{took:?}");
    assert_eq!(
        stored(&api).unwrap()["status"]["sessions"][0]["received"],
        99
    );
}

#[tokio::test]
async fn a_restarted_agent_keeps_the_times_of_conditions() {
    let api = FakeApi::new();
    Node::new(&api).change(&report(), 9).await;
    let before = stored(&api).unwrap()["status"]["conditions"].clone();
    let mut node = Node::new(&api);
    node.now = Instant::from_micros(900_000_000);
    node.change(&report(), 9).await;
    assert_eq!(stored(&api).unwrap()["status"]["conditions"], before);
    assert_eq!(writes(&api), 3);
}

#[tokio::test]
async fn a_node_that_is_not_up_yet_says_nothing_for_a_while() {
    let api = FakeApi::new();
    let mut node = Node::new(&api);
    let mut early = report();
    early.status.uptime_secs = 1;
    node.change(&early, 5).await;
    assert!(stored(&api).is_none());
    early.status.uptime_secs = 15;
    node.change(&early, 5).await;
    assert!(stored(&api).is_some());
}

#[tokio::test]
async fn one_that_was_deleted_is_made_anew() {
    let api = FakeApi::new();
    let mut node = Node::new(&api);
    node.change(&report(), 9).await;
    api.delete(GROUP, "BGPNode", None, "n1");
    let mut changed = report();
    changed.originations.clear();
    node.change(&changed, 9).await;
    let object = stored(&api).unwrap();
    assert_eq!(object["status"]["problemCount"], 1);
    assert!(node.reasons().is_empty());
}

#[tokio::test]
async fn a_busy_server_is_asked_again_after_a_pause_that_grows() {
    for status in [409, 429, 500, 503] {
        let api = FakeApi::new();
        api.faults(|faults| faults.times(4, "PATCH", Fault::Status(status, None, "Busy")));
        let mut node = Node::new(&api);
        let took = node.change(&report(), 4).await;
        assert_eq!(node.reasons(), ["Busy"], "{status}");
        assert!(took >= Duration::from_millis(1_000), "{status} {took:?}");
        let took = node.change(&report(), 9).await;
        assert!(node.reasons().is_empty(), "{status}");
        assert!(took <= Duration::from_secs(20), "{status} {took:?}");
        assert!(stored(&api).unwrap()["status"].is_object(), "{status}");
    }
}

#[tokio::test]
async fn a_right_not_given_and_a_definition_not_installed_are_said_and_asked_for_less_and_less() {
    let api = FakeApi::new();
    api.deny("bgpnodes");
    let mut node = Node::new(&api);
    // An API server that starts says so for a moment, too.
    let took = node.change(&report(), 3).await;
    assert_eq!(node.reasons(), ["Forbidden"]);
    assert!(took <= Duration::from_secs(10), "{took:?}");
    let took = node.change(&report(), 9).await;
    assert!(took >= Duration::from_secs(200), "{took:?}");
    assert!(
        node.troubles.problems()[0]
            .message
            .contains("dunlin manifests")
    );
    api.allow_all();
    api.set_installed(GROUP, "BGPNode", false);
    node.change(&report(), 1).await;
    assert_eq!(node.reasons(), ["NotInstalled"]);
    assert!(node.troubles.problems()[0].message.contains("dunlin crds"));
    api.set_installed(GROUP, "BGPNode", true);
    node.change(&report(), 1).await;
    assert!(node.reasons().is_empty());
    assert!(stored(&api).is_some());
}

fn peer(api: &FakeApi, name: &str) {
    api.put(json!({
        "apiVersion": GROUP, "kind": "BGPPeer", "metadata": {"name": name, "generation": 3},
        "spec": {"peerAddress": "192.0.2.1"},
    }));
}

fn seen(name: &str) -> ObjectNews {
    let observed = Observed {
        uid: None,
        generation: Some(3),
        accepted: None,
    };
    ObjectNews::Is(ObjectKind::BgpPeer, name.into(), observed)
}

fn condition(api: &FakeApi, name: &str) -> Value {
    let object = api.get(GROUP, "BGPPeer", None, name).unwrap();
    object["status"]["conditions"][0].clone()
}

fn objects(problems: Vec<ObjectProblem>) -> ObjectReport {
    ObjectReport {
        writer: Some("n1".into()),
        is_us: true,
        problems,
        ..ObjectReport::default()
    }
}

fn refused() -> ObjectProblem {
    ObjectProblem {
        kind: "BGPPeer".into(),
        name: "bad".into(),
        reason: "Invalid".into(),
        field: Some("spec.peerASN".into()),
        message: "is missing".into(),
    }
}

#[tokio::test]
async fn conditions_are_written_once_and_again_when_they_differ() {
    let api = FakeApi::new();
    let mut writer = ObjectWriter::new(context(&api));
    for name in ["good", "bad"] {
        peer(&api, name);
        writer.take(seen(name));
    }
    writer.take(seen("gone"));
    writer.write(&objects(vec![refused()])).await;
    let good = condition(&api, "good");
    assert_eq!(
        (&good["type"], &good["status"]),
        (&json!("Accepted"), &json!("True"))
    );
    assert_eq!(
        (&good["reason"], &good["observedGeneration"]),
        (&json!("Accepted"), &json!(3))
    );
    let bad = condition(&api, "bad");
    assert_eq!(
        (&bad["status"], &bad["reason"]),
        (&json!("False"), &json!("Invalid"))
    );
    assert_eq!(bad["message"], "spec.peerASN: is missing");
    api.forget_requests();
    writer.write(&objects(vec![refused()])).await;
    assert_eq!(writes(&api), 0);
    writer.write(&objects(Vec::new())).await;
    assert_eq!(writes(&api), 1);
    assert_eq!(condition(&api, "bad")["status"], "True");
}

#[tokio::test]
async fn who_is_not_the_writer_writes_nothing() {
    let api = FakeApi::new();
    peer(&api, "bad");
    let mut writer = ObjectWriter::new(context(&api));
    writer.take(seen("bad"));
    let mut report = objects(vec![refused()]);
    report.is_us = false;
    writer.write(&report).await;
    assert_eq!(writes(&api), 0);
}

#[tokio::test]
async fn conditions_that_cannot_be_written_are_tried_again_later() {
    for (status, reason) in [
        (409, "Busy"),
        (429, "Busy"),
        (403, "Forbidden"),
        (422, "Invalid"),
    ] {
        let api = FakeApi::new();
        peer(&api, "bad");
        let context = context(&api);
        let troubles = context.troubles.clone();
        let mut writer = ObjectWriter::new(context);
        writer.take(seen("bad"));
        api.faults(|faults| faults.times(1, "PATCH", Fault::Status(status, None, reason)));
        writer.write(&objects(Vec::new())).await;
        assert_eq!(troubles.problems()[0].reason, reason, "{status}");
        assert!(writer.due().is_some());
        writer.write(&objects(Vec::new())).await;
        assert!(troubles.problems().is_empty());
        assert_eq!(condition(&api, "bad")["status"], "True");
    }
}

#[tokio::test]
async fn many_objects_are_written_a_few_at_a_time() {
    let api = FakeApi::new();
    let mut writer = ObjectWriter::new(context(&api));
    for at in 0..100 {
        let name = format!("p{at}");
        peer(&api, &name);
        writer.take(seen(&name));
    }
    let begun = std::time::Instant::now();
    writer.write(&objects(Vec::new())).await;
    let allowed = 11 + begun.elapsed().as_secs() as usize * 5 + 5;
    assert!(writes(&api) <= allowed, "{} of {allowed}", writes(&api));
    assert!(writes(&api) >= 10 && writer.due().is_some());
}

#[tokio::test]
async fn a_node_whose_network_is_said_to_be_missing_is_put_right() {
    let api = FakeApi::new();
    api.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
    let context = context(&api);
    let written = context
        .api
        .network_is_available("n1", 1_790_000_000_000_000)
        .await;
    written.unwrap();
    let node = api.get("v1", "Node", None, "n1").unwrap();
    let said = &node["status"]["conditions"][0];
    assert_eq!(
        (&said["type"], &said["status"]),
        (&json!("NetworkUnavailable"), &json!("False"))
    );
    assert_eq!(said["reason"], "DunlinIsUp");
}
