use dunlin_api::{NodeReport, ObjectProblem, OriginationReport, Problem, SessionReport, Status};
use dunlin_kube::crd::status::{BgpNodeStatus, ConditionStatus, NodeRole};
use dunlin_kube::status::KnownNode;

use super::{accepted, news, node_status, settled};

/// 2026-09-21T14:13:20Z.
const OFFSET: u64 = 1_790_000_000_000_000;

pub(in super::super) fn report() -> NodeReport {
    let session = |peer: &str, is_node, established: bool| SessionReport {
        peer: peer.into(),
        is_node,
        address: Some([192, 0, 2, 1].into()),
        state: if established { "Established" } else { "Active" }.into(),
        established,
        since_micros: 3_000_000,
        last_error: (!established).then(|| "connection refused".into()),
        received: 7,
        ..SessionReport::default()
    };
    NodeReport {
        status: Status {
            node: "n1".into(),
            version: "1.0".into(),
            ready: true,
            uptime_secs: 100,
            problems: vec![
                Problem {
                    object: "BGPPeer/tor".into(),
                    reason: "SessionDown".into(),
                    message: "the BGP session is Active: connection refused".into(),
                },
                Problem {
                    object: "BGPNode/n1".into(),
                    reason: "Busy".into(),
                    message: "cannot write".into(),
                },
            ],
            ..Status::default()
        },
        now_micros: 100_000_000,
        started_micros: 0,
        node_uid: Some("u1".into()),
        nodes: 2,
        role: "Mesh".into(),
        sessions: vec![session("n2", true, true), session("tor", false, false)],
        originations: vec![OriginationReport {
            prefix: "10.1.0.0/24".parse().unwrap(),
            object: "Node/n1".into(),
            advertised: 1,
            wanted: 1,
            reason: Some("tor: no export".into()),
        }],
        ..NodeReport::default()
    }
}

fn status(report: &NodeReport) -> BgpNodeStatus {
    let known = KnownNode {
        generation: Some(1),
        ..KnownNode::default()
    };
    node_status(report, &known, OFFSET, "2026-09-21T14:15:00Z")
}

