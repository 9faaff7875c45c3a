//! Whatever changes: what a plan said of it is what comes of it.

#[path = "support/changes.rs"]
mod changes;
#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use changes::*;
use dunlin_api::{Answer, Listed, Plan, PlannedPrefix, PlannedPrefixes, Query, SessionEffect};
use dunlin_bgp::session::PeerConfig;
use dunlin_core::PlanStep;
use dunlin_intent::{AdvertisementFact, ConfigurationFact, Fact, TopologyMode};
use dunlin_net::{Asn, Instant, IpNet};
use proptest::prelude::*;
use support::many::*;
use support::*;

type Told = BTreeMap<String, BTreeSet<IpNet>>;

type Peers = BTreeMap<String, Arc<PeerConfig>>;

type Hops = BTreeMap<(String, IpNet), Vec<IpAddr>>;

/// A node among others that heard something from everybody, with these facts besides.
fn world(facts: Vec<Fact>) -> Bench {
    let mut bench = Bench::new();
    let base = [
        Fact::Node(other_node(2)),
        Fact::Node(other_node(3)),
        Fact::Filter(all()),
        Fact::Peer(router(1)),
        service("web", "front", 1),
        slice("web", 1),
    ];
    for fact in base.into_iter().chain(facts) {
        bench.apply(fact);
    }
    bench.sync();
    for name in bench.peers().into_keys() {
        bench.comes_up(&name);
        announce(&mut bench, &name);
    }
    bench
}

const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "10.244.3.0/24"];

const OF_ROUTERS: [&str; 2] = ["198.51.100.0/24", "203.0.113.1/32"];

/// What a peer of this name always announces.
fn announce(bench: &mut Bench, name: &str) {
    match name {
        "n2" => bench.hears(name, &["10.244.2.0/24", "10.244.3.0/24"]),
        "n3" => bench.hears(name, &["10.244.3.0/24", "10.245.3.0/24"]),
        "n4" => bench.hears(name, &["10.244.4.0/24"]),
        // Who says what it is to us marks what it tells.
        SAYS_ROLE => bench.hears_marked(name, &[EVERYWHERE, OF_ROUTERS].concat(), None),
        _ => {
            bench.hears(name, &EVERYWHERE);
            match name {
                "tor-1" => bench.hears(name, &OF_ROUTERS),
                // They are for customers since somebody far away.
                _ => bench.hears_marked(name, &OF_ROUTERS, Some(Asn(65009))),
            }
        }
    }
}

fn nets(listed: &Listed<PlannedPrefix>) -> BTreeSet<IpNet> {
    assert_eq!(listed.more, 0);
    listed.items.iter().map(|one| one.prefix).collect()
}

/// What becomes of the prefixes by the plan: those that come were not there, those that go were, as those that change.
fn with(before: &BTreeSet<IpNet>, planned: &PlannedPrefixes, what: &str) -> BTreeSet<IpNet> {
    let (appear, go) = (nets(&planned.appear), nets(&planned.go));
    assert!(appear.is_disjoint(before), "{what}: {appear:?} are there");
    assert!(go.is_subset(before), "{what}: {go:?} are not there");
    let change = nets(&planned.change);
    assert!(change.is_subset(before), "{what}: {change:?} are not there");
    before.difference(&go).chain(&appear).copied().collect()
}

fn named(plan: &Plan, wanted: SessionEffect) -> BTreeSet<String> {
    let groups = plan.sessions.items.iter();
    let groups = groups.filter(|group| {
        let tried = group.not_tried.is_none() || group.effect == SessionEffect::Ends;
        group.effect == wanted && tried
    });
    groups
        .flat_map(|group| group.peers.items.iter().map(|peer| peer.name.clone()))
        .collect()
}

fn names<T>(peers: &BTreeMap<String, T>) -> BTreeSet<String> {
    peers.keys().cloned().collect()
}

fn problems(bench: &mut Bench) -> BTreeSet<(String, String)> {
    let Answer::Status(status) = bench.ask(&Query::Status) else {
        panic!("the status was asked for");
    };
    // That a session is down is no problem of an object.
    let problems = status.problems.into_iter();
    let of_objects = problems.filter(|problem| problem.reason != "SessionDown");
    of_objects
        .map(|problem| (problem.object, problem.reason))
        .collect()
}

/// The plan's sessions against the core's commands.
fn sessions_agree(
    plan: &Plan,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
    reset: &BTreeSet<String>,
) {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> BTreeSet<String> {
        a.difference(b).cloned().collect()
    };
    assert_eq!(named(plan, SessionEffect::Starts), only(after, before));
    // What was not tried before has no session to end.
    let ends: BTreeSet<String> = named(plan, SessionEffect::Ends);
    let ended: BTreeSet<String> = ends.intersection(before).cloned().collect();
    assert_eq!(ended, only(before, after));
    assert_eq!(&named(plan, SessionEffect::Resets), reset);
}

/// What a peer would be told otherwise.
fn planned_for(plan: &Plan, peer: &str) -> PlannedPrefixes {
    let mut groups = plan.exports.items.iter();
    let group = groups.find(|group| group.peers.items.iter().any(|name| name == peer));
    let mut planned = group.map_or_else(PlannedPrefixes::default, |group| group.prefixes.clone());
    // Nobody is told what comes from itself.
    let lists = [&mut planned.appear, &mut planned.go, &mut planned.change];
    for listed in lists {
        listed
            .items
            .retain(|one| one.origin.as_deref() != Some(peer));
    }
    planned
}

