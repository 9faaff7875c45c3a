//! Nodes come and go.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dunlin_e2e::network::{self, ROUTER, pod, pod_addresses};
use dunlin_e2e::{PATIENCE, wait_for};
use dunlin_lab::probe::pinger::Pinger;

use crate::Test;
use dunlin_e2e::world::{NODES, World};

pub(crate) const TESTS: &[Test] = &[
    ("pods_reach_each_other_and_the_router_them", reach),
    ("a_node_joins_and_leaves", join_and_leave),
    ("a_node_changes_its_address", address),
    ("an_upgrade_loses_no_packet", upgrade),
];

/// Waits until a host gets answers from an address.
#[track_caller]
pub(crate) fn await_echo(world: &World, host: &str, address: IpAddr) {
    let pinger = Pinger::start(&world.network.netns(host), address, 100).expect("a socket");
    let what = format!("{host} reaches {address}");
    wait_for(&what, PATIENCE, || {
        let report = pinger.report();
        (report.received > 0)
            .then_some(())
            .ok_or(report.to_string())
    });
}

/// Every pod from every other and from the router.
#[track_caller]
pub(crate) fn await_all_reachable(world: &World, nodes: &[&str]) {
    for node in nodes {
        for address in pod_addresses(&world.subnets(node)) {
            let others = nodes.iter().filter(|other| *other != node);
            let others = others.map(|other| pod(other)).chain([ROUTER.to_owned()]);
            for other in others {
                await_echo(world, &other, address);
            }
        }
    }
}

fn reach(world: &mut World) {
    world.cluster();
    await_all_reachable(world, &NODES);
    for node in NODES {
        for subnet in world.subnets(node) {
            let router = &world.cluster().router;
            router.await_route(&subnet.to_string(), &[node]);
        }
    }
}

fn join_and_leave(world: &mut World) {
    world.cluster();
    world.join("n4");
    let began = Instant::now();
    let subnets = world.subnets("n4");
    for address in pod_addresses(&subnets) {
        for node in NODES {
            await_echo(world, &pod(node), address);
        }
    }
    let took = began.elapsed();
    world.settle();
    await_all_reachable(world, &["n1", "n2", "n3", "n4"]);
    crate::say(&format!("a new node's pods are reachable after {took:?}"));

    world.kubectl().ok(&["delete", "node", "n4"]);
    for subnet in subnets {
        let subnet = subnet.to_string();
        let family = if subnet.contains(':') { "-6" } else { "-4" };
        world.cluster().router.await_no_route(&subnet);
        for node in NODES {
            wait_for("the node's routes go", PATIENCE, || {
                let routes = world
                    .network
                    .ip_says(node, &[family, "route", "show", &subnet]);
                routes.is_empty().then_some(()).ok_or(routes)
            });
        }
    }
    world.remove("n4");
    world.settle();
}

/// A node that gets another address is reached by that, without a restart of anything.
fn address(world: &mut World) {
    world.cluster();
    let [v4, v6] = network::addresses("n2");
    let set = |world: &World, v4: &str| {
        let addresses: Vec<_> = [v4.to_owned(), v6.to_string()]
            .into_iter()
            .map(|address| serde_json::json!({"type": "InternalIP", "address": address}))
            .collect();
        let status = serde_json::json!({ "addresses": addresses });
        world.kubectl().patch_status(&["node", "n2"], &status);
    };
    let subnet = world.subnets("n2")[0].to_string();
    let via = |world: &World, gateway: &str| {
        wait_for("the route has the node's new address", PATIENCE, || {
            let route = world.network.ip_says("n1", &["route", "show", &subnet]);
            let found = route.contains(&format!("via {gateway} "));
            found.then_some(()).ok_or(route)
        });
    };
    via(world, &v4.to_string());
    world
        .network
        .ip("n2", &["addr add 192.0.2.102/24 dev eth0"]);
    set(world, "192.0.2.102");
    via(world, "192.0.2.102");
    set(world, &v4.to_string());
    via(world, &v4.to_string());
    world
        .network
        .ip("n2", &["addr del 192.0.2.102/24 dev eth0"]);
    world.settle();
    await_all_reachable(world, &NODES);
}

/// One agent after another is replaced, as a DaemonSet does it, under echoes on every path.
fn upgrade(world: &mut World) {
    world.cluster();
    let mut pingers = Vec::new();
    for node in NODES {
        for address in pod_addresses(&world.subnets(node)) {
            let others = NODES.into_iter().filter(|other| *other != node).map(pod);
            for from in others.chain([ROUTER.to_owned()]) {
                let netns = world.network.netns(&from);
                pingers.push((from, Pinger::start(&netns, address, 50).expect("a socket")));
            }
        }
    }
    for node in NODES {
        world.cluster().agents[node].terminate();
        world.start_agent(node);
        world.settle();
    }
    // The last replies of the last agent's start.
    std::thread::sleep(Duration::from_millis(200));
    for (from, pinger) in pingers {
        let report = pinger.stop().expect("a report");
        assert_eq!(report.lost(), 0, "from {from}: {report}");
    }
}
