//! "It must hold up", failure: what happens to one node is no matter to the others.

mod support;

use std::time::{Duration, Instant};

use dunlin_lab::check;
use dunlin_lab::plan::Plan;
use dunlin_lab::routes::Change;
use rustix::process::Signal;
use support::cluster::{Pings, Watches, cut, settle, subnets, up_and_settled, wait_until};
use support::{TestLab, config, dunlin, is_root};

/// Short, to be waited for; long enough that a busy machine lets every agent speak in time, which is three times in it.
const HOLD: Duration = Duration::from_secs(HOLD_SECS as u64);
const HOLD_SECS: u16 = 9;
const NODES: [u16; 3] = [1, 2, 3];

fn short_hold_time(name: &str) -> Option<TestLab> {
    if !is_root() {
        return None;
    }
    let mut config = config(name, 3, dunlin());
    config.hold_time_secs = Some(HOLD_SECS);
    Some(up_and_settled(config))
}

/// Waits until n1, n3 and the router have dropped n2's subnets, and nothing else.
fn wait_for_withdrawal(watches: &mut Watches, began: Instant) {
    let gone = subnets(2);
    let mut deleted = Vec::new();
    wait_until("n2's routes go", HOLD * 5, || {
        for (host, event) in watches.events() {
            if event.change == Change::Deleted {
                deleted.push((host, event.route.prefix.to_string(), event.at));
            }
        }
        if deleted.len() >= 6 {
            Ok(())
        } else {
            Err(format!("{deleted:?}"))
        }
    });
    for (host, prefix, at) in deleted {
        let after = at.saturating_duration_since(began);
        assert!(gone.contains(&prefix), "{host} deleted {prefix}");
        assert_ne!(host, "n2");
        // The last keepalive before the cut is up to a third of the hold time old.
        assert!(after > HOLD / 2, "{host} withdrew {prefix} after {after:?}");
        // On time, as far as a busy machine lets an agent be; the default hold time is 90 s.
        assert!(after < HOLD * 2, "{host} withdrew {prefix} after {after:?}");
    }
}

fn assert_session_never_left(lab: &TestLab, flaps_before: [u64; 2]) {
    assert_eq!(
        flaps_between(lab),
        flaps_before,
        "n1 and n3 kept their session"
    );
}

/// How often n1 and n3 lost each other.
fn flaps_between(lab: &TestLab) -> [u64; 2] {
    [("n1", "n3"), ("n3", "n1")].map(|(from, to)| {
        let client = dunlin_api::Client::new(lab.host_dir(from).join("agent.sock"));
        match client
            .ask_blocking(&dunlin_api::Query::Neighbors)
            .expect("an answer")
        {
            dunlin_api::Answer::Neighbors(all) => {
                let found = all.iter().find(|neighbor| neighbor.name == to);
                found.expect("the other node").flaps
            }
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_node_cut_off_is_withdrawn_when_the_hold_time_ends_and_back_two_seconds_after_healing() {
    let Some(lab) = short_hold_time("cut") else {
        return;
    };
    let flaps = flaps_between(&lab);
    let mut watches = Watches::open(&lab, &[1, 3]);
    let pings = Pings::with_outside(&lab, &[1, 3]);
    cut(&lab, 2, true);
    wait_for_withdrawal(&mut watches, Instant::now());
    cut(&lab, 2, false);
    check::await_routes(&lab, Instant::now() + Duration::from_secs(2)).expect("n2 is back");
    settle(&lab, &NODES);
    assert_eq!(watches.deletions(), Vec::<String>::new());
    assert_session_never_left(&lab, flaps);
    pings.assert_no_loss();
}

#[test]
fn a_node_that_hangs_is_withdrawn_when_the_hold_time_ends_and_disturbs_nobody() {
    let Some(lab) = short_hold_time("hang") else {
        return;
    };
    let flaps = flaps_between(&lab);
    let mut watches = Watches::open(&lab, &[1, 3]);
    let pings = Pings::with_outside(&lab, &[1, 3]);
    lab.signal_daemon("n2", Signal::STOP).expect("n2 hangs");
    wait_for_withdrawal(&mut watches, Instant::now());
    lab.signal_daemon("n2", Signal::CONT).expect("n2 goes on");
    check::await_routes(&lab, Instant::now() + Duration::from_secs(30)).expect("n2 is back");
    settle(&lab, &NODES);
    assert_eq!(watches.deletions(), Vec::<String>::new());
    assert_session_never_left(&lab, flaps);
    pings.assert_no_loss();
}

#[test]
fn a_node_that_refuses_connections_keeps_its_routes_and_disturbs_nobody() {
    let Some(lab) = short_hold_time("refuse") else {
        return;
    };
    let flaps = flaps_between(&lab);
    let mut watches = Watches::open(&lab, &NODES);
    // The node without an agent forwards still, so its pods are pinged as well.
    let pings = Pings::between(&lab, &NODES);
    lab.stop_daemon("n2", Signal::KILL).expect("n2 ends");
    // Past the hold time: refused redials must not age anything.
    std::thread::sleep(HOLD + Duration::from_secs(2));
    assert_eq!(watches.deletions(), Vec::<String>::new());
    assert_session_never_left(&lab, flaps);
    pings.assert_no_loss();
}

#[test]
fn a_node_that_flaps_every_second_disturbs_nobody() {
    let Some(mut lab) = short_hold_time("flap") else {
        return;
    };
    let flaps = flaps_between(&lab);
    let mut watches = Watches::open(&lab, &NODES);
    let pings = Pings::with_outside(&lab, &NODES);
    let began = Instant::now();
    for round in 1..=10 {
        lab.stop_daemon(&Plan::node_name(2), Signal::KILL)
            .expect("n2 ends");
        lab.start_node(2).expect("n2 starts");
        std::thread::sleep(Duration::from_secs(round).saturating_sub(began.elapsed()));
    }
    settle(&lab, &NODES);
    assert_eq!(watches.deletions(), Vec::<String>::new());
    assert_session_never_left(&lab, flaps);
    pings.assert_no_loss();
}
