//! What a plan says of routes that are passed on from router to router.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use dunlin_bgp::policy::Role;
use dunlin_core::PlanStep;
use dunlin_intent::{Fact, PeerFact};
use support::many::*;
use support::plans::*;
use support::*;

/// A router with an export filter that lets everything out, and what we are to it.
fn relay(number: u8, role: Option<Role>) -> PeerFact {
    PeerFact {
        export_filter: Some("all".into()),
        role,
        ..router(number)
    }
}

/// The router `tor-1`, which announces a default route and one more, and what we are to it.
fn upstream(role: Option<Role>) -> PeerFact {
    PeerFact { role, ..router(1) }
}

fn changed(plan: &dunlin_api::Plan, net: &str) -> Vec<String> {
    let mut changed = plan
        .exports
        .items
        .iter()
        .flat_map(|one| &one.prefixes.change.items);
    let found = changed.find(|one| one.prefix.to_string() == net);
    found.map_or_else(Vec::new, |one| one.changes.iter().map(reason).collect())
}

/// What is planned comes.
fn comes(bench: &mut Bench, steps: Vec<PlanStep>) {
    for name in bench.undergoes(steps) {
        if name == "tor-1" {
            bench.hears(&name, &FROM_ABOVE);
        }
    }
}

/// Of two routes that are as good, that of the lower identifier counts. A router that moves has the one that it had: it goes
/// on to be told nothing of what it tells itself.
#[test]
fn a_router_at_another_address_is_foreseen_as_the_one_it_was() {
    let mut bench = world();
    bench.hears("tor-2", &FROM_ABOVE);
    let mut moved = relay(1, None);
    comes(&mut bench, vec![applies(Fact::Peer(moved.clone()))]);
    moved.peer_address = router(3).peer_address;
    let steps = vec![applies(Fact::Peer(moved))];
    let planned = plan(&bench, steps.clone());
    assert!(exports(&planned).is_empty(), "{planned:?}");
    let told = bench.told_to();
    comes(&mut bench, steps);
    assert_eq!(bench.told_to(), told);
}

const FROM_ABOVE: [&str; 2] = ["0.0.0.0/0", "198.51.100.0/24"];

#[test]
fn what_a_role_withholds_of_relayed_routes_is_foreseen() {
    let mut bench = world();
    comes(&mut bench, vec![applies(Fact::Peer(relay(2, None)))]);
    let told = |plan: &dunlin_api::Plan| {
        let all = exports(plan).into_iter();
        let of_relay = all.filter(|(peers, ..)| *peers == strings(["tor-2"]));
        of_relay
            .map(|(_, appear, go, change)| (appear, go, change))
            .collect::<Vec<_>>()
    };
    let none = Vec::new;

    // What comes from a provider is marked, and who is nothing to us is told of it all the same.
    let above = vec![applies(Fact::Peer(upstream(Some(Role::Customer))))];
    let planned = plan(&bench, above.clone());
    assert_eq!(told(&planned), [(none(), none(), strings(FROM_ABOVE))]);
    let mark = strings(["ONLY_TO_CUSTOMER: - to 65001"]);
    assert_eq!(changed(&planned, FROM_ABOVE[0]), mark);
    comes(&mut bench, above);

    // Another provider is not told.
    let other = vec![applies(Fact::Peer(relay(2, Some(Role::Customer))))];
    assert_eq!(
        told(&plan(&bench, other.clone())),
        [(none(), strings(FROM_ABOVE), none())]
    );
    // A customer is, and what nobody marked is marked for it.
    let below = vec![applies(Fact::Peer(relay(2, Some(Role::Provider))))];
    let planned = plan(&bench, below);
    let ours = strings([
        "10.244.1.0/24",
        "10.244.2.0/24",
        "10.244.3.0/24",
        "203.0.113.1/32",
    ]);
    assert_eq!(told(&planned), [(none(), none(), ours.clone())]);
    for net in &ours {
        assert_eq!(
            changed(&planned, net),
            strings(["ONLY_TO_CUSTOMER: - to 64512"])
        );
    }
    comes(&mut bench, other);

    // The mark was ours: it goes with the role.
    let nothing = vec![applies(Fact::Peer(upstream(None)))];
    assert_eq!(
        told(&plan(&bench, nothing)),
        [(strings(FROM_ABOVE), none(), none())]
    );
}
