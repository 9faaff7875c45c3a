//! An agent's process from start to end, around a core that does nothing: privileges, signals, exit codes.
//!
//! Each test starts this very program again as the agent, because signals and capabilities are a process's own.
#![allow(clippy::print_stderr)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dunlin_agent::config::{AgentConfig, ClusterSource, LogFormat};
use dunlin_agent::engine_handle::{
    EngineHandle, EngineRequest, EngineStart, EngineState, PodNetwork,
};
use dunlin_agent::run_with;
use dunlin_intent::{Fact, SourceEvent};
use rustix::process::{Pid, Signal, kill_process};

const HOME: &str = "DUNLIN_TEST_HOME";
const CORE: &str = "DUNLIN_TEST_CORE";
const DEADLINE: Duration = Duration::from_secs(20);

/// Not a test of its own: the agent that the tests start.
#[test]
fn agent() {
    let Ok(home) = std::env::var(HOME) else {
        return;
    };
    let home = PathBuf::from(home);
    let config = AgentConfig {
        node_name: "n1".into(),
        cluster: ClusterSource::Dir(home.join("cluster")),
        kube: Default::default(),
        socket: home.join("agent.sock"),
        metrics_addr: None,
        cni_conf_dir: home.join("cni"),
        protocol_names: home.join("protocols"),
        state_dir: home.join("state"),
        service_proxy: Default::default(),
        proxy_options: Default::default(),
        log: "info".into(),
        log_format: LogFormat::Text,
    };
    let core = std::env::var(CORE).unwrap();
    let outcome = run_with(&config, |_: EngineStart| Ok(start_core(core)));
    match outcome {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{error:#}");
            std::process::exit(1);
        }
    }
}

/// A core that ends when asked to, that never ends, or that panics. It is content with any Node.
fn start_core(kind: String) -> EngineHandle {
    let (sender, requests) = sync_channel(4);
    let (told, state) = tokio::sync::watch::channel(EngineState::default());
    std::thread::spawn(move || {
        for request in requests {
            match (kind.as_str(), request) {
                (_, EngineRequest::Fact(event, _)) => {
                    if let SourceEvent::Apply(Fact::Node(node)) = *event {
                        let network = PodNetwork {
                            pod_cidrs: node.pod_cidrs,
                            mtu: 1400,
                        };
                        told.send_replace(EngineState {
                            pod_network: Some(network),
                            ..EngineState::default()
                        });
                    }
                }
                ("orderly", EngineRequest::Shutdown(_, reply)) => {
                    tracing::info!("the core was asked to end");
                    let _ = reply.send(());
                    return;
                }
                ("stubborn", EngineRequest::Shutdown(_, reply)) => {
                    tracing::info!("the core does not end");
                    std::mem::forget(reply);
                }
                ("fragile", EngineRequest::Ping(_) | EngineRequest::Ask(..)) => {
                    panic!("the core broke")
                }
                (_, EngineRequest::Ping(reply)) => drop(reply.send(()).is_ok()),
                _ => {}
            }
        }
    });
    EngineHandle::new(move |request| sender.try_send(request), state)
}

