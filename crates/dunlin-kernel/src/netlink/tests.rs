use super::*;

#[test]
fn nested_attributes_read_back_as_written() {
    let mut buf = MessageBuf::new();
    for seq in [7, 8] {
        buf.message(
            Header {
                kind: 24,
                flags: REQUEST,
                seq,
            },
            &[1, 2, 3, 4, 5],
            |attrs| {
                attrs.put_u32(1, 0xAABB_CCDD);
                attrs.put_str(2, "lo");
                attrs.nest(3, |attrs| attrs.put_be32(9, 5));
            },
        );
    }
    let messages: Vec<Message<'_>> = Messages::new(buf.bytes().unwrap()).collect();
    assert_eq!(
        messages
            .iter()
            .map(|message| message.seq)
            .collect::<Vec<_>>(),
        [7, 8]
    );
    let attrs = messages[1].attrs(5);
    assert_eq!(attrs.get(1).and_then(ne_u32), Some(0xAABB_CCDD));
    assert_eq!(attrs.get(2), Some(&b"lo\0"[..]));
    let nest = Attrs::new(attrs.get(3).unwrap());
    assert_eq!(nest.get(9).and_then(be_u32), Some(5));
    assert_eq!(attrs.get(4), None);
}

#[test]
fn an_attribute_longer_than_its_length_field_is_not_sent() {
    let mut buf = MessageBuf::new();
    buf.message(
        Header {
            kind: 1,
            flags: 0,
            seq: 0,
        },
        &[],
        |attrs| attrs.put(1, &[0; 70_000]),
    );
    assert!(buf.bytes().is_none());
    buf.clear();
    assert!(buf.bytes().is_some());
}

#[test]
fn any_bytes_parse_without_panic() {
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    let mut buf = [0u8; 96];
    for round in 0..200_000 {
        for byte in &mut buf {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Small numbers make plausible lengths.
            *byte = if random & 1 == 0 {
                (random >> 8) as u8 & 31
            } else {
                (random >> 8) as u8
            };
        }
        for message in Messages::new(&buf[..round % 97]) {
            let _ = message.answer();
            for (_, value) in message.attrs(round % 20) {
                let _ = Attrs::new(value).count();
            }
        }
    }
}

#[test]
fn a_refusal_tells_the_error_and_the_kernels_words() {
    let mut buf = MessageBuf::new();
    let mut fixed = (-17i32).to_ne_bytes().to_vec();
    fixed.extend_from_slice(&[0; HEADER_LEN]);
    buf.message(
        Header {
            kind: ERROR,
            flags: 0x300,
            seq: 4,
        },
        &fixed,
        |attrs| {
            attrs.put_str(1, "Route exists");
        },
    );
    let message = Messages::new(buf.bytes().unwrap()).next().unwrap();
    let refusal = Refusal {
        errno: 17,
        message: Some("Route exists".into()),
    };
    assert_eq!(message.answer(), Some(Err(refusal)));
}

#[test]
fn a_filter_jumps_to_its_labels_and_not_back() {
    let mut filter = Filter::new();
    let (there, back) = (filter.label(), filter.label());
    filter.place(back);
    filter.load16(4);
    filter.jump_if(1, there);
    filter.end(false);
    filter.place(there);
    filter.end(true);
    let code = filter.assemble().unwrap();
    assert_eq!((code[1].jt, code[1].jf, code[3].k), (1, 0, u32::MAX));
    filter.jump_if(1, back);
    assert!(filter.assemble().is_none());
}
