use super::*;
use crate::fact::{GracefulRestartFact, TimersFact};
use crate::problem::Reason;
use crate::selector::{Operator, Requirement, Selector};
use dunlin_bgp::policy::{PeerType, Role};
use dunlin_net::Asn;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn good() -> PeerFact {
    PeerFact {
        name: "p".to_owned(),
        peer_address: Some(addr("192.0.2.254")),
        peer_asn: Some(PeerAsn::Number(Asn(65010))),
        ..PeerFact::default()
    }
}

fn faults(change: impl FnOnce(&mut PeerFact)) -> Vec<(Reason, String)> {
    let mut fact = good();
    change(&mut fact);
    let problems = session(&fact, &Settings::default()).expect_err("refused");
    problems
        .into_iter()
        .map(|p| (p.reason, p.field.unwrap_or_default()))
        .collect()
}

fn accepted(change: impl FnOnce(&mut PeerFact)) -> SessionIntent {
    let mut fact = good();
    change(&mut fact);
    session(&fact, &Settings::default()).expect("accepted").1
}

#[test]
fn the_least_that_can_be_said_takes_every_default() {
    let session = accepted(|_| {});
    assert_eq!(session.remote, Remote::Address(addr("192.0.2.254"), 179));
    assert_eq!(session.local_asn, Asn(64512));
    assert_eq!(session.remote_asn, RemoteAsn::Exactly(Asn(65010)));
    assert_eq!(session.peer_type(), PeerType::External);
    assert_eq!(session.families, Afi::ALL);
    assert_eq!(session.timers.hold_time_secs, 90);
    let restart = session.graceful_restart.unwrap();
    assert_eq!((restart.restart_secs, restart.notification), (120, false));
    assert_eq!(restart.long_lived_secs, 0);
    assert_eq!(
        (session.auth, session.ebgp_multihop, session.local_address),
        (Auth::None, None, None)
    );
}

#[test]
fn a_client_is_of_our_as_and_takes_and_tells_several_paths_unless_said_otherwise() {
    let client = |change: fn(&mut PeerFact)| {
        accepted(|f| {
            f.peer_asn = Some(PeerAsn::Internal);
            f.reflector_client = Some(true);
            change(f);
        })
    };
    assert_eq!(accepted(|_| {}).add_path, AddPath::default());
    assert_eq!(client(|_| {}).add_path, AddPath::BOTH);
    let receive = AddPath {
        send: false,
        receive: true,
    };
    assert_eq!(client(|f| f.add_path.send = Some(false)).add_path, receive);
    assert_eq!(
        accepted(|f| f.add_path.receive = Some(true)).add_path,
        receive
    );
    let refused = [(Reason::Invalid, "spec.reflectorClient".to_owned())];
    assert_eq!(faults(|f| f.reflector_client = Some(true)), refused);
    accepted(|f| f.reflector_client = Some(false));
}

#[test]
fn each_field_is_taken_in() {
    let session = accepted(|f| {
        f.port = Some(1179);
        f.peer_asn = Some(PeerAsn::External);
        f.source_address = Some(addr("192.0.2.1"));
        f.ebgp_multihop = Some(3);
        f.timers = TimersFact {
            hold_time_secs: Some(9),
            ..TimersFact::default()
        };
        f.graceful_restart = GracefulRestartFact {
            enabled: Some(false),
            ..GracefulRestartFact::default()
        };
        f.address_families = Some(vec![Afi::Ipv6, Afi::Ipv4, Afi::Ipv6]);
    });
    assert_eq!(session.remote, Remote::Address(addr("192.0.2.254"), 1179));
    assert_eq!(session.remote_asn, RemoteAsn::External);
    assert_eq!(session.local_address, Some(addr("192.0.2.1")));
    assert_eq!(session.ebgp_multihop, Some(3));
    assert_eq!(
        (session.timers.hold_time_secs, session.timers.keepalive_secs),
        (9, 3)
    );
    assert_eq!(session.graceful_restart, None);
    assert_eq!(session.families, Afi::ALL);
    let internal = accepted(|f| f.peer_asn = Some(PeerAsn::Internal));
    assert_eq!(
        (internal.remote_asn, internal.peer_type()),
        (RemoteAsn::Exactly(Asn(64512)), PeerType::Internal)
    );
    let range = accepted(|f| {
        f.peer_address = None;
        f.peer_range = Some("192.0.2.0/24".parse().unwrap());
    });
    assert_eq!(range.remote, Remote::Range("192.0.2.0/24".parse().unwrap()));
}

