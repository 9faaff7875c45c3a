use super::*;
use CommunityValue::{Large, Standard};

#[test]
fn every_form_is_read() {
    for (text, want) in [
        ("64512:100", Standard(0xFC00_0064)),
        ("0:0", Standard(0)),
        ("65535:65535", Standard(u32::MAX)),
        ("4200000000:1:2", Large(4_200_000_000, 1, 2)),
        ("no-export", Standard(0xFFFF_FF01)),
        ("No-Export", Standard(0xFFFF_FF01)),
        ("graceful-shutdown", Standard(0xFFFF_0000)),
        ("blackhole", Standard(0xFFFF_029A)),
    ] {
        assert_eq!(parse(text), Ok(want), "{text}");
    }
}

#[test]
fn what_is_out_of_range_or_of_another_form_is_refused_with_its_text() {
    for text in [
        "",
        ":",
        "1",
        "65536:1",
        "1:65536",
        "-1:1",
        "+1:1",
        "1:2:3:4",
        "1:2:4294967296",
        "a:b",
        "1: 2",
        "internet",
        "::",
    ] {
        let message = parse(text).unwrap_err();
        assert!(message.contains(&format!("{text:?}")), "{message}");
    }
}

#[test]
fn a_list_of_one_kind_takes_no_other() {
    assert!(parse_standard("1:2:3").is_err());
    assert!(parse_large("1:2").is_err());
    assert!(parse_well_known("1:2").is_err());
}
