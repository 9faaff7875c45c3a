//! Bad bytes → the exact NOTIFICATION.

mod wire_support;

use dunlin_bgp::batch::RouteBatch;
use dunlin_bgp::wire::{
    Capability, KEEPALIVE, Limits, MessageType, Notification, Open, RouteRefresh, decode_update,
    frame,
};
use dunlin_net::Asn;
use wire_support::*;

const PLAIN: Limits = Limits {
    extended_message: false,
    enhanced_refresh: false,
};
const EXTENDED: Limits = Limits {
    extended_message: true,
    enhanced_refresh: false,
};

fn notification(code: u8, subcode: u8, data: &[u8]) -> Notification {
    Notification::with_data(code, subcode, data)
}

/// The header of a message, its length field and type set freely.
fn head(len: u16, kind: u8) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&len.to_be_bytes());
    out.push(kind);
    out
}

#[track_caller]
fn header_fault(bytes: &[u8], limits: Limits, subcode: u8, data: &[u8]) {
    let fault = frame(bytes, limits).expect_err("the header is wrong");
    let expected = notification(1, subcode, data);
    assert_eq!(fault.notification, expected, "{bytes:x?}");
    assert_eq!(fault.notification.data, data, "{bytes:x?}");
}

#[test]
fn a_wrong_marker_is_told_from_its_first_wrong_octet() {
    header_fault(b"GET / HTTP/1.1\r\n\r\n", PLAIN, 1, &[]);
    header_fault(b"\0", PLAIN, 1, &[]);
    for at in 0..16 {
        let mut bytes = KEEPALIVE;
        bytes[at] = 0xfe;
        header_fault(&bytes, PLAIN, 1, &[]);
        header_fault(&bytes[..=at], PLAIN, 1, &[]);
    }
}

#[test]
fn a_length_no_message_may_have_is_told_before_the_type() {
    for len in [0, 1, 18, 4097, 65535] {
        let bytes = head(len, 99);
        header_fault(&bytes, PLAIN, 2, &len.to_be_bytes());
        header_fault(&bytes[..18], PLAIN, 2, &len.to_be_bytes());
    }
}

#[test]
fn every_type_has_its_lengths() {
    // Type, shortest, longest, longest with extended messages.
    let cases = [
        (1, 29, 4096, 4096),
        (2, 23, 4096, 65535),
        (3, 21, 4096, 65535),
        (4, 19, 19, 19),
        (5, 23, 23, 23),
    ];
    for (kind, shortest, longest, extended) in cases {
        for (limits, longest) in [(PLAIN, longest), (EXTENDED, extended)] {
            let too_long = (longest < u16::MAX).then(|| longest + 1);
            for len in [Some(shortest - 1), too_long].into_iter().flatten() {
                header_fault(&head(len, kind), limits, 2, &len.to_be_bytes());
            }
            for len in [shortest, longest] {
                let mut bytes = head(len, kind);
                if len > 19 {
                    bytes.resize(usize::from(len) - 1, 0);
                    assert_eq!(frame(&bytes, limits), Ok(None));
                }
                bytes.resize(usize::from(len) + 1, 0);
                let message = frame(&bytes, limits).expect("right").expect("whole");
                assert_eq!(message.kind as u8, kind);
                assert_eq!(message.wire_len(), usize::from(len));
            }
        }
    }
}

#[test]
fn an_unknown_type_is_told_with_its_octet() {
    for kind in [0, 6, 255] {
        header_fault(&head(23, kind), PLAIN, 3, &[kind]);
    }
}

#[test]
fn half_a_message_is_waited_for() {
    for len in 0..19 {
        assert_eq!(frame(&KEEPALIVE[..len], PLAIN), Ok(None));
    }
    let whole = frame(&KEEPALIVE, PLAIN).expect("right").expect("whole");
    assert_eq!(whole.kind, MessageType::Keepalive);
}

/// An OPEN body: AS 65001, hold time 90, 192.0.2.1, and these optional parameters.
fn open(params: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, params.len() as u8];
    body.extend_from_slice(params);
    body
}

