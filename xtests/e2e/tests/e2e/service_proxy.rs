//! Dunlin's service proxy, with real packets to Services of a real API server.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use dunlin_api::{Problem, Status};
use dunlin_e2e::control::POD_RANGES;
use dunlin_e2e::kubectl::Kubectl;
use dunlin_e2e::network::{self, CONTROL, ROUTER, pod, pod_addresses};
use dunlin_e2e::traffic::{Connection, Lack, Stream, ask, ask_briefly, serve};
use dunlin_e2e::world::{NODES, World};
use dunlin_e2e::{PATIENCE, wait_for};
use dunlin_lab::netns::Netns;
use dunlin_lab::process::{self, ProcessId, start_daemon};
use serde_json::{Value, json};

use crate::Test;
use crate::services::ADVERTISEMENT;

pub(crate) const TESTS: &[Test] = &[
    ("the_service_proxy_delivers_at_every_address", every_address),
    (
        "the_service_proxy_heeds_endings_and_local_policies",
        policies,
    ),
    ("the_service_proxy_leads_to_the_api", kubernetes),
    ("the_service_proxy_takes_over_from_kube_proxy", take_over),
];

const EXTERNAL: &str = "198.51.100.60";
const BALANCED: &str = "198.51.100.61";
const NODE_PORT: u16 = 30_060;
/// Where the pods listen.
const POD_PORT: u16 = 8080;

/// The agents of all nodes, with these arguments more.
pub(crate) fn agents_with(world: &mut World, more: &[&str]) {
    world.cluster();
    for node in NODES {
        let mut place = world.place(node);
        place.args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let agents = &mut world.cluster().agents;
        agents[node].terminate();
        agents.insert(node.to_owned(), place.start());
    }
    world.settle();
}

/// Agents with the service proxy, and a server in each node's pod.
pub(crate) fn begin(world: &mut World, more: &[&str]) {
    agents_with(world, more);
    for node in NODES {
        let space = world.network.netns(&pod(node));
        for address in pod_addresses(&world.subnets(node)) {
            // Those of an earlier test serve on.
            if ask_briefly(&space, SocketAddr::new(address, POD_PORT)).is_err() {
                serve(&space, node, SocketAddr::new(address, POD_PORT));
            }
        }
    }
    world.kubectl().apply(ADVERTISEMENT);
}

/// The agents as they were.
pub(crate) fn end(world: &mut World) {
    let kubectl = world.kubectl();
    kubectl.ok(&["delete", "service/web", "bgpadvertisement/services"]);
    agents_with(world, &[]);
    for node in NODES {
        let tables = tables(world, node);
        assert!(!tables.contains("dunlin_services"), "{node}: {tables}");
    }
}

fn tables(world: &World, node: &str) -> String {
    let output = world
        .network
        .netns(node)
        .command("nft")
        .args(["list", "tables"])
        .output();
    String::from_utf8_lossy(&output.expect("nft").stdout).into_owned()
}

/// How an endpoint stands, by its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// It serves while it terminates.
    Terminating,
    Gone,
}

