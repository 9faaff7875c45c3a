use dunlin_api::{NodeReport, SessionReport};

use super::News;
use crate::status_writer::mapping::tests::report;

fn said(news: &mut News, report: &NodeReport) -> Vec<String> {
    let notices = news.of(report).into_iter();
    notices
        .map(|n| format!("{} {}: {}", n.object.name, n.reason, n.message))
        .collect()
}

fn session(peer: &str, is_node: bool, established: bool) -> SessionReport {
    SessionReport {
        peer: peer.into(),
        is_node,
        established,
        since_micros: 1,
        ..SessionReport::default()
    }
}

#[test]
fn a_start_is_no_news_and_what_turns_is() {
    let mut news = News::default();
    let mut report = report();
    assert!(said(&mut news, &report).is_empty());
    assert!(said(&mut news, &report).is_empty());
    report.sessions[0].established = false;
    report.sessions[0].last_error = Some("hold timer".into());
    report.sessions[1].established = true;
    assert_eq!(
        said(&mut news, &report),
        [
            "n1 SessionLost: BGP session with nodes lost: n2 (hold timer)",
            "n1 SessionEstablished: BGP session with BGPPeer established: tor",
        ]
    );
    assert!(said(&mut news, &report).is_empty());
    // Down and up again between two looks.
    report.sessions[1].since_micros += 1;
    report.sessions[1].last_error = Some("reset".into());
    assert_eq!(
        said(&mut news, &report),
        ["n1 SessionLost: BGP session with BGPPeer lost: tor (reset), and is up again"]
    );
    report.sessions.pop();
    assert_eq!(
        said(&mut news, &report),
        ["n1 SessionLost: BGP session with BGPPeer lost: tor (no longer wanted)"]
    );
}

#[test]
fn a_thousand_nodes_are_one_event() {
    let mut news = News::default();
    let mut report = report();
    report.sessions = (0..1000)
        .map(|at| session(&format!("n{at:03}"), true, false))
        .collect();
    news.of(&report);
    for session in &mut report.sessions {
        session.established = true;
    }
    let said = said(&mut news, &report);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("n009 and 990 more"), "{said:?}");
}

#[test]
fn many_peers_are_told_together() {
    let mut news = News::default();
    let mut report = report();
    report.sessions = (0..20)
        .map(|at| session(&format!("t{at}"), false, true))
        .collect();
    news.of(&report);
    report.sessions.clear();
    assert_eq!(said(&mut news, &report).len(), 1);
}

#[test]
fn routes_that_the_kernel_refuses_are_told_once_until_all_is_well() {
    let mut news = News::default();
    let mut report = report();
    report.status.routes.failed = 2;
    let first = said(&mut news, &report);
    assert_eq!(
        first,
        ["n1 RouteInstallFailed: 2 routes are not in the kernel"]
    );
    report.status.routes.failed = 3;
    assert!(said(&mut news, &report).is_empty());
    report.status.routes.failed = 0;
    assert!(said(&mut news, &report).is_empty());
    report.status.routes.conflicts = 1;
    assert_eq!(said(&mut news, &report).len(), 1);
}
