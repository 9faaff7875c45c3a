//! Wrong objects: each is told with object, field or line, counted, and takes nothing else with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use dunlin_abuse::agent::Agent;
use dunlin_abuse::cluster::{Cluster, node_object};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, wait_for};

/// A Node as it may be written wrongly.
fn node(name: &str, created: &str, pod_cidrs: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, creationTimestamp: \"{created}\"}}\n\
         spec: {{podCIDRs: [{pod_cidrs}]}}\nstatus: {{addresses: [{address}]}}\n"
    )
}

fn internal_ip(address: &str) -> String {
    format!("{{type: InternalIP, address: \"{address}\"}}")
}

/// Whether n1's kernel has a route of ours to this prefix.
fn has_route(cluster: &Cluster, prefix: &str) -> bool {
    !cluster
        .ip_says("n1", &["route", "show", prefix, "proto", "68"])
        .trim()
        .is_empty()
}

/// Puts a wrong object there, waits for its problem, and checks that all else is as before; then takes it away.
#[track_caller]
fn is_told(
    cluster: &Cluster,
    n1: &Agent,
    witness: &mut Witness<'_>,
    content: &[u8],
    reason: &str,
    object: &str,
    says: &[&str],
) {
    let name = if content.first() == Some(&b'{') {
        "zz.json"
    } else {
        "zz.yaml"
    };
    cluster.put(name, content);
    let message = n1.await_problem(reason, object);
    for part in says {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    let series = format!("dunlin_problems{{reason=\"{reason}\"}}");
    assert!(n1.metric(&series) >= 1.0, "{series}");
    let text = String::from_utf8_lossy(&n1.dunlin(&["status"]).stdout).into_owned();
    assert!(text.contains(reason), "{text}");
    witness.nothing_changed();
    cluster.remove(name);
    n1.await_no_problem();
    witness.nothing_changed();
}

#[test]
fn each_wrong_object_is_told_and_takes_nothing_else_with_it() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    n1.await_no_problem();
    let mut witness = Witness::new(&[&n1, &n2]);
    let late = "2026-06-01T00:00:00Z";
    let ours = |kind: &str, spec: &str| {
        format!(
            "apiVersion: dunlin.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
        )
    };
    let table: Vec<(String, &str, &str, Vec<&str>)> = vec![
        (
            node("n9", late, "10.244.9.0/24", ""),
            "NoAddress",
            "Node/n9",
            vec![],
        ),
        (
            node("n9", late, "10.244.9.0/24", &internal_ip("192.0.2.900")),
            "Invalid",
            "Node/n9",
            vec!["status.addresses[0]", "192.0.2.900"],
        ),
        (
            node("n9", late, "10.244.9.0/33", &internal_ip("192.0.2.9")),
            "Invalid",
            "Node/n9",
            vec!["spec.podCIDRs[0]", "10.244.9.0/33"],
        ),
        (
            node("n9", late, "10.244.9.1/24", &internal_ip("192.0.2.9")),
            "Invalid",
            "Node/n9",
            vec!["spec.podCIDRs[0]"],
        ),
        (
            node("n9", late, "0.0.0.0/0", &internal_ip("192.0.2.9")),
            "Invalid",
            "Node/n9",
            vec!["0.0.0.0/0"],
        ),
        (
            node("n9", late, "ten", &internal_ip("192.0.2.9")),
            "Invalid",
            "Node/n9",
            vec!["ten"],
        ),
        (
            node("n9", late, "10.244.2.0/25", &internal_ip("192.0.2.9")),
            "OverlappingPodSubnet",
            "Node/n9",
            vec!["n2", "10.244.2.0/25"],
        ),
        (
            node("n9", late, "10.244.0.0/16", &internal_ip("192.0.2.9")),
            "OverlappingPodSubnet",
            "Node/n9",
            vec!["10.244.0.0/16"],
        ),
        (
            node("n9", late, "192.0.2.0/28", &internal_ip("192.0.2.9")),
            "CoversNodeAddress",
            "Node/n9",
            vec!["192.0.2.0/28"],
        ),
        (
            node("n9", late, "10.244.9.0/24", &internal_ip("192.0.2.2")),
            "DuplicateAddress",
            "Node/n9",
            vec!["192.0.2.2"],
        ),
        (
            node_object(2),
            "DuplicateObject",
            "Node/n2",
            vec!["n2.yaml", "zz.yaml"],
        ),
        (
            ours(
                "BGPPeer",
                "{peerAddress: 192.0.2.50, peerASN: 65010, colour: red}",
            ),
            "Unreadable",
            "zz.yaml",
            vec!["line 4", "colour"],
        ),
        (
            ours(
                "BGPPeer",
                "{peerAddress: 192.0.2.50, peerASN: 65010, bfdProfile: fast}",
            ),
            "BfdProfileMissing",
            "BGPPeer/x",
            vec!["bfdProfile", "there is no BFDProfile fast"],
        ),
        (
            ours("BGPPeer", "{peerASN: 65010}"),
            "Invalid",
            "BGPPeer/x",
            vec!["peerAddress"],
        ),
        (
            ours(
                "BGPPeer",
                "{peerAddress: 192.0.2.50, peerASN: 65010, timers: {holdTimeSeconds: 2}}",
            ),
            "Invalid",
            "BGPPeer/x",
            vec!["holdTimeSeconds"],
        ),
        (
            ours("BGPPeer", "{peerAddress: 192.0.2.2, peerASN: 65010}"),
            "DuplicateAddress",
            "BGPPeer/x",
            vec!["192.0.2.2"],
        ),
        (
            ours("BGPAdvertisement", "{services: {}}"),
            "Invalid",
            "BGPAdvertisement/x",
            vec!["services.addresses"],
        ),
        (
            ours("BGPFilter", "{rules: [{action: Perhaps}]}"),
            "Unreadable",
            "zz.yaml",
            vec!["line 4", "Perhaps"],
        ),
        (
            ours("BFDProfile", "{transmitIntervalMillis: 9}"),
            "Invalid",
            "BFDProfile/x",
            vec!["transmitIntervalMillis", "give 10 to 60000"],
        ),
        (
            ours("Weather", "{}"),
            "Unreadable",
            "zz.yaml",
            vec!["Weather"],
        ),
    ];
    for (content, reason, object, says) in table {
        is_told(
            &cluster,
            &n1,
            &mut witness,
            content.as_bytes(),
            reason,
            object,
            &says,
        );
    }
    assert!(!has_route(&cluster, "10.244.9.0/24"));
    // Files that are no objects at all: the place is told.
    let huge = vec![b'#'; (16 << 20) + 1];
    let deep = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {}",
        "[".repeat(1 << 20)
    );
    let deep_json = format!("{{\"kind\":{}", "[".repeat(1 << 20));
    let laughs = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let all = [below.as_str(); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{all}]\n"));
        }
        text
    };
    let table: Vec<(&[u8], Vec<&str>)> = vec![
        (
            b"apiVersion: v1\nkind: Node\nmetadata: {name: [\n",
            vec!["line"],
        ),
        (
            b"{\"apiVersion\": \"v1\", \"kind\": \"Node\", ",
            vec!["line"],
        ),
        (b"\xff\xfe\x00\x01", vec![]),
        (&huge, vec!["16"]),
        (deep.as_bytes(), vec![]),
        (deep_json.as_bytes(), vec![]),
        (laughs.as_bytes(), vec![]),
    ];
    for (content, says) in table {
        is_told(
            &cluster,
            &n1,
            &mut witness,
            content,
            "Unreadable",
            "File/",
            &says,
        );
    }
}

