//! What is said of a session that is down: who ended it, what to look at, what comes next.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::net::IpAddr;
use std::time::Duration;

use dunlin_api::{Answer, Explanation, Neighbor, Query};
use dunlin_bgp::policy::Role;
use dunlin_bgp::session::{
    Attempt, DownReason, FsmState, PeerSnapshot, PeerStats, RemoteAsn, SessionEvent, Stop,
    TransportError,
};
use dunlin_bgp::wire::{Notification, cease, code};
use dunlin_core::Outside;
use dunlin_intent::{Fact, PeerAsn, PeerFact, Secret, SecretFact, SecretRef};
use dunlin_net::{Afi, Asn, Instant, RouterId};
use support::links::local;
use support::*;

fn router() -> PeerFact {
    PeerFact {
        name: "tor".into(),
        peer_address: Some("10.0.0.201".parse().unwrap()),
        peer_asn: Some(PeerAsn::Number(Asn(65001))),
        ..PeerFact::default()
    }
}

fn with_password() -> PeerFact {
    PeerFact {
        password: Some(SecretRef::new("kube-system", "tor")),
        ..router()
    }
}

fn bench(peer: PeerFact) -> Bench {
    let mut bench = Bench::new();
    bench.apply(Fact::Secret(SecretFact {
        at: SecretRef::new("kube-system", "tor"),
        password: Some(Secret::new(b"hush".as_slice())),
    }));
    bench.apply(Fact::Peer(peer));
    bench.sync();
    bench
}

/// A session that is down for this reason, 20 s after it was up, and 5 s after the last attempt.
fn snapshot(bench: &Bench, reason: &DownReason) -> PeerSnapshot {
    PeerSnapshot {
        peer: bench.router.expect("it is wanted"),
        name: "tor".into(),
        range: None,
        remote: Some("10.0.0.201:179".parse().unwrap()),
        state: FsmState::Connect,
        since: Instant::ZERO,
        conn: None,
        negotiated: None,
        stats: PeerStats {
            dials: 7,
            last_error: Some((Instant::ZERO, reason.clone())),
            ..PeerStats::default()
        },
        output_queue_bytes: 0,
        attempts: Vec::new(),
        dial_at: None,
        held_until: None,
        passive: false,
    }
}

fn explain(bench: &mut Bench, snapshot: PeerSnapshot) -> (Explanation, Neighbor) {
    let outside = Outside {
        sessions: vec![snapshot],
        ..Outside::default()
    };
    let now = bench.now;
    let asked = Query::ExplainNeighbor("tor".into());
    let Answer::Explanation(explanation) = bench.core.answer(now, &asked, &outside) else {
        panic!("an explanation was asked for");
    };
    let Answer::Neighbors(all) = bench.core.answer(now, &Query::Neighbors, &outside) else {
        panic!("neighbors were asked for");
    };
    let found = all.into_iter().find(|neighbor| neighbor.name == "tor");
    (explanation, found.expect("the router"))
}

/// Everything that is said, a line a step.
fn words(explanation: &Explanation) -> String {
    let lines = explanation.steps.iter().map(|step| step.text.clone());
    lines.collect::<Vec<_>>().join("\n")
}

/// What is said where the session of this object ends so.
#[track_caller]
fn says(peer: PeerFact, reason: DownReason, by: &str, expected: &[&str]) {
    says_in(bench(peer), reason, by, expected);
}