#[test]
fn a_value_that_makes_no_sense_refuses_the_peer() {
    type Change = fn(&mut PeerFact);
    let table: [(Change, &str); 19] = [
        (|f| f.peer_address = None, "spec"),
        (
            |f| f.peer_range = Some("192.0.2.0/24".parse().unwrap()),
            "spec",
        ),
        (
            |f| f.peer_address = Some(addr("0.0.0.0")),
            "spec.peerAddress",
        ),
        (
            |f| f.peer_address = Some(addr("224.0.0.1")),
            "spec.peerAddress",
        ),
        (
            |f| f.peer_address = Some(addr("127.0.0.1")),
            "spec.peerAddress",
        ),
        (
            |f| f.peer_address = Some(addr("fe80::1")),
            "spec.peerAddress",
        ),
        (
            |f| f.peer_address = Some(addr("::ffff:192.0.2.1")),
            "spec.peerAddress",
        ),
        (|f| f.peer_asn = None, "spec.peerASN"),
        (
            |f| f.peer_asn = Some(PeerAsn::Number(Asn(0))),
            "spec.peerASN",
        ),
        (|f| f.port = Some(0), "spec.port"),
        (
            |f| f.source_address = Some(addr("2001:db8::1")),
            "spec.sourceAddress",
        ),
        (
            |f| f.source_address = Some(addr("255.255.255.255")),
            "spec.sourceAddress",
        ),
        (|f| f.ebgp_multihop = Some(0), "spec.ebgpMultihop"),
        (
            |f| {
                f.peer_asn = Some(PeerAsn::Internal);
                f.ebgp_multihop = Some(2);
            },
            "spec.ebgpMultihop",
        ),
        (
            |f| f.timers.hold_time_secs = Some(2),
            "spec.timers.holdTimeSeconds",
        ),
        (
            |f| f.graceful_restart.restart_secs = Some(4096),
            "spec.gracefulRestart.restartSeconds",
        ),
        (
            |f| f.graceful_restart.long_lived_stale_secs = Some(1 << 24),
            "spec.gracefulRestart.longLivedStaleSeconds",
        ),
        (
            |f| f.address_families = Some(Vec::new()),
            "spec.addressFamilies",
        ),
        (
            |f| {
                f.node_selector = Some(Selector {
                    match_expressions: vec![Requirement {
                        key: "a".to_owned(),
                        operator: Operator::In,
                        values: Vec::new(),
                    }],
                    ..Selector::default()
                })
            },
            "spec.nodeSelector",
        ),
    ];
    for (change, field) in table {
        assert_eq!(faults(change), [(Reason::Invalid, field.to_owned())]);
    }
    let of_range = faults(|f| {
        f.peer_address = None;
        f.peer_range = Some("192.0.2.1/24".parse().unwrap());
        f.port = Some(179);
    });
    assert_eq!(
        of_range.iter().map(|(_, f)| f.as_str()).collect::<Vec<_>>(),
        ["spec.peerRange", "spec.port"]
    );
}

