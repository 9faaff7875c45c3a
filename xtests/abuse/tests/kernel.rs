//! Somebody else changes the kernel behind the agent's back: what is ours comes back within a second, what is not is left
//! alone.
#![allow(clippy::print_stderr)]

use std::time::{Duration, Instant};

use dunlin_abuse::agent::Agent;
use dunlin_abuse::cluster::Cluster;
use dunlin_abuse::{PATIENCE, can_run, wait_for};
use dunlin_lab::iproute::text_of;
use dunlin_lab::routes::{self, PROTOCOL_DUNLIN, Route};

/// How soon it must be as it was.
const REPAIR: Duration = Duration::from_secs(1);

/// Our routes in n1, in an order of their own.
fn ours(cluster: &Cluster) -> Vec<Route> {
    all(cluster, |route| route.protocol == PROTOCOL_DUNLIN)
}

/// What others have put there, the kernel itself apart.
fn foreign(cluster: &Cluster) -> Vec<Route> {
    let kernel = 2;
    all(cluster, |route| {
        ![PROTOCOL_DUNLIN, kernel].contains(&route.protocol)
    })
}

fn all(cluster: &Cluster, wanted: impl Fn(&Route) -> bool) -> Vec<Route> {
    let mut all = routes::dump(&cluster.netns("n1"), wanted).expect("routes");
    all.sort_by_key(|route| (route.table, route.prefix, route.metric, route.protocol));
    all
}

fn nexthops(cluster: &Cluster) -> Vec<String> {
    let text = cluster.ip_says("n1", &["nexthop", "show", "protocol", "68"]);
    let mut lines: Vec<String> = text
        .lines()
        // Ids may be others.
        .map(|line| {
            line.split_whitespace()
                .skip(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    lines.sort();
    lines
}

/// The rules of our table, without counters.
fn rules(cluster: &Cluster) -> String {
    let mut nft = cluster.netns("n1").command("nft");
    nft.args(["-s", "list", "table", "inet", "dunlin"]);
    text_of(&mut nft).unwrap_or_default()
}

/// After `damage` the kernel is as it was within [`REPAIR`]; gives how long it took.
#[track_caller]
fn is_repaired(what: &str, cluster: &Cluster, n1: &Agent, damage: impl FnOnce()) {
    let before = (ours(cluster), nexthops(cluster));
    assert!(before.0.len() >= 3, "{before:#?}");
    let others = foreign(cluster);
    damage();
    let start = Instant::now();
    wait_for(what, REPAIR, || {
        let now = (ours(cluster), nexthops(cluster));
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:#?}, not {before:#?}"))
        }
    });
    eprintln!("{what}: repaired within {:?}", start.elapsed());
    assert_eq!(foreign(cluster), others, "{what}: others' routes");
    wait_for("the agent thinks so, too", PATIENCE, || {
        let r = n1.status().routes;
        (r.installed == r.wanted && r.failed == 0)
            .then_some(())
            .ok_or(format!("{r:?}"))
    });
}

#[test]
fn what_is_deleted_or_altered_is_back_within_a_second() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.ip(
        "n1",
        &["route add 198.51.100.0/24 via 192.0.2.200 metric 512"],
    );
    let (n1, _n2) = cluster.start_pair();
    let damages: [(&str, &str); 7] = [
        ("a route is deleted", "route del 10.244.2.0/24 proto 68"),
        (
            "an IPv6 route is deleted",
            "route del fd10:0:0:2::/64 proto 68",
        ),
        (
            "our blackhole is deleted",
            "route del blackhole 10.244.1.0/24 proto 68 metric 4096",
        ),
        (
            "a route is replaced by another gateway",
            "route replace 10.244.2.0/24 via 192.0.2.77 proto 68 metric 512",
        ),
        (
            "three of our routes are deleted at once",
            "route del 10.244.2.0/24 proto 68
route del fd10:0:0:2::/64 proto 68
route del blackhole 10.244.1.0/24 proto 68 metric 4096",
        ),
        (
            "a route of ours that we never made",
            "route add 10.99.0.0/16 via 192.0.2.77 proto 68 metric 512",
        ),
        (
            "a next hop of ours that we never made",
            "nexthop add id 0x0D00FFFF via 192.0.2.77 dev eth0 protocol 68",
        ),
    ];
    for (what, line) in damages {
        let repairs = n1.metric("dunlin_kernel_repairs_total");
        is_repaired(what, &cluster, &n1, || {
            cluster.ip("n1", &[line]);
        });
        if !what.contains("never made") {
            assert!(
                n1.metric("dunlin_kernel_repairs_total") > repairs,
                "{what}: not counted"
            );
        }
    }
}

#[test]
fn flushed_nexthops_and_a_link_that_bounces_are_repaired() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    is_repaired("ip nexthop flush", &cluster, &n1, || {
        cluster.ip("n1", &["nexthop flush"])
    });
    let before = ours(&cluster);
    // A link that goes takes static routes with it, too; those are its owner's to put back.
    cluster.ip("n1", &["link set eth0 down"]);
    wait_for("the routes are gone with the link", PATIENCE, || {
        let left = cluster.ip_says("n1", &["route", "show", "10.244.2.0/24"]);
        left.trim().is_empty().then_some(()).ok_or(left)
    });
    cluster.ip(
        "n1",
        &["link set eth0 up", "address replace fd00:2::1/64 dev eth0"],
    );
    let start = Instant::now();
    wait_for(
        "the routes are back with the link",
        Duration::from_secs(2),
        || {
            let now = ours(&cluster);
            (now == before)
                .then_some(())
                .ok_or(format!("{now:#?}, not {before:#?}"))
        },
    );
    eprintln!("link bounce: back within {:?}", start.elapsed());
    for agent in [&n1, &n2] {
        let sessions: Vec<_> = agent
            .neighbors()
            .into_iter()
            .map(|n| (n.state, n.flaps))
            .collect();
        assert_eq!(
            sessions,
            [("Established".to_owned(), 0)],
            "sessions outlive it"
        );
    }
}

