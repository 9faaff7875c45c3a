//! Links, addresses and static routes of a lab.

use std::net::IpAddr;
use std::thread;

use anyhow::{Result, anyhow};
use dunlin_net::Afi;

use crate::iproute::Batch;
use crate::netns::{self, Netns};
use crate::plan::Plan;
use crate::state::State;

/// The namespace of the bridge that everything hangs on.
pub const UNDERLAY: &str = "underlay";
/// The router outside the cluster.
pub const ROUTER: &str = "router";
/// The host behind the router.
pub const CLIENT: &str = "client";
/// From so many nodes on, neighbour entries are permanent: the limits on learned ones are the machine's, not ours.
const PERMANENT_NEIGHBOURS_FROM: u16 = 64;

/// The short names of all namespaces of a plan.
pub fn hosts(plan: &Plan) -> Vec<String> {
    let fixed = [UNDERLAY, ROUTER, CLIENT].map(str::to_owned);
    let nodes = plan.node_numbers().map(Plan::node_name);
    let pods = plan.pods().into_iter().map(|pod| pod.to_string());
    fixed.into_iter().chain(nodes).chain(pods).collect()
}

/// Creates the namespaces and everything in them but pods' links, which CNI makes.
///
/// # Errors
/// If a name is taken, or the kernel refuses something. What was made stays.
pub fn build(state: &State) -> Result<()> {
    let plan = &state.config.plan;
    let names: Vec<String> = state
        .hosts
        .iter()
        .map(|host| state.namespace(host))
        .collect();
    netns::create(&names)?;
    // A link takes its settings when it is made, so these come first. Duplicate address detection would hold every
    // IPv6 address back for a second.
    in_parallel(names, |name| {
        Netns::open(&name)?.sysctls(&[
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
        ])
    })?;
    build_underlay(state, plan)?;
    in_parallel(
        state
            .hosts
            .iter()
            .filter(|host| *host != UNDERLAY)
            .cloned()
            .collect(),
        |host| build_host(state, plan, &host),
    )
}

/// Runs `work` for every item, on as many threads as there are processors.
pub(crate) fn in_parallel<T: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let queue = std::sync::Mutex::new(items.into_iter());
    let threads = thread::available_parallelism().map_or(2, |n| n.get().min(16));
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    thread::scope(|scope| {
        let worker = || -> Result<()> {
            while let Some(item) = next() {
                crate::signals::check()?;
                work(item)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow!("a thread building the lab panicked"))??;
        }
        Ok(())
    })
}

fn build_underlay(state: &State, plan: &Plan) -> Result<()> {
    let netns = Netns::open(&state.namespace(UNDERLAY))?;
    // The bridge carries frames and has no address: without this every port would join multicast groups.
    netns.sysctls(&[
        ("net/ipv6/conf/all/disable_ipv6", "1"),
        ("net/ipv6/conf/default/disable_ipv6", "1"),
    ])?;
    let mut batch = Batch::of_lab(&state.config.name);
    batch.push("link set lo up");
    batch.push("link add br0 up type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
    batch.push(port(ROUTER, &Plan::mac(0), &state.namespace(ROUTER)));
    for node in plan.node_numbers() {
        let name = Plan::node_name(node);
        batch.push(port(&name, &Plan::mac(node), &state.namespace(&name)));
    }
    batch.run(&netns)?;
    let mut lan = Batch::of_lab(&state.config.name);
    lan.push(format_args!(
        "link add lan0 type veth peer name eth0 netns {}",
        state.namespace(CLIENT)
    ));
    lan.run(&Netns::open(&state.namespace(ROUTER))?)
}

/// A port of the bridge, called like the host whose `eth0` is the other end.
fn port(name: &str, mac: &str, namespace: &str) -> String {
    format!(
        "link add name {name} up master br0 type veth \
         peer name eth0 address {mac} netns {namespace}"
    )
}

fn build_host(state: &State, plan: &Plan, host: &str) -> Result<()> {
    let netns = Netns::open(&state.namespace(host))?;
    let mut batch = Batch::of_lab(&state.config.name);
    batch.push("link set lo up");
    let node = plan.node_numbers().find(|n| Plan::node_name(*n) == host);
    if let Some(node) = node {
        node_links(plan, node, &mut batch);
    } else if host == ROUTER {
        router_links(plan, &mut batch);
        netns.sysctls(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
        ])?;
    } else if host == CLIENT {
        batch.push("link set eth0 up");
        for &afi in plan.families() {
            let len = Plan::outside(afi).prefix_len();
            let address = Plan::outside_address(2, afi);
            batch.push(address_line(afi, address, len, "eth0"));
            let gateway = Plan::outside_address(1, afi);
            batch.push(format_args!("route add default via {gateway}"));
        }
    }
    batch.run(&netns)
}

/// Without `nodad` an IPv6 address is tentative, and so of no use, until a work queue of the kernel has come by.
pub(crate) fn address_line(afi: Afi, address: IpAddr, len: u8, link: &str) -> String {
    let flag = match afi {
        Afi::Ipv4 => "",
        Afi::Ipv6 => " nodad",
    };
    format!("addr add {address}/{len} dev {link}{flag}")
}

fn node_links(plan: &Plan, node: u16, batch: &mut Batch) {
    batch.push("link set eth0 up");
    for &afi in plan.families() {
        let len = Plan::underlay(afi).prefix_len();
        let address = Plan::node_address(node, afi);
        batch.push(address_line(afi, address, len, "eth0"));
        // Without a default route, a connection to a service address fails before any rule sees it.
        let router = Plan::router_address(afi);
        batch.push(format_args!("route add default via {router}"));
    }
    permanent_neighbours(plan, Some(node), batch);
}

fn router_links(plan: &Plan, batch: &mut Batch) {
    batch.push("link set eth0 up");
    batch.push("link set lan0 up");
    for &afi in plan.families() {
        let len = Plan::underlay(afi).prefix_len();
        let address = Plan::router_address(afi);
        batch.push(address_line(afi, address, len, "eth0"));
        let len = Plan::outside(afi).prefix_len();
        let address = Plan::outside_address(1, afi);
        batch.push(address_line(afi, address, len, "lan0"));
    }
    permanent_neighbours(plan, None, batch);
}

fn permanent_neighbours(plan: &Plan, own: Option<u16>, batch: &mut Batch) {
    if plan.nodes < PERMANENT_NEIGHBOURS_FROM {
        return;
    }
    for &afi in plan.families() {
        let nodes = plan.node_numbers().filter(|node| Some(*node) != own);
        let nodes = nodes.map(|node| (Plan::node_address(node, afi), Plan::mac(node)));
        let router = own.map(|_| (Plan::router_address(afi), Plan::mac(0)));
        for (address, mac) in nodes.chain(router) {
            batch.push(format_args!(
                "neigh add {address} lladdr {mac} dev eth0 nud permanent"
            ));
        }
    }
}