fn exports_agree(plan: &Plan, before: &Told, after: &Told) {
    let nobody = BTreeSet::new();
    for peer in names(before).union(&names(after)) {
        let told = |told: &Told| told.get(peer).unwrap_or(&nobody).clone();
        let expected = with(&told(before), &planned_for(plan, peer), peer);
        assert_eq!(expected, told(after), "told to {peer}");
    }
}

/// Next hops change where the plan says that something does, and where it says that paths or next hops do.
fn hops_agree(plan: &Plan, before: &Hops, after: &Hops) {
    for ((peer, net), hops) in before {
        let Some(then) = after.get(&(peer.clone(), *net)) else {
            continue;
        };
        let planned = planned_for(plan, peer).change.items;
        let planned = planned.iter().find(|one| one.prefix == *net);
        let what = || format!("{net} told to {peer}: {hops:?}, then {then:?}, but {planned:?}");
        assert!(hops == then || planned.is_some(), "{}", what());
        let changes = planned.into_iter().flat_map(|one| &one.changes);
        let mut of_hops = changes.filter(|change| change.field == "next hop");
        assert!(of_hops.next().is_none() || hops != then, "{}", what());
    }
}

fn imports_agree(plan: &Plan, before: &Told, after: &Told) {
    let nobody = BTreeSet::new();
    let idle = PlannedPrefixes::default();
    for peer in names(before).union(&names(after)) {
        let used = |used: &Told| used.get(peer).unwrap_or(&nobody).clone();
        let mut planned = plan.imports.items.iter();
        let planned = planned.find(|one| one.peer == *peer);
        let planned = planned.map_or(&idle, |one| &one.prefixes);
        let expected = with(&used(before), planned, peer);
        assert_eq!(expected, used(after), "learned from {peer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_was_planned_comes(
        facts in prop::collection::vec(a_fact(), 0..6),
        steps in prop::collection::vec(a_step(), 1..5),
    ) {
        comes(world(facts), steps);
    }

    #[test]
    fn what_is_passed_on_comes(
        relays in (a_relay(1), a_relay(2), a_relay(3)),
        filter in a_filter(),
        reflectors in any::<bool>(),
        steps in prop::collection::vec(a_turn(), 1..4),
    ) {
        let relays = [relays.0, relays.1, relays.2].map(Fact::Peer);
        let pods = Fact::Advertisement(AdvertisementFact {
            name: "pods".into(),
            pod_cidrs: true,
            ..AdvertisementFact::default()
        });
        let topology = reflectors.then_some(TopologyMode::Reflectors);
        let configuration = Fact::Configuration(ConfigurationFact {
            name: "default".into(),
            topology,
            ..ConfigurationFact::default()
        });
        let facts = [configuration, filter, pods].into_iter().chain(relays);
        comes(world(facts.collect()), steps);
    }
}

/// What is planned in this world is what comes of it.
fn comes(mut bench: Bench, steps: Vec<PlanStep>) {
    bench.until(Instant::from_micros(60_000_000));
    let (told, used, wrong) = (bench.told_to(), bench.used(), problems(&mut bench));
    let (hops, peers) = (bench.told_by(), bench.peers());
    let before = names(&peers);
    let held = bench.held();
    let plan = bench.plan(steps.clone());
    assert_eq!(held, bench.held());

    let reset = bench.undergoes(steps);
    for name in &reset {
        announce(&mut bench, name);
    }
    // Who was reflected for and is no more asks for all again once it has it elsewhere: only then that stops.
    for name in bench
        .peers()
        .into_keys()
        .filter(|name| name.starts_with('n'))
    {
        bench.asks_again(&name);
    }
    bench.until(Instant::from_micros(120_000_000));
    sessions_agree(&plan, &before, &names(&bench.peers()), &reset);
    exports_agree(&plan, &told, &bench.told_to());
    // Nobody knows what paths somebody will tell that is to tell more, or fewer, or by which next hops one that is elsewhere.
    let tells = |peers: &Peers, name: &str| {
        let config = peers.get(name)?;
        Some((config.remote, agreed(config).receives_paths()))
    };
    let now = bench.peers();
    let stays = |name: &String| tells(&peers, name) == tells(&now, name);
    if before
        .iter()
        .filter(|name| now.contains_key(*name))
        .all(stays)
    {
        hops_agree(&plan, &hops, &bench.told_by());
    }
    imports_agree(&plan, &used, &bench.used());
    problems_agree(&plan, &wrong, &problems(&mut bench));
}

fn problems_agree(
    plan: &Plan,
    before: &BTreeSet<(String, String)>,
    after: &BTreeSet<(String, String)>,
) {
    let of = |listed: &Listed<dunlin_api::ObjectProblem>| -> BTreeSet<(String, String)> {
        let problems = listed.items.iter();
        let real = problems.filter(|problem| problem.reason != "NotFound");
        real.map(|p| (format!("{}/{}", p.kind, p.name), p.reason.clone()))
            .collect()
    };
    assert!(
        of(&plan.problems).is_subset(after),
        "{:?} of {after:?}",
        plan.problems
    );
    let left: BTreeSet<_> = before.difference(&of(&plan.solved)).cloned().collect();
    let expected: BTreeSet<_> = left.union(&of(&plan.problems)).cloned().collect();
    assert!(
        after.is_subset(&expected.union(before).cloned().collect()),
        "{after:?}"
    );
    assert!(left.is_subset(after), "{left:?} of {after:?}");
}