#[test]
fn our_nf_tables_table_comes_back_and_others_are_left_alone() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let netns = cluster.netns("n1");
    let nft = |text: &str| text_of(netns.command("nft").arg(text)).expect("nft");
    nft("table inet other { chain c { type filter hook forward priority 0; counter accept; }; }");
    let (n1, _n2) = cluster.start_pair();
    let before = rules(&cluster);
    assert!(before.contains("masquerade"), "{before}");
    for damage in [
        "delete table inet dunlin",
        "flush table inet dunlin",
        "flush ruleset",
    ] {
        nft(damage);
        let start = Instant::now();
        wait_for(damage, REPAIR, || {
            let now = rules(&cluster);
            (now == before)
                .then_some(())
                .ok_or(format!("{now}, not {before}"))
        });
        eprintln!("{damage}: repaired within {:?}", start.elapsed());
        let others = text_of(netns.command("nft").args(["list", "tables"])).expect("nft");
        assert_eq!(
            others.contains("inet other"),
            damage != "flush ruleset",
            "{others}"
        );
        wait_for("the agent says so", PATIENCE, || {
            let programmed = n1.metric("dunlin_masquerade_programmed");
            (programmed == 1.0)
                .then_some(())
                .ok_or(programmed.to_string())
        });
    }
}

