//! The lab's own checks, with the real agents: every family and every router.

mod support;

use std::time::{Duration, Instant};

use dunlin_lab::check;
use dunlin_lab::config::{LabConfig, RouterKind};
use dunlin_lab::iproute::Batch;
use dunlin_lab::manifests;
use dunlin_lab::plan::{Families, Plan};
use dunlin_lab::report::Report;
use dunlin_lab::routes::Change;
use support::cluster::{Watches, is_settled, subnets, up_and_settled, wait_until};
use support::{TestLab, config, dunlin, installed, is_root};

fn assert_checks_pass(config: LabConfig) {
    let what = format!("{:?} with {:?}", config.plan.families, config.router);
    let lab = TestLab::up(config);
    check::await_routes(&lab, Instant::now() + Duration::from_secs(60)).expect("routes");
    let summary = check::run(&lab, &Report::quiet()).expect("checks run");
    assert_eq!(summary.failures, Vec::<String>::new(), "{what}");
    assert!(summary.passed >= 13, "{what}: {} checks", summary.passed);
}

fn assert_router_works(name: &str, router: RouterKind) {
    if !is_root() {
        return;
    }
    for (suffix, families) in [
        ("4", Families::Ipv4),
        ("6", Families::Ipv6),
        ("46", Families::Dual),
    ] {
        let mut config = config(&format!("{name}{suffix}"), 3, dunlin());
        config.router = router;
        config.plan.families = families;
        // With services too where both families are.
        config.service_proxy = families == Families::Dual;
        assert_checks_pass(config);
    }
}

#[test]
fn pods_reach_each_other_and_the_outside_with_a_dunlin_router() {
    assert_router_works("dun", RouterKind::Dunlin);
}

#[test]
fn pods_reach_each_other_and_the_outside_with_bird() {
    if installed("/usr/sbin/bird", "bird2") {
        assert_router_works("bird", RouterKind::Bird);
    }
}

#[test]
fn pods_reach_each_other_and_the_outside_with_frr() {
    if installed("/usr/lib/frr/bgpd", "frr") {
        assert_router_works("frr", RouterKind::Frr);
    }
}

#[test]
fn pods_reach_each_other_and_the_outside_with_gobgp() {
    if installed("/usr/bin/gobgpd", "gobgpd") {
        assert_router_works("gob", RouterKind::Gobgp);
    }
}

#[test]
fn without_a_router_the_mesh_works_and_nothing_leaves_the_cluster() {
    if !is_root() {
        return;
    }
    let mut config = config("alone", 3, dunlin());
    config.router = RouterKind::None;
    let lab = up_and_settled(config);
    let summary = check::run(&lab, &Report::quiet()).expect("checks run");
    assert_eq!(summary.failures, Vec::<String>::new());
    let status = lab.agent_status("n1").expect("status");
    assert_eq!(
        (status.sessions.nodes_up, status.sessions.external_expected),
        (2, 0)
    );
}

#[test]
fn routes_have_their_name_in_the_lab_and_the_machines_files_stay_as_they_are() {
    if !is_root() {
        return;
    }
    let look = || std::fs::read_to_string("/etc/iproute2/rt_protos.d/dunlin.conf").ok();
    let before = look();
    let lab = up_and_settled(config("names", 2, dunlin()));
    let mut ip = dunlin_lab::cli::exec::in_host(&lab, "n1", "ip").expect("a command");
    let output = ip
        .args(["route", "show", "proto", "dunlin"])
        .output()
        .expect("ip");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("10.244.2.0/24"), "{text}");
    assert_eq!(before, look());
}

#[test]
fn a_deleted_or_altered_route_is_back_within_a_second() {
    if !is_root() {
        return;
    }
    let lab = up_and_settled(config("repair", 3, dunlin()));
    let netns = lab.ns("n1");
    for subnet in subnets(2) {
        let mut watches = Watches::open(&lab, &[1]);
        let mut batch = Batch::new();
        batch.push(format_args!("route del {subnet} proto 68"));
        batch.run(&netns).expect("ip");
        let began = Instant::now();
        wait_until("repair", Duration::from_secs(1), || {
            let back = watches.events().into_iter().any(|(_, event)| {
                event.change != Change::Deleted && event.route.prefix.to_string() == subnet
            });
            if back {
                Ok(())
            } else {
                Err(format!("{subnet} is still gone"))
            }
        });
        assert!(began.elapsed() < Duration::from_millis(1200));
    }
    // A foreign route to the same prefix at another metric is not ours to touch.
    let mut batch = Batch::new();
    batch.push("route add 10.244.2.0/24 via 172.30.0.3 metric 9999");
    batch.run(&netns).expect("ip");
    let mut batch = Batch::new();
    batch.push("route del 10.244.2.0/24 proto 68");
    batch.run(&netns).expect("ip");
    check::await_routes(&lab, Instant::now() + Duration::from_secs(30)).expect("ours is back");
    let foreign = dunlin_lab::routes::dump(&netns, |route| route.metric == 9999).expect("dump");
    assert_eq!(foreign.len(), 1);
}

