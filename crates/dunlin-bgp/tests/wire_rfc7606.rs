//! Every attribute × every way it can be wrong → what RFC 7606 asks for.

mod wire_support;

use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::wire::{AttrFault, DecodeContext, Disposition, Finding};
use dunlin_net::Asn;
use wire_support::*;

const WITHDRAW: Disposition = Disposition::TreatAsWithdraw;
const DISCARD: Disposition = Disposition::AttributeDiscard;

/// A known attribute: its flags, a good value, and what a wrong length or value of it leads to.
struct Known {
    code: u8,
    flags: u8,
    good: &'static [u8],
    malformed: Disposition,
    /// Lengths that are wrong.
    bad_lengths: &'static [usize],
}

const KNOWN: &[Known] = &[
    known(1, 0x40, &[0], WITHDRAW, &[0, 2]),
    known(
        2,
        0x40,
        &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea],
        WITHDRAW,
        &[1, 2, 5, 9, 11],
    ),
    known(3, 0x40, &[192, 0, 2, 1], WITHDRAW, &[0, 3, 5]),
    known(4, 0x80, &[0, 0, 0, 7], WITHDRAW, &[0, 3, 5]),
    known(5, 0x40, &[0, 0, 0, 200], WITHDRAW, &[0, 3, 5]),
    known(6, 0x40, &[], DISCARD, &[1, 4]),
    known(
        7,
        0xc0,
        &[0, 0, 0xfd, 0xe9, 192, 0, 2, 9],
        DISCARD,
        &[0, 6, 7, 9],
    ),
    known(8, 0xc0, &[0xfd, 0xe9, 0, 1], WITHDRAW, &[0, 3, 5]),
    known(9, 0x80, &[192, 0, 2, 9], WITHDRAW, &[0, 3, 5]),
    known(10, 0x80, &[192, 0, 2, 9], WITHDRAW, &[0, 3, 5]),
    known(
        16,
        0xc0,
        &[0, 2, 0xfd, 0xe9, 0, 0, 0, 1],
        WITHDRAW,
        &[0, 7, 9],
    ),
    known(
        32,
        0xc0,
        &[0, 0, 0xfd, 0xe9, 0, 0, 0, 1, 0, 0, 0, 2],
        WITHDRAW,
        &[0, 11, 13],
    ),
];

const fn known(
    code: u8,
    flags: u8,
    good: &'static [u8],
    malformed: Disposition,
    bad_lengths: &'static [usize],
) -> Known {
    Known {
        code,
        flags,
        good,
        malformed,
        bad_lengths,
    }
}

/// The mandatory attributes, without that of `code`, and `extra`.
fn with(code: u8, extra: &[Vec<u8>]) -> Vec<u8> {
    let mut attrs: Vec<_> = [origin(), as_path(), next_hop()]
        .into_iter()
        .filter(|attr| attr[1] != code)
        .collect();
    attrs.extend_from_slice(extra);
    update(&[], &attrs, NLRI)
}

/// Checks that an UPDATE whose attributes of `code` were `extra` has exactly this finding, and what came of it.
#[track_caller]
fn check(
    ctx: &DecodeContext,
    code: u8,
    extra: &[Vec<u8>],
    fault: AttrFault,
    disposition: Disposition,
) {
    let (judgement, said, batch) = decode(ctx, &with(code, extra)).expect("no session reset");
    let finding = Finding {
        attr: code,
        fault,
        disposition,
    };
    assert_eq!(judgement.findings.as_slice(), [finding], "attribute {code}");
    assert_eq!(judgement.disposition, disposition);
    let nets = [net("10.1.0.0/16"), net("10.2.3.0/24")];
    if disposition == WITHDRAW {
        assert_eq!(said, nets.map(Said::Withdraw));
        assert_eq!(batch.attr_bytes, []);
        assert_eq!((judgement.announced, judgement.withdrawn), (0, 2));
    } else {
        let [Said::Announce(a, hop, attrs), Said::Announce(b, ..)] = said.as_slice() else {
            panic!("attribute {code}: {said:?}");
        };
        assert_eq!([*a, *b], nets);
        assert_eq!(hop.addr.to_string(), "192.0.2.1");
        assert_eq!((judgement.announced, judgement.withdrawn), (2, 0));
        if fault == AttrFault::Duplicate {
            let kept = Attrs::new(attrs).get(code).map(|attr| attr.value.to_vec());
            let first = extra.iter().find(|attr| attr[1] == code);
            assert!(kept.is_none_or(|kept| first.is_none_or(|first| first.ends_with(&kept))));
        } else {
            assert_eq!(*attrs, base_attrs(), "attribute {code} is left out");
        }
    }
}

