use super::*;

fn packet() -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NEIGHBOR_SIGNALED_DOWN,
        state: State::Up,
        poll: true,
        is_final: false,
        control_plane_independent: true,
        authenticated: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 0x0102_0304,
        your_discriminator: 0x0506_0708,
        desired_min_tx_micros: 50_000,
        required_min_rx_micros: 60_000,
        required_min_echo_rx_micros: 0,
    }
}

#[test]
fn octets_are_those_of_the_rfc() {
    let octets = packet().encode();
    assert_eq!(
        octets,
        [
            0x23, 0xe8, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0xc3, 0x50, 0, 0, 0xea, 0x60, 0, 0, 0,
            0
        ]
    );
    assert_eq!(ControlPacket::decode(&octets), Ok(packet()));
}

#[test]
fn each_flag_and_state_comes_back() {
    for bits in 0..64_u8 {
        let sent = ControlPacket {
            poll: bits & 1 != 0,
            is_final: bits & 2 != 0,
            control_plane_independent: bits & 4 != 0,
            demand: bits & 8 != 0,
            state: State::ALL[usize::from(bits >> 4)],
            diagnostic: Diagnostic::from_bits(bits),
            ..packet()
        };
        assert_eq!(ControlPacket::decode(&sent.encode()), Ok(sent));
    }
}

#[test]
fn octets_beyond_the_length_field_are_not_looked_at() {
    let mut octets = packet().encode().to_vec();
    octets.extend([0xff; 40]);
    assert_eq!(ControlPacket::decode(&octets), Ok(packet()));
}

#[test]
fn an_authentication_section_is_seen_and_not_read() {
    let mut octets = packet().encode().to_vec();
    octets[1] |= 0x04;
    octets[3] = 26;
    octets.extend([1, 2]);
    let decoded = ControlPacket::decode(&octets).expect("a packet");
    assert!(decoded.authenticated);
}

#[test]
fn each_rule_of_reception_has_its_reason() {
    let change = |at: usize, to: u8| {
        let mut octets = packet().encode();
        octets[at] = to;
        ControlPacket::decode(&octets).expect_err("a broken rule")
    };
    let word = |at: usize, state: u8| {
        let mut octets = packet().encode();
        octets[1] = state << 6;
        octets[at..at + 4].fill(0);
        ControlPacket::decode(&octets)
    };
    for version in [0, 2, 7] {
        assert_eq!(change(0, version << 5), DropReason::Version);
    }
    assert_eq!(change(3, 23), DropReason::LengthTooSmall);
    assert_eq!(change(3, 0), DropReason::LengthTooSmall);
    assert_eq!(change(3, 25), DropReason::LengthBeyondPayload);
    assert_eq!(
        change(1, 0xc4),
        DropReason::LengthTooSmall,
        "with the A bit, 26"
    );
    assert_eq!(change(2, 0), DropReason::DetectMultZero);
    assert_eq!(change(1, 0xc1), DropReason::Multipoint);
    assert_eq!(word(4, 3), Err(DropReason::MyDiscriminatorZero));
    for (state, judged) in [
        (0, Ok(())),
        (1, Ok(())),
        (2, Err(DropReason::YourDiscriminatorZero)),
        (3, Err(DropReason::YourDiscriminatorZero)),
    ] {
        assert_eq!(word(8, state).map(|_| ()), judged);
    }
    for length in 0..CONTROL_LEN {
        let cut = ControlPacket::decode(&packet().encode()[..length]);
        assert_eq!(cut, Err(DropReason::Truncated));
    }
}
