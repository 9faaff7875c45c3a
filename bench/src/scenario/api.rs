//! A big API in memory: a cluster of 5,000 nodes, 10,000 Services and 100,000 endpoints in an API, and one agent beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dunlin_fakeapi::FakeApi;
use serde_json::{Value, json};

use super::Options;
use crate::api_server::Server;
use crate::interrupt;
use crate::netns::{Bed, DAEMON_ADDRESS};
use crate::process::{Processes, Scratch};
use crate::report::{Column, Report};

const NODES: u32 = 5_000;
const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

/// Endpoint changes a second, and for how long.
const CHANGES_PER_SEC: u32 = 50;
const CHURN: Duration = Duration::from_secs(20);

/// After the sync, before the churn: what the sync left to do is done.
const SETTLE: Duration = Duration::from_secs(15);

const METRICS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9179);

const COLUMNS: &[Column] = &[
    Column::new("synced", "s"),
    Column::new("CPU to sync", "s"),
    Column::new("peak", "MB"),
    Column::new("resident", "MB"),
    Column::new("CPU at 50/s", "ms/s"),
];

/// One report.
pub(crate) fn run(options: &Options, mut show: impl FnMut(Report)) -> Result<()> {
    let title = format!(
        "API in memory: {NODES} nodes, {SERVICES} services, {} endpoints, then {CHANGES_PER_SEC} changes a second",
        SERVICES * ENDPOINTS
    );
    let mut report = Report::new(title, COLUMNS, "Dunlin");
    let api = fill();
    for run in 0..options.runs {
        report.add("Dunlin", measure(options, &api, run % 2 == 1)?);
    }
    show(report);
    Ok(())
}

fn measure(options: &Options, api: &FakeApi, ready: bool) -> Result<Vec<f64>> {
    let bed = Bed::new(0)?;
    let scratch = Scratch::new()?;
    let server = Server::start(api.clone(), &bed.daemon, &scratch)?;
    let argv = agent(options, &scratch, server.kubeconfig(), "off")?;
    let mut processes = Processes::default();
    let started = Instant::now();
    processes.start(&bed.daemon, &scratch, &argv, None)?;
    let synced = bed
        .daemon
        .run(|| until_synced(&mut processes, options))?
        .map_err(|error| error.context(processes.logs()))?;
    let synced = synced.duration_since(started);
    let after_sync = processes.usage()?;
    pause(SETTLE)?;
    let settled = processes.usage()?;
    let heard = bed.daemon.run(slice_events)??;
    let begun = Instant::now();
    let changes = churn(api, ready)?;
    let lasted = begun.elapsed();
    let churned = processes.usage()?;
    let heard = bed.daemon.run(slice_events)?? - heard;
    if heard + 5 < changes {
        bail!("the agent heard {heard} of {changes} changes");
    }
    Ok(vec![
        synced.as_secs_f64(),
        after_sync.cpu_secs,
        churned.peak_mb,
        settled.resident_mb,
        (churned.cpu_secs - settled.cpu_secs) * 1000.0 / lasted.as_secs_f64(),
    ])
}

/// The agent of `node-0` and its arguments.
pub(super) fn agent(
    options: &Options,
    scratch: &Scratch,
    kubeconfig: &str,
    service_proxy: &str,
) -> Result<Vec<String>> {
    for name in ["state", "cni"] {
        std::fs::create_dir_all(scratch.path().join(name))?;
    }
    let dir = scratch.path().display();
    let args = format!(
        "{} agent --node-name node-0 --cluster kube --kubeconfig {kubeconfig} --socket {dir}/agent.sock \
         --state-dir {dir}/state --cni-conf-dir {dir}/cni --metrics-addr {METRICS} --service-proxy {service_proxy} \
         --log warn",
        options.dunlin.display()
    );
    Ok(args.split_whitespace().map(str::to_owned).collect())
}

fn until_synced(processes: &mut Processes, options: &Options) -> Result<Instant> {
    let deadline = options.deadline();
    let step = Duration::from_millis(50);
    interrupt::wait_for(deadline, step, "the agent to be synced", || {
        processes.check_alive()?;
        let text = scrape().unwrap_or_default();
        Ok(text.lines().any(|line| line == "dunlin_source_synced 1"))
    })?;
    Ok(Instant::now())
}

