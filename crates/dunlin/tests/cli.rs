//! The command against an agent's socket: exit codes, formats, errors.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dunlin_api::{Answer, Explanation, Neighbor, Node, Problem, Query, RouteView, Status};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("dunlin-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An agent's socket that answers with `answer`, one connection at a time, while the test lasts.
fn agent(dir: &Dir, answer: impl Fn(Query) -> Answer + Send + 'static) -> PathBuf {
    let path = dir.0.join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" || line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let reply =
                serde_json::to_vec(&answer(serde_json::from_slice(&body).unwrap())).unwrap();
            let stream = stream.get_mut();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                reply.len()
            )
            .unwrap();
            stream.write_all(&reply).unwrap();
        }
    });
    path
}

fn dunlin(socket: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(args)
        .env("DUNLIN_SOCKET", socket)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_missing_agent_is_told_with_what_to_do_and_exit_code_one() {
    let output = dunlin(Path::new("/nonexistent/agent.sock"), &["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "dunlin: cannot reach the agent at /nonexistent/agent.sock: no such socket: is `dunlin agent` running on this \
         node? (--socket names another place, or DUNLIN_SOCKET)\n"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn status_ends_with_one_when_there_is_a_problem() {
    let dir = Dir::new("status");
    let path = dir.0.join("problem");
    let problem = path.clone();
    let socket = agent(&dir, move |query| {
        assert_eq!(query, Query::Status);
        let mut status = Status {
            node: "n1".into(),
            ready: true,
            ..Status::default()
        };
        if problem.exists() {
            status.problems.push(Problem {
                object: "Node/n2".into(),
                reason: "Invalid".into(),
                message: "spec.podCIDRs[0] is no prefix".into(),
            });
        }
        Answer::Status(Box::new(status))
    });
    let fine = dunlin(&socket, &["status"]);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stderr));
    assert!(
        !text(&fine.stdout).contains('\x1b'),
        "no colours off a terminal"
    );
    std::fs::write(&path, "").unwrap();
    let bad = dunlin(&socket, &["status", "--color", "always"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text(&bad.stdout).contains("\x1b[31mNode/n2 Invalid\x1b[0m"),
        "{}",
        text(&bad.stdout)
    );
}

#[test]
fn lists_come_as_json_and_yaml_and_are_filtered() {
    let dir = Dir::new("lists");
    let socket = agent(&dir, |query| match query {
        Query::Nodes => Answer::Nodes(
            ["n1", "n2"]
                .map(|name| Node {
                    name: name.into(),
                    ..Node::default()
                })
                .to_vec(),
        ),
        Query::Neighbors => Answer::Neighbors(vec![
            Neighbor {
                name: "n2".into(),
                kind: "node".into(),
                address: Some("10.0.0.2".parse().unwrap()),
                ..Neighbor::default()
            },
            Neighbor {
                name: "tor".into(),
                kind: "external".into(),
                address: Some("2001:db8::1".parse().unwrap()),
                ..Neighbor::default()
            },
        ]),
        Query::Routes(filter) => {
            assert_eq!(filter.prefix, Some("10.0.0.0/8".parse().unwrap()));
            assert_eq!(filter.peer.as_deref(), Some("tor"));
            Answer::Routes(RouteView {
                items: Vec::new(),
                truncated: true,
            })
        }
        other => panic!("{other:?}"),
    });
    let json = dunlin(&socket, &["get", "nodes", "--node", "n2", "-o", "json"]);
    let nodes: Vec<Node> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(),
        ["n2"]
    );

    let yaml = dunlin(
        &socket,
        &["get", "neighbors", "--peer", "2001:db8:0::1", "-o", "yaml"],
    );
    let yaml = text(&yaml.stdout);
    assert!(yaml.contains("name: tor") && !yaml.contains("n2"), "{yaml}");

    let cut = dunlin(
        &socket,
        &["get", "routes", "--prefix", "10.0.0.0/8", "--peer", "tor"],
    );
    assert_eq!(cut.status.code(), Some(0));
    assert!(
        text(&cut.stderr).contains("there are more"),
        "{}",
        text(&cut.stderr)
    );
}

#[test]
fn explain_takes_an_address_for_a_neighbor_first_and_for_a_prefix_then() {
    let dir = Dir::new("explain");
    let socket = agent(&dir, |query| match query {
        Query::ExplainNeighbor(name) if name == "tor" => Answer::Explanation(Explanation {
            subject: "tor".into(),
            ok: false,
            ..Explanation::default()
        }),
        Query::ExplainNeighbor(name) => Answer::NotFound(format!("no neighbor {name}")),
        Query::ExplainPrefix(prefix) => Answer::Explanation(Explanation {
            subject: prefix.to_string(),
            ok: true,
            ..Explanation::default()
        }),
        other => panic!("{other:?}"),
    });
    let host = dunlin(&socket, &["explain", "10.1.2.3"]);
    assert_eq!(host.status.code(), Some(0));
    assert!(
        text(&host.stdout).starts_with("10.1.2.3/32: "),
        "{}",
        text(&host.stdout)
    );
    assert_eq!(
        dunlin(&socket, &["explain", "tor"]).status.code(),
        Some(1),
        "a problem"
    );
    let missing = dunlin(&socket, &["explain", "n9"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(text(&missing.stderr), "dunlin: no neighbor n9\n");
    assert_eq!(
        dunlin(&socket, &["explain", "10.0.0.0/40"]).status.code(),
        Some(2),
        "usage"
    );
}

#[test]
fn an_agent_refuses_what_it_cannot_do_and_says_what_to_do() {
    let dir = Dir::new("agent");
    let state = dir.0.join("state");
    let run = |args: &[&str]| {
        let mut all = vec![
            "agent",
            "--metrics-addr",
            "off",
            "--state-dir",
            state.to_str().unwrap(),
        ];
        all.extend(args);
        let output = dunlin(&dir.0.join("agent.sock"), &all);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let name = run(&["--node-name", "N_1", "--cluster", "dir:/tmp"]);
    assert!(name.contains("\"N_1\" is no node name"), "{name}");
    assert!(!state.exists(), "nothing is touched before all is checked");
    let place = |name: &str| dir.0.join(name).display().to_string();
    let kube = run(&[
        "--node-name=n1",
        &format!("--kubeconfig={}", place("none")),
        &format!("--cni-conf-dir={}", place("cni")),
        &format!("--protocol-names={}", place("protocols")),
    ]);
    assert!(
        kube.contains("--kubeconfig") && kube.contains(&place("none")),
        "{kube}"
    );
}

#[test]
fn an_agent_without_a_capability_names_it_and_what_to_do() {
    let dir = Dir::new("caps");
    let mut command = Command::new("setpriv");
    if !rustix::process::geteuid().is_root() {
        // An ordinary user has none of them anyway.
        command = Command::new("env");
    } else {
        command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]);
    }
    let output = command
        .arg(env!("CARGO_BIN_EXE_dunlin"))
        .args(["agent", "--node-name", "n1", "--metrics-addr", "off"])
        .args(["--cluster", &format!("dir:{}", dir.0.display())])
        .args(["--state-dir", dir.0.join("state").to_str().unwrap()])
        .args(["--socket", dir.0.join("agent.sock").to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("CAP_NET_ADMIN is missing (needed for routes, nf_tables and sysctls): run"),
        "{error}"
    );
    assert!(!dir.0.join("state").exists());
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = dunlin(Path::new("/x"), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("advertisements"), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let dir = Dir::new("pipe");
    let socket = agent(&dir, |_| {
        let node = Node {
            name: "n".repeat(200),
            ..Node::default()
        };
        Answer::Nodes(vec![node; 20_000])
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["get", "nodes", "-o", "json"])
        .env("DUNLIN_SOCKET", socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}
