//! The API server is gone, and comes back.

use std::time::Duration;

use dunlin_e2e::control::Component;
use dunlin_e2e::network::{ROUTER, pod, pod_addresses};
use dunlin_e2e::{PATIENCE, wait_for};
use dunlin_lab::probe::pinger::Pinger;
use rustix::process::Signal;

use crate::Test;
use crate::nodes::await_all_reachable;
use crate::services::{ADVERTISEMENT, service, slice};
use dunlin_e2e::world::{NODES, World};

pub(crate) const TESTS: &[Test] = &[
    ("a_killed_api_server_stops_nothing", killed),
    ("an_agent_starts_without_the_api_server", without),
    (
        "an_expired_certificate_is_named_and_a_renewed_one_accepted",
        certificate,
    ),
];

const ADDRESS: &str = "198.51.100.40";

fn announce(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    kubectl.apply(ADVERTISEMENT);
    let more = format!("  externalIPs: [{ADDRESS}]\n");
    kubectl.apply(&(service("kept", &more) + &slice("kept", &[("n1", true)])));
    let route = format!("{ADDRESS}/32");
    world.cluster().router.await_route(&route, &NODES);
}

fn forget(world: &mut World) {
    let kubectl = world.kubectl();
    kubectl.ok(&["delete", "service/kept", "bgpadvertisement/services"]);
    let route = format!("{ADDRESS}/32");
    world.cluster().router.await_no_route(&route);
    world.settle();
}

fn killed(world: &mut World) {
    announce(world);
    let route = format!("{ADDRESS}/32");
    let subnets = world.subnets("n2");
    let from = world.network.netns(&pod("n1"));
    let pingers: Vec<Pinger> = pod_addresses(&subnets)
        .into_iter()
        .map(|address| Pinger::start(&from, address, 50).expect("a socket"))
        .collect();
    world.plane.kill(Component::ApiServer);
    // Every agent notices.
    for node in NODES {
        let place = world.place(node);
        wait_for("the agent says so", PATIENCE, || {
            let status = world.cluster().agents[node].status()?;
            let mut problems = status.problems.iter();
            let said = problems.any(|problem| problem.object == "APIServer");
            said.then_some(())
                .ok_or_else(|| format!("{status:?}: {}", place.log()))
        });
    }
    world.cluster().router.await_route(&route, &NODES);
    world.plane.run(Component::ApiServer);
    world.plane.await_ready();
    // It is listened to again.
    world
        .kubectl()
        .ok(&["delete", "endpointslice", "kept-by-hand"]);
    world.cluster().router.await_no_route(&route);
    world.kubectl().apply(&slice("kept", &[("n1", true)]));
    world.cluster().router.await_route(&route, &NODES);
    for pinger in pingers {
        let report = pinger.stop().expect("a report");
        assert_eq!(report.lost(), 0, "{report}");
    }
    forget(world);
}

/// From its state file, with all it announced.
fn without(world: &mut World) {
    announce(world);
    // No earlier test's, whose traces may be left in the file.
    let (address, route) = ("198.51.100.41", "198.51.100.41/32");
    let more = format!("  externalIPs: [{address}]\n");
    let objects = service("saved", &more) + &slice("saved", &[("n1", true)]);
    world.kubectl().apply(&objects);
    world.cluster().router.await_route(route, &NODES);
    // The file lags some seconds behind.
    let state = world.place("n2").state_dir().join("cluster.redb");
    wait_for("the file holds both objects", PATIENCE, || {
        let octets = std::fs::read(&state).map_err(|error| error.to_string())?;
        let holds = |text: &str| {
            octets
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        let both = holds(address) && holds("saved-by-hand");
        both.then_some(()).ok_or(format!("{} octets", octets.len()))
    });
    let pod = pod_addresses(&world.subnets("n2"))[0];
    let pinger = Pinger::start(&world.network.netns(ROUTER), pod, 50).expect("a socket");
    world.plane.kill(Component::ApiServer);
    world.cluster().agents["n2"].end(Signal::KILL);
    world.start_agent("n2");
    world.cluster().agents["n2"].await_status("sessions from the state file", |status| {
        let sessions = &status.sessions;
        status.ready && sessions.nodes_up == 2 && sessions.external_up == 1
    });
    world.cluster().router.await_route(route, &NODES);
    world.plane.run(Component::ApiServer);
    world.plane.await_ready();
    world.settle();
    let report = pinger.stop().expect("a report");
    assert_eq!(report.lost(), 0, "{report}");
    await_all_reachable(world, &NODES);
    world.kubectl().ok(&["delete", "service", "saved"]);
    forget(world);
}

/// The API server returns with a certificate that has expired, then with a good one of the same authority.
fn certificate(world: &mut World) {
    announce(world);
    world.plane.kill(Component::ApiServer);
    world.plane.make_keys(0);
    // A certificate is good for the whole of its last second, and a connection made in it goes on.
    std::thread::sleep(Duration::from_secs(2));
    world.plane.run(Component::ApiServer);
    for node in NODES {
        world.cluster().agents[node].await_status("the certificate is complained of", |status| {
            let mut problems = status.problems.iter();
            problems.any(|p| p.object == "APIServer" && p.message.contains("certificate"))
        });
    }
    world.plane.kill(Component::ApiServer);
    world.plane.make_keys(3600);
    world.plane.run(Component::ApiServer);
    world.plane.await_ready();
    forget(world);
}
