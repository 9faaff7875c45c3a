//! A flood of connections: established sessions keep their state, and memory does not grow.

mod support;

use std::time::{Duration, Instant};

use dunlin_bgp::session::FsmState;
use support::*;

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    digits.and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn two_thousand_connections_a_second_leave_sessions_and_memory_alone() {
    let (mut left, mut right) = (Node::at("127.12.0.1"), Node::at("127.12.0.2"));
    let (left_addr, right_addr) = (left.addr, right.addr);
    for (node, other) in [(&mut left, right_addr), (&mut right, left_addr)] {
        let mut config = node.config(other);
        config.timers.hold_time_secs = 3;
        config.timers.keepalive_time_secs = 1;
        node.set(1, config);
    }
    left.wait_up(1);
    right.wait_up(1);
    // Both from nobody we know and from the address of an established peer.
    let flood = |node: &Node, from: &str, count: usize| {
        let begun = Instant::now();
        let mut kept = Vec::new();
        for number in 0..count {
            if let Ok(stream) = dial(from, node.addr) {
                kept.push(stream);
            }
            if kept.len() > 100 {
                kept.clear();
            }
            let due = begun + Duration::from_micros(500) * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    };
    flood(&left, "127.12.0.99", 500);
    let before = resident_kib();
    flood(&left, "127.12.0.99", 8000);
    flood(&left, "127.12.0.2", 2000);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 5 * 1024, "{grown} KiB more");
    let report = left.handle.report();
    assert!(
        report.refused.unknown_source >= 8500,
        "{:?}",
        report.refused
    );
    assert_eq!(report.peers[0].state, FsmState::Established);
    assert_eq!(report.peers[0].stats.flaps, 0);
    assert!(!left.any_down() && !right.any_down());
    assert!(report.counters.connections < 20, "{:?}", report.counters);
}
