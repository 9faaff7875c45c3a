//! Which node's agent writes the conditions of objects.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use dunlin_api::{Answer, ObjectReport, Query};
use dunlin_intent::{Fact, Key, NodeFact, Timestamp};
use dunlin_net::Instant;
use support::*;

/// How long a node must have been silent.
const SILENT: Duration = Duration::from_secs(120);

/// The Node `n<number>`, older the lower its number; `n1` is our own.
fn numbered(number: u8) -> NodeFact {
    let fact = NodeFact::new(format!("n{number}"))
        .with_internal_ip(Ipv4Addr::new(10, 0, 0, number).into())
        .with_pod_cidr(format!("10.244.{number}.0/24").parse().unwrap());
    NodeFact {
        created: Some(Timestamp::from_unix_secs(number.into())),
        ready: Some(true),
        ..fact
    }
}

/// Our own Node is the youngest.
fn own() -> NodeFact {
    NodeFact {
        created: Some(Timestamp::from_unix_secs(1000)),
        ready: Some(true),
        ..node()
    }
}

fn report(bench: &mut Bench) -> ObjectReport {
    match bench.ask(&Query::ObjectReport) {
        Answer::ObjectReport(report) => *report,
        other => panic!("{other:?}"),
    }
}

fn writer(bench: &mut Bench) -> String {
    report(bench).writer.expect("somebody could")
}

/// With these Nodes older than our own.
fn with(older: &[u8]) -> Bench {
    let mut bench = Bench::on(own());
    for number in older {
        bench.apply(Fact::Node(numbered(*number)));
    }
    bench.sync();
    bench
}

#[test]
fn a_node_that_stays_silent_is_passed_over() {
    let mut bench = with(&[2, 3]);
    bench.node_up("n3");
    // The agent of n2 may be about to start.
    assert_eq!(writer(&mut bench), "n2");
    let again = report(&mut bench).again_secs;
    assert_eq!(again, Some(120));
    bench.until(Instant::ZERO + (SILENT - Duration::from_secs(1)));
    assert_eq!(writer(&mut bench), "n2");
    let silent = Instant::ZERO + SILENT;
    bench.until(silent);
    let now = report(&mut bench);
    assert_eq!(now.writer.as_deref(), Some("n3"));
    assert_eq!((now.is_us, now.again_secs), (false, None));
    // A restart is not silence.
    bench.node_down("n3");
    assert_eq!(writer(&mut bench), "n3");
    bench.until(silent + SILENT);
    let now = report(&mut bench);
    assert_eq!(now.writer.as_deref(), Some("n1"), "nobody else is there");
    assert!(now.is_us);
    bench.node_up("n2");
    assert_eq!(writer(&mut bench), "n2", "it is back");
    bench.remove(Key::Node("n2".into()));
    assert_eq!(writer(&mut bench), "n1");
}

/// A whole cluster without sessions must not write all at once.
#[test]
fn who_sees_nobody_writes_only_as_one_of_the_oldest() {
    let silent = Instant::ZERO + SILENT;
    for (older, us) in [(&[2, 3][..], true), (&[2, 3, 4], false)] {
        let mut bench = with(older);
        bench.until(silent);
        let now = report(&mut bench);
        assert_eq!(now.is_us, us, "{older:?}");
        assert_eq!(now.writer.as_deref(), Some(if us { "n1" } else { "n2" }));
    }
    // One that has a session with somebody, if only a younger one, is not cut off.
    let mut bench = with(&[2, 3, 4]);
    let mut younger = numbered(5);
    younger.created = Some(Timestamp::from_unix_secs(2000));
    bench.apply(Fact::Node(younger));
    bench.node_up("n5");
    bench.until(silent);
    assert!(report(&mut bench).is_us);
}

#[test]
fn without_a_mesh_it_is_the_oldest() {
    let mut bench = with(&[2]);
    bench.apply(Fact::Configuration(dunlin_intent::ConfigurationFact {
        name: dunlin_intent::CONFIGURATION.into(),
        topology: Some(dunlin_intent::TopologyMode::None),
        ..dunlin_intent::ConfigurationFact::default()
    }));
    bench.until(Instant::ZERO + SILENT);
    assert_eq!(writer(&mut bench), "n2");
}
