//! The admin socket and the metrics port under clients that are slow, greedy, many, or speak nonsense.
#![allow(clippy::print_stderr)]

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use dunlin_abuse::cluster::{Cluster, await_rest};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{can_run, http};

/// More than either server takes at once.
const CROWD: usize = 200;

/// How long somebody who means well may have to wait in a crowd: less than the slow ones are given.
const SOON: Duration = Duration::from_secs(4);

#[test]
fn slow_clients_keep_nobody_from_asking() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    let netns = n1.place.netns.clone();
    let before = n1.usage();
    // Half a request each, then silence.
    let mut slow = Vec::new();
    for _ in 0..CROWD {
        let mut stream = http::connect_metrics(&netns);
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            .expect("half a request");
        slow.push(stream);
    }
    let asked = Instant::now();
    assert_eq!(http::get(&netns, "/healthz").status, 200);
    assert!(
        asked.elapsed() < SOON,
        "/healthz took {:?}",
        asked.elapsed()
    );
    assert_eq!(http::get(&netns, "/readyz").status, 200);
    let mut slow_admin = Vec::new();
    for _ in 0..CROWD {
        let mut stream = http::connect_admin(&n1.place.socket());
        stream
            .write_all(b"POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
            .expect("half a request");
        slow_admin.push(stream);
    }
    let asked = Instant::now();
    n1.status();
    assert!(asked.elapsed() < SOON, "status took {:?}", asked.elapsed());
    let during = n1.usage();
    assert!(during.files < before.files + 80, "{} files", during.files);
    assert_eq!(during.threads, before.threads);
    drop((slow, slow_admin));
    n1.await_files(before.files);
    witness.nothing_changed();
}

#[test]
fn oversized_and_senseless_requests_are_refused() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let mut n1 = cluster.start("n1");
    await_rest(&n1);
    let (netns, socket) = (n1.place.netns.clone(), n1.place.socket());
    let before = n1.usage();
    // A head without end, on both.
    let mut endless = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
    endless.resize(1 << 20, b'a');
    for response in [
        http::say_to_metrics(&netns, &endless),
        http::say_to_admin(&socket, &endless),
    ] {
        assert!(
            matches!(response.status, 0 | 400 | 414 | 431),
            "{response:?}"
        );
    }
    // A body beyond the limit, announced and in chunks.
    let body = vec![b' '; (64 << 10) + 1];
    let response = http::query(&socket, &body);
    assert!(matches!(response.status, 0 | 413), "{response:?}");
    let mut chunked =
        b"POST /v1/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..128 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b' '; 4096]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let response = http::say_to_admin(&socket, &chunked);
    assert!(matches!(response.status, 0 | 413), "{response:?}");
    // Other methods, paths and protocols.
    for request in [
        "GET /v1/query HTTP/1.1\r\nHost: x\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "\r\n\r\n\r\n",
    ] {
        for response in [
            http::say_to_admin(&socket, request.as_bytes()),
            http::say_to_metrics(&netns, request.as_bytes()),
        ] {
            let refused = matches!(response.status, 0 | 400 | 404 | 405 | 505);
            assert!(refused, "{request:?}: {response:?}");
        }
    }
    assert!(n1.is_running());
    n1.await_files(before.files);
    let grown = n1.usage().resident_kib.saturating_sub(before.resident_kib);
    assert!(grown < 5000, "{grown} KiB more");
}

/// Values as a fuzzer makes them: queries with something wrong, and JSON that is no query.
fn nonsense(random: &mut impl FnMut() -> u64, depth: u32) -> String {
    let names = [
        "status",
        "neighbors",
        "routes",
        "advertisements",
        "nodes",
        "explainPrefix",
        "explainNeighbor",
        "metrics",
        "prefix",
        "family",
        "peer",
        "node",
        "limit",
        "",
        "constructor",
        "\\u0000",
    ];
    let name = names[usize::try_from(random() % 16).expect("small")];
    match random() % if depth == 0 { 7 } else { 10 } {
        0 => "null".into(),
        1 => random().to_string(),
        2 => format!("-{}.{}e{}", random() % 10, random() % 10, random() % 400),
        3 => format!("\"{name}\""),
        4 => format!(
            "\"10.244.{}.{}/{}\"",
            random() % 300,
            random() % 300,
            random() % 40
        ),
        5 => format!("\"fd10:0:0:{:x}::/{}\"", random() % 9, random() % 140),
        6 => "true".into(),
        7 => format!(
            "[{},{}]",
            nonsense(random, depth - 1),
            nonsense(random, depth - 1)
        ),
        _ => format!("{{\"{name}\":{}}}", nonsense(random, depth - 1)),
    }
}

#[test]
fn no_query_whatever_it_says_ends_the_agent() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (mut n1, n2) = cluster.start_pair();
    {
        let mut witness = Witness::new(&[&n1, &n2]);
        let socket = n1.place.socket();
        let files = n1.usage().files;
        let mut random = 0x2545_f491_4f6c_dd1du64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut good = 0;
        for _ in 0..3000 {
            let body = nonsense(&mut next, 4);
            let response = http::query(&socket, body.as_bytes());
            assert!(matches!(response.status, 200 | 400), "{body}: {response:?}");
            good += usize::from(response.status == 200);
        }
        assert!(good > 10, "only {good} of them were queries");
        // Deep, and not text at all.
        for body in [
            vec![b'['; 60_000],
            vec![0xff; 1000],
            b"{\"routes\":{\"limit\":4294967296}}".to_vec(),
        ] {
            assert_eq!(http::query(&socket, &body).status, 400);
        }
        for body in [
            "{\"routes\":{\"limit\":4294967295}}",
            "{\"explainPrefix\":\"0.0.0.0/0\"}",
            "{\"explainPrefix\":\"::/0\"}",
            "{\"explainNeighbor\":\"\"}",
            "{\"advertisements\":{\"peer\":\"nobody\"}}",
        ] {
            let response = http::query(&socket, body.as_bytes());
            assert_eq!(response.status, 200, "{body}: {response:?}");
        }
        n1.await_files(files);
        witness.nothing_changed();
    }
    assert!(n1.is_running());
    assert!(!n1.log().contains("panicked"), "{}", n1.log());
}

/// As many at once as there are, all of them served in the end.
#[test]
fn a_crowd_of_clients_is_served_without_anything_left_behind() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let n1 = cluster.start("n1");
    await_rest(&n1);
    n1.metrics();
    let before = n1.usage();
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(http::get(&n1.place.netns, "/metrics").status, 200);
                    assert_eq!(http::query(&n1.place.socket(), b"\"status\"").status, 200);
                }
            });
        }
    });
    let took = began.elapsed();
    let after = n1.usage();
    eprintln!(
        "1,600 requests in {took:.1?}; memory {} -> {} KiB",
        before.resident_kib, after.resident_kib
    );
    assert!(after.resident_kib < before.resident_kib + 5000);
    assert_eq!(after.threads, before.threads);
    n1.await_files(before.files);
}