/// How many events of EndpointSlices the agent has taken in.
fn slice_events() -> Result<u64> {
    let text = scrape()?;
    let name = "dunlin_source_events_total{kind=\"EndpointSlice\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("the agent counts no events")?.trim().parse()?)
}

/// What an agent tells at its metrics port; in its namespace.
pub(super) fn scrape() -> Result<String> {
    metrics(METRICS)
}

/// What a program in the caller's namespace counts.
pub(super) fn metrics(server: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn pause(time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        interrupt::check(deadline + time, "the pause")?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// One endpoint after another becomes ready, or unready. How many changes there were.
fn churn(api: &FakeApi, ready: bool) -> Result<u64> {
    let begun = Instant::now();
    let mut changes = 0;
    while begun.elapsed() < CHURN {
        interrupt::check(begun + 2 * CHURN, "the changes")?;
        let at = u32::try_from(changes)? * 7 % SERVICES;
        api.put(slice(at, ready));
        changes += 1;
        let due = begun + Duration::from_secs(changes) / CHANGES_PER_SEC;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(changes)
}

fn fill() -> FakeApi {
    let api = FakeApi::new();
    // Sessions are measured elsewhere, and here nobody would answer.
    api.put(json!({
        "apiVersion": "dunlin.dev/v1alpha1", "kind": "BGPConfiguration", "metadata": {"name": "default"},
        "spec": {"topology": {"mode": "None"}},
    }));
    for at in 0..NODES {
        api.put(node(at));
    }
    for at in 0..200 {
        api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("ns-{at}")}}));
    }
    for at in 0..SERVICES {
        api.put(service(at));
        api.put(slice(at, true));
    }
    api.write_texts();
    api
}

/// As much text as the fields of other managers are, which nobody here reads.
fn ballast(octets: usize) -> Value {
    json!({"bench.example.com/ballast": "x".repeat(octets)})
}

fn node(at: u32) -> Value {
    let address = match at {
        0 => DAEMON_ADDRESS.to_string(),
        at => format!("10.100.{}.{}", at / 250, at % 250 + 1),
    };
    let subnet = format!("10.{}.{}.0/24", 128 + at / 256, at % 256);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": format!("node-{at}"),
            "labels": {
                "kubernetes.io/hostname": format!("node-{at}"), "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": format!("zone-{}", at % 3), "node.kubernetes.io/instance-type": "large",
            },
            "annotations": ballast(6000),
        },
        "spec": {"podCIDR": subnet, "podCIDRs": [subnet]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
        },
    })
}

fn service(at: u32) -> Value {
    let ip = format!("10.96.{}.{}", at / 250, at % 250 + 1);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("service-{at}"), "namespace": format!("ns-{}", at % 200),
            "labels": {"app.kubernetes.io/name": format!("service-{at}"), "app.kubernetes.io/managed-by": "Helm"},
            "annotations": ballast(900),
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster", "selector": {"app": format!("service-{at}")},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    })
}

/// The slice of a Service; its first endpoint is ready or not.
fn slice(at: u32, ready: bool) -> Value {
    let endpoints: Vec<Value> = (0..ENDPOINTS)
        .map(|n| {
            let node = (at * ENDPOINTS + n) % NODES;
            let ready = ready || n > 0;
            json!({
                "addresses": [format!("10.{}.{}.{}", 128 + node / 256, node % 256, (at * ENDPOINTS + n) / NODES + 2)],
                "conditions": {"ready": ready, "serving": ready, "terminating": false},
                "nodeName": format!("node-{node}"),
                "targetRef": {"kind": "Pod", "namespace": format!("ns-{}", at % 200), "name": format!("service-{at}-5d4f8c7b9-{n:05}"), "uid": format!("00000000-0000-4000-8000-{n:012}")},
                "zone": format!("zone-{}", node % 3),
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("service-{at}-abcde"), "namespace": format!("ns-{}", at % 200),
            "labels": {"kubernetes.io/service-name": format!("service-{at}"), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
            "annotations": ballast(700),
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}
