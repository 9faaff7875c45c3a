//! `dunlin plan` against an agent's socket: what is sent, what is shown, exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dunlin_api::{Listed, ObjectProblem, PLAN_PATH, Plan, PlanFault, PlanRequest};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("dunlin-plan-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// An agent's socket that plans with `answer`, one connection at a time, while the test lasts.
    fn agent(&self, answer: impl Fn(PlanRequest) -> Plan + Send + 'static) {
        let listener = UnixListener::bind(self.0.join("agent.sock")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
                }
                assert!(head.starts_with(&format!("POST {PLAN_PATH} ")), "{head}");
                let head = head.to_lowercase();
                let (_, length) = head.split_once("content-length:").unwrap();
                let length = length.lines().next().unwrap().trim().parse().unwrap();
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let plan = answer(serde_json::from_slice(&body).unwrap());
                let reply = serde_json::to_string(&plan).unwrap();
                let length = reply.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.get_mut().write_all(head.as_bytes()).unwrap();
                stream.get_mut().write_all(reply.as_bytes()).unwrap();
            }
        });
    }

    fn plan(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dunlin"))
            .arg("plan")
            .args(args)
            .env("DUNLIN_SOCKET", self.0.join("agent.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever does not read its input may be gone.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Says back what it was asked, as notes.
fn echo(request: PlanRequest) -> Plan {
    let files = request.files.iter().map(|file| file.text.clone());
    Plan {
        node: "n1".into(),
        notes: files.chain(request.delete.iter().cloned()).collect(),
        ..Plan::default()
    }
}

#[test]
fn files_standard_input_and_deletions_go_to_the_agent_in_order() {
    let dir = Dir::new("order");
    dir.agent(echo);
    let first = dir.file("a.yaml", "first");
    let args = [
        "-f",
        &first,
        "-f",
        "-",
        "--delete",
        "BGPPeer/tor-1",
        "-o",
        "json",
    ];
    let output = dir.plan(&args, "second");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let plan: Plan = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan.notes, ["first", "second", "BGPPeer/tor-1"]);
    let shown = text(&dir.plan(&["--delete", "BGPPeer/tor-1"], "").stdout);
    assert!(
        shown.starts_with("Plan for node n1, by its agent"),
        "{shown}"
    );
    let idle = "No session, route or announcement of this node would change.";
    assert!(shown.contains(idle), "{shown}");
}

#[test]
fn problems_and_faults_end_with_one() {
    let dir = Dir::new("wrong");
    dir.agent(|request| {
        let mut plan = echo(request);
        if plan.notes == ["fault"] {
            plan.faults.push(PlanFault {
                file: "-".into(),
                document: 2,
                line: 7,
                column: Some(3),
                message: "unknown field".into(),
            });
        } else {
            plan.problems = Listed {
                items: vec![ObjectProblem {
                    kind: "BGPPeer".into(),
                    name: "tor-1".into(),
                    reason: "FilterMissing".into(),
                    field: Some("spec.importFilter".into()),
                    message: "there is no BGPFilter x".into(),
                }],
                more: 0,
            };
        }
        plan
    });
    let problem = dir.plan(&["-f", "-"], "problem");
    assert_eq!(problem.status.code(), Some(1));
    let shown = text(&problem.stdout);
    assert!(shown.contains("1 PROBLEM: WOULD BE WRONG"), "{shown}");
    let head = "BGPPeer/tor-1 FilterMissing spec.importFilter";
    assert!(shown.contains(head), "{shown}");
    let fault = dir.plan(&["-f", "-"], "fault");
    assert_eq!(fault.status.code(), Some(1));
    let shown = text(&fault.stdout);
    assert!(
        shown.starts_with("-:7:3 (document 2)\n  unknown field\n"),
        "{shown}"
    );
}

#[test]
fn what_cannot_be_sent_is_told_before_anybody_is_asked() {
    let dir = Dir::new("unsent");
    let none = dir.plan(&["-f", "/nonexistent.yaml"], "");
    assert_eq!(none.status.code(), Some(1));
    let shown = text(&none.stderr);
    assert!(shown.contains("cannot read /nonexistent.yaml"), "{shown}");
    let large = dir.file("large.yaml", &"#".repeat(PlanRequest::MAX_BYTES + 1));
    let large = dir.plan(&["-f", &large], "");
    assert_eq!(large.status.code(), Some(1));
    let shown = text(&large.stderr);
    assert!(shown.contains("may have 1048576 octets"), "{shown}");
    let usage = dir.plan(&[], "");
    assert_eq!(usage.status.code(), Some(2));
}