/// The service `web`: of both families, at all kinds of addresses, with endpoints written by hand.
pub(crate) fn apply(world: &World, external: &str, states: &[(&str, State)]) {
    let kubectl = world.kubectl();
    let object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "labels": {"announce": "yes"}},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example.org/by-hand",
            "externalTrafficPolicy": external,
            "externalIPs": [EXTERNAL],
            "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"port": 80, "targetPort": POD_PORT, "nodePort": NODE_PORT}],
        },
    });
    kubectl.apply(&object.to_string());
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": BALANCED}]}});
    kubectl.patch_status(&["service", "web"], &ingress);
    for (family, at) in [("IPv4", 0), ("IPv6", 1)] {
        let endpoints: Vec<Value> = states
            .iter()
            .filter(|(_, state)| *state != State::Gone)
            .map(|(node, state)| {
                let ready = *state == State::Ready;
                json!({
                    "addresses": [pod_addresses(&world.subnets(node))[at]],
                    "nodeName": node,
                    "conditions": {"ready": ready, "serving": true, "terminating": !ready},
                })
            })
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("web-{}", family.to_lowercase()),
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": family,
            "ports": [{"port": POD_PORT, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        kubectl.apply(&slice.to_string());
    }
}

pub(crate) fn cluster_ips(kubectl: &Kubectl, name: &str) -> Vec<IpAddr> {
    let object = kubectl.get(&["service", name]).expect("it is there");
    let all = object["spec"]["clusterIPs"].as_array().expect("addresses");
    let parsed = all.iter().filter_map(|ip| ip.as_str()?.parse().ok());
    parsed.collect()
}

/// All that the service is reached at: its own addresses, and each node's.
fn frontends(world: &World) -> Vec<SocketAddr> {
    let mut all = cluster_ips(&world.kubectl(), "web");
    all.extend([EXTERNAL, BALANCED].map(|ip| ip.parse::<IpAddr>().expect("an address")));
    let services = all.into_iter().map(|ip| SocketAddr::new(ip, 80));
    let nodes = NODES.iter().flat_map(|node| network::addresses(node));
    services
        .chain(nodes.map(|ip| SocketAddr::new(ip, NODE_PORT)))
        .collect()
}

/// A node, a pod, and a host outside.
fn places(world: &World) -> [Netns; 3] {
    [NODES[0].to_owned(), pod(NODES[1]), ROUTER.to_owned()].map(|host| world.network.netns(&host))
}

/// Asks until the answers come from these and no others for a while.
fn await_servers(space: &Netns, to: SocketAddr, wanted: &[&str]) {
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    wait_for(&format!("{to} is answered by {wanted:?}"), PATIENCE, || {
        let mut seen = BTreeSet::new();
        // None is missed but once in a million times.
        for _ in 0..35 {
            seen.insert(ask(space, to).map_err(|lack| lack.to_string())?.by);
        }
        let seen: BTreeSet<&str> = seen.iter().map(String::as_str).collect();
        (seen == wanted).then_some(()).ok_or(format!("{seen:?}"))
    });
}

fn await_lack(space: &Netns, to: SocketAddr, wanted: Lack) {
    wait_for(&format!("{to}: {wanted}"), PATIENCE, || {
        match ask_briefly(space, to) {
            Err(lack) if lack == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn every_address(world: &mut World) {
    begin(world, &["--service-proxy=on"]);
    let all = NODES.map(|node| (node, State::Ready));
    apply(world, "Cluster", &all);
    let frontends = frontends(world);
    assert_eq!(frontends.len(), 2 + 2 + 2 * NODES.len());
    for to in &frontends {
        for space in places(world) {
            await_servers(&space, *to, &NODES);
        }
    }
    // While the agents are away and when they come back, all of it goes on.
    let cluster_ip = frontends[0];
    let node = world.network.netns("n2");
    let mut open = Connection::open(&node, cluster_ip, PATIENCE).expect("a connection");
    let first = open.ask().expect("an answer");
    let streams: Vec<Stream> = places(world)
        .iter()
        .flat_map(|space| {
            frontends[..2]
                .iter()
                .map(move |to| Stream::start(space, *to))
        })
        .collect();
    agents_with(world, &["--service-proxy=on"]);
    assert_eq!(open.ask(), Ok(first));
    for stream in streams {
        assert!(stream.end().expect("no connection is lost") > 0);
    }
    // Deleted, it is nobody's: a node port is closed, an address leads nowhere.
    world.kubectl().ok(&["delete", "service", "web"]);
    let closed = SocketAddr::new(network::addresses("n1")[0], NODE_PORT);
    await_lack(&world.network.netns(ROUTER), closed, Lack::Refused);
    wait_for("the cluster IP is gone", PATIENCE, || {
        match ask_briefly(&node, cluster_ip) {
            Err(_) => Ok(()),
            Ok(answer) => Err(format!("{answer:?}")),
        }
    });
    apply(world, "Cluster", &all);
    await_servers(&node, cluster_ip_of(world), &NODES);
    end(world);
}

fn cluster_ip_of(world: &World) -> SocketAddr {
    SocketAddr::new(cluster_ips(&world.kubectl(), "web")[0], 80)
}

fn policies(world: &mut World) {
    use State::{Gone, Ready, Terminating};
    begin(world, &["--service-proxy=on"]);
    apply(world, "Cluster", &NODES.map(|node| (node, Ready)));
    let outside = world.network.netns(ROUTER);
    let node = world.network.netns("n3");
    let cluster_ip = cluster_ip_of(world);
    await_servers(&node, cluster_ip, &NODES);
    let mut open: Vec<Connection> = (0..8)
        .map(|_| Connection::open(&node, cluster_ip, PATIENCE).expect("a connection"))
        .collect();
    let first: Vec<_> = open
        .iter_mut()
        .map(|open| open.ask().expect("an answer"))
        .collect();
    // New ones go to the ready; what is open stays where it is.
    apply(
        world,
        "Cluster",
        &[("n1", Ready), ("n2", Terminating), ("n3", Terminating)],
    );
    await_servers(&node, cluster_ip, &["n1"]);
    for (open, first) in open.iter_mut().zip(first) {
        assert_eq!(open.ask(), Ok(first));
    }
    // None is ready: the ones that end still serve.
    apply(
        world,
        "Cluster",
        &[("n1", Gone), ("n2", Terminating), ("n3", Gone)],
    );
    await_servers(&node, cluster_ip, &["n2"]);
    apply(
        world,
        "Cluster",
        &[("n1", Gone), ("n2", Gone), ("n3", Gone)],
    );
    await_lack(&node, cluster_ip, Lack::Refused);
    // Local: from outside only endpoints of the node that it comes to, which see the client.
    apply(world, "Local", &[("n1", Ready), ("n2", Gone), ("n3", Gone)]);
    for (at, client) in network::addresses(ROUTER).into_iter().enumerate() {
        let port = |node: &str| SocketAddr::new(network::addresses(node)[at], NODE_PORT);
        await_servers(&outside, port("n1"), &["n1"]);
        assert_eq!(
            ask(&outside, port("n1")).map(|answer| answer.seen),
            Ok(client)
        );
        await_lack(&outside, port("n2"), Lack::Silence);
        // From within, any.
        await_servers(&node, port("n3"), &["n1"]);
    }
    let balanced = SocketAddr::new(BALANCED.parse().expect("an address"), 80);
    world
        .cluster()
        .router
        .await_route(&format!("{BALANCED}/32"), &["n1"]);
    await_servers(&outside, balanced, &["n1"]);
    let seen = ask(&outside, balanced).map(|answer| answer.seen);
    assert_eq!(seen, Ok(network::addresses(ROUTER)[0]));
    end(world);
}

/// The API itself, from a node, by the service's address.
fn kubernetes(world: &mut World) {
    begin(world, &["--service-proxy=on"]);
    apply(world, "Cluster", &[]);
    let [address] = cluster_ips(&world.kubectl(), "kubernetes")[..] else {
        panic!("the API server advertises an IPv4 address");
    };
    assert_ne!(Some(&address), network::addresses(CONTROL).first());
    for host in ["n1".to_owned(), pod("n2")] {
        let kubectl = world
            .plane
            .kubectl_from(world.network.netns(&host), SocketAddr::new(address, 443));
        wait_for("the API by its service", PATIENCE, || {
            kubectl.run(&["get", "--raw", "/readyz"])
        });
    }
    end(world);
}

/// A running kube-proxy; killed when dropped.
struct KubeProxy(ProcessId);

impl KubeProxy {
    fn start(world: &World, program: &Path, node: &str, mode: &str) -> KubeProxy {
        let home = world.plane.home();
        let config = home.join(format!("kube-proxy-{node}.yaml"));
        let text = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": mode,
            "hostnameOverride": node,
            "clusterCIDR": POD_RANGES.join(","),
            "clientConnection": {"kubeconfig": world.plane.admin()},
            // What is the whole machine's is left alone.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        });
        std::fs::write(&config, text.to_string()).expect("a file");
        let mut command = world.network.netns(node).command(program);
        command.arg("--config").arg(&config);
        let log = home.join(format!("kube-proxy-{node}.log"));
        KubeProxy(start_daemon(&mut command, &log, true).expect("it starts"))
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        process::kill(self.0);
    }
}

/// From kube-proxy itself, in two of its modes, while connections are open and more come.
fn take_over(world: &mut World) {
    let Ok(program) = dunlin_e2e::kube_proxy() else {
        panic!("where there is a control plane, there is kube-proxy");
    };
    begin(world, &[]);
    let modes = ["nftables", "iptables", "nftables"];
    let proxies: Vec<KubeProxy> = NODES
        .iter()
        .zip(modes)
        .map(|(node, mode)| KubeProxy::start(world, &program, node, mode))
        .collect();
    apply(world, "Cluster", &NODES.map(|node| (node, State::Ready)));
    let to = cluster_ips(&world.kubectl(), "web");
    let to: Vec<SocketAddr> = to.into_iter().map(|ip| SocketAddr::new(ip, 80)).collect();
    let spaces = NODES.map(|node| [node.to_owned(), pod(node)]);
    let spaces: Vec<Netns> = spaces
        .iter()
        .flatten()
        .map(|host| world.network.netns(host))
        .collect();
    let pairs = || {
        spaces
            .iter()
            .flat_map(|space| to.iter().map(move |to| (space, *to)))
    };
    for (space, to) in pairs() {
        wait_for("kube-proxy delivers", PATIENCE, || {
            ask_briefly(space, to)
                .map(drop)
                .map_err(|lack| lack.to_string())
        });
    }
    let mut open: Vec<Connection> = pairs()
        .map(|(space, to)| Connection::open(space, to, PATIENCE).expect("a connection"))
        .collect();
    let first: Vec<_> = open
        .iter_mut()
        .map(|open| open.ask().expect("an answer"))
        .collect();
    let streams: Vec<Stream> = pairs()
        .map(|(space, to)| Stream::start(space, to))
        .collect();
    agents_with(world, &["--service-proxy=take-over"]);
    let beside = |status: &Status, runs: bool| {
        let of = |problem: &Problem| {
            problem.reason == "OtherServiceProxy"
                && (!runs || problem.message.contains(" and runs: "))
        };
        status.problems.iter().any(of)
    };
    for agent in world.cluster().agents.values() {
        agent.await_status("it stands beside kube-proxy", |status| beside(status, true));
    }
    for node in NODES {
        let tables = tables(world, node);
        assert!(tables.contains("ip6 dunlin_services"), "{node}: {tables}");
    }
    drop(proxies);
    for agent in world.cluster().agents.values() {
        agent.await_status("it has taken over", |status| !beside(status, false));
    }
    for (open, first) in open.iter_mut().zip(first) {
        assert_eq!(open.ask(), Ok(first));
    }
    for stream in streams {
        assert!(stream.end().expect("no connection is lost") > 0);
    }
    for node in NODES {
        let rules = world
            .network
            .netns(node)
            .command("nft")
            .args(["list", "ruleset"])
            .output();
        let rules = String::from_utf8_lossy(&rules.expect("nft").stdout).into_owned();
        // kubelet's chain, which kube-proxy makes where it is missing.
        let lines = rules.lines().filter(|line| !line.contains("KUBE-FIREWALL"));
        let left = lines.filter(|line| line.contains("KUBE-") || line.contains("kube-proxy"));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<&str>::new(), "{node}");
    }
    // And it delivers on.
    for (space, to) in pairs() {
        ask(space, to).expect("an answer");
    }
    end(world);
}
