//! Whatever a netlink socket gives, nothing panics. The fuzzer runs the body; the test runs it on a corpus that is made up
//! the same way each time.

use dunlin_kernel::netlink::{Attrs, Messages};
use dunlin_kernel::rtnl;

/// Every decoder on every message of a buffer.
pub fn fuzz_netlink(data: &[u8]) {
    for message in Messages::new(data) {
        let _ = message.answer();
        let _ = rtnl::parse_link(&message);
        let _ = rtnl::parse_address(&message);
        let _ = rtnl::parse_route(&message);
        let _ = rtnl::parse_nexthop(&message);
        for fixed in [0, 4, 8, 12, 16] {
            for (_, value) in message.attrs(fixed) {
                for (_, inner) in Attrs::new(value) {
                    let _ = Attrs::new(inner).get(1);
                }
            }
        }
    }
}

#[test]
fn a_fixed_corpus_does_not_panic() {
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..100_000 {
        // A plausible header, so that the decoders behind it are reached.
        let len = 16 + draw(120);
        let mut data: Vec<u8> = (0..len).map(|_| u8::try_from(draw(256)).unwrap()).collect();
        data[..4].copy_from_slice(&u32::try_from(len - draw(4)).unwrap().to_ne_bytes());
        for at in (16..data.len()).step_by(4) {
            match draw(4) {
                0 => data[at] = u8::try_from(4 + draw(28)).unwrap(),
                1 => data[at..]
                    .iter_mut()
                    .skip(1)
                    .take(1)
                    .for_each(|octet| *octet = 0),
                _ => {}
            }
        }
        fuzz_netlink(&data);
    }
}