#[test]
fn a_file_that_no_longer_parses_leaves_what_it_held_in_force() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    {
        let mut witness = Witness::new(&[&n1, &n2]);
        cluster.put("n2.yaml", format!("{}\nstatus: {{\n", node_object(2)));
        let message = n1.await_problem("Unreadable", "n2.yaml");
        assert!(message.contains("stays"), "{message}");
        let status = n1.status();
        let object = &status.problems[0].object;
        let place = format!("{object} {message}");
        assert!(
            place.contains("n2.yaml") && place.contains("line"),
            "{place}"
        );
        witness.nothing_changed();
        cluster.put("n2.yaml", node_object(2));
        n1.await_no_problem();
        witness.nothing_changed();
    }
    // And it is still followed: without the object there is no route.
    cluster.remove("n2.yaml");
    wait_for("the route goes", PATIENCE, || {
        (!has_route(&cluster, "10.244.2.0/24"))
            .then_some(())
            .ok_or_else(String::new)
    });
}

#[test]
fn the_oldest_node_keeps_an_overlapping_subnet_whatever_comes_first() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    // It is older than n2, has its subnet, and nobody is there: n2's route goes to nobody else meanwhile.
    let (n1, _n2) = cluster.start_pair();
    assert!(has_route(&cluster, "10.244.2.0/24"));
    let older = node(
        "n0",
        "2025-01-01T00:00:00Z",
        "10.244.2.0/24",
        &internal_ip("192.0.2.90"),
    );
    cluster.put("a.yaml", &older);
    n1.await_problem("OverlappingPodSubnet", "Node/n2");
    wait_for("the route goes", PATIENCE, || {
        (!has_route(&cluster, "10.244.2.0/24"))
            .then_some(())
            .ok_or_else(String::new)
    });
    let explanation = format!("{:?}", n1.explain("10.244.2.0/24"));
    assert!(explanation.contains("Node/n0"), "{explanation}");
    assert!(
        has_route(&cluster, "fd10:0:0:2::/64") || {
            let v6 = cluster.ip_says("n1", &["-6", "route", "show", "fd10:0:0:2::/64"]);
            v6.contains("fd10:0:0:2::/64")
        }
    );
    cluster.remove("a.yaml");
    wait_for("the route is back", PATIENCE, || {
        has_route(&cluster, "10.244.2.0/24")
            .then_some(())
            .ok_or_else(String::new)
    });
}

