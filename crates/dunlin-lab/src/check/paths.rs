//! The paths that packets must take.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dunlin_net::Afi;

use super::Summary;
use crate::iproute;
use crate::lab::Lab;
use crate::netns::Netns;
use crate::plan::Plan;
use crate::probe::{icmp, tcp};
use crate::report::{Report, time};
use crate::state::PodRecord;
use crate::topology::{CLIENT, ROUTER};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// From so many pairs on, one line stands for all.
const MANY_PAIRS: usize = 7;
/// The most pairs that are tried.
const MAX_PAIRS: usize = 400;
/// What a TCP check carries, in octets each way.
const TCP_OCTETS: usize = 4 << 20;

/// Pairs of pods on different nodes: all, or a ring and everything from the first pod where they are too many.
fn pairs(pods: &[PodRecord]) -> Vec<(&PodRecord, &PodRecord)> {
    let apart = |(a, b): &(&PodRecord, &PodRecord)| a.node != b.node;
    let every = || {
        let with_rest = |(i, a)| pods.iter().skip(i + 1).map(move |b| (a, b));
        pods.iter().enumerate().flat_map(with_rest).filter(apart)
    };
    if every().take(MAX_PAIRS + 1).count() <= MAX_PAIRS {
        return every().collect();
    }
    let ring = pods.iter().zip(pods.iter().skip(1));
    let star = pods
        .iter()
        .take(1)
        .flat_map(|a| pods.iter().skip(2).map(move |b| (a, b)));
    ring.chain(star).filter(apart).take(MAX_PAIRS).collect()
}

fn address(pod: &PodRecord, afi: Afi) -> Result<IpAddr> {
    let found = pod
        .addresses
        .iter()
        .find(|address| Afi::of(**address) == afi);
    found
        .copied()
        .with_context(|| format!("pod {} has no {afi} address", pod.name))
}

fn addresses(lab: &Lab, pod: &PodRecord) -> String {
    let known = pod
        .addresses
        .iter()
        .filter(|a| lab.plan().families().contains(&Afi::of(**a)));
    known.map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Three echoes, all of which must return; the figure is the fastest.
fn ping(from: &Netns, to: IpAddr) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        crate::signals::check()?;
        best = best.min(icmp::ping(from, to, PATIENCE)?);
    }
    Ok(best)
}

/// One echo in each direction of a pair, in every family.
fn ping_both(lab: &Lab, a: &PodRecord, b: &PodRecord) -> Result<Vec<Result<String>>> {
    let (from, to) = (lab.netns(&a.name)?, lab.netns(&b.name)?);
    let mut results = Vec::new();
    for &afi in lab.plan().families() {
        for (from, to) in [(&from, b), (&to, a)] {
            let result = address(to, afi).and_then(|to| ping(from, to));
            results.push(result.map(time));
        }
    }
    Ok(results)
}

pub(super) fn pod_to_pod(lab: &Lab, report: &Report, summary: &mut Summary) -> Result<()> {
    let pairs = pairs(&lab.state().pods);
    if pairs.len() < MANY_PAIRS {
        for (a, b) in pairs {
            let text = format!("{} and {}: {} and back", a.name, b.name, addresses(lab, b));
            summary.record(report, "ping", &text, ping_both(lab, a, b)?);
        }
        return Ok(());
    }
    let mut results = Vec::new();
    for (a, b) in &pairs {
        let pair = format!("{} and {}", a.name, b.name);
        let tried = ping_both(lab, a, b)?;
        results.extend(tried.into_iter().map(|result| result.context(pair.clone())));
    }
    let text = format!(
        "{} pairs of pods on different nodes, both ways",
        pairs.len()
    );
    summary.record(report, "ping", &text, results);
    Ok(())
}

/// The first pod and the last: on different nodes wherever there are two.
fn far_pair(lab: &Lab) -> Option<(&PodRecord, &PodRecord)> {
    let pods = &lab.state().pods;
    let (first, last) = (pods.first()?, pods.last()?);
    (first.node != last.node).then_some((first, last))
}

pub(super) fn trace(lab: &Lab, report: &Report, summary: &mut Summary) -> Result<()> {
    let Some((a, b)) = far_pair(lab) else {
        return Ok(());
    };
    for &afi in lab.plan().families() {
        let (text, result) = match trace_one(lab, a, b, afi) {
            Ok(path) => (
                format!("{} to {}: {path}", a.name, b.name),
                Ok(String::new()),
            ),
            Err(error) => (format!("{} to {} over {afi}", a.name, b.name), Err(error)),
        };
        summary.record(report, "trace", &text, vec![result]);
    }
    Ok(())
}

