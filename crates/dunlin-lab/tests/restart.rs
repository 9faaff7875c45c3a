//! "It must hold up", restart: agents end and start while pods talk, and nobody notices.

mod support;

use std::time::{Duration, Instant};

use dunlin_lab::manifests;
use dunlin_lab::plan::Plan;
use dunlin_lab::routes::{self, Change};
use rustix::process::Signal;
use support::cluster::{Capture, Pings, Watches, settle, subnets, up_and_settled, wait_until};
use support::{config, dunlin, is_root};

const NODES: [u16; 3] = [1, 2, 3];

/// Ends and starts each node's agent three times, for at least 30 s, under 100 echoes a second on every path.
fn restart_each_node_three_times(name: &str, signal: Signal) {
    if !is_root() {
        return;
    }
    let mut lab = up_and_settled(config(name, 3, dunlin()));
    let mut watches = Watches::open(&lab, &NODES);
    let capture = Capture::start(&lab);
    let pings = Pings::with_outside(&lab, &NODES);
    let began = Instant::now();
    for round in 0..3 {
        for node in NODES {
            lab.stop_daemon(&Plan::node_name(node), signal)
                .expect("the agent ends");
            lab.start_node(node).expect("the agent starts");
            settle(&lab, &NODES);
            let due = Duration::from_secs(30) * (round * 3 + u32::from(node)) / 9;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    assert_eq!(watches.deletions(), Vec::<String>::new());
    if let Some(capture) = capture {
        assert_eq!(capture.withdrawals(), Vec::<String>::new());
    }
    pings.assert_no_loss();
}

#[test]
fn kill_9_loses_no_packet_deletes_no_route_and_withdraws_nothing() {
    restart_each_node_three_times("kill9", Signal::KILL);
}

#[test]
fn sigterm_loses_no_packet_deletes_no_route_and_withdraws_nothing() {
    restart_each_node_three_times("term", Signal::TERM);
}

#[test]
fn a_node_removed_meanwhile_is_gone_within_a_second_of_sync_and_nothing_else_moves() {
    if !is_root() {
        return;
    }
    let mut lab = up_and_settled(config("removed", 4, dunlin()));
    lab.stop_daemon("n1", Signal::KILL).expect("n1 ends");
    manifests::remove_node(&lab.manifest_dir(), 4).expect("node 4 goes");
    wait_until("n2 and n3 drop n4", Duration::from_secs(30), || {
        let on = |host| routes::installed_by(&lab.ns(host), lab.node_protocol()).expect("dump");
        let there: Vec<_> = ["n2", "n3"]
            .into_iter()
            .flat_map(on)
            .map(|r| r.prefix)
            .collect();
        let left: Vec<_> = there
            .into_iter()
            .filter(|p| subnets(4).contains(&p.to_string()))
            .collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    let mut watches = Watches::open(&lab, &NODES);
    let pings = Pings::with_outside(&lab, &NODES);
    lab.start_node(1).expect("n1 starts");
    let synced = wait_until(
        "n1 has read its objects",
        Duration::from_secs(30),
        || match lab.agent_status("n1") {
            Ok(status) if status.source_synced => Ok(Instant::now()),
            Ok(status) => Err(format!("{status:?}")),
            Err(error) => Err(error.to_string()),
        },
    );
    let gone = subnets(4);
    let mut deleted = Vec::new();
    wait_until("n4's routes go", Duration::from_secs(30), || {
        for (host, event) in watches.events() {
            if event.change == Change::Deleted {
                let late = event.at.saturating_duration_since(synced);
                deleted.push((host, event.route.prefix.to_string(), late));
            }
        }
        let there = |s: &String| deleted.iter().any(|(_, prefix, _)| prefix == s);
        if gone.iter().all(there) {
            Ok(())
        } else {
            Err(format!("{deleted:?}"))
        }
    });
    settle(&lab, &NODES);
    assert_eq!(watches.deletions(), Vec::<String>::new());
    for (host, prefix, late) in deleted {
        assert_eq!(host, "n1", "{prefix}");
        assert!(gone.contains(&prefix), "{prefix}");
        assert!(
            late < Duration::from_secs(1),
            "{prefix} went {late:?} after the sync"
        );
    }
    pings.assert_no_loss();
}
