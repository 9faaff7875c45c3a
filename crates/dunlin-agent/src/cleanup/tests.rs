use std::fs;
use std::os::unix::net::UnixListener;

use rustix::fs::{FlockOperation, flock};

use super::{Places, Report, refuse_while_running, remove_leases};
use crate::fake_engine::Dir;

fn places(dir: &Dir) -> Places {
    Places {
        socket: dir.0.join("agent.sock"),
        cni_conf_dir: dir.0.join("cni"),
        protocol_names: dir.0.join("protocols"),
        state_dir: dir.0.join("state"),
        secrets_dir: dir.0.join("secrets"),
        cni_bin_dir: None,
        leases: false,
    }
}

#[test]
fn an_agent_that_runs_is_noticed_by_its_socket_and_by_its_lock() {
    let dir = Dir::new("cleanup-running");
    let places = places(&dir);
    assert!(refuse_while_running(&places).is_ok(), "nothing there");
    let listener = UnixListener::bind(&places.socket).unwrap();
    let error = refuse_while_running(&places).unwrap_err().to_string();
    assert!(error.starts_with("an agent is serving "), "{error}");
    drop(listener);
    assert!(
        refuse_while_running(&places).is_ok(),
        "the rest of one that is gone"
    );
    fs::create_dir_all(&places.state_dir).unwrap();
    let lock = fs::File::create(places.state_dir.join("lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = refuse_while_running(&places).unwrap_err().to_string();
    assert!(error.starts_with("an agent uses "), "{error}");
}

#[test]
fn leases_of_pods_that_still_run_stay() {
    let dir = Dir::new("cleanup-leases");
    let network = dir.0.join("cni/dunlin");
    fs::create_dir_all(&network).unwrap();
    fs::write(network.join("last_reserved_ip.0"), "10.244.1.2").unwrap();
    fs::write(network.join("10.244.1.2"), "pod").unwrap();
    fs::write(network.join("fd00::2"), "pod").unwrap();
    let mut report = Report::default();
    remove_leases(&dir.0.join("cni"), false, &mut report);
    assert!(
        report.problems[0].contains("2 addresses are still given to pods"),
        "{report:?}"
    );
    assert!(network.join("10.244.1.2").exists());
    fs::remove_file(network.join("10.244.1.2")).unwrap();
    fs::remove_file(network.join("fd00::2")).unwrap();
    let mut report = Report::default();
    remove_leases(&dir.0.join("cni"), false, &mut report);
    assert_eq!(
        (report.removed.len(), report.problems.len()),
        (1, 0),
        "{report:?}"
    );
    assert!(!dir.0.join("cni").exists());

    fs::create_dir_all(&network).unwrap();
    fs::write(network.join("10.244.1.2"), "pod").unwrap();
    let mut report = Report::default();
    remove_leases(&dir.0.join("cni"), true, &mut report);
    assert_eq!(
        (report.removed.len(), report.problems.len()),
        (1, 0),
        "they were asked to go"
    );
    assert!(!dir.0.join("cni").exists());
}
