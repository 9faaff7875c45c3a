//! What the agents write into the API.

use dunlin_e2e::network::{self, ROUTER};
use dunlin_e2e::world::{NODES, World, ready};
use dunlin_e2e::{PATIENCE, wait_for};
use serde_json::{Value, json};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("each_agent_tells_of_its_node", nodes),
    ("objects_carry_conditions_of_their_generation", conditions),
    (
        "a_cloud_condition_of_the_network_is_cleared",
        network_unavailable,
    ),
];

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|condition| condition["type"] == kind)
}

fn nodes(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    for node in NODES {
        wait_for("the node's own object", PATIENCE, || {
            let object = kubectl.get(&["bgpnode", node])?;
            let ready = condition(&object, "Ready").is_some_and(|c| c["status"] == "True");
            let counts = &object["status"]["sessionCounts"];
            let all = counts["established"] == 3 && counts["expected"] == 3;
            (ready && all).then_some(()).ok_or(object.to_string())
        });
    }
    let table = kubectl.ok(&["get", "bgpnodes"]);
    assert!(table.contains("READY") && table.contains("True"), "{table}");
}

fn conditions(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    let accepted = |name: &str, status: &str| {
        wait_for("a condition of this generation", PATIENCE, || {
            let object = kubectl.get(&["bgppeer", name])?;
            let found = condition(&object, "Accepted").is_some_and(|c| {
                c["status"] == status && c["observedGeneration"] == object["metadata"]["generation"]
            });
            found.then_some(()).ok_or(object.to_string())
        });
    };
    accepted("tor", "True");
    // Another that contradicts it.
    let [address, _] = network::addresses(ROUTER);
    let twin = |address: &str| {
        format!(
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: twin}}\n\
             spec: {{peerAddress: {address}, peerASN: 65001}}\n"
        )
    };
    kubectl.apply(&twin(&address.to_string()));
    accepted("twin", "False");
    wait_for("an event about it", PATIENCE, || {
        let events = kubectl.get(&[
            "events",
            "--all-namespaces",
            // As the documents say.
            "--field-selector=reportingComponent=dunlin.dev/agent,involvedObject.name=twin",
        ])?;
        let some = events["items"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        some.then_some(()).ok_or(events.to_string())
    });
    // It no longer does.
    kubectl.apply(&twin("192.0.2.251"));
    accepted("twin", "True");
    kubectl.ok(&["delete", "bgppeer", "twin"]);
    world.settle();
}

fn network_unavailable(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    let set = json!({"conditions": [ready(), {
        "type": "NetworkUnavailable",
        "status": "True",
        "reason": "NoRouteCreated",
        "message": "set by a cloud",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]});
    kubectl.patch_status(&["node", "n1"], &set);
    wait_for("the agent clears it", PATIENCE, || {
        let object = kubectl.get(&["node", "n1"])?;
        let clear =
            condition(&object, "NetworkUnavailable").is_some_and(|c| c["status"] == "False");
        clear.then_some(()).ok_or(object["status"].to_string())
    });
}
