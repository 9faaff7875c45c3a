//! Only to Customer on the wire (RFC 9234 5).

mod wire_support;

use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::batch::RouteBatch;
use dunlin_bgp::wire::{AttrFault, Disposition, decode_update};
use dunlin_net::Asn;
use wire_support::*;

/// What an UPDATE with this attribute beside good ones says: its disposition and the mark.
fn judged(flags: u8, value: &[u8]) -> (Disposition, Option<Asn>) {
    let attrs = [origin(), as_path(), next_hop(), attr(flags, 35, value)];
    let mut batch = RouteBatch::default();
    let judged = decode_update(&external(), &update(&[], &attrs, NLRI), &mut batch);
    let judged = judged.expect("no session ends for it");
    if judged.disposition != Disposition::Ok {
        let fault = judged.findings[0];
        assert_eq!(fault.attr, 35);
        assert!(matches!(fault.fault, AttrFault::Length | AttrFault::Flags));
        assert_eq!((judged.announced, judged.withdrawn), (0, 2));
    }
    let mark = Attrs::new(&batch.attr_bytes).only_to_customer();
    (judged.disposition, mark)
}

#[test]
fn a_mark_is_read() {
    assert_eq!(
        judged(0xc0, &[0, 0, 0xfd, 0xe9]),
        (Disposition::Ok, Some(Asn(65001)))
    );
    // Partial, as a speaker that does not know it makes it.
    assert_eq!(
        judged(0xe0, &[0xff, 0, 0, 1]),
        (Disposition::Ok, Some(Asn(0xff00_0001)))
    );
}

#[test]
fn a_malformed_mark_withdraws() {
    for len in [0, 1, 2, 3, 5, 8] {
        assert_eq!(judged(0xc0, &vec![1; len]).0, Disposition::TreatAsWithdraw);
    }
    for flags in [0x80, 0x40] {
        assert_eq!(judged(flags, &[0, 0, 0, 1]).0, Disposition::TreatAsWithdraw);
    }
}
