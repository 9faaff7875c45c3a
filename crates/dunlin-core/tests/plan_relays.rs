//! What a plan says of routes that are passed on from router to router.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use dunlin_bgp::policy::Role;
use dunlin_core::PlanStep;
use dunlin_intent::{AddPathFact, Fact, Key, PeerAsn, PeerFact};
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

/// A router within our AS that we reflect for, told the best path of each prefix alone.
fn client(number: u8) -> PeerFact {
    PeerFact {
        peer_asn: Some(PeerAsn::Internal),
        reflector_client: Some(true),
        add_path: AddPathFact {
            send: Some(false),
            receive: Some(false),
        },
        ..router(number)
    }
}

/// The prefixes from above in what a peer would be told: those that appear, go and change.
fn from_above(plan: &dunlin_api::Plan, peer: &str) -> [Vec<String>; 3] {
    let all = exports(plan).into_iter();
    let mut own = all.filter(|(peers, ..)| peers.iter().any(|name| name == peer));
    let (_, appear, go, change) = own.next().unwrap_or_default();
    let above = |mut nets: Vec<String>| {
        nets.retain(|net| FROM_ABOVE.contains(&net.as_str()));
        nets
    };
    assert!(own.next().is_none(), "{peer} stands in one list");
    [appear, go, change].map(above)
}

#[test]
fn what_a_reflector_passes_on_is_foreseen() {
    let mut bench = world();
    let told = |plan: &dunlin_api::Plan, peer: &str| from_above(plan, peer);
    let (all, none) = (strings(FROM_ABOVE), Vec::new());

    // From an external router to a client goes what a filter lets go, and there is none.
    let second = vec![applies(Fact::Peer(client(2)))];
    let planned = plan(&bench, second.clone());
    assert_eq!(
        told(&planned, "tor-2"),
        [none.clone(), none.clone(), none.clone()]
    );
    comes(&mut bench, second);

    // From one client to another, and to who is no client.
    let first = vec![applies(Fact::Peer(client(1)))];
    let planned = plan(&bench, first.clone());
    for peer in ["tor-2", "n2", "n3"] {
        assert_eq!(
            told(&planned, peer),
            [all.clone(), none.clone(), none.clone()],
            "{peer}"
        );
    }
    assert_eq!(
        told(&planned, "tor-1"),
        [none.clone(), none.clone(), none.clone()]
    );
    comes(&mut bench, first);

    // And no more, when there is no client.
    let mut plain = client(1);
    plain.reflector_client = None;
    let planned = plan(
        &bench,
        vec![
            applies(Fact::Peer(plain)),
            deletes(Key::Peer("tor-2".into())),
        ],
    );
    assert_eq!(told(&planned, "n2"), [none.clone(), all, none]);
}

/// Three that are told the same but what comes from themselves: another one's path is the best for the first from now on.
#[test]
fn who_tells_the_best_path_is_told_another() {
    let mut bench = world();
    let clients = [1, 2, 3].map(|number| applies(Fact::Peer(client(number))));
    comes(&mut bench, clients.to_vec());
    bench.hears("tor-2", &FROM_ABOVE);
    let mut ignored = client(1);
    ignored.import_filter = None;
    let planned = plan(&bench, vec![applies(Fact::Peer(ignored))]);
    let (all, none) = (strings(FROM_ABOVE), Vec::new);
    assert_eq!(from_above(&planned, "tor-1"), [all.clone(), none(), none()]);
    assert_eq!(from_above(&planned, "tor-2"), [none(), all.clone(), none()]);
    assert_eq!(from_above(&planned, "tor-3"), [none(), none(), all]);
}

#[test]
fn a_second_path_that_goes_is_foreseen() {
    let mut bench = world();
    let clients = [1, 2].map(|number| applies(Fact::Peer(client(number))));
    comes(&mut bench, clients.to_vec());
    bench.hears("tor-2", &FROM_ABOVE);
    let planned = plan(&bench, vec![deletes(Key::Peer("tor-2".into()))]);
    let (all, none) = (strings(FROM_ABOVE), Vec::new);
    // Nodes take several paths, whoever is told one has the best already, and it was the only one for who tells it.
    assert_eq!(from_above(&planned, "n2"), [none(), none(), all]);
    assert_eq!(from_above(&planned, "tor-1"), [none(), none(), none()]);
    let paths = strings(["paths: tor-1, tor-2 to tor-1"]);
    assert_eq!(changed(&planned, FROM_ABOVE[0]), paths);
}