#[track_caller]
fn says_in(mut bench: Bench, reason: DownReason, by: &str, expected: &[&str]) {
    let snapshot = snapshot(&bench, &reason);
    let peer = snapshot.peer;
    bench.session(SessionEvent::State {
        peer,
        state: FsmState::Connect,
        reason: Some(reason.clone()),
    });
    let (explanation, neighbor) = explain(&mut bench, snapshot);
    let said = words(&explanation);
    assert!(!explanation.ok);
    assert!(said.contains(&reason.to_string()), "{said}");
    assert!(said.contains(&format!("ended by {by}")), "{said}");
    for expected in expected {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let down = neighbor.down.expect("it is down");
    assert_eq!(down.ended_by.as_deref(), Some(by));
}

#[test]
fn below_bgp() {
    use TransportError::*;
    let of = |error| DownReason::Transport(error);
    let network: [(TransportError, &[&str]); 3] = [
        (NoRoute, &["no route", "ip route get"]),
        (Unreachable, &["unreachable", "ip neigh", "ebgpMultihop"]),
        (
            TimedOut,
            &[
                "no answer",
                "a firewall may drop TCP port 179",
                "wants a password",
                "TTL 255",
            ],
        ),
    ];
    for (error, expected) in network {
        says(router(), of(error), "the network", expected);
    }
    let peers: [(TransportError, &[&str]); 3] = [
        (
            Refused,
            &[
                "connection refused",
                "nothing takes connections on TCP port 179",
            ],
        ),
        (Eof, &["the peer closed", "does not know our address"]),
        (Reset, &["the peer reset", "its log says why"]),
    ];
    for (error, expected) in peers {
        says(router(), of(error), "the peer", expected);
    }
    let ours: [(TransportError, &[&str]); 6] = [
        (
            SourceAddress,
            &[
                "the source address is none of this machine's",
                "correct sourceAddress",
            ],
        ),
        (Settings(1), &["could not be applied (os error 1)"]),
        (NoRoomForKey, &["raise net.core.optmem_max"]),
        (TooFar { hops: 2 }, &["more than 2 links away", "TTL 255"]),
        (DistanceUnknown, &["SYN flood"]),
        (Os(5), &["os error 5"]),
    ];
    for (error, expected) in ours {
        says(router(), of(error), "us", expected);
    }
}

#[test]
fn at_the_other_end_of_a_link() {
    let cases: [(DownReason, &str, &[&str]); 4] = [
        (
            DownReason::Transport(TransportError::NoRoute),
            "the network",
            &["the link is down", "ip -6 route show dev eth1"],
        ),
        (
            DownReason::Transport(TransportError::Unreachable),
            "the network",
            &["no longer answers", "ip -6 neigh show dev eth1"],
        ),
        (
            DownReason::Transport(TransportError::Refused),
            "the peer",
            &["nothing takes connections on TCP port 1179"],
        ),
        (
            DownReason::Moved {
                from: IpAddr::V6(local(9)).into(),
            },
            "us",
            &["has another address now, and had fe80::9"],
        ),
    ];
    for (reason, by, expected) in cases {
        let mut bench = bench(PeerFact {
            peer_address: None,
            interface: Some("eth1".into()),
            port: Some(1179),
            ..router()
        });
        bench.link(5, "eth1", true);
        bench.link_address(5, 1);
        bench.hears_router(5, 2, &[]);
        says_in(bench, reason, by, expected);
    }
}

#[test]
fn a_syn_that_is_not_answered_makes_a_password_or_a_distance_suspect() {
    let unanswered = || DownReason::Transport(TransportError::TimedOut);
    let md5 = [
        "a password is set here",
        "another one, or none",
        "(TCP MD5)",
    ];
    says(with_password(), unanswered(), "the network", &md5);
    let near = PeerFact {
        ttl_security_hops: Some(2),
        ..router()
    };
    let gtsm = [
        "ttlSecurity is set here",
        "from more than 2 links away",
        "(GTSM)",
    ];
    says(near, unanswered(), "the network", &gtsm);
}

#[test]
fn timers_and_mismatches_that_we_find() {
    let ours: [(DownReason, &[&str]); 11] = [
        (
            DownReason::HoldTimerExpired { hold_time_secs: 90 },
            &["hold timer expired", "90 s went by without a message"],
        ),
        (
            DownReason::OpenTimedOut,
            &["no OPEN in time", "does not speak BGP"],
        ),
        (
            DownReason::SendHoldTimerExpired,
            &["send hold timer", "does not read"],
        ),
        (
            DownReason::BadPeerAs {
                expected: RemoteAsn::Exact(Asn(65001)),
                got: Asn(65009),
            },
            &["AS 65009, but AS 65001", "give peerASN 65009"],
        ),
        (
            DownReason::SameRouterId {
                got: RouterId([10, 0, 0, 1].into()),
            },
            &["our own router id 10.0.0.1"],
        ),
        (
            DownReason::NoCommonFamily { wanted: Afi::Ipv4 },
            &["no address family in common", "addressFamilies here: "],
        ),
        (
            DownReason::RoleMismatch {
                ours: Role::Customer,
                got: 4,
            },
            &["the peer says it is Peer to us, but we are Customer to it"],
        ),
        (
            DownReason::RoleMissing {
                ours: Role::Customer,
            },
            &["the peer does not say that it is Provider to us, which strictRole asks for"],
        ),
        (
            DownReason::Malformed {
                notification: Notification::new(code::OPEN, 6),
                what: "a hold time of 1 or 2 s is none",
            },
            &["a hold time of 1 or 2 s is none", "Unacceptable Hold Time"],
        ),
        (
            DownReason::UnexpectedMessage {
                state: FsmState::OpenSent,
                message: 2,
            },
            &["a message of type 2 may not come in OpenSent"],
        ),
        (
            DownReason::Reset(Notification::new(code::CEASE, cease::BFD_DOWN)),
            &["closed with", "BFD"],
        ),
    ];
    for (reason, expected) in ours {
        says(router(), reason, "us", expected);
    }
    let stopped = DownReason::Stopped(Stop::Administrative { text: "x".into() });
    says(router(), stopped, "us", &["stopped by the operator"]);
}

#[test]
fn what_the_peer_tells() {
    let told: [(u8, u8, &[&str]); 13] = [
        (1, 1, &["found a message of ours wrong"]),
        (
            2,
            2,
            &[
                "Bad Peer AS",
                "expects another AS of us: we are AS 64512 to it",
            ],
        ),
        (2, 3, &["refuses our router id"]),
        (2, 6, &["refuses our hold time of "]),
        (2, 7, &["wants a capability that we do not offer", "IPv4"]),
        (
            2,
            11,
            &["the peer's role does not fit ours (RFC 9234): we are without a role"],
        ),
        (4, 0, &["Hold Timer Expired", "did not reach it"]),
        (6, 1, &["more prefixes than it takes from us"]),
        (6, 2, &["somebody shut the session down at the peer"]),
        (6, 3, &["has removed us from its configuration"]),
        (6, 5, &["does not take our connections"]),
        (6, 8, &["out of resources"]),
        (6, 10, &["BFD at the peer"]),
    ];
    for (code, subcode, expected) in told {
        let notification = Notification::new(code, subcode);
        let hard = Notification::hard_reset(&notification);
        for notification in [notification, hard] {
            let reason = DownReason::NotificationReceived(notification);
            says(router(), reason, "the peer", expected);
        }
    }
    let text = Notification::cease_with_text(cease::ADMIN_SHUTDOWN, "new rack on Monday");
    let reason = DownReason::NotificationReceived(text);
    says(router(), reason, "the peer", &["new rack on Monday"]);
}

#[test]
fn both_last_notifications_are_shown_with_their_words() {
    let mut bench = bench(router());
    let eof = DownReason::Transport(TransportError::Eof);
    let mut snapshot = snapshot(&bench, &eof);
    let text = Notification::cease_with_text(cease::ADMIN_RESET, "a new filter");
    snapshot.stats.last_received = Some((Instant::ZERO, text));
    snapshot.stats.last_sent = Some((Instant::ZERO, Notification::new(code::HOLD_TIMER, 0)));
    bench.at(Instant::from_micros(9_000_000));
    let said = words(&explain(&mut bench, snapshot).0);
    assert!(
        said.contains("last NOTIFICATION sent: Hold Timer Expired (4/0), 9 s ago"),
        "{said}"
    );
    assert!(said.contains("last NOTIFICATION received: "), "{said}");
    assert!(said.contains("a new filter"), "{said}");
}

#[test]
fn what_goes_on_below_bgp_and_what_comes_next() {
    let mut bench = bench(router());
    let refused = DownReason::Transport(TransportError::Refused);
    let now = Instant::from_micros(60_000_000);
    let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
    bench.at(now);
    let mut next = snapshot(&bench, &refused);
    next.dial_at = Some(now + Duration::from_millis(3_200));
    next.stats.last_down = Some((at(20), DownReason::HoldTimerExpired { hold_time_secs: 9 }));
    let (explanation, neighbor) = explain(&mut bench, next.clone());
    let said = words(&explanation);
    for expected in [
        "it was up until 40 s ago: hold timer expired",
        "(ended by us)",
        "TCP: no connection",
        "next attempt in 4 s; 7 attempts so far",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(neighbor.down.expect("it is down").retry_secs, Some(4));

    next.held_until = Some(now + Duration::from_secs(30));
    next.dial_at = None;
    next.stats.refused = 3;
    let said = words(&explain(&mut bench, next.clone()).0);
    assert!(
        said.contains("held back after failures: no connection is made or taken for 30 s"),
        "{said}"
    );
    assert!(
        said.contains("3 connections of the peer were refused"),
        "{said}"
    );

    next.held_until = None;
    next.attempts = [
        (false, FsmState::Connect, 58),
        (true, FsmState::OpenSent, 51),
        (true, FsmState::OpenConfirm, 59),
    ]
    .map(|(incoming, state, since)| Attempt {
        incoming,
        state,
        since: at(since),
    })
    .into();
    let said = words(&explain(&mut bench, next.clone()).0);
    for expected in [
        "to the peer: SYN sent, no answer yet (2 s)",
        "from the peer: connected, OPEN sent, none has come (9 s)",
        "from the peer: connected, OPENs exchanged, no KEEPALIVE has come (1 s)",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }

    next.attempts.clear();
    next.passive = true;
    let said = words(&explain(&mut bench, next).0);
    assert!(
        said.contains("passive: the peer (10.0.0.201) has to make the connection"),
        "{said}"
    );
}

#[test]
fn what_keeps_us_from_trying_is_no_fault_of_anybody() {
    let mut bench = Bench::new();
    bench.apply(Fact::Peer(with_password()));
    bench.sync();
    let peer = bench.router;
    assert!(peer.is_none(), "without the Secret nobody is dialled");
    let asked = Query::ExplainNeighbor("tor".into());
    let Answer::Explanation(explanation) = bench.ask(&asked) else {
        panic!("an explanation was asked for");
    };
    let said = words(&explanation);
    assert!(said.contains("Secret"), "{said}");
    assert!(!said.contains("ended by"), "{said}");
}
