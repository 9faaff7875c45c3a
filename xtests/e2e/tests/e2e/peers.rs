//! What is said of the router, and with which secrets.

use dunlin_e2e::agent::NAMESPACE;
use dunlin_e2e::network::{self, ROUTER};
use dunlin_e2e::world::{NODES, World};
use dunlin_e2e::{PATIENCE, wait_for};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("a_password_comes_from_a_secret", password),
    (
        "a_kind_that_is_not_installed_is_named_and_stops_nothing",
        uninstalled,
    ),
];

fn peer(more: &str) -> String {
    let [address, _] = network::addresses(ROUTER);
    format!(
        "apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor}}\n\
         spec: {{peerAddress: {address}, peerASN: 65000{more}}}\n"
    )
}

fn password(world: &mut World) {
    let kubectl = world.kubectl();
    let cluster = world.cluster();
    cluster
        .router
        .configure(&["router bgp 65000", "neighbor NODES password winter"]);
    kubectl.apply(&peer(", passwordSecretRef: {name: tor}"));
    for agent in cluster.agents.values() {
        agent.await_status("the missing Secret is named", |status| {
            let mut problems = status.problems.iter();
            let named = problems.any(|p| p.message.contains("Secret"));
            status.sessions.external_up == 0 && named
        });
    }
    let secret = |password: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/basic-auth\n\
             metadata: {{name: tor, namespace: {NAMESPACE}}}\n\
             stringData: {{username: bgp, password: {password}}}\n"
        )
    };
    kubectl.apply(&secret("summer"));
    for agent in cluster.agents.values() {
        agent.await_status("the Secret is there", |status| {
            let mut problems = status.problems.iter();
            !problems.any(|p| p.message.contains("Secret"))
        });
        let status = agent.status().expect("a status");
        assert_eq!(status.sessions.external_up, 0, "the password is another");
    }
    kubectl.apply(&secret("winter"));
    for node in NODES {
        cluster.agents[node].await_status("the session with a password", |status| {
            status.sessions.external_up == 1
        });
        let log = cluster.agents[node].place().log();
        assert!(!log.contains("winter"), "{node} logs the password");
    }
    cluster
        .router
        .configure(&["router bgp 65000", "no neighbor NODES password"]);
    kubectl.apply(&peer(""));
    kubectl.ok(&["delete", "secret", "tor", "--namespace", NAMESPACE]);
    world.settle();
}

/// Somebody deletes a definition, and installs it again.
fn uninstalled(world: &mut World) {
    let kubectl = world.kubectl();
    world.cluster();
    kubectl.ok(&[
        "delete",
        "customresourcedefinition",
        "bgpfilters.dunlin.dev",
    ]);
    for agent in world.cluster().agents.values() {
        wait_for("the kind is named", PATIENCE, || {
            let status = agent.status()?;
            let named = status.problems.iter().any(|problem| {
                format!("{} {}", problem.object, problem.message)
                    .to_lowercase()
                    .contains("bgpfilter")
            });
            named.then_some(()).ok_or(format!("{status:?}"))
        });
    }
    world.settle();
    world.apply_manifests();
    for agent in world.cluster().agents.values() {
        agent.await_status("it is there again", |status| status.problems.is_empty());
    }
    world.settle();
}