#[test]
fn a_foreign_route_in_our_place_is_a_conflict_and_is_left_alone() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    cluster.ip(
        "n1",
        &[
            "route add 10.244.2.0/24 via 192.0.2.200 metric 512 proto static",
            "route add fd10:0:0:2::/64 via fd00:2::c8 metric 512 proto static",
        ],
    );
    let before = foreign(&cluster);
    let n1 = cluster.start("n1");
    let _n2 = cluster.start("n2");
    for prefix in ["10.244.2.0/24", "fd10:0:0:2::/64"] {
        let message = n1.await_problem("RouteConflict", prefix);
        assert!(!message.is_empty());
        let explanation = n1.explain(prefix);
        assert!(!explanation.ok, "{explanation:?}");
    }
    assert_eq!(n1.metric("dunlin_routes_conflicts"), 2.0);
    assert_eq!(n1.metric("dunlin_problems{reason=\"RouteConflict\"}"), 2.0);
    assert_eq!(foreign(&cluster), before);
    let status = n1.dunlin(&["status"]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    // Its owner takes it away: ours goes in.
    cluster.ip(
        "n1",
        &[
            "route del 10.244.2.0/24 metric 512",
            "route del fd10:0:0:2::/64 metric 512",
        ],
    );
    wait_for("ours is there", REPAIR, || {
        let now: Vec<_> = ours(&cluster)
            .into_iter()
            .map(|route| route.prefix.to_string())
            .collect();
        let both = ["10.244.2.0/24", "fd10:0:0:2::/64"]
            .iter()
            .all(|p| now.iter().any(|n| n == p));
        both.then_some(()).ok_or(format!("{now:?}"))
    });
    n1.await_no_problem();
    assert_eq!(n1.metric("dunlin_routes_conflicts"), 0.0);
}

#[test]
fn cleanup_removes_exactly_what_is_ours() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let netns = cluster.netns("n1");
    let nft = |text: &str| text_of(netns.command("nft").arg(text)).expect("nft");
    nft("table inet other { chain c { counter; }; }");
    cluster.ip(
        "n1",
        &[
            "route add 198.51.100.0/24 via 192.0.2.200 metric 512",
            "route add blackhole 10.250.0.0/16 metric 4096 proto static",
            "route add 10.251.0.0/16 via 192.0.2.200 proto 68 table 100",
            "nexthop add id 7 via 192.0.2.200 dev eth0",
            "route add 10.252.0.0/16 nhid 7",
        ],
    );
    let (tables, routes) = (nft("list ruleset"), foreign(&cluster));
    let (mut n1, _n2) = cluster.start_pair();
    let place = n1.place.clone();
    // A file of somebody else's beside ours.
    std::fs::write(place.cni_dir().join("99-other.conflist"), "{}").expect("a file");
    let cleanup = |more: &[&str]| {
        let mut command = place.dunlin();
        let path = |path: std::path::PathBuf| path.display().to_string();
        command.args(["--socket", &path(place.socket()), "cleanup"]);
        command.args([
            "--cni-conf-dir",
            &path(place.cni_dir()),
            "--state-dir",
            &path(place.state_dir()),
        ]);
        command
            .args(["--protocol-names", &path(place.protocols())])
            .args(more);
        command.output().expect("dunlin runs")
    };
    let refused = cleanup(&["--yes"]);
    assert_eq!(
        refused.status.code(),
        Some(1),
        "while the agent runs: {refused:?}"
    );
    n1.kill();
    assert!(!ours(&cluster).is_empty(), "the routes outlive the agent");
    let shown = cleanup(&[]);
    assert!(
        !ours(&cluster).is_empty(),
        "without --yes it only shows: {shown:?}"
    );
    let done = cleanup(&["--yes"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let left: Vec<_> = ours(&cluster)
        .into_iter()
        .filter(|r| r.table == 254)
        .collect();
    assert_eq!(left, [], "{done:?}");
    assert_eq!(nexthops(&cluster), Vec::<String>::new());
    assert_eq!(rules(&cluster), "");
    assert_eq!(nft("list ruleset"), tables, "others' rules");
    assert_eq!(foreign(&cluster), routes, "others' routes");
    let table_100 = cluster.ip_says("n1", &["route", "show", "table", "100"]);
    assert!(
        table_100.contains("10.251.0.0/16"),
        "another table is not ours: {table_100}"
    );
    assert!(place.cni_dir().join("99-other.conflist").exists());
    assert!(!place.cni_dir().join("10-dunlin.conflist").exists());
    assert!(!place.socket().exists());
    let again = cleanup(&["--yes"]);
    assert_eq!(
        again.status.code(),
        Some(0),
        "nothing is left to do: {again:?}"
    );
}
