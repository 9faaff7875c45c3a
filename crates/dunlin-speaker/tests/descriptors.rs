//! No file descriptors left: alone in its process, since they are the process's.

mod support;

use std::time::{Duration, Instant};

use dunlin_bgp::session::FsmState;
use support::*;

/// Lowers the limit of this process, so that few files use it up.
fn few_descriptors() {
    let limit = libc::rlimit {
        rlim_cur: 256,
        rlim_max: 256,
    };
    // SAFETY: the kernel reads the struct, which lives through the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn without_file_descriptors_the_sessions_go_on() {
    let (mut left, mut right) = (Node::at("127.12.1.1"), Node::at("127.12.1.2"));
    let config = left.config(right.addr);
    left.set(1, config);
    let config = right.config(left.addr);
    right.set(1, config);
    left.wait_up(1);
    right.wait_up(1);
    few_descriptors();
    let mut hogs = Vec::new();
    while let Ok(hog) = std::fs::File::open("/dev/null") {
        hogs.push(hog);
    }
    // Room for this side's end only; there is none left to accept the other with.
    hogs.pop();
    let before = left.handle.report().counters;
    let end = Instant::now() + Duration::from_millis(500);
    let flooder = dial("127.12.1.99", left.addr);
    eventually("an accept fails", || {
        left.handle.report().counters.accept_errors > 0
    });
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    let report = left.handle.report();
    assert!(report.counters.turns - before.turns < 200, "it spins");
    assert_eq!(report.peers[0].state, FsmState::Established);
    // And afterwards it accepts again.
    drop((hogs, flooder));
    let _later = dial("127.12.1.99", left.addr);
    eventually("an accept succeeds", || {
        left.handle.report().refused.unknown_source > 0
    });
    assert!(!left.any_down() && !right.any_down());
}
