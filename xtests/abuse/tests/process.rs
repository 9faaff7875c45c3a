//! What can be wrong where the agent starts: each is told in one line that names what and where, with exit code 1 (2 for
//! the command line), and leaves what runs alone.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use dunlin_abuse::agent::Place;
use dunlin_abuse::cluster::{Cluster, await_rest};
use dunlin_abuse::witness::Witness;
use dunlin_abuse::{PATIENCE, can_run, http, wait_for};
use rustix::process::Signal;

/// The agent's arguments with one of them changed.
fn args(place: &Place, changed: &[(&str, &str)]) -> Vec<String> {
    let mut args = place.agent_args();
    for (flag, value) in changed {
        let at = args.iter().position(|arg| arg == flag).expect("a flag");
        args[at + 1] = (*value).to_owned();
    }
    args
}

/// The agent gives up with this exit code, and its last line says all of these.
#[track_caller]
fn gives_up(place: &Place, args: &[String], code: i32, says: &[&str]) {
    let mut command = place.dunlin();
    command.args(args);
    let (found, said) = place.fails(command);
    assert_eq!(found, code, "{said}");
    let last = said.lines().last().unwrap_or_default();
    let text = if code == 2 { said.as_str() } else { last };
    for part in says {
        assert!(text.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_second_agent_takes_nothing_from_the_first() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(2);
    let (mut n1, n2) = cluster.start_pair();
    let place = n1.place.clone();
    let elsewhere = |name: &str| cluster.home().join(name).display().to_string();
    let socket = place.socket().display().to_string();
    {
        let mut witness = Witness::new(&[&n1, &n2]);
        let state = place.state_dir().display().to_string();
        let pid = n1.pid().to_string();
        // The same state directory.
        gives_up(
            &place,
            &args(&place, &[("--socket", &elsewhere("b.sock"))]),
            1,
            &[&state, &pid, "--state-dir"],
        );
        assert!(
            !Path::new(&elsewhere("b.sock")).exists(),
            "it left a socket"
        );
        // The same socket.
        let other = elsewhere("state-b");
        gives_up(
            &place,
            &args(&place, &[("--state-dir", &other)]),
            1,
            &[&socket, "--socket"],
        );
        // The same metrics port.
        let changed = [
            ("--state-dir", other.as_str()),
            ("--socket", &elsewhere("b.sock")),
        ];
        gives_up(
            &place,
            &args(&place, &changed),
            1,
            &["127.0.0.1:9179", "--metrics-addr", "in use"],
        );
        // Port 179.
        let mut changed = changed.to_vec();
        changed.push(("--metrics-addr", "127.0.0.1:9180"));
        gives_up(
            &place,
            &args(&place, &changed),
            1,
            &["0.0.0.0:179", "another process has this port", "listenPort"],
        );
        witness.nothing_changed();
    }
    assert!(n1.is_running());
    assert!(
        place.socket().exists(),
        "the first agent's socket is still there"
    );
    n1.status();
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_in_its_place_is_not() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let mut n1 = cluster.start("n1");
    n1.kill();
    let place = n1.place.clone();
    assert!(place.socket().exists(), "a killed agent leaves its socket");
    let n1 = place.start();
    n1.logged("removing the stale socket");
    drop(n1);
    fs::remove_file(place.socket()).expect("the socket");
    fs::write(place.socket(), "mine").expect("a file");
    let socket = place.socket().display().to_string();
    gives_up(&place, &place.agent_args(), 1, &[&socket, "is no socket"]);
    assert_eq!(
        fs::read_to_string(place.socket()).expect("the file"),
        "mine"
    );
}

#[test]
fn port_179_in_use_ends_the_agent_with_the_port_in_its_last_word() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let place = cluster.place("n1");
    let listener = place.netns.run(|| Ok(TcpListener::bind("0.0.0.0:179")?));
    let listener = listener.expect("a listener");
    gives_up(
        &place,
        &place.agent_args(),
        1,
        &["0.0.0.0:179", "another process has this port", "listenPort"],
    );
    assert!(!place.socket().exists(), "it left its socket");
    drop(listener);
    await_rest(&place.start());
}

#[test]
fn capabilities_that_are_missing_are_named() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let place = cluster.place("n1");
    for (bound, name) in [
        ("-net_admin", "CAP_NET_ADMIN"),
        ("-net_raw", "CAP_NET_RAW"),
        ("-net_bind_service", "CAP_NET_BIND_SERVICE"),
    ] {
        let mut command = place.program("setpriv");
        command
            .arg("--bounding-set")
            .arg(bound)
            .arg("--inh-caps")
            .arg(bound);
        command.arg(dunlin_abuse::dunlin()).args(place.agent_args());
        let (code, said) = place.fails(command);
        assert_eq!(code, 1, "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(name) && last.contains("root"), "{said}");
    }
    assert!(!place.state_dir().exists(), "nothing was touched");
}

#[test]
fn directories_that_cannot_be_used_are_named() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let place = cluster.place("n1");
    let file = cluster.home().join("file");
    fs::write(&file, "").expect("a file");
    let below = file.join("state").display().to_string();
    gives_up(
        &place,
        &args(&place, &[("--state-dir", &below)]),
        1,
        &[&below],
    );
    gives_up(
        &place,
        &args(&place, &[("--cni-conf-dir", &below)]),
        1,
        &[&below],
    );
    gives_up(
        &place,
        &args(&place, &[("--socket", &below)]),
        1,
        &[&file.display().to_string()],
    );
    let missing = cluster.home().join("nowhere").display().to_string();
    gives_up(
        &place,
        &args(&place, &[("--cluster", &format!("dir:{missing}"))]),
        1,
        &[&missing],
    );
    // Somebody else's, and root may not override that.
    let theirs = cluster.home().join("theirs");
    fs::create_dir(&theirs).expect("a directory");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).expect("a mode");
    chown(&theirs, Some(12345), Some(12345)).expect("an owner");
    let theirs = theirs.display().to_string();
    let mut command = place.program("setpriv");
    let bound = "-dac_override,-dac_read_search,-fowner";
    command
        .arg("--bounding-set")
        .arg(bound)
        .arg("--inh-caps")
        .arg(bound);
    command
        .arg(dunlin_abuse::dunlin())
        .args(args(&place, &[("--state-dir", &theirs)]));
    let (code, said) = place.fails(command);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&theirs) && said.contains("denied"), "{said}");
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_names_the_option() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let place = cluster.place("n1");
    gives_up(
        &place,
        &args(&place, &[("--cluster", "ftp:x")]),
        2,
        &["--cluster", "dir:PATH"],
    );
    gives_up(
        &place,
        &args(&place, &[("--metrics-addr", "here")]),
        2,
        &["--metrics-addr"],
    );
    gives_up(&place, &["agent".into(), "--what".into()], 2, &["--what"]);
    gives_up(
        &place,
        &args(&place, &[("--node-name", "No Name")]),
        1,
        &["No Name"],
    );
    gives_up(
        &place,
        &args(&place, &[("--cluster", "kube")]),
        1,
        &["kube", "dir:PATH"],
    );
}