#[test]
fn good_attributes_of_every_kind_are_taken() {
    for it in KNOWN {
        let body = with(it.code, &[attr(it.flags, it.code, it.good)]);
        let (judgement, said, _) = decode(&internal(), &body).expect("it is good");
        assert_eq!(
            judgement.disposition,
            Disposition::Ok,
            "attribute {}",
            it.code
        );
        assert_eq!(said.len(), 2);
        let Said::Announce(_, _, attrs) = &said[0] else {
            panic!("{said:?}");
        };
        let kept = Attrs::new(attrs).get(it.code).map(|attr| attr.value);
        assert_eq!(kept, Some(it.good).filter(|_| it.code != 3));
    }
}

#[test]
fn a_wrong_length_has_the_class_of_its_attribute() {
    for it in KNOWN {
        for len in it.bad_lengths {
            let mut value = it.good.to_vec();
            value.resize(*len, 0);
            let bad = attr(it.flags, it.code, &value);
            check(
                &internal(),
                it.code,
                &[bad],
                AttrFault::Length,
                it.malformed,
            );
        }
    }
}

#[test]
fn wrong_flags_withdraw() {
    for it in KNOWN {
        for flip in [0x80, 0x40, 0xc0] {
            let bad = attr(it.flags ^ flip, it.code, it.good);
            check(&internal(), it.code, &[bad], AttrFault::Flags, WITHDRAW);
        }
    }
}

#[test]
fn the_partial_and_the_unused_flags_are_no_error() {
    for it in KNOWN {
        let body = with(it.code, &[attr(it.flags | 0x2f, it.code, it.good)]);
        let (judgement, said, _) = decode(&internal(), &body).expect("it is good");
        assert_eq!(
            judgement.disposition,
            Disposition::Ok,
            "attribute {}",
            it.code
        );
        let Said::Announce(_, _, attrs) = &said[0] else {
            panic!("{said:?}");
        };
        if let Some(kept) = Attrs::new(attrs).get(it.code) {
            let partial = if it.flags == 0xc0 { 0x20 } else { 0 };
            assert_eq!(kept.flags, it.flags | partial, "attribute {}", it.code);
        }
    }
}

#[test]
fn of_a_repeated_attribute_the_first_counts() {
    for it in KNOWN {
        let good = attr(it.flags, it.code, it.good);
        // The second is bad in every way: it is not even looked at.
        let second = attr(it.flags ^ 0xc0, it.code, &[1, 2, 3]);
        check(
            &internal(),
            it.code,
            &[good, second],
            AttrFault::Duplicate,
            DISCARD,
        );
    }
    let unknown = [attr(0xc0, 99, &[1]), attr(0xc0, 99, &[2])];
    let (judgement, said, _) = decode(&internal(), &with(0, &unknown)).expect("no reset");
    assert_eq!(judgement.disposition, DISCARD);
    let Said::Announce(_, _, attrs) = &said[0] else {
        panic!("{said:?}");
    };
    let kept: Vec<_> = Attrs::new(attrs).unknown().map(|attr| attr.value).collect();
    assert_eq!(kept, [[1]]);
}

#[test]
fn wrong_values_have_the_class_of_their_attribute() {
    let cases: &[(u8, u8, &[u8], Disposition)] = &[
        (1, 0x40, &[3], WITHDRAW),
        (1, 0x40, &[255], WITHDRAW),
        (2, 0x40, &[0, 1, 0, 0, 0, 1], WITHDRAW),
        (2, 0x40, &[5, 1, 0, 0, 0, 1], WITHDRAW),
        (2, 0x40, &[2, 0], WITHDRAW),
        (2, 0x40, &[2, 1, 0, 0, 0, 0], WITHDRAW),
        (2, 0x40, &[3, 1, 0, 0, 0, 1], WITHDRAW),
        (2, 0x40, &[4, 1, 0, 0, 0, 1], WITHDRAW),
        (3, 0x40, &[0, 0, 0, 0], WITHDRAW),
        (3, 0x40, &[127, 0, 0, 1], WITHDRAW),
        (3, 0x40, &[224, 0, 0, 1], WITHDRAW),
        (3, 0x40, &[255, 255, 255, 255], WITHDRAW),
        (7, 0xc0, &[0, 0, 0, 0, 192, 0, 2, 9], DISCARD),
    ];
    for (code, flags, value, disposition) in cases {
        let bad = attr(*flags, *code, value);
        check(&internal(), *code, &[bad], AttrFault::Value, *disposition);
    }
}

