//! Attaches pods to nodes: with the CNI plugins, or by hand the way `ptp` does it.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use dunlin_net::Afi;

use crate::cni::{Chain, Container};
use crate::iproute::Batch;
use crate::netns::Netns;
use crate::plan::{Plan, PodName};
use crate::state::{PodRecord, State};
use crate::topology::address_line;

/// Attaches a pod with the plugins that the node's list names, as a container runtime would.
///
/// # Errors
/// If a plugin fails: which, and what it said.
pub fn attach_by_cni(state: &State, chain: &Chain, pod: PodName) -> Result<PodRecord> {
    let node = Plan::node_name(pod.node);
    let result = chain.add(
        &Netns::open(&state.namespace(&node))?,
        &container(state, pod)?,
    )?;
    let mut addresses = result;
    addresses.sort_by_key(|address| Afi::of(*address));
    Ok(PodRecord {
        name: pod.to_string(),
        node,
        addresses,
        by_cni: true,
    })
}

/// Detaches a pod that [`attach_by_cni`] attached; its addresses are free again.
///
/// # Errors
/// If a plugin fails.
pub fn detach_by_cni(state: &State, chain: &Chain, pod: PodName) -> Result<()> {
    let node = state.namespace(&Plan::node_name(pod.node));
    chain.del(&Netns::open(&node)?, &container(state, pod)?)
}

fn container(state: &State, pod: PodName) -> Result<Container> {
    let netns = Netns::open(&state.namespace(&pod.to_string()))?;
    Ok(Container {
        id: netns.name().to_owned(),
        netns: netns.path(),
        lab: state.config.name.clone(),
    })
}

/// Attaches a pod by a veth pair: host routes on both sides, the gateway's address on the node's end, no proxy.
///
/// # Errors
/// If the kernel refuses something.
pub fn attach_by_hand(state: &State, pod: PodName) -> Result<PodRecord> {
    let plan = &state.config.plan;
    let node = Plan::node_name(pod.node);
    let netns = Netns::open(&state.namespace(&pod.to_string()))?;
    let (mut outer, mut inner) = (
        Batch::of_lab(&state.config.name),
        Batch::of_lab(&state.config.name),
    );
    let link = format!("pod{}", pod.index);
    outer.push(format_args!(
        "link add name {link} up type veth peer name eth0 netns {}",
        netns.name()
    ));
    inner.push("link set eth0 up");
    let mut addresses: Vec<IpAddr> = Vec::new();
    for &afi in plan.families() {
        let (address, gateway) = (
            Plan::pod_address(pod, afi),
            Plan::pod_gateway(pod.node, afi),
        );
        let bits = afi.bits();
        outer.push(address_line(afi, gateway, bits, &link));
        outer.push(format_args!("route add {address}/{bits} dev {link}"));
        inner.push(address_line(afi, address, bits, "eth0"));
        inner.push(format_args!("route add {gateway}/{bits} dev eth0"));
        inner.push(format_args!("route add default via {gateway} dev eth0"));
        addresses.push(address);
    }
    outer.run(&Netns::open(&state.namespace(&node))?)?;
    inner.run(&netns)?;
    Ok(PodRecord {
        name: pod.to_string(),
        node,
        addresses,
        by_cni: false,
    })
}

/// The list of plugins in a node's CNI directory, if the agent has written one.
///
/// # Errors
/// If a list is there and cannot be read.
pub fn chain_in(directory: &Path) -> Result<Option<Chain>> {
    let mut lists: Vec<_> = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "conflist"))
        .collect();
    // A runtime takes the first by name.
    lists.sort();
    lists.first().map(|path| Chain::read(path)).transpose()
}
