use super::*;
use crate::fact::ReflectorsFact;

fn settings(fact: ConfigurationFact) -> (Settings, Vec<(Reason, String)>) {
    let (settings, problems) = Settings::from_fact(&fact);
    let problems = problems
        .into_iter()
        .map(|p| (p.reason, p.field.unwrap_or_default()))
        .collect();
    (settings, problems)
}

#[test]
fn nothing_given_is_every_default() {
    let (settings, problems) = settings(ConfigurationFact::default());
    assert_eq!(problems, []);
    assert_eq!(settings, Settings::default());
    assert_eq!(
        (settings.asn, settings.listen_port, settings.mesh_limit),
        (Asn(64512), 179, 100)
    );
    assert_eq!(
        settings.timers,
        Timers {
            hold_time_secs: 90,
            keepalive_secs: 30,
            connect_retry_secs: 5
        }
    );
    assert_eq!(settings.restart_secs, Some(120));
    assert!(settings.masquerade && settings.route_installation == RouteInstallation::Kernel);
}

#[test]
fn timers_fill_in_for_each_other_or_are_refused() {
    let given = |hold, keepalive, retry| TimersFact {
        hold_time_secs: hold,
        keepalive_secs: keepalive,
        connect_retry_secs: retry,
    };
    for (fact, want) in [
        (given(None, None, None), (90, 30, 5)),
        (given(Some(9), None, None), (9, 3, 5)),
        (given(Some(3), None, None), (3, 1, 5)),
        (given(Some(0), None, None), (0, 0, 5)),
        (given(Some(0), Some(7), None), (0, 0, 5)),
        (given(Some(180), Some(20), Some(60)), (180, 20, 60)),
        (given(None, Some(10), None), (90, 10, 5)),
    ] {
        let timers = timers(Timers::default(), &fact).unwrap();
        let got = (
            timers.hold_time_secs,
            timers.keepalive_secs,
            timers.connect_retry_secs,
        );
        assert_eq!(got, want, "{fact:?}");
    }
    for (fact, field) in [
        (given(Some(1), None, None), "holdTimeSeconds"),
        (given(Some(2), None, None), "holdTimeSeconds"),
        (given(Some(9), Some(9), None), "keepaliveSeconds"),
        (given(Some(9), Some(0), None), "keepaliveSeconds"),
        (given(None, Some(90), None), "keepaliveSeconds"),
        (given(None, None, Some(0)), "connectRetrySeconds"),
    ] {
        let (blamed, message) = timers(Timers::default(), &fact).unwrap_err();
        assert!(blamed.ends_with(field), "{fact:?}: {blamed}: {message}");
    }
}

#[test]
fn graceful_restart_is_on_unless_it_is_turned_off() {
    let given = |enabled, restart_secs| GracefulRestartFact {
        enabled,
        restart_secs,
        ..GracefulRestartFact::default()
    };
    for (base, fact, want) in [
        (Some(120), given(None, None), Ok(Some(120))),
        (Some(120), given(Some(false), Some(60)), Ok(None)),
        (None, given(None, Some(60)), Ok(None)),
        (None, given(Some(true), None), Ok(Some(120))),
        (Some(120), given(None, Some(4095)), Ok(Some(4095))),
    ] {
        assert_eq!(restart_secs(base, &fact), want, "{base:?} {fact:?}");
    }
    assert!(restart_secs(None, &given(None, Some(4096))).is_err());
    for (between_nodes, long_lived) in [(true, 3600), (false, 0)] {
        let default = graceful_restart(Some(1), None, between_nodes).unwrap();
        assert_eq!(
            (default.notification, default.long_lived_secs),
            (between_nodes, long_lived)
        );
        let given = graceful_restart(Some(1), Some(7), between_nodes).unwrap();
        assert_eq!(given.long_lived_secs, 7);
        assert_eq!(graceful_restart(None, Some(7), between_nodes), None);
    }
}

