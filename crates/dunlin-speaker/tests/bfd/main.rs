//! BFD with FRR's and BIRD's, each in a network namespace of its own.

#![allow(clippy::print_stdout, reason = "the figures that were measured")]

#[path = "../support/mod.rs"]
mod support;

mod daemon;
mod forged;
mod sink;

use std::time::{Duration, Instant};

use dunlin_bfd::{
    Cause, Diagnostic, DropReason, Seeds, SessionConfig, SessionId, State, StateChange,
};
use dunlin_speaker::bfd::{BfdConfig, BfdEvent, BfdHandle, BfdReport, BfdSession};
use dunlin_speaker::{Clock, Inbox, Lane, inbox};
use support::netns::*;
use support::*;

use self::daemon::{Daemon, Kind, Told};
use self::forged::packets_from_afar_and_garbage_change_nothing;

const ID: SessionId = SessionId(1);
const OTHER: SessionId = SessionId(2);

const NEAR: Told = Told {
    ours: "10.9.0.1",
    theirs: "10.9.0.2",
    multihop: false,
};
const NEAR_SIX: Told = Told {
    ours: "fd09::1",
    theirs: "fd09::2",
    multihop: false,
};
const FAR: Told = Told {
    ours: "10.9.0.1",
    theirs: "10.9.2.2",
    multihop: true,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Our end.
struct Ours {
    handle: BfdHandle,
    clock: Clock,
    inbox: Inbox<BfdEvent>,
    seen: Vec<BfdEvent>,
}

impl Ours {
    fn start() -> Ours {
        let clock = Clock::start();
        let config = BfdConfig {
            seeds: Seeds {
                discriminators: [std::process::id().into(), clock_seed()],
                chance: clock_seed(),
            },
            clock,
            limit: 100,
        };
        let inbox = inbox();
        let sender = inbox.sender(Lane { capacity: 100 });
        let sink = move |event, waker: &_| sender.send_or_wake(1, event, |event| event, waker);
        Ours {
            handle: BfdHandle::spawn(&config, sink).expect("it starts"),
            clock,
            inbox,
            seen: Vec::new(),
        }
    }

    fn set(&mut self, id: SessionId, config: SessionConfig) {
        self.handle.set(id, config).expect("it can be");
    }

    fn report(&self) -> BfdReport {
        self.handle.report().expect("it answers")
    }

    fn session(&self, id: SessionId) -> BfdSession {
        let report = self.report();
        let mut sessions = report.sessions.into_iter();
        let found = sessions.find(|session| session.snapshot.session == id);
        found.expect("it is there")
    }

    fn state(&self, id: SessionId) -> State {
        self.session(id).snapshot.state
    }

    fn failures(&self, id: SessionId) -> u64 {
        self.session(id).snapshot.stats.failures
    }

    /// Waits for a change to this state.
    fn wait(&mut self, id: SessionId, to: State) -> StateChange {
        let end = Instant::now() + PATIENCE;
        loop {
            let wanted = |event: &BfdEvent| match event {
                BfdEvent::Changed(change) if change.session == id && change.to == to => {
                    Some(*change)
                }
                _ => None,
            };
            if let Some(at) = self.seen.iter().position(|event| wanted(event).is_some()) {
                let found = wanted(&self.seen.remove(at)).expect("just found");
                // What came before for the same session is history.
                let mut index = 0;
                self.seen.retain(|event| {
                    index += 1;
                    index > at || event.session() != id
                });
                return found;
            }
            let patience = end.saturating_duration_since(Instant::now());
            let mut fresh = Vec::new();
            if !self.inbox.receive(&mut fresh, Some(patience)) {
                panic!("no {to}; seen: {:#?}; {:#?}", self.seen, self.report());
            }
            self.seen.extend(fresh);
        }
    }

    /// Waits until it goes down, at this time or later: FRR may begin twice before it stays.
    fn wait_down(&mut self, id: SessionId, since: dunlin_net::Instant) -> StateChange {
        loop {
            let change = self.wait(id, State::Down);
            if change.at >= since {
                return change;
            }
        }
    }

    /// Waits until it is up, and all polls are answered.
    fn settle(&self, id: SessionId) -> BfdSession {
        let mut settled = None;
        eventually("it settles", || {
            let session = self.session(id);
            let snapshot = &session.snapshot;
            let both = [snapshot.state, snapshot.remote_state] == [State::Up; 2];
            settled = (both && !snapshot.polling).then_some(session);
            settled.is_some()
        });
        settled.expect("just found")
    }
}

fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn config(told: Told, interval: Duration) -> SessionConfig {
    let (ours, theirs) = (ip(told.ours), ip(told.theirs));
    let mut config = if told.multihop {
        SessionConfig::multi_hop(theirs, ours)
    } else {
        SessionConfig::single_hop(theirs)
    };
    config.desired_min_tx = interval;
    config.required_min_rx = interval;
    config
}

fn beside() -> Netns {
    let there = Netns::beside();
    run("ip addr add 10.9.0.1/24 dev ours");
    run("ip -6 addr add fd09::1/64 dev ours nodad");
    there.run("ip addr add 10.9.0.2/24 dev theirs");
    there.run("ip -6 addr add fd09::2/64 dev theirs nodad");
    there
}

/// Behind a router.
fn behind() -> (Netns, Netns) {
    let router = Netns::new();
    router.link("ours", "near");
    run("ip addr add 10.9.0.1/24 dev ours");
    run("ip route add default via 10.9.0.254");
    router.run("ip addr add 10.9.0.254/24 dev near");
    router.run("sysctl -qw net.ipv4.ip_forward=1");
    let there = Netns::new();
    let pid = there.pid();
    router.run(&format!(
        "ip link add far type veth peer name theirs netns {pid}"
    ));
    router.run("ip link set far up");
    router.run("ip addr add 10.9.2.254/24 dev far");
    there.run("ip link set theirs up");
    there.run("ip addr add 10.9.2.2/24 dev theirs");
    there.run("ip route add default via 10.9.2.254");
    (router, there)
}

/// Runs a test with each.
macro_rules! with_each {
    ($($name:ident)*) => {
        mod bird {
            $(#[test]
            fn $name() {
                let kind = crate::Kind::Bird;
                crate::in_netns(kind.programs(), move || crate::$name(kind));
            })*
        }
        mod frr {
            $(#[test]
            fn $name() {
                let kind = crate::Kind::Frr;
                crate::in_netns(kind.programs(), move || crate::$name(kind));
            })*
        }
    };
}

with_each! {
    both_families_come_up_as_agreed
    the_slower_side_sets_the_pace_and_changes_do_not_flap
    a_cut_is_noticed_on_both_sides_within_the_detection_time
    switching_off_is_told_and_is_no_failure
    a_restarted_peer_is_told_from_a_dead_one
    a_peer_behind_a_router_is_watched
    a_stop_of_ours_is_told_before_the_thread_ends
    packets_from_afar_and_garbage_change_nothing
}

fn both_families_come_up_as_agreed(kind: Kind) {
    let there = beside();
    let theirs = Daemon::start(kind, "up", &there, &[NEAR, NEAR_SIX], ms(50), 3);
    let mut ours = Ours::start();
    for (id, told) in [(ID, NEAR), (OTHER, NEAR_SIX)] {
        ours.set(id, config(told, ms(50)));
    }
    let mut ports = Vec::new();
    for (id, told) in [(ID, NEAR), (OTHER, NEAR_SIX)] {
        ours.wait(id, State::Up);
        let session = ours.settle(id);
        let snapshot = &session.snapshot;
        assert_eq!(snapshot.transmit_interval, ms(50));
        assert_eq!(snapshot.detection_time, Some(ms(150)));
        assert_eq!(snapshot.remote_state, State::Up);
        assert_eq!(session.send_errors, 0);
        ports.push(session.source_port.expect("it has sent"));
        eventually("they agree", || {
            theirs.session(told.ours) == Some((true, ms(150)))
        });
    }
    assert!(ports.iter().all(|port| *port >= 49152) && ports[0] != ports[1]);
}

fn the_slower_side_sets_the_pace_and_changes_do_not_flap(kind: Kind) {
    let there = beside();
    let theirs = Daemon::start(kind, "pace", &there, &[NEAR], ms(300), 9);
    let mut ours = Ours::start();
    let every = |interval| SessionConfig {
        detect_mult: 10,
        ..config(NEAR, interval)
    };
    ours.set(ID, every(ms(50)));
    ours.wait(ID, State::Up);
    let agreed = |ours: &Ours, interval: Duration| {
        eventually("we agree", || {
            let snapshot = ours.session(ID).snapshot;
            let pace = (snapshot.transmit_interval, snapshot.detection_time);
            pace == (interval, Some(interval * 9)) && !snapshot.polling
        });
        eventually("they agree", || {
            theirs.session(NEAR.ours) == Some((true, interval * 10))
        });
    };
    agreed(&ours, ms(300));
    let before = ours.session(ID).snapshot.stats;
    // Ours are slower now, then faster, then slower again.
    for interval in [ms(500), ms(20), ms(400)] {
        ours.set(ID, every(interval));
        agreed(&ours, interval.max(ms(300)));
    }
    let after = ours.session(ID).snapshot.stats;
    assert_eq!(after.transitions, before.transitions, "no flap");
}

fn a_cut_is_noticed_on_both_sides_within_the_detection_time(kind: Kind) {
    let there = beside();
    let theirs = Daemon::start(kind, "cut", &there, &[NEAR], ms(50), 3);
    let mut ours = Ours::start();
    ours.set(ID, config(NEAR, ms(50)));
    let mut noticed = 0;
    for round in 0..3 {
        ours.wait(ID, State::Up);
        eventually("they are up", || theirs.is_up(NEAR.ours));
        ours.settle(ID);
        // Silence in both directions at once, which no carrier tells of.
        let begun = ours.clock.now();
        let mut nft = there.command("nft");
        nft.arg(
            "add table inet cut; \
             add chain inet cut in { type filter hook input priority 0; policy drop; }; \
             add chain inet cut out { type filter hook output priority 0; policy drop; }",
        );
        output(nft);
        let cut = ours.clock.now();
        // A loaded machine may have missed packets before.
        let change = ours.wait_down(ID, begun);
        assert!(change.cause.is_failure(), "{change:?}");
        if change.cause == Cause::DetectionTimeExpired {
            noticed += 1;
            let silence = change.at - change.last_received.expect("it was up");
            assert_eq!(change.local_diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
            assert!(silence >= ms(150), "not before: {silence:?}");
            // A loaded machine may be late; an idle one is not.
            assert!(silence < ms(1500), "{silence:?}");
            println!(
                "{kind:?} round {round}: silence {silence:?}, noticed {:?} after the cut",
                change.at - cut
            );
        }
        eventually("they notice", || !theirs.is_up(NEAR.ours));
        there.run("nft delete table inet cut");
    }
    assert!(noticed > 0, "silence itself was noticed");
    println!("{kind:?}: {:?}", ours.report().counters);
    ours.wait(ID, State::Up);
}

fn switching_off_is_told_and_is_no_failure(kind: Kind) {
    let there = beside();
    let theirs = Daemon::start(kind, "off", &there, &[NEAR], ms(100), 30);
    let mut ours = Ours::start();
    let on = SessionConfig {
        detect_mult: 30,
        ..config(NEAR, ms(100))
    };
    let off = SessionConfig {
        enabled: false,
        ..on.clone()
    };
    ours.set(ID, on.clone());
    ours.wait(ID, State::Up);
    eventually("they are up", || theirs.is_up(NEAR.ours));
    let before = ours.settle(ID).snapshot.stats.failures;
    ours.set(ID, off);
    ours.wait(ID, State::AdminDown);
    eventually("they are told", || !theirs.is_up(NEAR.ours));
    ours.set(ID, on);
    ours.wait(ID, State::Up);
    eventually("they are up", || theirs.is_up(NEAR.ours));
    if kind == Kind::Frr {
        ours.settle(ID);
        let begun = ours.clock.now();
        theirs.shut(true);
        let change = ours.wait_down(ID, begun);
        assert_eq!(change.cause, Cause::RemoteAdminDown);
        theirs.shut(false);
        ours.wait(ID, State::Up);
    }
    assert_eq!(ours.failures(ID), before);
    ours.handle.remove(ID);
    eventually("they are told", || !theirs.is_up(NEAR.ours));
    assert!(ours.report().sessions.is_empty());
}

fn a_restarted_peer_is_told_from_a_dead_one(kind: Kind) {
    let there = beside();
    // Nobody misses a packet within the time that a restart takes.
    let mut theirs = Daemon::start(kind, "restart", &there, &[NEAR], ms(500), 60);
    let mut ours = Ours::start();
    ours.set(ID, config(NEAR, ms(500)));
    ours.wait(ID, State::Up);
    eventually("they are up", || theirs.is_up(NEAR.ours));
    let before = ours.settle(ID).snapshot.stats.failures;
    theirs.kill();
    let killed = ours.clock.now();
    theirs.launch(&there);
    let change = ours.wait_down(ID, killed);
    assert_eq!(change.cause, Cause::RemoteRestarted, "{change:?}");
    assert_eq!(change.failures, before, "{change:?}");
    ours.wait(ID, State::Up);
}

fn a_peer_behind_a_router_is_watched(kind: Kind) {
    let (router, there) = behind();
    let theirs = Daemon::start(kind, "far", &there, &[FAR], ms(100), 10);
    let mut ours = Ours::start();
    // BIRD sends with the system's TTL, FRR with 255; a router takes one.
    let far = SessionConfig {
        min_ttl: if kind == Kind::Bird { 60 } else { 254 },
        detect_mult: 10,
        ..config(FAR, ms(100))
    };
    ours.set(ID, far.clone());
    ours.wait(ID, State::Up);
    ours.settle(ID);
    eventually("they are up", || theirs.is_up(FAR.ours));
    router.run("sysctl -qw net.ipv4.ip_forward=0");
    let change = ours.wait(ID, State::Down);
    assert_eq!(change.cause, Cause::DetectionTimeExpired);
    // Too far away now for the limit that is set, though it answers.
    ours.set(
        ID,
        SessionConfig {
            min_ttl: 255,
            ..far.clone()
        },
    );
    router.run("sysctl -qw net.ipv4.ip_forward=1");
    eventually("it is dropped", || {
        let dropped = ours.session(ID).snapshot.stats.dropped;
        dropped.of(DropReason::Ttl) > 0
    });
    assert_eq!(ours.state(ID), State::Down);
    ours.set(ID, far);
    ours.wait(ID, State::Up);
}

fn a_stop_of_ours_is_told_before_the_thread_ends(kind: Kind) {
    let there = beside();
    let theirs = Daemon::start(kind, "stop", &there, &[NEAR], ms(500), 60);
    let mut ours = Ours::start();
    let mut patient = config(NEAR, ms(500));
    patient.detect_mult = 250;
    ours.set(ID, patient);
    ours.wait(ID, State::Up);
    ours.settle(ID);
    ours.handle.shutdown().expect("it ended well");
    // They would miss us after two minutes: they know because they were told.
    eventually("they are told", || !theirs.is_up(NEAR.ours));
}
