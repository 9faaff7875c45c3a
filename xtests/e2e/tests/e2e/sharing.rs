//! Services that share one load-balancer address by the annotation `dunlin.dev/sharing-key`.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use dunlin_e2e::kubectl::Kubectl;
use dunlin_e2e::router::Told;
use dunlin_e2e::world::{NODES, World};
use dunlin_e2e::{PATIENCE, wait_for};
use serde_json::Value;

use crate::Test;
use crate::pools::objects;
use crate::services::slice;

pub(crate) const TESTS: &[Test] = &[(
    "an_address_that_is_shared_goes_with_the_last_who_has_it",
    shared,
)];

/// A service with a key, and more annotations.
fn service(name: &str, port: u16, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: default\n  \
         labels: {{announce: \"yes\", pool: \"yes\"}}\n  \
         annotations: {{dunlin.dev/sharing-key: together{more}}}\n\
         spec:\n  type: LoadBalancer\n  loadBalancerClass: dunlin.dev/bgp\n  \
         allocateLoadBalancerNodePorts: false\n  ports: [{{port: {port}}}]\n---\n{}",
        slice(name, &[("n1", true)])
    )
}

/// The reason of the service's condition, with its message, once it is of this status.
#[track_caller]
fn await_allocated(kubectl: &Kubectl, name: &str, status: &str) -> (String, String) {
    wait_for(&format!("{name} is {status}"), PATIENCE, || {
        let object = kubectl.get(&["service", name])?;
        let mut conditions = object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let of = |c: &&Value| c["type"] == "dunlin.dev/Allocated" && c["status"] == status;
        let found = conditions.find(of).ok_or(object.to_string())?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok((text("reason"), text("message")))
    })
}

/// The only address of a service that has all it should have.
#[track_caller]
fn await_address(kubectl: &Kubectl, name: &str) -> String {
    await_allocated(kubectl, name, "True");
    let object = kubectl.get(&["service", name]).expect("it is there");
    let ingress = object["status"]["loadBalancer"]["ingress"].as_array();
    match ingress.map(Vec::as_slice) {
        Some([one]) => one["ip"].as_str().expect("an address").to_owned(),
        _ => panic!("not one address: {object}"),
    }
}

/// What every agent announces of a prefix, to whom: it has to be told as one route, and come from these services.
#[track_caller]
fn await_announced(world: &mut World, prefix: &str, services: usize) {
    for agent in world.cluster().agents.values() {
        wait_for("one announcement", PATIENCE, || {
            let args = [
                "get",
                "advertisements",
                "--prefix",
                prefix,
                "--output",
                "json",
            ];
            let (_, said) = agent.dunlin(&args);
            let told: Value = serde_json::from_str(&said).map_err(|error| format!("{error}"))?;
            let once = told.as_array().is_some_and(|all| all.len() == 1);
            let (_, said) = agent.dunlin(&["get", "services", "--output", "json"]);
            let known: Value = serde_json::from_str(&said).map_err(|error| format!("{error}"))?;
            let all = known.as_array().into_iter().flatten();
            let mentions = |s: &&Value| s["addresses"].to_string().contains(prefix);
            let count = all.filter(mentions).count();
            (once && count == services)
                .then_some(())
                .ok_or(format!("{told}; {known}"))
        });
    }
}

/// bgpd reckons when it was told of a path from how long ago that was, in whole seconds of two clocks: it wavers by one.
const WAVERS_SECS: u64 = 1;

/// The route's paths, once they are so old that it would be seen if they were told again.
fn await_settled(world: &mut World, route: &str) -> BTreeMap<String, Told> {
    let router = &world.cluster().router;
    wait_for("paths told a while ago", PATIENCE, || {
        let paths = router.paths(route)?;
        let now = UNIX_EPOCH.elapsed().expect("a clock set").as_secs();
        let recent = now.saturating_sub(2 * WAVERS_SECS + 1);
        let settled = paths.values().all(|told| told.at_secs < recent);
        if settled {
            Ok(paths)
        } else {
            Err(format!("{paths:?}"))
        }
    })
}

/// The route is as it was, and was not told again.
#[track_caller]
fn assert_untouched(world: &mut World, route: &str, before: &BTreeMap<String, Told>) {
    let after = world.cluster().router.paths(route).expect("paths");
    let same = |(hop, was): (&String, &Told)| {
        after.get(hop).is_some_and(|told| {
            told.communities == was.communities && told.at_secs.abs_diff(was.at_secs) <= WAVERS_SECS
        })
    };
    assert!(
        after.len() == before.len() && before.iter().all(same),
        "it was withdrawn or told again: {before:?}, then {after:?}"
    );
}

fn shared(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    kubectl.apply(&objects("203.0.113.80-203.0.113.81"));
    kubectl.apply(&(service("share-a", 80, "") + &service("share-b", 443, "")));
    let address = await_address(&kubectl, "share-a");
    assert_eq!(await_address(&kubectl, "share-b"), address);
    let route = format!("{address}/32");
    world.cluster().router.await_route(&route, &NODES);
    await_announced(world, &route, 2);
    let told = await_settled(world, &route);

    // A port that is taken: not this address, though the key is the same.
    let asks = format!(", dunlin.dev/load-balancer-ips: {address}");
    kubectl.apply(&service("share-c", 80, &asks));
    let (reason, message) = await_allocated(&kubectl, "share-c", "False");
    assert_eq!(reason, "RequestedTaken");
    assert!(message.contains("default/share-a"), "{message}");
    wait_for("an event that says the same", PATIENCE, || {
        let selector = "--field-selector=involvedObject.name=share-c";
        let events = kubectl.get(&["events", selector])?;
        let mut all = events["items"].as_array().into_iter().flatten();
        let said = all.any(|event| event["reason"] == "RequestedTaken");
        said.then_some(()).ok_or(events.to_string())
    });
    // One that does not mind gets another.
    kubectl.apply(&service("share-d", 443, ""));
    assert_ne!(await_address(&kubectl, "share-d"), address);
    assert_untouched(world, &route, &told);

    // The port is free once its owner goes.
    kubectl.ok(&["delete", "service", "share-a"]);
    assert_eq!(await_address(&kubectl, "share-c"), address);
    await_announced(world, &route, 2);
    kubectl.ok(&["delete", "service", "share-b"]);
    await_announced(world, &route, 1);
    assert_untouched(world, &route, &told);
    kubectl.ok(&["delete", "service", "share-c"]);
    world.cluster().router.await_no_route(&route);
    crate::pools::end(world);
}