/// The hops must be the two nodes and the pod: plain layer 3, nothing in between.
fn trace_one(lab: &Lab, a: &PodRecord, b: &PodRecord, afi: Afi) -> Result<String> {
    let destination = address(b, afi)?;
    let hops = icmp::trace(&lab.netns(&a.name)?, destination, 8, PATIENCE)?;
    let [first, second, last] = hops.as_slice() else {
        bail!("the path is {hops:?}: not node, node, pod");
    };
    for (hop, node) in [(first, &a.node), (second, &b.node)] {
        if !addresses_of(&lab.netns(node)?)?.contains(hop) {
            bail!("hop {hop} of {hops:?} is no address of {node}");
        }
    }
    Ok(format!(
        "{first} ({}), {second} ({}), {last}",
        a.node, b.node
    ))
}

fn addresses_of(netns: &Netns) -> Result<BTreeSet<IpAddr>> {
    let text = iproute::output(netns, &["-o", "addr", "show"])?;
    let after_family = |line: &str| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| !word.starts_with("inet"));
        words.nth(1)?.split('/').next()?.parse().ok()
    };
    Ok(text.lines().filter_map(after_family).collect())
}

pub(super) fn tcp(lab: &Lab, report: &Report, summary: &mut Summary) -> Result<()> {
    let Some((a, b)) = far_pair(lab) else {
        return Ok(());
    };
    let families = lab.plan().families();
    let results = families.iter().map(|&afi| {
        transfer(
            &lab.netns(&a.name)?,
            address(a, afi)?,
            &lab.netns(&b.name)?,
            address(b, afi)?,
        )
    });
    let text = format!(
        "{} to {}: {} MiB there and back in each family, source address kept",
        a.name,
        b.name,
        TCP_OCTETS >> 20
    );
    summary.record(report, "tcp", &text, results.collect());
    Ok(())
}

/// TCP with the client's own address seen at the server.
fn transfer(client: &Netns, own: IpAddr, server: &Netns, to: IpAddr) -> Result<String> {
    let seen = tcp::transfer(client, server, to, TCP_OCTETS, PATIENCE)?;
    if seen.peer != own {
        bail!(
            "the server saw {} in place of {own}: the path translates addresses",
            seen.peer
        );
    }
    Ok(time(seen.took))
}

pub(super) fn outside(lab: &Lab, report: &Report, summary: &mut Summary) -> Result<()> {
    let client = lab.netns(CLIENT)?;
    let families = lab.plan().families();
    let pods = &lab.state().pods;
    // From a pod outwards: the nodes' default route, and translation to the node's address.
    if let Some(pod) = pods.first() {
        let netns = lab.netns(&pod.name)?;
        let to = |afi: &Afi| Plan::outside_address(2, *afi);
        let results = families.iter().map(|afi| Ok(time(ping(&netns, to(afi))?)));
        let text = format!(
            "{} to the host outside: {}",
            pod.name,
            families
                .iter()
                .map(to)
                .map(|a| a.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        );
        // Without routes to pods on the router, replies need the translation, which only the agent sets up.
        if lab.router_protocol().is_some() {
            summary.record(report, "outside", &text, results.collect());
        }
    }
    if lab.router_protocol().is_none() {
        report.note(
            "outside",
            "the router speaks no BGP: nothing outside knows the pods",
        );
        return Ok(());
    }
    let mut pings = Vec::new();
    for pod in pods.iter().take(MAX_PAIRS) {
        for &afi in families {
            let result = address(pod, afi).and_then(|to| ping(&client, to));
            pings.push(result.map(time).with_context(|| pod.name.clone()));
        }
    }
    let text = format!("the host outside to every pod, by way of the {ROUTER}");
    summary.record(report, "outside", &text, pings);
    if let Some(pod) = pods.last() {
        let server = lab.netns(&pod.name)?;
        let results = families.iter().map(|&afi| {
            transfer(
                &client,
                Plan::outside_address(2, afi),
                &server,
                address(pod, afi)?,
            )
        });
        let text = format!(
            "the host outside to {}: {} MiB there and back in each family",
            pod.name,
            TCP_OCTETS >> 20
        );
        summary.record(report, "tcp", &text, results.collect());
    }
    Ok(())
}
