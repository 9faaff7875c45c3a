//! Octets as messages of a link's routers: an entry point for a fuzzer, and a test that runs it.

use std::net::Ipv6Addr;
use std::time::Duration;

use dunlin_bgp::discovery::{Datagram, Discovery, Message, Output, parse};
use dunlin_net::{Chance, Instant};

/// Reads `data` as a list of: how (one octet), time that passes (one octet, in units of 250 ms), length (one octet), payload.
pub fn fuzz_discovery(data: &[u8]) {
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let mut discovery = Discovery::new(1);
    let mut now = Instant::ZERO;
    discovery.watch(now, 1, local);
    // What is sent at once.
    while discovery.poll_output().is_some() {}
    let (mut advertised, mut solicited) = (Instant::ZERO, Instant::ZERO);
    let mut rest = data;
    while let [how, time, length, more @ ..] = rest {
        let length = usize::from(*length).min(more.len());
        let (payload, after) = more.split_at(length);
        rest = after;
        now = now + Duration::from_millis(u64::from(*time) * 250);
        if how & 1 != 0 {
            discovery.on_deadline(now);
            assert!(discovery.next_deadline().is_some_and(|at| at > now));
        }
        let datagram = Datagram {
            from: match how & 6 {
                0 => Ipv6Addr::UNSPECIFIED,
                2 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
                _ => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(how >> 4)),
            },
            interface: 1,
            hop_limit: if how & 8 == 0 { 255 } else { 64 },
            payload,
        };
        let parsed = parse(&datagram);
        assert!(parsed.is_err() || datagram.hop_limit == 255);
        if parsed == Ok(Message::Advertisement) {
            assert!(datagram.from.is_unicast_link_local() && payload.len() >= 16);
        }
        let taken = discovery.receive(now, &datagram);
        assert!(taken.is_err() || parsed.is_ok());
        while let Some(output) = discovery.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    let (last, least) = match transmit.octets.len() {
                        16 => (&mut advertised, 3),
                        _ => (&mut solicited, 4),
                    };
                    let apart = now.since(*last) >= Duration::from_secs(least);
                    assert!(apart || *last == Instant::ZERO, "too often");
                    *last = now;
                }
                Output::Changed(told) => {
                    assert!(told.others.len() <= 8 && told.address != Some(local));
                    assert!(
                        told.address
                            .is_none_or(|address| !told.others.contains(&address))
                    );
                }
            }
        }
    }
}

#[test]
fn whatever_is_heard_is_bounded_and_answered_seldom() {
    let mut chance = Chance::new(11);
    for _ in 0..2_000 {
        let mut data = Vec::new();
        for _ in 0..60 {
            let draw = chance.draw();
            // Mostly messages that are nearly right.
            let kind = if draw & 0x100 == 0 { 134 } else { 133 };
            let mut payload = vec![0; 8 + (draw >> 9) as usize % 33];
            payload[0] = kind;
            if draw & 0x2000_0000 == 0 {
                let at = (draw >> 32) as usize % payload.len();
                payload[at] = (draw >> 48) as u8;
            }
            data.extend([draw as u8, (draw >> 16) as u8, payload.len() as u8]);
            data.extend(payload);
        }
        fuzz_discovery(&data);
    }
}
