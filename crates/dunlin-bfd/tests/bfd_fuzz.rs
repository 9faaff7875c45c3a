//! Octets as datagrams for a table of sessions: an entry point for a fuzzer, and a test that runs it.

use std::time::Duration;

use dunlin_bfd::{
    ControlPacket, Datagram, Hops, Output, Seeds, SessionConfig, SessionId, Sessions,
};
use dunlin_net::{Chance, Instant};

/// Reads `data` as a list of: how (one octet), time that passes (one octet, in units of 4 ms), length (one octet), payload.
pub fn fuzz_bfd(data: &[u8]) {
    let mut table = Sessions::new(Seeds::default(), 2);
    let mut now = Instant::ZERO;
    let peer = [192, 0, 2, 1].into();
    let local = [192, 0, 2, 2].into();
    let near = SessionConfig::single_hop(peer);
    let far = SessionConfig::multi_hop(peer, local);
    for (id, config) in [(0, near), (1, far)] {
        assert_eq!(table.set(now, SessionId(id), config), Ok(()));
    }
    let mut rest = data;
    while let [how, time, length, more @ ..] = rest {
        let length = usize::from(*length).min(more.len()).min(64);
        let (payload, after) = more.split_at(length);
        rest = after;
        let mut payload = payload.to_vec();
        let id = SessionId(u32::from(how & 1));
        if how & 2 != 0
            && let Some(yours) = payload.get_mut(8..12)
            && let Some(snapshot) = table.snapshot(id)
        {
            // Few inputs would guess it.
            yours.copy_from_slice(&snapshot.local_discriminator.0.get().to_be_bytes());
        }
        now = now + Duration::from_millis(u64::from(*time) * 4);
        if how & 4 != 0 {
            table.on_deadline(now);
        }
        let datagram = Datagram {
            hops: if how & 1 == 0 {
                Hops::Single
            } else {
                Hops::Multi
            },
            from: peer,
            to: local,
            interface: 1,
            ttl: if how & 8 == 0 { 255 } else { *how },
            payload: &payload,
        };
        // Good or bad, it is counted there.
        let _ = table.receive(now, &datagram);
        while let Some(output) = table.poll_output() {
            if let Output::Transmit(transmit) = output {
                assert!(ControlPacket::decode(&transmit.octets).is_ok());
            }
        }
        assert_eq!(table.len(), 2);
    }
}

#[test]
fn nothing_that_comes_is_too_much() {
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let mut data = Vec::new();
        for _ in 0..200 {
            let mut draw = || chance.draw() as u8;
            data.extend([draw(), draw(), 24 + draw() % 3]);
            // Mostly good, so that it comes far.
            data.extend([0x20, draw() & 0xfa, 1 + draw() % 4, 24]);
            data.extend((0..20).map(|at| draw() & if at % 4 < 1 { 0 } else { 0xff }));
        }
        fuzz_bfd(&data);
        let noise: Vec<u8> = (0..2000).map(|_| chance.draw() as u8).collect();
        fuzz_bfd(&noise);
    }
}
