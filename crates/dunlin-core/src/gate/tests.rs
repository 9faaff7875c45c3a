use super::*;

const NODE: PeerId = PeerId(1);
const DEAD_NODE: PeerId = PeerId(2);
const ROUTER: PeerId = PeerId(3);

fn awaited(peer: PeerId, outside: bool) -> Awaited {
    Awaited {
        peer,
        outside,
        reflector: false,
        range: false,
    }
}

fn closed() -> Gate {
    let mut gate = Gate::new();
    gate.on_synced(
        Instant::ZERO,
        [
            awaited(NODE, false),
            awaited(DEAD_NODE, false),
            awaited(ROUTER, true),
        ],
    );
    gate
}

#[test]
fn nothing_goes_before_the_sources_have_synced() {
    let gate = Gate::new();
    for claimant in [Claimant::Peer(NODE), Claimant::Outside, Claimant::Nobody] {
        assert!(!gate.releases(claimant), "{claimant:?}");
    }
    assert!(!gate.is_open());
}

#[test]
fn a_dead_peer_delays_only_its_own_routes() {
    let mut gate = closed();
    assert!(gate.on_complete(NODE));
    assert!(gate.on_complete(ROUTER));
    assert!(gate.releases(Claimant::Peer(NODE)));
    assert!(gate.releases(Claimant::Outside));
    assert!(gate.releases(Claimant::Nobody));
    assert!(!gate.releases(Claimant::Peer(DEAD_NODE)));
    assert!(!gate.is_open());
}

#[test]
fn what_no_node_owns_waits_for_routers_outside_alone() {
    let mut gate = closed();
    assert!(!gate.releases(Claimant::Outside));
    gate.on_complete(ROUTER);
    assert!(gate.releases(Claimant::Outside));
    assert!(!gate.releases(Claimant::Peer(NODE)));
}

#[test]
fn the_deadline_opens_it_whatever_is_missing() {
    let mut gate = closed();
    let deadline = gate.next_deadline().unwrap();
    assert_eq!(deadline, Instant::ZERO + Gate::DEFERRAL);
    assert!(gate.on_time(deadline));
    assert!(gate.is_open());
    assert_eq!(gate.next_deadline(), None);
    assert!(!gate.on_time(deadline), "it passes once");
}

#[test]
fn sources_that_sync_late_still_give_peers_their_time() {
    let late = Instant::ZERO + Duration::from_secs(3600);
    let mut gate = Gate::new();
    assert!(!gate.on_time(late), "the sources come first, however late");
    gate.on_synced(late, [awaited(NODE, false)]);
    assert!(!gate.on_time(late));
    assert!(!gate.releases(Claimant::Peer(NODE)));
    assert!(gate.on_time(late + Gate::DEFERRAL));
    assert!(gate.is_open());
}

#[test]
fn a_range_holds_back_only_what_its_peers_may_have_announced() {
    let mut gate = Gate::new();
    let range = Awaited {
        peer: ROUTER,
        outside: true,
        reflector: false,
        range: true,
    };
    gate.on_synced(Instant::ZERO, [range]);
    assert!(gate.is_open(), "nobody knows who of it will come");
    assert!(!gate.releases(Claimant::Outside));
    assert!(gate.on_time(Instant::ZERO + Gate::DEFERRAL));
    assert!(gate.releases_all());
}