#[track_caller]
fn open_fault(body: &[u8], subcode: u8, data: &[u8]) {
    let fault = Open::parse(body).expect_err("the OPEN is bad");
    assert_eq!(fault.notification.code, 2, "{body:x?}");
    assert_eq!(fault.notification.subcode, subcode, "{fault} {body:x?}");
    assert_eq!(fault.notification.data, data, "{body:x?}");
}

#[test]
fn a_bad_fixed_field_of_an_open_has_its_subcode() {
    for version in [0, 3, 5, 255] {
        let mut body = open(&[]);
        body[0] = version;
        open_fault(&body, 1, &[0, 4]);
    }
    let mut body = open(&[]);
    body[1..3].copy_from_slice(&[0, 0]);
    open_fault(&body, 2, &[]);
    for hold_time in [1, 2] {
        let mut body = open(&[]);
        body[4] = hold_time;
        open_fault(&body, 6, &[]);
    }
    for hold_time in [0, 3] {
        let mut body = open(&[]);
        body[4] = hold_time;
        let open = Open::parse(&body).expect("the hold time is fine");
        assert_eq!(open.hold_time_secs, u16::from(hold_time));
    }
    let mut body = open(&[]);
    body[5..9].copy_from_slice(&[0; 4]);
    open_fault(&body, 3, &[]);
}

#[test]
fn a_bad_optional_parameter_of_an_open_has_its_subcode() {
    open_fault(&open(&[1, 1, 0]), 4, &[]);
    open_fault(&open(&[2, 0, 3, 0]), 4, &[]);
    // Parameters that do not fill their length, in both formats.
    open_fault(&open(&[2]), 0, &[]);
    open_fault(&open(&[2, 1]), 0, &[]);
    open_fault(&open(&[2, 5, 65, 4, 0, 0]), 0, &[]);
    let mut short = open(&[2, 2, 2, 0]);
    short[9] = 3;
    open_fault(&short, 0, &[]);
    short[9] = 5;
    open_fault(&short, 0, &[]);
    open_fault(&open(&[255, 0, 9, 2, 0, 2, 2, 0]), 0, &[]);
    open_fault(&open(&[255, 0, 5, 2, 0, 9, 2, 0]), 0, &[]);
    open_fault(&open(&[255, 0, 2, 2, 0]), 0, &[]);
    // Capabilities cut off, or of a wrong length.
    for capability in [
        &[2][..],
        &[2, 1],
        &[1, 3, 0, 1, 0],
        &[1, 5, 0, 1, 0, 1, 0],
        &[2, 1, 0],
        &[5, 5, 0, 1, 0, 1, 0],
        &[6, 1, 0],
        &[9, 0],
        &[64, 1, 0],
        &[64, 3, 0, 0, 0],
        &[65, 2, 0, 1],
        &[69, 3, 0, 1, 1],
        &[70, 1, 0],
        &[71, 6, 0, 1, 1, 0, 0, 0],
    ] {
        let mut params = vec![2, capability.len() as u8];
        params.extend_from_slice(capability);
        open_fault(&open(&params), 0, &[]);
    }
}

#[test]
fn an_as_number_of_an_open_is_not_zero_and_not_two_things() {
    open_fault(&open(&[2, 6, 65, 4, 0, 0, 0, 0]), 2, &[]);
    open_fault(&open(&[2, 6, 65, 4, 0, 1, 0, 0]), 2, &[]);
    open_fault(&open(&[2, 6, 65, 4, 0, 0, 0xfd, 0xea]), 2, &[]);
    let same = Open::parse(&open(&[2, 6, 65, 4, 0, 0, 0xfd, 0xe9])).expect("it is the same");
    assert_eq!(same.asn, Asn(65_001));
    let mut trans = open(&[2, 6, 65, 4, 0, 1, 0, 0]);
    trans[1..3].copy_from_slice(&23456_u16.to_be_bytes());
    let trans = Open::parse(&trans).expect("AS_TRANS stands for any");
    assert_eq!(trans.asn, Asn(65_536));
    assert_eq!(trans.four_octet_as(), Some(Asn(65_536)));
}

#[test]
fn the_extended_format_of_optional_parameters_is_read_whatever_their_short_length() {
    let params = [255, 0, 10, 2, 0, 2, 2, 0, 2, 0, 2, 6, 0];
    for len in [255, 1, 13] {
        let mut body = open(&params);
        body[9] = len;
        let open = Open::parse(&body).expect("RFC 9072");
        let expected = [Capability::RouteRefresh, Capability::ExtendedMessage];
        assert_eq!(open.capabilities, expected);
    }
}