#[test]
fn a_cni_directory_that_cannot_be_written_keeps_the_node_unready_and_says_so() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    let place = cluster.place("n1");
    // A directory where the file should go: root cannot write over it either.
    fs::create_dir_all(place.cni_dir().join("10-dunlin.conflist/x")).expect("a directory");
    let n1 = place.start();
    let message = n1.await_problem("CNIWriteFailed", &place.cni_dir().display().to_string());
    assert!(message.contains("pods cannot be started"), "{message}");
    assert_eq!(n1.metric("dunlin_ready"), 0.0);
    assert_eq!(n1.metric("dunlin_cni_written"), 0.0);
    assert_eq!(n1.metric("dunlin_problems{reason=\"CNIWriteFailed\"}"), 1.0);
    let ready = http::get(&place.netns, "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("CNI"), "{}", ready.body);
    fs::remove_dir_all(place.cni_dir().join("10-dunlin.conflist")).expect("a directory");
    wait_for("it is ready", PATIENCE, || {
        let ready = http::get(&place.netns, "/readyz");
        (ready.status == 200).then_some(()).ok_or(ready.body)
    });
}

#[test]
fn health_tells_life_and_readiness_tells_what_is_missing() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.remove("n1.yaml");
    let mut n1 = cluster.start("n1");
    let netns = n1.place.netns.clone();
    assert_eq!(http::get(&netns, "/healthz").status, 200);
    let ready = http::get(&netns, "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("Node"), "{}", ready.body);
    assert_eq!(n1.metric("dunlin_ready"), 0.0);
    cluster.write_node(1);
    wait_for("it is ready", PATIENCE, || {
        let ready = http::get(&netns, "/readyz");
        (ready.status == 200).then_some(()).ok_or(ready.body)
    });
    assert_eq!(n1.metric("dunlin_ready"), 1.0);
    n1.signal(Signal::TERM);
    assert_eq!(n1.ended().code(), Some(0));
    assert!(!n1.place.socket().exists(), "it took its socket away");
    let routes = cluster.ip_says("n1", &["route", "show", "table", "all", "proto", "68"]);
    assert!(
        routes.contains("10.244.1.0/24"),
        "the routes stay: {routes}"
    );
}
