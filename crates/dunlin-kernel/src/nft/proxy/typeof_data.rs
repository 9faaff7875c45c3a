//! What `nft` wants to know of a map whose key has a part without a type of its own (a random number, a hash), to show it
//! and to take in again what it has shown: the expressions that gave the parts, as it writes them itself. Numbers are those
//! of `nft`'s sources (`enum nftnl_udata_set_types`, `expr_types`, `proto_desc_id`), which are kept for what is stored.

use dunlin_net::Afi;

/// `typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport`, or with `ip6`.
pub(super) fn slots(afi: Afi) -> Vec<u8> {
    const KEY_BYTE_ORDER: u8 = 0;
    const DATA_BYTE_ORDER: u8 = 1;
    const KEY_TYPEOF: u8 = 3;
    const DATA_TYPEOF: u8 = 4;
    const DATA_INTERVAL: u8 = 6;
    let (protocol, destination) = match afi {
        Afi::Ipv4 => (12, 12),
        Afi::Ipv6 => (13, 9),
    };
    let address = payload(protocol, destination);
    let port = payload(11, 2);
    let key = concat(&[address.clone(), l4proto(), port.clone(), random()]);
    let data = concat(&[address, port]);
    [
        number(KEY_BYTE_ORDER, 0),
        number(DATA_BYTE_ORDER, 0),
        field(KEY_TYPEOF, &key),
        field(DATA_TYPEOF, &data),
        number(DATA_INTERVAL, 0),
    ]
    .concat()
}

/// Kind, length, value.
fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut octets = vec![kind, value.len() as u8];
    octets.extend_from_slice(value);
    octets
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    field(kind, &value.to_ne_bytes())
}

fn expression(kind: u32, data: &[u8]) -> Vec<u8> {
    [number(0, kind), field(1, data)].concat()
}

fn payload(protocol: u32, of_header: u32) -> Vec<u8> {
    const PAYLOAD: u32 = 7;
    expression(
        PAYLOAD,
        &[number(0, protocol), number(1, of_header)].concat(),
    )
}

fn l4proto() -> Vec<u8> {
    const META: u32 = 9;
    const L4PROTO: u32 = 16;
    expression(META, &number(0, L4PROTO))
}

fn random() -> Vec<u8> {
    const NUMGEN: u32 = 23;
    const RANDOM: u32 = 1;
    expression(
        NUMGEN,
        &[number(0, RANDOM), number(1, 2), number(2, 0)].concat(),
    )
}

fn concat(parts: &[Vec<u8>]) -> Vec<u8> {
    const CONCAT: u32 = 13;
    let numbered = (0..).zip(parts).map(|(at, part)| field(at, part));
    let numbered: Vec<u8> = numbered.flatten().collect();
    expression(CONCAT, &numbered)
}