#[test]
fn bodies_cut_without_frame_are_bad_lengths() {
    for len in 0..10 {
        let fault = Open::parse(&open(&[])[..len]).expect_err("too short");
        let expected = notification(1, 2, &(19 + len as u16).to_be_bytes());
        assert_eq!(fault.notification, expected);
    }
    for len in [0, 1] {
        let fault = Notification::parse(&vec![6; len]).expect_err("too short");
        assert_eq!(fault.notification.code, 1);
    }
    for len in [0, 3, 5] {
        let fault = RouteRefresh::parse(&vec![0; len], false).expect_err("too short");
        let expected = notification(1, 2, &(19 + len as u16).to_be_bytes());
        assert_eq!(fault.notification, expected);
    }
}

#[track_caller]
fn update_fault(body: &[u8], subcode: u8, data: &[u8]) {
    // The batch holds something before, and only that after.
    let mut batch = RouteBatch::default();
    let good = update(&[8, 11], &[origin(), as_path(), next_hop()], NLRI);
    decode_update(&internal(), &good, &mut batch).expect("it is good");
    let before = batch.clone();
    let fault = decode_update(&internal(), body, &mut batch).expect_err("a session reset");
    assert_eq!(fault.notification.code, 3, "{fault}");
    assert_eq!(fault.notification.subcode, subcode, "{fault} {body:x?}");
    assert_eq!(fault.notification.data, data, "{fault} {body:x?}");
    assert_eq!(batch, before, "a fault leaves the batch as it was");
}

#[test]
fn lengths_of_an_update_that_exceed_it_reset() {
    let good = update(&[8, 10], &[origin(), as_path(), next_hop()], NLRI);
    for (at, value) in [(0, 0xff), (1, 0xff), (4, 0xff)] {
        let mut bad = good.clone();
        bad[at] = value;
        update_fault(&bad, 1, &[]);
    }
    for len in 0..4 {
        update_fault(&[0; 4][..len], 1, &[]);
    }
    update_fault(&[0, 0, 0, 1], 1, &[]);
    update_fault(&[0, 1, 0, 0], 1, &[]);
}

#[test]
fn prefixes_that_cannot_be_told_reset() {
    let good = [origin(), as_path(), next_hop()];
    for nlri in [
        &[33, 10, 0, 0, 0, 0][..],
        &[255],
        &[16, 10],
        &[8, 10, 24, 1, 2],
    ] {
        update_fault(&update(&[], &good, nlri), 10, &[]);
        update_fault(&update(nlri, &[], &[]), 10, &[]);
        update_fault(&update(nlri, &good, NLRI), 10, &[]);
    }
}

#[test]
fn mp_attributes_that_hide_their_prefixes_reset_with_the_attribute() {
    let next_hop_v6 = |len: usize| {
        let mut value = vec![0, 2, 1, len as u8];
        value.resize(4 + len, 1);
        value.extend_from_slice(&[0, 32, 0x20, 1, 0xd, 0xb8]);
        value
    };
    let mut cases: Vec<(u8, Vec<u8>)> = vec![
        (14, vec![]),
        (14, vec![0, 2, 1]),
        (14, vec![0, 2, 1, 16]),
        (14, vec![0, 2, 1, 0]),
        (14, vec![0, 1, 1, 4, 192, 0, 2, 1]),
        (15, vec![]),
        (15, vec![0, 2]),
        (15, vec![0, 2, 1, 129]),
        (15, vec![0, 2, 1, 16, 1]),
        (15, vec![0, 1, 1, 33, 1, 1, 1, 1, 1]),
    ];
    cases.extend([0, 4, 15, 17, 24, 31, 33, 48].map(|len| (14, next_hop_v6(len))));
    for bad in [&[129][..], &[32, 0x20, 1, 0xd], &[200, 1, 2, 3]] {
        let mut value = next_hop_v6(16);
        value.truncate(21);
        value.extend_from_slice(bad);
        cases.push((14, value));
    }
    // An IPv6 next hop for IPv4 that was not negotiated (RFC 8950).
    let mut extended = next_hop_v6(16);
    extended[1] = 1;
    extended.truncate(21);
    cases.push((14, extended));
    for (code, value) in cases {
        let bad = attr(0x80, code, &value);
        let attrs = [origin(), as_path(), bad.clone(), next_hop()];
        update_fault(&update(&[], &attrs, NLRI), 9, &bad);
    }
}

