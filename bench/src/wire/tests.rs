use super::*;

const ANNOUNCER: Announcer = Announcer {
    asn: 65_101,
    next_hop: Ipv4Addr::new(10, 99, 128, 1),
    internal: false,
    second_choice: false,
};

/// What a daemon of AS 65000 makes of a sender's UPDATE: its own AS in front of the path.
fn relayed(set: u32, prefixes: std::ops::Range<u32>) -> Vec<u8> {
    let mut sent = Vec::new();
    put_update(&mut sent, ANNOUNCER, set, prefixes);
    let mut body = sent[HEADER_LEN..].to_vec();
    body[8..13].copy_from_slice(&[0x40, 2, 22, 2, 5]);
    body.splice(13..13, 65_000u32.to_be_bytes());
    let attributes_len = u16::from_be_bytes([body[2], body[3]]) + 4;
    body[2..4].copy_from_slice(&attributes_len.to_be_bytes());
    body
}

fn announced(body: &[u8]) -> Result<(Option<u32>, Vec<u32>), Fault> {
    let update = Update::parse(body, 65_000)?;
    let mut prefixes = Vec::new();
    update.for_each_announced(|index| prefixes.push(index))?;
    Ok((update.set, prefixes))
}

#[test]
fn a_relayed_update_gives_back_its_set_and_prefixes() {
    let body = relayed(77_777, 777_770..777_780);
    assert_eq!(
        announced(&body),
        Ok((Some(77_777), (777_770..777_780).collect()))
    );
}

#[test]
fn a_path_without_the_daemons_as_is_a_fault() {
    let mut sent = Vec::new();
    put_update(&mut sent, ANNOUNCER, 1, 10..20);
    assert_eq!(announced(&sent[HEADER_LEN..]), Err(Fault::AsPath));
}

#[test]
fn nlri_without_a_mandatory_attribute_is_a_fault() {
    let mut body = relayed(1, 10..20);
    // ORIGIN becomes an unknown optional attribute.
    body[4..6].copy_from_slice(&[0x80, 99]);
    assert_eq!(announced(&body), Err(Fault::MissingAttribute));
}

#[test]
fn a_prefix_outside_the_numbered_space_is_a_fault() {
    let mut body = relayed(1, 10..11);
    let len = body.len();
    body[len - 3] = 10;
    assert_eq!(announced(&body), Err(Fault::Prefix));
}

#[test]
fn withdrawn_prefixes_are_read_from_both_places() {
    let mut body = vec![0, 4, 24, 20, 0, 5];
    body.extend_from_slice(&[0, 10, 0x80, 15, 7, 0, 1, 1, 24, 20, 0, 6]);
    let update = Update::parse(&body, 65_000).unwrap();
    let mut prefixes = Vec::new();
    update
        .for_each_withdrawn(|index| prefixes.push(index))
        .unwrap();
    assert_eq!(prefixes, [5, 6]);
}

#[test]
fn frames_wait_for_whole_messages_and_refuse_broken_headers() {
    let whole = keepalive();
    assert_eq!(frame(&whole[..18]), Ok(None));
    assert_eq!(
        frame(&whole),
        Ok(Some(Frame {
            kind: KEEPALIVE,
            body: &[],
            len: HEADER_LEN
        }))
    );
    let mut broken = whole.clone();
    broken[3] = 0;
    assert_eq!(frame(&broken), Err(Fault::Marker));
    let mut short = whole;
    short[17] = 18;
    assert_eq!(frame(&short), Err(Fault::Length));
}

#[test]
fn any_cut_of_an_update_is_refused_without_a_panic() {
    let body = relayed(3, 30..40);
    for len in 0..body.len() {
        let cut = announced(&body[..len]);
        let whole_prefixes = cut.as_ref().is_ok_and(|(_, prefixes)| prefixes.len() < 10);
        assert!(cut.is_err() || whole_prefixes, "{len} bytes gave {cut:?}");
    }
}
