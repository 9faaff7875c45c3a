//! The agents' token is exchanged for another, as the kubelet does it, and the one before is no longer good.

use dunlin_api::Problem;
use dunlin_e2e::agent::NAMESPACE;
use dunlin_e2e::control::Component;
use dunlin_e2e::world::{NODES, Token, World};
use dunlin_e2e::{PATIENCE, wait_for};
use serde_json::json;

use crate::Test;
use crate::services::{ADVERTISEMENT, service, slice};

pub(crate) const TESTS: &[Test] = &[
    ("a_token_that_is_exchanged_is_taken_up", exchanged),
    (
        "a_token_that_is_no_longer_good_is_named_and_the_next_taken_up",
        ran_out,
    ),
];

/// Gives the service another address.
fn announce(world: &mut World, address: &str) {
    let kubectl = world.kubectl();
    let more = format!("  externalIPs: [{address}]\n");
    kubectl.apply(&(service("heard", &more) + &slice("heard", &[("n1", true)])));
}

#[track_caller]
fn await_announced(world: &mut World, address: &str) {
    let route = format!("{address}/32");
    world.cluster().router.await_route(&route, &NODES);
}

/// Ends a token, also for watches that began with it: the API server has to be asked anew.
fn invalidate(world: &mut World, token: &Token) {
    let kubectl = world.kubectl();
    let namespace = format!("--namespace={NAMESPACE}");
    kubectl.ok(&["delete", "secret", &token.secret, &namespace]);
    world.plane.kill(Component::ApiServer);
    world.plane.run(Component::ApiServer);
    world.plane.await_ready();
    let user = json!({ "token": token.token });
    let file = world.plane.kubeconfig("former.conf", &user);
    let former = world.plane.kubectl_as(&file);
    let said = former.run(&["auth", "whoami"]);
    assert!(
        said.as_ref().is_err_and(|said| said.contains("logged in")),
        "the token is still good: {said:?}"
    );
}

fn end(world: &mut World, address: &str) {
    for node in NODES {
        let log = world.place(node).log();
        let token = world.token().token;
        assert!(!log.contains(&token), "{node} logs the token");
    }
    let kubectl = world.kubectl();
    kubectl.ok(&["delete", "service/heard", "bgpadvertisement/services"]);
    let route = format!("{address}/32");
    world.cluster().router.await_no_route(&route);
    world.settle();
}

/// In time, as the kubelet does it. Every agent hears what comes after.
fn exchanged(world: &mut World) {
    world.cluster();
    world.kubectl().apply(ADVERTISEMENT);
    announce(world, "198.51.100.60");
    await_announced(world, "198.51.100.60");
    let former = world.token();
    world.exchange_token();
    invalidate(world, &former);
    announce(world, "198.51.100.61");
    await_announced(world, "198.51.100.61");
    end(world, "198.51.100.61");
}

/// Too late: all goes on with what was known, and by itself once there is another.
fn ran_out(world: &mut World) {
    world.cluster();
    world.kubectl().apply(ADVERTISEMENT);
    announce(world, "198.51.100.62");
    await_announced(world, "198.51.100.62");
    let former = world.token();
    invalidate(world, &former);
    for agent in world.cluster().agents.values() {
        agent.await_status("the token is complained of", |status| {
            let mut problems = status.problems.iter();
            let named = |p: &Problem| p.object == "APIServer" && p.message.contains("credentials");
            status.ready && problems.any(named)
        });
    }
    announce(world, "198.51.100.63");
    await_announced(world, "198.51.100.62");
    world.exchange_token();
    await_announced(world, "198.51.100.63");
    // Whoever writes waits about as long as it was refused.
    for agent in world.cluster().agents.values() {
        wait_for("nothing is wrong", 3 * PATIENCE, || {
            let status = agent.status()?;
            let well = status.problems.is_empty();
            well.then_some(()).ok_or(format!("{:?}", status.problems))
        });
    }
    end(world, "198.51.100.63");
}
