use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::{Claims, claim_at};
use crate::config::{AgentConfig, ClusterSource, LogFormat};
use crate::fake_engine::Dir;

struct Home {
    dir: Dir,
    config: AgentConfig,
}

impl Home {
    fn new(name: &str) -> Home {
        let dir = Dir::new(name);
        let config = AgentConfig {
            node_name: "n1".into(),
            cluster: ClusterSource::Dir(dir.0.clone()),
            kube: Default::default(),
            socket: dir.0.join("run/agent.sock"),
            metrics_addr: Some(([127, 0, 0, 1], 0).into()),
            cni_conf_dir: dir.0.join("cni"),
            protocol_names: dir.0.join("protocols"),
            state_dir: dir.0.join("state"),
            service_proxy: Default::default(),
            proxy_options: Default::default(),
            log: "info".into(),
            log_format: LogFormat::Text,
        };
        let home = Home { dir, config };
        home.boot("first\n");
        home
    }

    fn boot_id(&self) -> PathBuf {
        self.dir.0.join("boot")
    }

    fn boot(&self, id: &str) {
        std::fs::write(self.boot_id(), id).unwrap();
    }

    fn claim(&self) -> anyhow::Result<Claims> {
        claim_at(&self.config, &self.boot_id())
    }

    fn refused(&self) -> String {
        format!("{:#}", self.claim().unwrap_err())
    }
}

#[test]
fn an_agent_claims_its_directory_socket_and_port_with_tight_modes() {
    let home = Home::new("claims");
    let claims = home.claim().unwrap();
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.config.state_dir), 0o700);
    assert_eq!(mode(&home.config.socket), 0o660);
    assert_eq!(mode(&home.config.cni_conf_dir), 0o755);
    assert!(claims.metrics.is_some());
    drop(claims);
    assert!(
        !home.config.socket.exists(),
        "the socket goes with the agent"
    );
}

#[test]
fn two_agents_do_not_share_a_state_directory() {
    let first = Home::new("lock");
    let claims = first.claim().unwrap();
    let mut second = Home::new("lock-second");
    second.config.state_dir = first.config.state_dir.clone();
    let expected = format!(
        "another agent (process {}) uses the state directory {}: stop it, or give this one another --state-dir",
        std::process::id(),
        first.config.state_dir.display()
    );
    assert_eq!(second.refused(), expected);
    drop(claims);
    second.claim().unwrap();
}

#[test]
fn a_socket_that_is_served_is_left_alone() {
    let home = Home::new("served");
    std::fs::create_dir_all(home.config.socket.parent().unwrap()).unwrap();
    let _other = UnixListener::bind(&home.config.socket).unwrap();
    let error = home.refused();
    let socket = home.config.socket.display();
    assert!(
        error.starts_with(&format!("another agent is serving {socket}: stop it")),
        "{error}"
    );
    assert!(home.config.socket.exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let home = Home::new("stale");
    std::fs::create_dir_all(home.config.socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&home.config.socket).unwrap());
    home.claim().unwrap();
}

#[test]
fn a_file_in_the_sockets_place_is_not_removed() {
    let home = Home::new("file");
    std::fs::create_dir_all(home.config.socket.parent().unwrap()).unwrap();
    std::fs::write(&home.config.socket, "precious").unwrap();
    let error = home.refused();
    assert!(error.contains("exists and is no socket"), "{error}");
    assert_eq!(
        std::fs::read_to_string(&home.config.socket).unwrap(),
        "precious"
    );
}

#[test]
fn a_metrics_port_in_use_is_named() {
    let mut home = Home::new("port");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = other.local_addr().unwrap();
    home.config.metrics_addr = Some(addr);
    let error = home.refused();
    assert!(
        error.starts_with(&format!("cannot serve metrics on {addr}: ")),
        "{error}"
    );
}

#[test]
fn a_boot_is_known_again_and_another_one_is_not() {
    let home = Home::new("boot");
    assert!(!home.claim().unwrap().same_boot, "the first start");
    assert!(home.claim().unwrap().same_boot, "a restart");
    home.boot("second\n");
    assert!(!home.claim().unwrap().same_boot, "after a reboot");
    assert!(home.claim().unwrap().same_boot, "and a restart after that");
    std::fs::write(home.config.state_dir.join("boot-id"), [0xff, 0xfe]).unwrap();
    assert!(
        !home.claim().unwrap().same_boot,
        "garbage counts as another boot"
    );
}