#[test]
fn routes_are_kept_for_long_as_asked_for_where_graceful_restart_is_on() {
    let given = |enabled, long_lived_stale_secs| GracefulRestartFact {
        enabled,
        long_lived_stale_secs,
        ..GracefulRestartFact::default()
    };
    for (base, fact, want) in [
        (None, given(None, None), Ok(None)),
        (Some(60), given(None, None), Ok(Some(60))),
        (Some(60), given(None, Some(0)), Ok(Some(0))),
        (None, given(None, Some(16_777_215)), Ok(Some(16_777_215))),
        (Some(60), given(Some(false), None), Ok(Some(60))),
        (None, given(Some(false), Some(0)), Ok(Some(0))),
    ] {
        assert_eq!(long_lived_secs(base, &fact), want, "{base:?} {fact:?}");
    }
    assert!(long_lived_secs(None, &given(None, Some(16_777_216))).is_err());
    assert!(long_lived_secs(None, &given(Some(false), Some(1))).is_err());
}

#[test]
fn a_field_that_is_refused_is_a_problem_and_takes_its_default() {
    let bad_net: IpNet = "10.0.0.1/8".parse().unwrap();
    let (settings, problems) = settings(ConfigurationFact {
        asn: Some(Asn(23456)),
        listen_port: Some(0),
        timers: TimersFact {
            hold_time_secs: Some(1),
            ..TimersFact::default()
        },
        graceful_restart: GracefulRestartFact {
            restart_secs: Some(5000),
            ..GracefulRestartFact::default()
        },
        pod_egress: crate::fact::PodEgressFact {
            masquerade: Some(false),
            exclude: vec![bad_net],
        },
        ..ConfigurationFact::default()
    });
    let fields: Vec<String> = problems
        .into_iter()
        .map(|(reason, field)| {
            assert_eq!(reason, Reason::Invalid);
            field
        })
        .collect();
    assert_eq!(
        fields,
        [
            "spec.asn",
            "spec.listenPort",
            "spec.timers.holdTimeSeconds",
            "spec.gracefulRestart.restartSeconds",
            "spec.podEgress.exclude[0]",
        ]
    );
    assert_eq!(
        settings,
        Settings {
            masquerade: false,
            ..Settings::default()
        },
        "what is not refused applies"
    );
}

#[test]
fn reflectors_have_a_number_within_bounds_and_a_selector_that_is_one() {
    let given = |count, node_selector| {
        settings(ConfigurationFact {
            topology: Some(TopologyMode::Reflectors),
            reflectors: Some(ReflectorsFact {
                count,
                node_selector,
            }),
            ..ConfigurationFact::default()
        })
    };
    let field = "spec.topology.reflectors.count".to_owned();
    for (count, used, refused) in [
        (None, 3, false),
        (Some(1), 1, false),
        (Some(32), 32, false),
        (Some(0), 3, true),
        (Some(33), 3, true),
        (Some(u32::MAX), 3, true),
    ] {
        let (settings, problems) = given(count, None);
        assert_eq!(settings.reflectors, used, "{count:?}");
        let expected = refused.then(|| (Reason::Invalid, field.clone()));
        assert_eq!(problems, expected.into_iter().collect::<Vec<_>>());
    }
    let broken = Selector {
        match_expressions: vec![crate::selector::Requirement {
            key: String::new(),
            operator: crate::selector::Operator::Exists,
            values: Vec::new(),
        }],
        ..Selector::default()
    };
    let (settings, problems) = given(None, Some(broken));
    assert_eq!(settings.reflector_selector, None);
    let field = "spec.topology.reflectors.nodeSelector".to_owned();
    assert_eq!(problems, [(Reason::Invalid, field)]);
}

#[test]
fn reserved_as_numbers_are_refused() {
    for asn in [0, 23456, 65535, u32::MAX] {
        assert!(asn_fault(Asn(asn)).is_some(), "{asn}");
    }
    for asn in [1, 64512, 65534, 65536, 4_200_000_000] {
        assert_eq!(asn_fault(Asn(asn)), None);
    }
}