#[test]
fn a_report_becomes_a_status() {
    let status = status(&report());
    assert_eq!(status.role, Some(NodeRole::Mesh));
    assert_eq!(
        (
            status.session_counts.established,
            status.session_counts.expected
        ),
        (1, 2)
    );
    assert_eq!(
        status.agent_started.as_deref(),
        Some("2026-09-21T14:13:20Z")
    );
    let tor = &status.sessions[1];
    assert_eq!(
        (tor.kind.as_str(), tor.state.as_str()),
        ("BGPPeer", "Active")
    );
    assert_eq!(tor.since.as_deref(), Some("2026-09-21T14:13:23Z"));
    // Told to all that are to be told: no reason.
    assert_eq!(status.originations[0].reason, None);
    // What could not be written is no problem once it is written.
    assert_eq!((status.problem_count, status.problems.len()), (1, 1));
    assert_eq!(
        status.problems[0].message,
        "the BGP session is down: connection refused"
    );
    let said: Vec<_> = status
        .conditions
        .iter()
        .map(|c| {
            (
                c.kind.as_str(),
                c.status,
                c.reason.as_str(),
                c.observed_generation,
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("Ready", ConditionStatus::True, "Ready", Some(1)),
            ("Problems", ConditionStatus::True, "SessionDown", Some(1)),
            ("Draining", ConditionStatus::False, "InUse", Some(1)),
        ]
    );
}

#[test]
fn a_node_that_is_not_ready_says_what_is_missing() {
    let mut report = report();
    report.status.ready = false;
    report.status.not_ready = vec!["no subnet".into(), "no link".into()];
    report.status.problems.clear();
    let status = status(&report);
    assert_eq!(status.conditions[0].status, ConditionStatus::False);
    assert_eq!(status.conditions[0].message, "no subnet; no link");
    assert_eq!(status.conditions[1].status, ConditionStatus::False);
}

#[test]
fn a_drained_node_says_how_far_it_is() {
    let mut report = report();
    for (drained, reason) in [(false, "Lingering"), (true, "Drained")] {
        report.status.drain = Some(dunlin_api::DrainStatus {
            cause: "annotation dunlin.dev/drain".into(),
            drained,
            remaining_secs: (!drained).then_some(7),
        });
        let status = node_status(&report, &KnownNode::default(), 0, "2026-01-31T12:34:56Z");
        let said = status.conditions.iter().find(|c| c.kind == "Draining");
        let said = said.map(|c| (c.status, c.reason.as_str()));
        assert_eq!(said, Some((ConditionStatus::True, reason)));
    }
}

#[test]
fn conditions_keep_their_time_until_they_turn() {
    let first = status(&report());
    let known = KnownNode {
        generation: Some(1),
        conditions: first.conditions.clone(),
    };
    let again = node_status(&report(), &known, OFFSET, "2026-09-21T15:00:00Z");
    assert_eq!(again.conditions, first.conditions);
    let mut sick = report();
    sick.status.ready = false;
    let sick = node_status(&sick, &known, OFFSET, "2026-09-21T15:00:00Z");
    assert_eq!(
        sick.conditions[0].last_transition_time,
        "2026-09-21T15:00:00Z"
    );
    assert_eq!(
        sick.conditions[1].last_transition_time,
        "2026-09-21T14:15:00Z"
    );
}

#[test]
fn what_is_worth_telling_at_once() {
    type Change = fn(&mut NodeReport);
    let cases: [(&str, Change, bool); 9] = [
        (
            "a session comes up",
            |r| {
                r.sessions[1].established = true;
                r.sessions[1].state = "Established".into();
                r.sessions[1].since_micros = 9_000_000;
            },
            true,
        ),
        (
            "one flapped in between",
            |r| r.sessions[0].since_micros = 9_000_000,
            true,
        ),
        (
            "a session is new",
            |r| r.sessions.push(SessionReport::default()),
            true,
        ),
        ("a problem is over", |r| r.status.problems.clear(), true),
        ("an origination goes", |r| r.originations.clear(), true),
        ("not ready", |r| r.status.ready = false, true),
        ("prefixes", |r| r.sessions[0].received = 8, false),
        (
            "words",
            |r| r.sessions[1].last_error = Some("timed out".into()),
            false,
        ),
        ("routes", |r| r.status.routes.installed = 9, false),
    ];
    let before = status(&report());
    for (name, change, urgent) in cases {
        let mut changed = report();
        change(&mut changed);
        let after = status(&changed);
        assert_ne!(before, after, "{name}");
        assert_eq!(news(&before) != news(&after), urgent, "{name}");
    }
    // Going round between Active and Connect is nothing at all.
    let mut round = report();
    round.sessions[1].state = "Connect".into();
    assert_eq!(settled(status(&round), &before), before);
}

#[test]
fn originations_that_the_report_left_out_are_counted() {
    let mut report = report();
    report.status.routes.originated = 1000;
    assert_eq!(status(&report).truncated.unwrap().originations, 999);
}

#[test]
fn what_the_api_server_would_not_take_is_made_so_that_it_does() {
    for (reason, word) in [
        ("SessionDown", "SessionDown"),
        ("not-installed", "notinstalled"),
        ("", "Problem"),
        ("4xx", "Problem"),
        ("_a_", "a"),
    ] {
        assert_eq!(super::word(reason), word);
    }
    let mut report = report();
    report.sessions[0].peer = "n".repeat(400);
    report.status.problems[0].object = "o".repeat(4000);
    let status = status(&report);
    assert_eq!(status.sessions[0].peer.len(), 253);
    assert_eq!(status.problems[0].object.len(), 512);
}

#[test]
fn an_object_is_accepted_unless_something_is_wrong_with_it() {
    assert!(accepted([].iter()).holds);
    let problem = |at: usize| ObjectProblem {
        reason: format!("Reason{at}"),
        field: (at == 0).then(|| "spec.peerASN".into()),
        message: "is wrong".into(),
        ..ObjectProblem::default()
    };
    let problems: Vec<ObjectProblem> = (0..10).map(problem).collect();
    let verdict = accepted(problems.iter().take(2));
    assert_eq!((verdict.holds, verdict.reason.as_str()), (false, "Reason0"));
    assert_eq!(verdict.message, "spec.peerASN: is wrong; is wrong");
    assert!(accepted(problems.iter()).message.ends_with("; and 2 more"));
}
