//! The servers around a fake core, asked through real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dunlin_api::{
    Answer, Client, ClientError, CniState, CniStatus, DumpRequest, DumpedTable, MRT_PATH, Metrics,
    ObjectChange, PlanFile, PlanRequest, Query, Status,
};
use tokio::sync::watch;

use crate::engine_handle::{EngineHandle, EngineState};
use crate::fake_engine::{self, Dir};
use crate::http::{Limits, REQUEST_LIMIT_BYTES};
use crate::overlay::Overlay;
use crate::{admin, http, metrics};

struct Served {
    _dir: Dir,
    socket: PathBuf,
    metrics: SocketAddr,
    cni: watch::Sender<CniStatus>,
}

/// Serves in a thread of its own, which ends with the test process.
fn serve(name: &str, engine: EngineHandle, limits: Limits) -> Served {
    let dir = Dir::new(name);
    let socket = dir.0.join("agent.sock");
    let unix = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = tcp.local_addr().unwrap();
    unix.set_nonblocking(true).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let (cni_in, cni) = watch::channel(CniStatus::default());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let overlay = Overlay {
                counts: false,
                cni,
                source: None,
                allocation: None,
                troubles: Default::default(),
            };
            let unix = tokio::net::UnixListener::from_std(unix).unwrap();
            let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
            tokio::join!(
                http::serve(unix, admin::router(engine.clone(), overlay.clone()), limits),
                http::serve(tcp, metrics::router(engine, overlay), limits),
            )
        });
    });
    Served {
        _dir: dir,
        socket,
        metrics,
        cni: cni_in,
    }
}

fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    (status, reply.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn ready_core() -> EngineHandle {
    fake_engine::start(|query| {
        let status = Status {
            node: "n1".into(),
            ready: true,
            ..Status::default()
        };
        match query {
            Query::Status => Answer::Status(Box::new(status)),
            Query::Metrics => Answer::Metrics(Box::new(Metrics {
                status,
                ..Metrics::default()
            })),
            other => Answer::NotFound(format!("{other:?}")),
        }
    })
}

#[test]
fn a_node_is_ready_when_the_core_is_and_the_cni_file_is_written() {
    let served = serve("ready", ready_core(), Limits::MODEST);
    let client = Client::new(&served.socket);
    let ask = || match client.ask_blocking(&Query::Status).unwrap() {
        Answer::Status(status) => status,
        other => panic!("{other:?}"),
    };
    let waiting = ask();
    assert!(!waiting.ready);
    assert_eq!(
        waiting.not_ready,
        ["the CNI configuration is not written yet"]
    );
    let (code, body) = get(served.metrics, "/readyz");
    assert_eq!(
        (code, body.as_str()),
        (503, "not ready: the CNI configuration is not written yet\n")
    );

    served.cni.send_replace(CniStatus {
        state: CniState::Written,
        path: Some("/c".into()),
        error: None,
    });
    assert!(ask().ready);
    assert_eq!(get(served.metrics, "/readyz"), (200, "ready\n".into()));
    assert!(
        get(served.metrics, "/metrics")
            .1
            .contains("\ndunlin_ready 1\n")
    );

    served.cni.send_replace(CniStatus {
        state: CniState::Failed,
        path: Some("/c".into()),
        error: Some("read-only file system".into()),
    });
    let failed = ask();
    assert!(!failed.ready);
    assert_eq!(failed.problems[0].reason, "CNIWriteFailed");
    assert!(
        failed.problems[0]
            .message
            .starts_with("read-only file system: ")
    );
}

#[test]
fn a_core_that_hangs_makes_the_agent_unhealthy_and_is_still_told_of() {
    let (engine, _requests, _told) = fake_engine::idle(EngineState::default(), 8);
    let served = serve("hang", engine, Limits::MODEST);
    assert_eq!(
        get(served.metrics, "/healthz"),
        (503, "the agent's core did not answer in time\n".into())
    );
    let (code, text) = get(served.metrics, "/metrics");
    assert_eq!(code, 200);
    assert!(text.contains("\ndunlin_core_up 0\n"), "{text}");
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
}

#[test]
fn a_core_that_replies_makes_the_agent_healthy() {
    let served = serve("healthy", ready_core(), Limits::MODEST);
    assert_eq!(get(served.metrics, "/healthz"), (200, "ok\n".into()));
}

#[test]
fn what_is_no_query_is_refused_with_the_reason() {
    let served = serve("garbage", ready_core(), Limits::MODEST);
    let post = |path: &str, body: &[u8]| {
        let mut stream = UnixStream::connect(&served.socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        // The server may close before it has read all of a body that is too long.
        let _ = stream.write_all(body);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8(reply).unwrap()
    };
    let reply = post("/v1/query", br#"{"conquer":"world"}"#);
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    assert!(
        reply.contains("not a query: unknown variant `conquer`"),
        "{reply}"
    );
    let reply = post("/v2/query", b"\"status\"");
    assert!(reply.starts_with("HTTP/1.1 404 "), "{reply}");
    let reply = post("/v1/query", &vec![b' '; REQUEST_LIMIT_BYTES + 1]);
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    // And it still serves.
    assert!(
        Client::new(&served.socket)
            .ask_blocking(&Query::Status)
            .is_ok()
    );
}

#[test]
fn a_core_that_ended_is_told_to_whoever_asks() {
    let (engine, requests, _told) = fake_engine::idle(EngineState::default(), 1);
    drop(requests);
    let served = serve("gone", engine, Limits::MODEST);
    match Client::new(&served.socket).ask_blocking(&Query::Status) {
        Err(ClientError::Refused {
            status: 503,
            message,
            ..
        }) => assert_eq!(message, "the agent is stopping"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn clients_that_say_nothing_hold_the_server_up_for_a_bounded_time_only() {
    let limits = Limits {
        connections: 2,
        head: Duration::from_millis(100),
        total: Duration::from_millis(200),
        ..Limits::MODEST
    };
    let served = serve("slow", ready_core(), limits);
    let _silent: Vec<TcpStream> = (0..6)
        .map(|_| TcpStream::connect(served.metrics).unwrap())
        .collect();
    let start = Instant::now();
    assert_eq!(get(served.metrics, "/healthz"), (200, "ok\n".into()));
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_plan_is_read_here_and_worked_out_by_the_core() {
    let served = serve("plan", ready_core(), admin::LIMITS);
    let client = Client::new(&served.socket);
    let file = |text: &str| PlanFile {
        name: "a.yaml".into(),
        text: text.into(),
    };
    let request = |text: &str, delete: &str| PlanRequest {
        files: vec![file(text)],
        delete: vec![delete.into()],
        limit: None,
    };
    let text = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
";
    let plan = client
        .plan_blocking(&request(text, "BGPPeer/tor-1"))
        .unwrap();
    // The fake core says back the steps it was given: what goes comes first.
    let [first, second] = plan.notes.as_slice() else {
        panic!("{plan:?}");
    };
    assert!(first.contains("Delete(Peer(\"tor-1\"))"), "{first}");
    assert!(
        second.contains("Namespace") && second.contains("a.yaml"),
        "{second}"
    );
    assert_eq!(plan.objects.items[0].object, "Deployment/web");
    assert_eq!(plan.objects.items[0].change, ObjectChange::Ignored);

    let wrong = client.plan_blocking(&request("kind: [", "tor-1")).unwrap();
    let places: Vec<(&str, u32)> = wrong
        .faults
        .iter()
        .map(|fault| (fault.file.as_str(), fault.document))
        .collect();
    assert_eq!(places, [("--delete", 0), ("a.yaml", 1)]);
    assert!(wrong.notes.is_empty(), "the core was not asked");

    // A full request is taken though it is far larger than a query may be; a larger one is refused.
    let full = "#".repeat(PlanRequest::MAX_BYTES);
    let refused = client.plan_blocking(&request(&(full.clone() + "#"), "BGPPeer/tor-1"));
    let full = client
        .plan_blocking(&request(&full, "BGPPeer/tor-1"))
        .unwrap();
    assert_eq!(full.notes.len(), 1);
    assert!(
        matches!(refused, Err(ClientError::Refused { status: 413, .. })),
        "{refused:?}"
    );
}

/// Takes so many pieces of a dump, slowly, and then has had enough.
struct Slow(u32);

impl Write for Slow {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let left = self.0.checked_sub(1);
        self.0 = left.ok_or(std::io::ErrorKind::StorageFull)?;
        std::thread::sleep(Duration::from_millis(50));
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins a dump that is not read, once there is room for it.
fn unread_dump(served: &Served) -> UnixStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut stream = UnixStream::connect(&served.socket).unwrap();
        let body = serde_json::to_string(&DUMP).unwrap();
        let len = body.len();
        write!(
            stream,
            "POST {MRT_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n\r\n{body}"
        )
        .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        match &head {
            b"HTTP/1.1 200" => return stream,
            head => assert!(
                head == b"HTTP/1.1 429" && Instant::now() < deadline,
                "{}",
                String::from_utf8_lossy(head)
            ),
        }
    }
}

const DUMP: DumpRequest = DumpRequest {
    table: DumpedTable::AdjRibIn,
};

#[test]
fn a_dump_is_made_as_fast_as_it_is_read_and_not_too_many_at_once() {
    // The core's dump has no end.
    let limits = Limits {
        total: Duration::from_millis(200),
        ..Limits::MODEST
    };
    let served = serve("dump", ready_core(), limits);
    let client = Client::new(&served.socket);
    let began = Instant::now();
    let end = client.dump_blocking(&DUMP, &mut Slow(12)).unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // It may take longer than an answer.
    assert!(began.elapsed() > 2 * limits.total);

    let unread = [unread_dump(&served), unread_dump(&served)];
    let refused = client.dump_blocking(&DUMP, &mut Slow(1)).unwrap_err();
    assert!(
        matches!(refused, ClientError::Refused { status: 429, .. }),
        "{refused}"
    );
    // The agent goes on, and those who go leave room.
    assert!(client.ask_blocking(&Query::Status).is_ok());
    drop(unread);
    drop([unread_dump(&served), unread_dump(&served)]);
}