#[test]
fn an_unnumbered_peer_is_at_the_other_end_of_its_interface() {
    let unnumbered = |f: &mut PeerFact| {
        f.peer_address = None;
        f.interface = Some("eth1".to_owned());
    };
    let session = accepted(|f| {
        unnumbered(f);
        f.peer_asn = Some(PeerAsn::External);
        f.ttl_security_hops = Some(1);
    });
    let eth1 = "eth1".parse().unwrap();
    assert_eq!(session.remote, Remote::Interface(eth1, 179));
    assert_eq!(session.remote_asn, RemoteAsn::External);
    let session = accepted(|f| {
        unnumbered(f);
        f.port = Some(1179);
    });
    assert_eq!(session.remote, Remote::Interface(eth1, 1179));

    type Case = (fn(&mut PeerFact), &'static str);
    let cases: [Case; 8] = [
        (|f| f.interface = Some(String::new()), "spec.interface"),
        (|f| f.interface = Some("..".into()), "spec.interface"),
        (|f| f.interface = Some("eth0/1".into()), "spec.interface"),
        (
            |f| f.interface = Some("sixteen-octets-x".into()),
            "spec.interface",
        ),
        (
            |f| f.source_address = Some(addr("fe80::1")),
            "spec.sourceAddress",
        ),
        (|f| f.ebgp_multihop = Some(2), "spec.ebgpMultihop"),
        (|f| f.ttl_security_hops = Some(2), "spec.ttlSecurity.hops"),
        (|f| f.peer_address = Some(addr("192.0.2.1")), "spec"),
    ];
    for (change, field) in cases {
        let told = faults(|f| {
            unnumbered(f);
            change(f);
        });
        let of_field = (Reason::Invalid, field.to_owned());
        assert!(told.contains(&of_field), "{field}: {told:?}");
    }
}

#[test]
fn a_field_that_is_not_built_refuses_the_peer_by_name() {
    let authenticated = faults(|f| f.tcp_ao = true);
    let refused = [(Reason::Unsupported, "spec.tcpAO".to_owned())];
    assert_eq!(authenticated, refused);
}

#[test]
fn a_malformed_field_is_told_once() {
    let told = faults(|f| {
        f.peer_address = None;
        f.peer_asn = None;
        f.malformed = vec![
            crate::fact::Malformed::new("spec.peerAddress", "x"),
            crate::fact::Malformed::new("spec.peerASN", "y"),
        ];
    });
    assert_eq!(told.len(), 2, "{told:?}");
}

fn max(change: impl FnOnce(&mut MaxPrefixesFact)) -> impl FnOnce(&mut PeerFact) {
    let mut max = MaxPrefixesFact {
        limit: Some(1000),
        ..MaxPrefixesFact::default()
    };
    change(&mut max);
    |f| f.max_prefixes = Some(max)
}

#[test]
fn a_limit_of_prefixes_says_when_it_is_near_and_what_then() {
    let asked = |fact: MaxPrefixesFact| max_prefixes(&fact).expect("a limit");
    let limit = |limit| MaxPrefixesFact {
        limit: Some(limit),
        ..MaxPrefixesFact::default()
    };
    let five_minutes = Some(Duration::from_secs(300));
    let plain = asked(limit(1000));
    assert_eq!(
        (plain.limit, plain.warning, plain.restart_after),
        (1000, 750, five_minutes)
    );
    // A share of little is not nothing, and one of much does not overflow.
    assert_eq!(asked(limit(1)).warning, 1);
    assert_eq!(asked(limit(u32::MAX)).warning, 3_221_225_471);
    let all = asked(MaxPrefixesFact {
        warning_percent: Some(100),
        restart_after_secs: Some(1),
        ..limit(u32::MAX)
    });
    assert_eq!(all.warning, u32::MAX);
    assert_eq!(all.restart_after, Some(Duration::from_secs(1)));
    let warn = asked(MaxPrefixesFact {
        action: Some(MaxPrefixesAction::Warn),
        ..limit(5)
    });
    assert_eq!(warn.restart_after, None);
    accepted(max(|_| {}));
    type Change = fn(&mut MaxPrefixesFact);
    let refused: [(Change, &str); 6] = [
        (|m| m.limit = None, "limit"),
        (|m| m.limit = Some(0), "limit"),
        (|m| m.warning_percent = Some(0), "warningPercent"),
        (|m| m.warning_percent = Some(101), "warningPercent"),
        (|m| m.restart_after_secs = Some(0), "restartAfterSeconds"),
        (
            |m| {
                m.action = Some(MaxPrefixesAction::Warn);
                m.restart_after_secs = Some(1);
            },
            "restartAfterSeconds",
        ),
    ];
    for (change, field) in refused {
        let field = format!("spec.maxPrefixes.{field}");
        assert_eq!(faults(max(change)), [(Reason::Invalid, field)]);
    }
}

#[test]
fn ttl_security_is_a_distance_and_excludes_multihop() {
    let session = accepted(|f| f.ttl_security_hops = Some(254));
    assert_eq!(session.ttl_security_hops, Some(254));
    for hops in [0, 255] {
        let told = faults(|f| f.ttl_security_hops = Some(hops));
        assert_eq!(
            told,
            [(Reason::Invalid, "spec.ttlSecurity.hops".to_owned())]
        );
    }
    let both = faults(|f| {
        f.ttl_security_hops = Some(2);
        f.ebgp_multihop = Some(2);
    });
    assert_eq!(both, [(Reason::Invalid, "spec.ttlSecurity".to_owned())]);
}

#[test]
fn a_local_as_is_another_than_the_peers() {
    let session = accepted(|f| f.local_asn = Some(Asn(65100)));
    assert_eq!(session.local_asn, Asn(65100));
    assert_eq!(session.peer_type(), PeerType::External);
    // The cluster's own says nothing new.
    accepted(|f| f.local_asn = Some(Asn(64512)));
    let refused = |change: fn(&mut PeerFact)| {
        let told = faults(change);
        assert_eq!(told, [(Reason::Invalid, "spec.localASN".to_owned())]);
    };
    refused(|f| f.local_asn = Some(Asn(0)));
    refused(|f| {
        f.peer_asn = Some(PeerAsn::Number(Asn(65100)));
        f.local_asn = Some(Asn(65100));
    });
    refused(|f| {
        f.peer_asn = Some(PeerAsn::Internal);
        f.local_asn = Some(Asn(65100));
    });
}

#[test]
fn a_role_is_for_other_ases() {
    let session = accepted(|f| {
        f.role = Some(Role::Customer);
        f.strict_role = Some(true);
    });
    assert_eq!(
        (session.role, session.strict_role),
        (Some(Role::Customer), true)
    );
    accepted(|f| f.strict_role = Some(false));
    let within = faults(|f| {
        f.peer_asn = Some(PeerAsn::Internal);
        f.role = Some(Role::Peer);
    });
    assert_eq!(within, [(Reason::Invalid, "spec.role".to_owned())]);
    let alone = faults(|f| f.strict_role = Some(true));
    assert_eq!(alone, [(Reason::Invalid, "spec.strictRole".to_owned())]);
}