#[test]
fn attributes_of_the_own_as_are_dropped_unread_from_external_peers() {
    for code in [5, 9, 10] {
        for value in [&[0, 0, 0, 200][..], &[], &[1, 2, 3]] {
            for flags in [0x40, 0x80, 0xc0] {
                let bad = attr(flags, code, value);
                check(&external(), code, &[bad], AttrFault::Unexpected, DISCARD);
            }
        }
    }
}

#[test]
fn as4_attributes_from_a_four_octet_peer_are_dropped() {
    for code in [17, 18] {
        let bad = attr(0xc0, code, &[2, 1, 0, 1, 0, 0]);
        check(&external(), code, &[bad], AttrFault::Unexpected, DISCARD);
    }
}

#[test]
fn a_missing_mandatory_attribute_withdraws() {
    for code in [1, 2, 3] {
        check(&internal(), code, &[], AttrFault::Missing, WITHDRAW);
    }
}

#[test]
fn next_hop_is_not_missing_where_all_prefixes_are_multiprotocol() {
    let body = update(&[], &[mp_reach(), origin(), as_path()], &[]);
    let (judgement, said, _) = decode(&internal(), &body).expect("it is good");
    assert_eq!(judgement.disposition, Disposition::Ok);
    assert_eq!(said.len(), 1);
}

#[test]
fn an_attribute_over_the_end_of_the_list_withdraws() {
    let good = [origin(), as_path(), next_hop()].concat();
    let overruns: &[&[u8]] = &[
        &[0x40, 5, 4, 0, 0, 0],
        &[0x40, 5],
        &[0x40],
        &[0x50, 5, 0],
        &[0xd0, 8, 0xff, 0xff, 0, 0],
    ];
    for overrun in overruns {
        let attrs = [good.clone(), overrun.to_vec()];
        let (judgement, said, _) =
            decode(&internal(), &update(&[], &attrs, NLRI)).expect("no session reset");
        assert_eq!(judgement.disposition, WITHDRAW, "{overrun:x?}");
        assert_eq!(judgement.findings[0].fault, AttrFault::Overrun);
        assert_eq!(judgement.findings[0].attr, *overrun.get(1).unwrap_or(&0));
        assert_eq!(said.len(), 2);
        assert!(said.iter().all(|it| matches!(it, Said::Withdraw(_))));
    }
}

#[test]
fn the_strongest_of_several_errors_counts() {
    let attrs = [
        origin(),
        as_path(),
        next_hop(),
        attr(0x40, 6, &[1]),
        attr(0x80, 4, &[1]),
        mp_reach(),
    ];
    let (judgement, said, _) = decode(&internal(), &update(&[], &attrs, NLRI)).expect("no reset");
    assert_eq!(judgement.disposition, WITHDRAW);
    // In the order of the type codes.
    let found: Vec<_> = judgement
        .findings
        .iter()
        .map(|it| (it.attr, it.disposition))
        .collect();
    assert_eq!(found, [(4, WITHDRAW), (6, DISCARD)]);
    let nets = ["10.1.0.0/16", "10.2.3.0/24", "2001:db8::/32"];
    assert_eq!(said, nets.map(|it| Said::Withdraw(net(it))));
}

#[test]
fn withdrawals_stay_withdrawals_beside_a_malformed_attribute() {
    let attrs = [attr(0x40, 1, &[9]), as_path(), next_hop()];
    let body = update(&[8, 11], &attrs, NLRI);
    let (_, said, _) = decode(&internal(), &body).expect("no reset");
    let nets = ["11.0.0.0/8", "10.1.0.0/16", "10.2.3.0/24"];
    assert_eq!(said, nets.map(|it| Said::Withdraw(net(it))));
}

