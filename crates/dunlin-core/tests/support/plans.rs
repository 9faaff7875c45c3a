//! A small cluster that plans are made for, and what they say, in short.

use dunlin_api::{FieldChange, Listed, Plan, PlannedPrefix, SessionEffect};
use dunlin_core::PlanStep;
use dunlin_intent::{AdvertisementFact, Fact, ServiceAddressKind, ServicesFact};

use super::many::*;
use super::*;

/// Three nodes, two routers, one Service with a load-balancer address; all sessions are up.
pub(crate) fn world() -> Bench {
    let mut bench = Bench::new();
    bench.apply(Fact::Node(other_node(2)));
    bench.apply(Fact::Node(other_node(3)));
    bench.apply(Fact::Filter(all()));
    bench.apply(Fact::Peer(router(1)));
    bench.apply(Fact::Peer(router(2)));
    bench.apply(Fact::Advertisement(pods()));
    bench.apply(Fact::Advertisement(services()));
    bench.apply(service("web", "front", 1));
    bench.apply(slice("web", 1));
    bench.sync();
    for name in ["n2", "n3", "tor-1", "tor-2"] {
        bench.comes_up(name);
    }
    bench.hears("n2", &["10.244.2.0/24"]);
    bench.hears("n3", &["10.244.3.0/24"]);
    bench.hears("tor-1", &["0.0.0.0/0", "198.51.100.0/24"]);
    bench
}

pub(crate) fn pods() -> AdvertisementFact {
    AdvertisementFact {
        name: "pods".into(),
        pod_cidrs: true,
        ..AdvertisementFact::default()
    }
}

pub(crate) fn services() -> AdvertisementFact {
    AdvertisementFact {
        name: "services".into(),
        services: Some(ServicesFact {
            addresses: vec![ServiceAddressKind::LoadBalancerIp],
            selector: None,
            namespace_selector: None,
        }),
        ..AdvertisementFact::default()
    }
}

/// Plans, and holds that nothing changed by it.
pub(crate) fn plan(bench: &Bench, steps: Vec<PlanStep>) -> Plan {
    let before = bench.held();
    let plan = bench.plan(steps);
    assert_eq!(bench.held(), before, "a plan changes nothing");
    plan
}

/// The sessions that share a fate: what it is, why, and who.
pub(crate) fn fates(plan: &Plan) -> Vec<(SessionEffect, Vec<String>, Vec<String>)> {
    let fate = |group: &dunlin_api::PlannedSessions| {
        let reasons = group.reasons.iter().map(reason).collect();
        let peers = group.peers.items.iter().map(|peer| peer.name.clone());
        (group.effect, reasons, peers.collect())
    };
    plan.sessions.items.iter().map(fate).collect()
}

pub(crate) fn reason(change: &FieldChange) -> String {
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{}: {} to {}",
        change.field,
        side(&change.before),
        side(&change.after)
    )
}

pub(crate) fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

pub(crate) fn nets(listed: &Listed<PlannedPrefix>) -> Vec<String> {
    assert_eq!(listed.more, 0);
    listed
        .items
        .iter()
        .map(|one| one.prefix.to_string())
        .collect()
}

pub(crate) type Names = Vec<String>;

/// Who is told what: peers, what appears, what goes, what changes.
pub(crate) fn exports(plan: &Plan) -> Vec<(Names, Names, Names, Names)> {
    let shown = |one: &dunlin_api::PlannedExports| {
        (
            one.peers.items.clone(),
            nets(&one.prefixes.appear),
            nets(&one.prefixes.go),
            nets(&one.prefixes.change),
        )
    };
    plan.exports.items.iter().map(shown).collect()
}

/// From whom what is learned: the peer, what appears, what goes.
pub(crate) fn imports(plan: &Plan) -> Vec<(String, Vec<String>, Vec<String>)> {
    let shown = |one: &dunlin_api::PlannedImports| {
        let prefixes = &one.prefixes;
        (one.peer.clone(), nets(&prefixes.appear), nets(&prefixes.go))
    };
    plan.imports.items.iter().map(shown).collect()
}