#[test]
fn mp_attributes_with_wrong_flags_reset_with_the_attribute() {
    for flags in [0x00, 0x40, 0xc0] {
        let mut reach = mp_reach();
        reach[0] = flags;
        let unreach = attr(flags, 15, &[0, 2, 1]);
        for bad in [reach, unreach] {
            let attrs = [origin(), as_path(), bad.clone()];
            update_fault(&update(&[], &attrs, &[]), 4, &bad);
        }
    }
}

#[test]
fn mp_attributes_twice_or_over_the_end_reset() {
    let base = [origin(), as_path()].concat();
    let twice = update(&[], &[base.clone(), mp_reach(), mp_reach()], &[]);
    update_fault(&twice, 1, &[]);
    let unreach = attr(0x80, 15, &[0, 2, 1]);
    let twice = update(&[], &[unreach.clone(), unreach], &[]);
    update_fault(&twice, 1, &[]);
    let reach = mp_reach();
    let cut = update(&[], &[base, reach[..reach.len() - 1].to_vec()], &[]);
    update_fault(&cut, 1, &[]);
}

#[test]
fn an_unknown_well_known_attribute_resets_with_it() {
    for flags in [0x00, 0x40] {
        let bad = attr(flags, 99, &[1, 2, 3]);
        let attrs = [origin(), as_path(), next_hop(), bad.clone()];
        update_fault(&update(&[], &attrs, NLRI), 2, &bad);
    }
}

#[test]
fn treat_as_withdraw_with_nothing_to_withdraw_resets_with_the_first_attribute() {
    let path = attr(0x40, 2, &[9, 1, 0, 0, 0, 1]);
    let cases = [
        (attr(0x40, 1, &[7]), 6),
        (attr(0x40, 1, &[]), 5),
        (path, 11),
        (attr(0x40, 3, &[127, 0, 0, 1]), 8),
        (attr(0x40, 4, &[0; 4]), 4),
        (attr(0x80, 4, &[0; 3]), 5),
        (attr(0xc0, 8, &[0; 3]), 5),
    ];
    for (bad, subcode) in cases {
        // With classic withdrawals or multiprotocol ones beside it, or alone.
        update_fault(
            &update(&[8, 10], std::slice::from_ref(&bad), &[]),
            subcode,
            &bad,
        );
        let unreach = attr(0x80, 15, &[0, 2, 1, 8, 0x20]);
        update_fault(&update(&[], &[unreach, bad.clone()], &[]), subcode, &bad);
        update_fault(&update(&[], std::slice::from_ref(&bad), &[]), subcode, &bad);
        let empty = attr(0x80, 14, &mp_reach()[3..24]);
        update_fault(&update(&[], &[empty, bad.clone()], &[]), subcode, &bad);
    }
    update_fault(
        &update(&[], &[vec![0x40, 1, 9, 0]], &[]),
        1,
        &[0x40, 1, 9, 0],
    );
    // An attribute discard is no reason to reset.
    let discard = attr(0x40, 6, &[1]);
    let (judgement, said, _) =
        decode(&internal(), &update(&[8, 10], &[discard], &[])).expect("no reset");
    assert_eq!(judgement.findings.len(), 1);
    assert_eq!(said, [Said::Withdraw(net("10.0.0.0/8"))]);
}

#[test]
fn data_of_a_notification_never_outgrows_its_message() {
    let bad = attr(0x50, 99, &vec![7; 60_000]);
    let attrs = [origin(), as_path(), next_hop(), bad];
    let fault = decode(&internal(), &update(&[], &attrs, NLRI)).expect_err("a session reset");
    let mut out = Vec::new();
    fault.notification.encode(&mut out);
    assert_eq!(out.len(), 4096);
    let message = frame(&out, PLAIN).expect("right").expect("whole");
    let parsed = Notification::parse(message.body).expect("it parses");
    assert_eq!(parsed, fault.notification);
}