#[test]
fn a_path_that_does_not_begin_with_the_peers_as_withdraws_where_that_is_checked() {
    let ctx = DecodeContext {
        enforce_first_as: Some(Asn(65_009)),
        ..external()
    };
    check(&ctx, 2, &[as_path()], AttrFault::Value, WITHDRAW);
    check(&ctx, 2, &[attr(0x40, 2, &[])], AttrFault::Value, WITHDRAW);
    let set = attr(0x40, 2, &[1, 1, 0, 0, 0xfd, 0xf1]);
    check(&ctx, 2, &[set], AttrFault::Value, WITHDRAW);
    let ctx = DecodeContext {
        enforce_first_as: Some(Asn(65_001)),
        ..external()
    };
    let (judgement, ..) = decode(&ctx, &with(0, &[])).expect("it is good");
    assert_eq!(judgement.disposition, Disposition::Ok);
}

#[test]
fn a_next_hop_in_mp_reach_that_is_no_host_withdraws() {
    let mut bad = mp_reach();
    bad[7..23].copy_from_slice(&[0; 16]);
    let body = update(&[], &[bad, origin(), as_path(), next_hop()], NLRI);
    let (judgement, said, _) = decode(&internal(), &body).expect("no reset");
    let finding = Finding {
        attr: 14,
        fault: AttrFault::Value,
        disposition: WITHDRAW,
    };
    assert_eq!(judgement.findings.as_slice(), [finding]);
    assert!(said.iter().all(|it| matches!(it, Said::Withdraw(_))));
    assert_eq!(said.len(), 3);
}

#[test]
fn families_that_were_not_negotiated_are_ignored_and_noted() {
    let ctx = DecodeContext {
        families: dunlin_net::PerFamily {
            v4: false,
            v6: false,
        },
        ..internal()
    };
    let unreach = attr(0x80, 15, &[0, 2, 1, 32, 0x20, 1, 0xd, 0xb8]);
    let attrs = [mp_reach(), unreach, origin(), as_path(), next_hop()];
    let (judgement, said, batch) = decode(&ctx, &update(&[8, 10], &attrs, NLRI)).expect("no reset");
    assert_eq!(said, []);
    assert_eq!(batch, dunlin_bgp::batch::RouteBatch::default());
    let found: Vec<_> = judgement
        .findings
        .iter()
        .map(|it| (it.attr, it.fault))
        .collect();
    let fault = AttrFault::FamilyNotNegotiated;
    assert_eq!(found, [(15, fault), (0, fault), (0, fault), (14, fault)]);
    // Families we have no word for are the same.
    let vpn = attr(0x80, 14, &[0, 1, 128, 12, 0, 0]);
    let (judgement, said, _) =
        decode(&internal(), &update(&[], &[vpn, origin(), as_path()], &[])).expect("no reset");
    assert_eq!(judgement.findings[0].fault, fault);
    assert_eq!(said, []);
}

#[test]
fn a_two_octet_peers_as4_attributes_are_discarded_if_malformed() {
    let ctx = DecodeContext {
        four_octet_as: false,
        ..external()
    };
    assert_eq!(ctx.peer_type, PeerType::External);
    let path = attr(0x40, 2, &[2, 2, 0x5b, 0xa0, 0xfd, 0xea]);
    for (code, bad) in [
        (17, attr(0xc0, 17, &[2, 1, 0, 1])),
        (17, attr(0xc0, 17, &[2, 1, 0, 1, 0, 0, 0])),
        (17, attr(0xc0, 17, &[7, 1, 0, 1, 0, 0])),
        (17, attr(0xc0, 17, &[2, 0, 2, 1, 0, 1, 0, 0])),
        (17, attr(0xc0, 17, &[2, 1, 0, 0, 0, 0])),
        (17, attr(0x80, 17, &[2, 1, 0, 1, 0, 0])),
        (18, attr(0xc0, 18, &[0, 1, 0, 0, 1, 2, 3])),
        (18, attr(0xc0, 18, &[0, 0, 0, 0, 1, 2, 3, 4])),
    ] {
        let attrs = [origin(), path.clone(), next_hop(), bad.clone()];
        let (judgement, said, _) = decode(&ctx, &update(&[], &attrs, NLRI)).expect("no reset");
        assert_eq!(judgement.disposition, DISCARD, "{bad:x?}");
        assert_eq!(judgement.findings[0].attr, code);
        let Said::Announce(_, _, attrs) = &said[0] else {
            panic!("{said:?}");
        };
        assert_eq!(Attrs::new(attrs).as_path().to_string(), "23456 65002");
    }
}
