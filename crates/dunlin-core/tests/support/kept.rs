//! A router whose routes are kept, or told again.

use std::sync::Arc;

use dunlin_api::{Answer, Neighbor, Query};
use dunlin_bgp::batch::{BatchItem, RouteBatch};
use dunlin_bgp::session::{
    DownReason, Negotiated, PeerRestart, SessionEvent, StaleInfo, TransportError,
};
use dunlin_intent::{Fact, GracefulRestartFact, PeerAsn, PeerFact};
use dunlin_net::{Afi, Asn, Instant, PerFamily};

use super::*;

pub(crate) const BOTH: PerFamily<bool> = PerFamily { v4: true, v6: true };
pub(crate) const NETS: [&str; 2] = ["198.51.100.0/24", "203.0.113.0/24"];

pub(crate) fn secs(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

pub(crate) fn router(long_lived_stale_secs: u32) -> Fact {
    Fact::Peer(PeerFact {
        name: "tor".into(),
        peer_address: Some("10.0.0.201".parse().unwrap()),
        peer_asn: Some(PeerAsn::Number(Asn(65001))),
        import_filter: Some("all".into()),
        graceful_restart: GracefulRestartFact {
            long_lived_stale_secs: Some(long_lived_stale_secs),
            ..GracefulRestartFact::default()
        },
        ..PeerFact::default()
    })
}

/// A peer whose restart time is 120 s, its long-lived stale time as said; its forwarding state survived.
pub(crate) fn restart(long_lived: u32) -> PeerRestart {
    PeerRestart {
        restart_time_secs: 120,
        restarting: false,
        notification: false,
        families: BOTH,
        forwarding: BOTH,
        long_lived_stale_secs: PerFamily {
            v4: long_lived,
            v6: long_lived,
        },
        long_lived_forwarding: BOTH,
    }
}

/// The restart time is 120 s, beyond it routes stay for 600 s.
pub(crate) fn stale(long_lived: u32) -> StaleInfo {
    StaleInfo {
        restart_time_secs: 120,
        families: BOTH,
        long_lived_stale_secs: PerFamily {
            v4: long_lived,
            v6: long_lived,
        },
    }
}

/// One router with two prefixes.
pub(crate) struct World(pub(crate) Bench);

impl World {
    /// The router is up and both prefixes are learned.
    pub(crate) fn new() -> World {
        let mut bench = Bench::importing();
        bench.apply(router(600));
        bench.sync();
        let mut world = World(bench);
        world.comes_back(Some(restart(600)));
        world.0.learns(&NETS);
        world.tells_all();
        assert_eq!(world.routes(), ["fresh", "fresh"]);
        world
    }

    pub(crate) fn comes_back(&mut self, graceful_restart: Option<PeerRestart>) {
        let peer = self.0.router.expect("the router is wanted");
        let negotiated = Arc::new(Negotiated {
            graceful_restart,
            ..negotiated()
        });
        self.0.session(SessionEvent::Up {
            peer,
            conn: CONN,
            negotiated,
        });
    }

    pub(crate) fn breaks(&mut self, stale: Option<StaleInfo>) {
        let peer = self.0.router.expect("the router is wanted");
        self.0.session(SessionEvent::Down {
            peer,
            conn: CONN,
            reason: DownReason::Transport(TransportError::Eof),
            sent: None,
            stale,
        });
    }

    pub(crate) fn tells_all(&mut self) {
        self.tells_all_of(&Afi::ALL);
    }

    pub(crate) fn tells_all_of(&mut self, families: &[Afi]) {
        let peer = self.0.router.expect("the router is wanted");
        let batch = RouteBatch {
            items: families.iter().copied().map(BatchItem::EndOfRib).collect(),
            ..RouteBatch::default()
        };
        self.0.session(SessionEvent::Routes {
            peer,
            conn: CONN,
            batch,
        });
    }

    /// A mark around what is told again (RFC 7313).
    pub(crate) fn marks(&mut self, begins: bool) {
        let peer = self.0.router.expect("the router is wanted");
        let (conn, afi) = (CONN, Afi::Ipv4);
        self.0.session(match begins {
            true => SessionEvent::RefreshBegins { peer, conn, afi },
            false => SessionEvent::RefreshEnds { peer, conn, afi },
        });
    }

    /// The router asks for everything again.
    pub(crate) fn asks(&mut self, afi: Afi) {
        let peer = self.0.router.expect("the router is wanted");
        let conn = CONN;
        self.0
            .session(SessionEvent::RefreshRequested { peer, conn, afi });
    }

    /// How each prefix is kept, which metrics count.
    pub(crate) fn routes(&mut self) -> Vec<&'static str> {
        let states = self.states();
        let count = |of: &[&str]| states.iter().filter(|state| of.contains(state)).count() as u64;
        let expected = (count(&["stale", "long"]), count(&["long"]));
        let Answer::Metrics(metrics) = self.0.ask(&Query::Metrics) else {
            panic!("metrics were asked for");
        };
        let all = metrics.status.routes;
        let total = (all.received_stale, all.received_long_lived_stale);
        assert_eq!(total, expected);
        let tor = metrics.external.iter().find(|one| one.name == "tor");
        let families = tor.into_iter().flat_map(|tor| &tor.routes);
        let of_tor = families.fold((0, 0), |(stale, long_lived), counts| {
            (stale + counts.stale, long_lived + counts.long_lived_stale)
        });
        assert_eq!(of_tor, expected);
        states
    }

    fn states(&mut self) -> Vec<&'static str> {
        let all = self.0.routes();
        let state = |net: &&str| {
            let route = all.iter().find(|route| route.prefix.to_string() == **net);
            match route.and_then(|route| route.paths.first()) {
                None => "gone",
                Some(path) if path.long_lived_stale => "long",
                Some(path) if path.stale => "stale",
                Some(_) => "fresh",
            }
        };
        NETS.iter().map(state).collect()
    }

    pub(crate) fn neighbor(&mut self) -> Neighbor {
        let mut all = self.0.neighbors();
        all.retain(|neighbor| neighbor.name == "tor");
        all.remove(0)
    }
}
