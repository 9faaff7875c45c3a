//! The lab with BIRD on the nodes: its checks pass where routing works, and fail where it does not.

mod support;

use std::time::{Duration, Instant};

use dunlin_lab::check;
use dunlin_lab::config::{LabConfig, NodeDaemon, PodNetwork, RouterKind};
use dunlin_lab::iproute::Batch;
use dunlin_lab::plan::Families;
use dunlin_lab::report::Report;
use support::cluster::{Capture, Pings, Watches, cut, subnets, wait_until};
use support::{TestLab, config, installed, is_root};

fn bird_config(name: &str) -> Option<LabConfig> {
    if !is_root() {
        return None;
    }
    if !installed("/usr/sbin/bird", "bird2") {
        return None;
    }
    let mut config = config(name, 3, env!("CARGO_BIN_EXE_dunlin-lab").into());
    config.node_daemon = NodeDaemon::Bird;
    config.router = RouterKind::Bird;
    config.pod_network = PodNetwork::Veth;
    Some(config)
}

#[test]
fn the_checks_pass_on_a_mesh_of_bird_in_each_family() {
    for (name, families, checks) in [
        ("b4", Families::Ipv4, 13),
        ("b6", Families::Ipv6, 13),
        ("b46", Families::Dual, 26),
    ] {
        let Some(mut config) = bird_config(name) else {
            return;
        };
        config.plan.families = families;
        let lab = TestLab::up(config);
        let summary = check::run(&lab, &Report::quiet()).expect("checks run");
        assert_eq!(summary.failures, Vec::<String>::new());
        assert_eq!(summary.passed, checks, "{families:?}");
    }
}

#[test]
fn the_checks_name_the_path_that_is_broken() {
    let Some(config) = bird_config("broken") else {
        return;
    };
    let lab = TestLab::up(config);
    check::await_routes(&lab, Instant::now() + Duration::from_secs(60)).expect("routes");
    // The kernel of n3 drops what goes to n1's pods, and BIRD does not know.
    let mut batch = Batch::new();
    batch.push("route add blackhole 10.244.1.0/25");
    batch.run(&lab.ns("n3")).expect("ip");
    let summary = check::run(&lab, &Report::quiet()).expect("checks run");
    let failures = summary.failures.join("\n");
    assert!(failures.contains("n1p1 and n3p1"), "{failures}");
    assert!(!failures.contains("n1p1 and n2p1"), "{failures}");
    assert!(
        summary.failures.iter().all(|f| !f.contains("fd44::")),
        "{failures}"
    );
}

#[test]
fn routes_that_do_not_come_are_reported_with_the_daemon_that_owes_them() {
    let Some(config) = bird_config("dead") else {
        return;
    };
    let lab = TestLab::up(config);
    check::await_routes(&lab, Instant::now() + Duration::from_secs(60)).expect("routes");
    lab.stop_daemon("n2", rustix::process::Signal::TERM)
        .expect("n2 ends");
    let error = loop {
        // BIRD takes its routes out of the kernel as it ends.
        match check::await_routes(&lab, Instant::now() + Duration::from_millis(500)) {
            Ok(_) => {}
            Err(error) => break format!("{error:#}"),
        }
    };
    assert!(error.contains("n2 has ended"), "{error}");
}

#[test]
fn a_node_cut_off_is_seen_to_be_withdrawn_and_nobody_else_loses_a_packet() {
    let Some(mut config) = bird_config("cutbird") else {
        return;
    };
    config.hold_time_secs = Some(6);
    let lab = TestLab::up(config);
    check::await_routes(&lab, Instant::now() + Duration::from_secs(60)).expect("routes");
    let capture = Capture::start(&lab);
    let mut watches = Watches::open(&lab, &[1, 3]);
    let (others, all) = (
        Pings::with_outside(&lab, &[1, 3]),
        Pings::between(&lab, &[1, 2, 3]),
    );
    cut(&lab, 2, true);
    let mut deleted = Vec::new();
    wait_until("n2's routes go", Duration::from_secs(30), || {
        deleted.extend(watches.deletions());
        // BIRD as the router has its own hold time; the nodes' is the shorter.
        if deleted.len() >= 6 {
            Ok(())
        } else {
            Err(format!("{deleted:?}"))
        }
    });
    deleted.extend(watches.deletions());
    let gone = subnets(2);
    assert!(
        deleted
            .iter()
            .all(|line| gone.iter().any(|s| line.ends_with(s))),
        "{deleted:?}"
    );
    others.assert_no_loss();
    let lost: usize = all.stop().iter().map(|(_, report)| report.lost()).sum();
    assert!(lost > 100, "the cut was real: {lost} echoes lost");
    if let Some(capture) = capture {
        // Nobody relays n2's routes, so nobody withdraws them on the wire.
        assert_eq!(capture.withdrawals(), Vec::<String>::new());
    }
}