#[test]
fn the_manifest_directory_may_go_away_and_come_back() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    let aside = cluster.home().join("aside");
    {
        let mut witness = Witness::new(&[&n1, &n2]);
        fs::rename(cluster.manifests(), &aside).expect("a directory");
        n1.await_problem("Unreadable", &cluster.manifests().display().to_string());
        witness.nothing_changed();
        fs::rename(&aside, cluster.manifests()).expect("a directory");
        n1.await_no_problem();
        // Deleted with everything in it, and written anew.
        fs::remove_dir_all(cluster.manifests()).expect("a directory");
        n1.await_problem("Unreadable", &cluster.manifests().display().to_string());
        fs::create_dir(&aside).expect("a directory");
        for number in 1..=2 {
            fs::write(aside.join(format!("n{number}.yaml")), node_object(number)).expect("a file");
        }
        fs::rename(&aside, cluster.manifests()).expect("a directory");
        n1.await_no_problem();
        n2.await_no_problem();
    }
    // It is followed again.
    cluster.remove("n2.yaml");
    n1.await_status("n2 is gone", |status| status.sessions.nodes_expected == 0);
}

/// What is no regular file could keep the reader waiting, or reading, for ever.
#[test]
fn a_fifo_a_device_and_a_loop_of_links_are_refused_and_hold_nobody_up() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    let made = cluster.home().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &made, kind, mode, 0).expect("a fifo");
    fs::rename(&made, cluster.manifests().join("fifo.yaml")).expect("a fifo");
    n1.await_problem("Unreadable", "fifo.yaml");
    symlink("/dev/zero", cluster.manifests().join("zero.yaml")).expect("a link");
    n1.await_problem("Unreadable", "zero.yaml");
    symlink("loop.yaml", cluster.manifests().join("loop.yaml")).expect("a link");
    n1.await_problem("Unreadable", "loop.yaml");
    fs::create_dir(cluster.manifests().join("dir.yaml")).expect("a directory");
    witness.nothing_changed();
    for name in ["fifo.yaml", "zero.yaml", "loop.yaml"] {
        cluster.remove(name);
    }
    n1.await_no_problem();
    witness.nothing_changed();
}

/// Objects that come, change and go faster than anyone would: in the end the tables say what the files say.
#[test]
fn a_storm_of_changes_ends_in_what_the_files_say() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (n1, n2) = cluster.start_pair();
    let mut witness = Witness::new(&[&n1, &n2]);
    for round in 0..200u32 {
        let number = 10 + round % 20;
        let file = format!("x{number}.yaml");
        let object = node(
            &format!("x{number}"),
            "2026-06-01T00:00:00Z",
            &format!("10.244.{}.0/24", 10 + (round / 7) % 20),
            &internal_ip(&format!("192.0.2.{}", 100 + number)),
        );
        if round % 3 == 2 && cluster.manifests().join(&file).exists() {
            cluster.remove(&file);
        } else {
            cluster.put(&file, object);
        }
    }
    for entry in fs::read_dir(cluster.manifests()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('x'))
        {
            fs::remove_file(path).expect("a file");
        }
    }
    n1.await_status("the storm is over", |status| {
        status.sessions.nodes_expected == 1 && status.problems.is_empty()
    });
    witness.nothing_changed();
    assert!(n1.usage().cpu < Duration::from_secs(60));
}
