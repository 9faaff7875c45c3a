//! A node is drained: its routes become the router's last choice, then its service addresses go; its pods stay reachable.

use dunlin_e2e::network::{ROUTER, pod, pod_addresses};
use dunlin_e2e::world::{NODES, World};
use dunlin_lab::probe::pinger::Pinger;

use crate::Test;
use crate::services::{ADVERTISEMENT, service, slice};

pub(crate) const TESTS: &[Test] = &[
    ("a_drained_node_loses_services_and_keeps_its_pods", drained),
    ("a_cordoned_node_is_drained_where_that_is_wanted", cordoned),
];

const ADDRESS: &str = "198.51.100.50";
const ROUTE: &str = "198.51.100.50/32";

fn announce(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    kubectl.apply(ADVERTISEMENT);
    let more = format!("  externalIPs: [{ADDRESS}]\n");
    kubectl.apply(&(service("drained", &more) + &slice("drained", &[("n1", true)])));
    world.cluster().router.await_last_choice(ROUTE, &NODES, &[]);
}

fn forget(world: &mut World) {
    let kubectl = world.kubectl();
    kubectl.ok(&["delete", "service/drained", "bgpadvertisement/services"]);
    world.cluster().router.await_no_route(ROUTE);
    world.settle();
}

/// Runs a command of `dunlin` with an administrator's kubeconfig, where no agent is. What it prints.
#[track_caller]
fn dunlin(world: &World, args: &[&str]) -> String {
    let mut command = world.place(ROUTER).command();
    // Of whom there is none: it has to ask the API.
    let socket = world.plane.home().join("none.sock");
    command.arg("--socket").arg(socket).args(args);
    command.arg("--kubeconfig").arg(world.plane.admin());
    let output = command.output().expect("dunlin runs");
    assert!(output.status.success(), "dunlin {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Echoes to the pods of a node, from a pod of another and from the router.
fn pingers(world: &World, node: &str, other: &str) -> Vec<Pinger> {
    let addresses = pod_addresses(&world.subnets(node));
    let from = [pod(other), ROUTER.to_owned()].map(|host| world.network.netns(&host));
    let pairs = from
        .iter()
        .flat_map(|host| addresses.iter().map(move |address| (host, *address)));
    pairs
        .map(|(host, address)| Pinger::start(host, address, 50).expect("a socket"))
        .collect()
}

#[track_caller]
fn assert_nothing_lost(pingers: Vec<Pinger>) {
    for pinger in pingers {
        let report = pinger.stop().expect("a report");
        assert_eq!(report.lost(), 0, "{report}");
    }
}

fn drained(world: &mut World) {
    announce(world);
    let pingers = pingers(world, "n2", "n1");
    // What comes first is seen only by who does not wait.
    dunlin(world, &["drain", "n2", "--wait", "0"]);
    let router = &world.cluster().router;
    router.await_last_choice(ROUTE, &NODES, &["n2"]);
    router.await_route(ROUTE, &["n1", "n3"]);
    // It waits until the agent has said so itself.
    let said = dunlin(world, &["drain", "n2"]);
    assert!(said.contains("is drained"), "{said}");
    for subnet in world.subnets("n2") {
        let router = &world.cluster().router;
        router.await_last_choice(&subnet.to_string(), &["n2"], &["n2"]);
    }
    let table = dunlin(world, &["get", "nodes", "--all-nodes"]);
    let line = table.lines().find(|line| line.starts_with("n2 "));
    assert!(line.is_some_and(|l| l.contains("draining")), "{table}");

    let said = dunlin(world, &["undrain", "n2"]);
    assert!(said.contains("announces everything again"), "{said}");
    let subnets = world.subnets("n2");
    let router = &world.cluster().router;
    router.await_last_choice(ROUTE, &NODES, &[]);
    for subnet in subnets {
        router.await_last_choice(&subnet.to_string(), &["n2"], &[]);
    }
    assert_nothing_lost(pingers);
    forget(world);
}

fn cordoned(world: &mut World) {
    announce(world);
    let kubectl = world.kubectl();
    let pingers = pingers(world, "n3", "n2");
    // By itself, a cordon says nothing of traffic.
    kubectl.ok(&["cordon", "n3"]);
    world.settle();
    let router = &world.cluster().router;
    router.await_last_choice(ROUTE, &NODES, &[]);
    let configuration = |on_cordon: bool| {
        format!(
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
             spec: {{drainOnCordon: {on_cordon}}}\n"
        )
    };
    kubectl.apply(&configuration(true));
    router.await_last_choice(ROUTE, &NODES, &["n3"]);
    router.await_route(ROUTE, &["n1", "n2"]);
    kubectl.ok(&["uncordon", "n3"]);
    router.await_last_choice(ROUTE, &NODES, &[]);
    // Brought back while peers are given time to move, it has withdrawn nothing.
    kubectl.ok(&["cordon", "n3"]);
    router.await_last_choice(ROUTE, &NODES, &["n3"]);
    kubectl.ok(&["uncordon", "n3"]);
    router.await_last_choice(ROUTE, &NODES, &[]);
    for subnet in world.subnets("n3") {
        let router = &world.cluster().router;
        router.await_last_choice(&subnet.to_string(), &["n3"], &[]);
    }
    assert_nothing_lost(pingers);
    kubectl.ok(&["delete", "bgpconfiguration", "default"]);
    forget(world);
}