#[test]
fn routes_return_after_a_link_bounced() {
    if !is_root() {
        return;
    }
    let lab = up_and_settled(config("bounce", 3, dunlin()));
    let netns = lab.ns("n1");
    let mut batch = Batch::new();
    batch.push("link set eth0 down");
    batch.push("link set eth0 up");
    // The kernel took the addresses' and the default routes with the link, and IPv6 addresses too.
    batch.push(format_args!(
        "addr add {}/64 dev eth0 nodad",
        Plan::node_address(1, dunlin_net::Afi::Ipv6)
    ));
    for afi in dunlin_net::Afi::ALL {
        batch.push(format_args!(
            "route replace default via {}",
            Plan::router_address(afi)
        ));
    }
    batch.run(&netns).expect("ip");
    check::await_routes(&lab, Instant::now() + Duration::from_secs(30)).expect("routes are back");
    let summary = check::run(&lab, &Report::quiet()).expect("checks run");
    assert_eq!(summary.failures, Vec::<String>::new());
}

#[test]
fn nodes_come_and_go_while_the_others_run() {
    if !is_root() {
        return;
    }
    let lab = up_and_settled(config("live", 4, dunlin()));
    let mut watches = Watches::open(&lab, &[1, 2, 3]);
    manifests::remove_node(&lab.manifest_dir(), 4).expect("node 4 goes");
    let gone = subnets(4);
    let mut deleted = Vec::new();
    wait_until("n4's routes go", Duration::from_secs(30), || {
        deleted.extend(watches.deletions());
        let on = |node: u16| {
            gone.iter()
                .all(|s| deleted.contains(&format!("n{node}: {s}")))
        };
        if (1..=3).all(on) {
            Ok(())
        } else {
            Err(format!("{deleted:?}"))
        }
    });
    assert!(
        deleted
            .iter()
            .all(|line| gone.iter().any(|s| line.ends_with(s))),
        "{deleted:?}"
    );
    let status = lab.agent_status("n1").expect("status");
    assert_eq!(status.sessions.nodes_expected, 2);
    manifests::write_node(&lab.manifest_dir(), lab.plan(), 4).expect("node 4 returns");
    check::await_routes(&lab, Instant::now() + Duration::from_secs(30)).expect("all routes again");
    assert!(watches.deletions().is_empty(), "a return deletes nothing");
}

#[test]
fn a_file_that_does_not_parse_is_named_and_changes_nothing() {
    if !is_root() {
        return;
    }
    let lab = up_and_settled(config("yaml", 2, dunlin()));
    let mut watches = Watches::open(&lab, &[1, 2]);
    let file = lab.manifest_dir().join("node-n2.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Node\nmetadata: {name: [n2\n")
        .expect("a bad file");
    let problem = wait_until("the problem is told", Duration::from_secs(30), || {
        let status = lab.agent_status("n1").map_err(|e| e.to_string())?;
        let named = |p: &dunlin_api::Problem| format!("{} {}", p.object, p.message);
        let all: Vec<_> = status.problems.iter().map(named).collect();
        all.iter()
            .find(|p| p.contains("node-n2.yaml"))
            .cloned()
            .ok_or(format!("{all:?}"))
    });
    assert!(!problem.is_empty());
    assert!(
        watches.deletions().is_empty(),
        "the last good version stays"
    );
    manifests::write_node(&lab.manifest_dir(), lab.plan(), 2).expect("a good file");
    wait_until("the problem is gone", Duration::from_secs(30), || {
        let status = lab.agent_status("n1").map_err(|e| e.to_string())?;
        if status.problems.is_empty() && is_settled(&status) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    });
    assert!(watches.deletions().is_empty());
}
