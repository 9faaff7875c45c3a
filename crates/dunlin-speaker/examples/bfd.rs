//! One end of BFD sessions, to try against others:
//!
//! ```text
//! cargo run -p dunlin-speaker --example bfd -- 50 3 60 192.0.2.1 2001:db8::1
//! ```
//!
//! is 50 ms × 3 for a minute with these neighbours. It tells each change, and at the end what was counted. A pair of addresses
//! `peer@local` has packets come from there.
#![allow(clippy::print_stdout, reason = "a program")]

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dunlin_bfd::{Seeds, SessionConfig, SessionId, State};
use dunlin_speaker::bfd::{BfdConfig, BfdEvent, BfdHandle};
use dunlin_speaker::{Clock, Lane, inbox};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut next = || {
        words
            .next()
            .ok_or("give INTERVAL_MS MULTIPLIER SECONDS PEER…")
    };
    let interval = Duration::from_millis(next()?.parse()?);
    let detect_mult = next()?.parse()?;
    let span = Duration::from_secs(next()?.parse()?);
    // The standard library's seeds come from the system.
    let random = || RandomState::new().hash_one(0);
    let clock = Clock::start();
    let config = BfdConfig {
        seeds: Seeds {
            discriminators: [random(), random()],
            chance: random(),
        },
        clock,
        limit: 10_000,
    };
    let inbox = inbox::<BfdEvent>();
    let sender = inbox.sender(Lane { capacity: 10_000 });
    let sink = move |event, waker: &_| sender.send_or_wake(1, event, |event| event, waker);
    let mut bfd = BfdHandle::spawn(&config, sink)?;
    for (id, peer) in (0..).zip(words) {
        let (peer, local) = match peer.split_once('@') {
            Some((peer, local)) => (peer.parse()?, Some(local.parse::<IpAddr>()?)),
            None => (peer.parse()?, None),
        };
        let mut session = SessionConfig::single_hop(peer);
        session.local = local;
        session.desired_min_tx = interval;
        session.required_min_rx = interval;
        session.detect_mult = detect_mult;
        bfd.set(SessionId(id), session)?;
    }
    let end = Instant::now() + span;
    let mut events = Vec::new();
    loop {
        let patience = end.saturating_duration_since(Instant::now());
        inbox.receive(&mut events, Some(patience));
        for event in events.drain(..) {
            println!("{event:?}");
        }
        if patience.is_zero() {
            break;
        }
    }
    if let Some(report) = bfd.report() {
        let sessions = report.sessions.iter().map(|session| &session.snapshot);
        let up = sessions.clone().filter(|s| s.state == State::Up).count();
        let failures: u64 = sessions.clone().map(|s| s.stats.failures).sum();
        let sent: u64 = sessions.clone().map(|s| s.stats.sent).sum();
        let received: u64 = sessions.map(|s| s.stats.received).sum();
        println!("{up} up, {failures} failures, {sent} sent, {received} received");
        println!("{:?} dropped {}", report.counters, report.dropped.total());
    }
    bfd.shutdown()?;
    Ok(())
}