struct Agent {
    home: PathBuf,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts one and waits until it serves; `None`, with the reason, where it cannot run.
    fn start(name: &str, core: &str) -> Option<Agent> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root, for the agent's capabilities");
            return None;
        }
        let home = std::env::temp_dir().join(format!("dunlin-life-{}-{name}", std::process::id()));
        fs::create_dir_all(home.join("cluster")).unwrap();
        // In a network namespace of its own, because an agent turns forwarding on.
        let child = Command::new("unshare")
            .arg("--net")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "agent", "--nocapture"])
            .env(HOME, &home)
            .env(CORE, core)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut agent = Agent {
            home,
            child,
            log: Arc::default(),
            reader: None,
        };
        let (stderr, log) = (agent.child.stderr.take().unwrap(), Arc::clone(&agent.log));
        agent.reader = Some(std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lock().unwrap().push_str(&format!("{line}\n"));
            }
        }));
        let socket = agent.socket();
        wait("the agent serves", || {
            assert_eq!(agent.child.try_wait().unwrap(), None, "it ended early");
            UnixStream::connect(&socket).is_ok()
        });
        Some(agent)
    }

    fn socket(&self) -> PathBuf {
        self.home.join("agent.sock")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has logged this.
    fn logged(&self, text: &str) {
        let reader = self.reader.as_ref().unwrap();
        wait(text, || {
            let ended = reader.is_finished();
            let log = self.log.lock().unwrap();
            assert!(
                !ended || log.contains(text),
                "it ended without {text:?}: {log}"
            );
            log.contains(text)
        });
    }

    /// Waits for its end; gives how it ended and what it logged.
    fn ended(mut self) -> (ExitStatus, String) {
        let mut status = None;
        wait("the agent ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.reader.take().unwrap().join().unwrap();
        let log = self.log.lock().unwrap().clone();
        (status.unwrap(), log)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A field of each thread's status but the first's, which is the test harness's.
fn status_fields(pid: u32, field: &str) -> Vec<String> {
    let mut values = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap();
        if task.file_name().to_str() == Some(&pid.to_string()) {
            continue;
        }
        let text = fs::read_to_string(task.path().join("status")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        values.push(line.trim_start_matches(':').trim().to_owned());
    }
    values
}

#[test]
fn an_agent_keeps_four_capabilities_and_can_gain_none() {
    let Some(agent) = Agent::start("caps", "orderly") else {
        return;
    };
    // CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_SYS_NICE 23 (capabilities(7)). The last is kept where
    // it is given, which not every place that runs tests does.
    let given = status_fields(std::process::id(), "CapEff");
    let given = given
        .first()
        .map(|set| u64::from_str_radix(set, 16).expect("hexadecimal"));
    let useful = given.expect("a set") & (1 << 23);
    let needed = format!("{:016x}", (1 << 10) | (1 << 12) | (1 << 13) | useful);
    let none = format!("{:016x}", 0);
    // The agent's own thread and the core's, which is started after privileges are gone.
    wait("the core runs", || {
        status_fields(agent.child.id(), "CapEff").len() >= 2
    });
    for (field, value) in [
        ("CapEff", needed.as_str()),
        ("CapPrm", &needed),
        ("CapInh", &none),
        ("CapAmb", &none),
        ("NoNewPrivs", "1"),
    ] {
        let values = status_fields(agent.child.id(), field);
        assert!(values.iter().all(|v| v == value), "{field}: {values:?}");
    }
}

#[test]
fn objects_reach_the_core_and_the_cni_configuration_follows_them() {
    let Some(agent) = Agent::start("objects", "orderly") else {
        return;
    };
    let file = agent.home.join("cni/10-dunlin.conflist");
    let node = |cidr: &str| {
        let new = agent.home.join("new");
        let text = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n1}}\nspec: {{podCIDRs: [{cidr}]}}\n"
        );
        fs::write(&new, text).unwrap();
        fs::rename(&new, agent.home.join("cluster/n1.yaml")).unwrap();
    };
    for cidr in ["10.244.1.0/24", "fd00:244:1::/64"] {
        node(cidr);
        wait("the CNI configuration says so", || {
            fs::read_to_string(&file)
                .is_ok_and(|text| text.contains(&format!("\"subnet\": \"{cidr}\"")))
        });
    }
    let text = fs::read_to_string(&file).unwrap();
    for sysctl in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        // Of the agent's namespace: /proc/net and /proc/sys/net are those of whoever looks.
        let value = Command::new("nsenter")
            .args(["--net", "--target", &agent.child.id().to_string()])
            .args(["cat", &format!("/proc/sys/net/{sysctl}")])
            .output()
            .unwrap();
        assert_eq!(value.stdout, b"1\n", "{sysctl}");
    }
    let names = fs::read_to_string(agent.home.join("protocols/dunlin.conf"));
    assert_eq!(names.unwrap(), "68 dunlin\n");
    let data_dir = agent.home.join("state/cni");
    assert!(
        text.contains("\"mtu\": 1400") && text.contains(data_dir.to_str().unwrap()),
        "{text}"
    );
}

#[test]
fn sigterm_ends_the_core_in_order_and_removes_the_socket() {
    let Some(agent) = Agent::start("term", "orderly") else {
        return;
    };
    let socket = agent.socket();
    agent.signal(Signal::TERM);
    let (status, log) = agent.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the core was asked to end"), "{log}");
    assert!(!socket.exists());
}

#[test]
fn a_second_signal_ends_an_agent_whose_core_hangs() {
    let Some(agent) = Agent::start("twice", "stubborn") else {
        return;
    };
    let start = Instant::now();
    agent.signal(Signal::TERM);
    agent.logged("the core does not end");
    agent.signal(Signal::INT);
    let (status, log) = agent.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("asked again: stopping at once"), "{log}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it did not wait for the core"
    );
}

#[test]
fn an_agent_whose_core_breaks_ends_with_an_error() {
    let Some(agent) = Agent::start("broken", "fragile") else {
        return;
    };
    let _ = dunlin_api::Client::new(agent.socket()).ask_blocking(&dunlin_api::Query::Status);
    let (status, log) = agent.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("panicked") && log.contains("the core broke"),
        "{log}"
    );
    assert!(log.contains("the core thread has ended"), "{log}");
}

#[test]
fn a_second_agent_on_the_same_node_is_refused() {
    let Some(first) = Agent::start("second", "orderly") else {
        return;
    };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "agent", "--nocapture"])
        .env(HOME, &first.home)
        .env(CORE, "orderly")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains(&format!(
            "another agent (process {}) uses the state directory",
            first.child.id()
        )),
        "{error}"
    );
    assert!(
        UnixStream::connect(first.socket()).is_ok(),
        "the first still serves"
    );
}
