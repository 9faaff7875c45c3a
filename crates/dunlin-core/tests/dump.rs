//! MRT dumps: piece by piece, whatever happens meanwhile.

#[allow(dead_code, reason = "each test needs a part of it")]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use dunlin_api::DumpedTable;
use dunlin_core::{Dumped, TableDump};
use support::*;

/// A core whose session with a router is up.
fn bench() -> Bench {
    let mut bench = Bench::importing();
    bench.sync();
    bench.up();
    bench
}

fn dump(table: DumpedTable) -> TableDump {
    TableDump::new(table, Duration::from_secs(1_700_000_000))
}

/// The records of a piece: subtype and body.
fn records(mut piece: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let [_, _, _, _, 0, 13, 0, subtype, a, b, c, d, rest @ ..] = piece {
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        records.push((*subtype, rest[..len].to_vec()));
        piece = &rest[len..];
    }
    assert!(piece.is_empty(), "whole records");
    records
}

/// The IPv4 prefixes of 24 bits in a piece.
fn prefixes(piece: &[u8]) -> Vec<[u8; 3]> {
    let nets = records(piece)
        .into_iter()
        .filter(|(subtype, body)| *subtype == 2 && body[4] == 24);
    nets.map(|(_, body)| [body[5], body[6], body[7]]).collect()
}

fn piece(bench: &Bench, dump: &mut TableDump) -> Option<Vec<u8>> {
    match bench.core.dump(dump) {
        Dumped::Piece(piece) => Some(piece),
        Dumped::All => None,
        Dumped::NoTables => panic!("it is known who we are"),
    }
}

fn nets(count: u32) -> Vec<String> {
    (0..count)
        .map(|number| format!("100.{}.{}.0/24", number / 256, number % 256))
        .collect()
}

#[test]
fn each_table_has_its_own_routes() {
    let mut bench = bench();
    bench.learns(&["198.51.100.0/24", "203.0.113.0/24"]);
    for (table, meant) in [
        (DumpedTable::AdjRibIn, vec![[198, 51, 100], [203, 0, 113]]),
        // Our own pod subnet.
        (
            DumpedTable::LocRib,
            vec![[10, 244, 1], [198, 51, 100], [203, 0, 113]],
        ),
    ] {
        let mut dump = dump(table);
        let first = piece(&bench, &mut dump).expect("the peers");
        let [(1, table)] = &records(&first)[..] else {
            panic!("the table of peers alone");
        };
        // The router and ourselves.
        let at = 6 + usize::from(table[5]);
        assert_eq!(table[at..at + 2], [0, 2]);
        let mut found = prefixes(&piece(&bench, &mut dump).expect("routes"));
        found.sort_unstable();
        assert_eq!(found, meant);
        assert_eq!(piece(&bench, &mut dump), None);
        assert_eq!(piece(&bench, &mut dump), None, "and it stays at its end");
    }
}

#[test]
fn before_it_is_known_who_we_are_there_are_no_tables() {
    let bench = Bench::new();
    let answer = bench.core.dump(&mut dump(DumpedTable::LocRib));
    assert_eq!(answer, Dumped::NoTables);
}

#[test]
fn pieces_are_short_and_what_stays_is_in_one_of_them_whatever_comes_and_goes() {
    let mut bench = bench();
    let all = nets(30_000);
    for nets in all.chunks(3_000) {
        bench.learns(&nets.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut dump = dump(DumpedTable::AdjRibIn);
    let mut found = Vec::new();
    let mut pieces = 0;
    while let Some(piece) = piece(&bench, &mut dump) {
        assert!(piece.len() < 256 * 1024, "{} octets", piece.len());
        found.extend(prefixes(&piece));
        pieces += 1;
        // Meanwhile others come.
        bench.learns(&[&format!("101.0.{pieces}.0/24")]);
    }
    assert!(pieces > 8, "{pieces}");
    let once: BTreeSet<[u8; 3]> = found.iter().copied().collect();
    assert_eq!(once.len(), found.len(), "none is told twice");
    let of_all = found.iter().filter(|net| net[0] == 100).count();
    assert_eq!(of_all, all.len());
}

#[test]
fn a_session_that_ends_takes_the_rest_of_its_routes_and_leaves_a_whole_dump() {
    let mut bench = bench();
    for nets in nets(30_000).chunks(3_000) {
        bench.learns(&nets.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut dump = dump(DumpedTable::AdjRibIn);
    for _ in 0..3 {
        assert!(piece(&bench, &mut dump).is_some());
    }
    bench.down();
    let mut rest = 0;
    while let Some(piece) = piece(&bench, &mut dump) {
        rest += prefixes(&piece).len();
    }
    assert_eq!(rest, 0);
}
