//! Addresses for services of type `LoadBalancer`, given by one of the agents.

use std::collections::BTreeMap;

use dunlin_e2e::agent::NAMESPACE;
use dunlin_e2e::kubectl::Kubectl;
use dunlin_e2e::world::{NODES, World};
use dunlin_e2e::{PATIENCE, wait_for};
use rustix::process::Signal;

use crate::Test;
use crate::services::{ADVERTISEMENT, slice};

pub(crate) const TESTS: &[Test] = &[
    ("a_pool_gives_addresses_until_it_has_none", pool),
    (
        "another_agent_gives_addresses_when_the_first_is_killed",
        leader,
    ),
];

const LEASE: &str = "dunlin-load-balancer";

/// A pool of addresses, and what announces them.
pub(crate) fn objects(addresses: &str) -> String {
    format!(
        "{ADVERTISEMENT}---\napiVersion: dunlin.dev/v1alpha1\nkind: LoadBalancerPool\n\
         metadata: {{name: outside}}\nspec: {{addresses: [{addresses}]}}\n"
    )
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\n\
         metadata: {{name: {name}, namespace: default, labels: {{announce: \"yes\", pool: \"yes\"}}}}\n\
         spec:\n  type: LoadBalancer\n  loadBalancerClass: dunlin.dev/bgp\n  \
         allocateLoadBalancerNodePorts: false\n  ports: [{{port: 80}}]\n---\n{}",
        slice(name, &[("n1", true)])
    )
}

/// The services of the pool that have an address, and which.
fn given(kubectl: &Kubectl) -> Result<BTreeMap<String, String>, String> {
    let list = kubectl.get(&["services", "--selector=pool=yes"])?;
    let services = list["items"].as_array().into_iter().flatten();
    let address = |service: &serde_json::Value| {
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?;
        let name = service["metadata"]["name"].as_str()?;
        Some((name.to_owned(), ip.to_owned()))
    };
    Ok(services.filter_map(address).collect())
}

/// Waits until so many have an address, and checks that no two have the same.
#[track_caller]
fn await_given(kubectl: &Kubectl, count: usize) -> BTreeMap<String, String> {
    let all = wait_for("services have addresses", PATIENCE, || {
        let given = given(kubectl)?;
        match given.len() == count {
            true => Ok(given),
            false => Err(format!("{given:?}")),
        }
    });
    let mut addresses: Vec<&String> = all.values().collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), count, "one is given twice: {all:?}");
    all
}

/// Takes the services and their pool away.
pub(crate) fn end(world: &mut World) {
    let kubectl = world.kubectl();
    let all = given(&kubectl).expect("a list");
    kubectl.ok(&["delete", "services", "--selector=pool=yes"]);
    for address in all.values() {
        world
            .cluster()
            .router
            .await_no_route(&format!("{address}/32"));
    }
    kubectl.ok(&[
        "delete",
        "loadbalancerpool/outside",
        "bgpadvertisement/services",
    ]);
}

fn pool(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    kubectl.apply(&objects("203.0.113.10-203.0.113.12"));
    let names = ["a", "b", "c"].map(|name| format!("pool-{name}"));
    let all: String = names.iter().map(|name| service(name)).collect();
    kubectl.apply(&all);
    let first = await_given(&kubectl, 3);
    for address in first.values() {
        assert!(address.starts_with("203.0.113.1"), "{address}");
        let router = &world.cluster().router;
        router.await_route(&format!("{address}/32"), &NODES);
    }
    // There is none left for a fourth, and it is told so.
    kubectl.apply(&service("pool-d"));
    wait_for("an event about the pool that is empty", PATIENCE, || {
        let events = kubectl.get(&["events", "--field-selector=involvedObject.name=pool-d"])?;
        let some = events["items"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        some.then_some(()).ok_or(events.to_string())
    });
    wait_for("the pool says so itself", PATIENCE, || {
        let pool = kubectl.get(&["loadbalancerpool", "outside"])?;
        let status = &pool["status"];
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let exhausted = conditions.any(|c| c["reason"] == "Exhausted");
        let said = status["allocated"] == 3 && status["available"] == 0 && exhausted;
        said.then_some(()).ok_or(pool.to_string())
    });
    assert_eq!(given(&kubectl).expect("a list"), first);
    // Until another goes.
    kubectl.ok(&["delete", "service", "pool-b"]);
    let second = await_given(&kubectl, 3);
    assert_eq!(second["pool-d"], first["pool-b"]);
    assert_eq!(second["pool-a"], first["pool-a"]);
    end(world);
}

fn holder(kubectl: &Kubectl) -> Result<String, String> {
    let lease = kubectl.get(&["lease", LEASE, "--namespace", NAMESPACE])?;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    let node = NODES.into_iter().find(|node| holder.starts_with(node));
    node.map(str::to_owned).ok_or(lease.to_string())
}

fn leader(world: &mut World) {
    world.cluster();
    let kubectl = world.kubectl();
    kubectl.apply(&objects("203.0.113.0/26"));
    kubectl.apply(&service("pool-a"));
    await_given(&kubectl, 1);
    let mut count = 1;
    for round in 0..2 {
        let first = wait_for("somebody holds the lease", PATIENCE, || holder(&kubectl));
        world.cluster().agents[&first].end(Signal::KILL);
        let names: Vec<String> = (0..5).map(|n| format!("pool-{round}-{n}")).collect();
        let all: String = names.iter().map(|name| service(name)).collect();
        kubectl.apply(&all);
        count += names.len();
        let all = await_given(&kubectl, count);
        let second = holder(&kubectl).expect("a holder");
        assert_ne!(second, first, "it was killed");
        // It comes back, and takes nothing over.
        world.start_agent(&first);
        world.settle();
        assert_eq!(await_given(&kubectl, count), all);
    }
    end(world);
}
