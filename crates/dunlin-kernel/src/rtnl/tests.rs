use super::*;
use crate::netlink::Messages;

#[test]
fn messages_cut_anywhere_parse_without_panic() {
    let mut buf = MessageBuf::new();
    let fixed = [2, 24, 0, 0, 254, 68, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1];
    for kind in [RTM_NEWROUTE, RTM_NEWLINK, RTM_NEWADDR, RTM_NEWNEXTHOP] {
        buf.message(
            Header {
                kind,
                flags: 0,
                seq: 1,
            },
            &fixed,
            |attrs| {
                for kind in 0..32 {
                    attrs.put_u32(kind, 0x0D00_0001);
                }
            },
        );
    }
    let mut bytes = buf.bytes().unwrap().to_vec();
    for cut in 0..bytes.len() {
        for message in Messages::new(&bytes[..cut]) {
            let mut message = message;
            for len in 0..=message.body.len() {
                message.body = &message.body[..message.body.len() - len.min(message.body.len())];
                let _ = (parse_link(&message), parse_address(&message));
                let _ = (parse_route(&message), parse_nexthop(&message));
            }
        }
    }
    for at in 0..bytes.len() {
        bytes[at] ^= 0xFF;
        for message in Messages::new(&bytes) {
            let _ = (parse_link(&message), parse_address(&message));
            let _ = (parse_route(&message), parse_nexthop(&message));
        }
    }
}

#[test]
fn a_prefix_longer_than_its_family_is_no_route() {
    let mut buf = MessageBuf::new();
    let fixed = [2, 33, 0, 0, 254, 68, 0, 1, 0, 0, 0, 0];
    buf.message(
        Header {
            kind: RTM_NEWROUTE,
            flags: 0,
            seq: 1,
        },
        &fixed,
        |attrs| {
            attrs.put(RTA_DST, &[10, 0, 0, 0]);
        },
    );
    let message = Messages::new(buf.bytes().unwrap()).next().unwrap();
    assert!(parse_route(&message).is_none());
}
