//! A thousand sessions on one thread.
#![allow(clippy::print_stdout, reason = "shows what it measured")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use dunlin_bgp::session::SessionEvent;
use support::*;

const SESSIONS: u32 = 1000;

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    digits.and_then(|kib| kib.parse().ok()).expect("a number")
}

fn addr(net: u8, number: u32, port: u16) -> SocketAddr {
    let [_, _, high, low] = (number + 1).to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(127, net, high, low).into(), port)
}

fn wait_all_up(node: &mut Node) {
    for _ in 0..SESSIONS {
        node.wait("Up", |event| {
            matches!(event, SessionEvent::Up { .. }).then_some(())
        });
        // Looking over all states again and again would be what is measured.
        node.seen
            .retain(|event| matches!(event, SessionEvent::Up { .. }));
    }
}

#[test]
fn a_thousand_sessions_come_up_and_each_takes_little_memory() {
    let (mut left, mut right) = (Node::at("0.0.0.0"), Node::at("127.13.255.1"));
    let before = resident_kib();
    let begun = Instant::now();
    for number in 0..SESSIONS {
        let (here, there) = (addr(14, number, left.addr.port()), addr(15, number, 1));
        let mut config = left.config(there);
        config.local_address = None;
        config.passive = true;
        config.router_id = router_id(left.addr.ip());
        config.router_id.0 = Ipv4Addr::new(1, 1, 1, 1);
        left.set(number, config);
        let mut config = right.config(here);
        config.local_address = Some(there.ip());
        right.set(number, config);
    }
    wait_all_up(&mut left);
    wait_all_up(&mut right);
    let took = begun.elapsed();
    // Both ends are in this process.
    let each = resident_kib().saturating_sub(before) * 1024 / (2 * SESSIONS as usize);
    println!("{SESSIONS} sessions up after {took:?}, {each} octets for each end");
    assert!(each < 20_000, "{each} octets for each session");
}
