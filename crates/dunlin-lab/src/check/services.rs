//! A service's life: created, reached from everywhere by its cluster IP, its endpoints changed under load, deleted.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dunlin_net::Afi;

use super::Summary;
use crate::config::RouterKind;
use crate::lab::Lab;
use crate::manifests::{POD_PORT, SERVICE_PORT, remove_service, write_service};
use crate::netns::Netns;
use crate::plan::Plan;
use crate::report::{Report, time};
use crate::routes::installed_by;
use crate::state::PodRecord;
use crate::topology::{CLIENT, ROUTER};

const NAME: &str = "web";
const NUMBER: u8 = 80;
/// From an object's change to what follows from it everywhere.
const PATIENCE: Duration = Duration::from_secs(20);
/// For one connection.
const CONNECTION: Duration = Duration::from_secs(5);
/// How often a connection that must come is tried.
const TRY_AGAIN: Duration = Duration::from_millis(1);
/// Connections that show who answers.
const CONNECTIONS: usize = 300;
/// Changes of endpoints under load.
const CHANGES: usize = 20;
/// Between two of them.
const BETWEEN: Duration = Duration::from_millis(50);

/// A pod's answer: its name, and the client's address as it sees it.
struct Server {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(netns: &Netns, name: &str) -> Result<Server> {
        let listener = netns.run(|| {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, POD_PORT))
                .with_context(|| format!("cannot listen on port {POD_PORT} in {name}"))
        })?;
        listener.set_nonblocking(true)?;
        let done = Arc::new(AtomicBool::new(false));
        let (stop, name) = (Arc::clone(&done), name.to_owned());
        let thread = thread::spawn(move || answer(&listener, &name, &stop));
        Ok(Server {
            done,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(listener: &TcpListener, name: &str, stop: &AtomicBool) {
    use std::io::Write;
    use std::os::fd::AsFd;
    while !stop.load(Ordering::Relaxed) {
        let soon = Instant::now() + Duration::from_millis(100);
        if !crate::probe::icmp::wait_readable(listener.as_fd(), soon) {
            continue;
        }
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = write!(stream, "{name} {}", peer.ip().to_canonical());
        }
    }
}

/// Who answers at a service's address, and whom it saw.
fn ask(from: &Netns, at: SocketAddr) -> Result<(String, IpAddr)> {
    let mut stream = from.run(|| Ok(TcpStream::connect_timeout(&at, CONNECTION)?))?;
    stream.set_read_timeout(Some(CONNECTION))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (name, peer) = said.split_once(' ').context("no answer")?;
    Ok((name.to_owned(), peer.parse()?))
}

fn frontend(afi: Afi) -> SocketAddr {
    SocketAddr::new(Plan::service_address(NUMBER, afi), SERVICE_PORT)
}

/// Asks until somebody answers.
fn await_answer(from: &Netns, at: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        crate::signals::check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        // Before its address is known, no answer comes for a long time: then a new attempt is the quicker.
        let patience = Duration::from_millis(50).min(left.max(TRY_AGAIN));
        match from.run(|| Ok(TcpStream::connect_timeout(&at, patience)?)) {
            Ok(_) => return Ok(()),
            Err(error) if left.is_zero() => {
                return Err(error.context(format!("nobody answers at {at}")));
            }
            Err(_) => thread::sleep(TRY_AGAIN),
        }
    }
}

/// Waits until the router spreads over every node: each that comes to it moves some of the flows there are to another, which
/// cannot know them.
fn await_spread(lab: &Lab) -> Result<()> {
    let Some(protocol) = lab.router_protocol() else {
        return Ok(());
    };
    let nodes = match lab.config().router {
        // It has one path for each prefix.
        RouterKind::Gobgp => 1,
        _ => lab.plan().node_numbers().count(),
    };
    let router = lab.netns(ROUTER)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        crate::signals::check()?;
        let routes = installed_by(&router, protocol)?;
        let paths = |afi: &Afi| {
            let at = Plan::service_address(NUMBER, *afi);
            let route = routes.iter().find(|route| route.prefix.contains(&at));
            route.map_or(0, |route| route.gateways.len())
        };
        let counts: Vec<_> = lab.plan().families().iter().map(paths).collect();
        if counts.iter().all(|count| *count == nodes) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the router sends to {counts:?} of {nodes} nodes");
        }
        thread::sleep(TRY_AGAIN);
    }
}

pub(super) fn run(lab: &Lab, report: &Report, summary: &mut Summary) -> Result<()> {
    if !lab.config().service_proxy || lab.state().pods.is_empty() || lab.router_protocol().is_none()
    {
        return Ok(());
    }
    let pods = &lab.state().pods;
    let servers = pods
        .iter()
        .map(|pod| Server::start(&lab.netns(&pod.name)?, &pod.name))
        .collect::<Result<Vec<_>>>()?;
    let outcome = story(lab, pods, report, summary);
    let removed = remove_service(&lab.manifest_dir(), NAME);
    drop(servers);
    outcome?;
    removed
}

fn story(lab: &Lab, pods: &[PodRecord], report: &Report, summary: &mut Summary) -> Result<()> {
    let client = lab.netns(CLIENT)?;
    let families = lab.plan().families();
    let manifests = lab.manifest_dir();
    let addresses: Vec<_> = families
        .iter()
        .map(|afi| frontend(*afi).to_string())
        .collect();
    let began = Instant::now();
    write_service(&manifests, lab.plan(), NAME, NUMBER, pods)?;
    let created = families.iter().map(|afi| {
        await_answer(&client, frontend(*afi))?;
        Ok(time(began.elapsed()))
    });
    let text = format!(
        "created; the host outside reaches it at {}",
        addresses.join(", ")
    );
    summary.record(report, "service", &text, created.collect());

    await_spread(lab)?;
    let spread = families.iter().map(|afi| spread(&client, *afi, pods));
    let text = format!("{CONNECTIONS} connections from outside in each family, by pod");
    summary.record(report, "service", &text, spread.collect());

    let mut inside = Vec::new();
    for &afi in families {
        let hosts = pods.iter().map(|pod| pod.name.clone());
        for host in hosts.chain(lab.plan().node_numbers().map(Plan::node_name)) {
            let result = lab.netns(&host).and_then(|from| {
                let began = Instant::now();
                ask(&from, frontend(afi)).with_context(|| host.clone())?;
                Ok(time(began.elapsed()))
            });
            inside.push(result);
        }
    }
    summary.record(
        report,
        "service",
        "reached by every pod and every node, itself included",
        inside,
    );

    let changed = under_load(lab, &client, pods);
    let text = format!("{CHANGES} changes of its endpoints under load, no connection failed");
    summary.record(report, "service", &text, vec![changed]);
    Ok(())
}

/// Every pod answers about as often as every other.
fn spread(client: &Netns, afi: Afi, pods: &[PodRecord]) -> Result<String> {
    let mut by_pod: BTreeMap<String, usize> =
        pods.iter().map(|pod| (pod.name.clone(), 0)).collect();
    for _ in 0..CONNECTIONS {
        crate::signals::check()?;
        let (name, _) = ask(client, frontend(afi))?;
        *by_pod.entry(name).or_default() += 1;
    }
    let even = CONNECTIONS / pods.len();
    if by_pod.values().any(|count| *count < even / 2) || by_pod.len() > pods.len() {
        bail!("not even: {by_pod:?}");
    }
    let counts: Vec<_> = by_pod.values().take(4).map(usize::to_string).collect();
    Ok(counts.join(" "))
}

/// Takes the last pod out and puts it back, again and again, while connections are made.
fn under_load(lab: &Lab, client: &Netns, pods: &[PodRecord]) -> Result<String> {
    let Some((_, fewer)) = pods.split_last().filter(|(_, fewer)| !fewer.is_empty()) else {
        return Ok("one pod".into());
    };
    let at = lab.plan().families().iter().map(|afi| frontend(*afi));
    let at: Vec<_> = at.collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<usize> {
            let mut made = 0;
            while !done.load(Ordering::Relaxed) {
                for at in &at {
                    ask(client, *at).with_context(|| format!("connection {made}"))?;
                    made += 1;
                }
            }
            Ok(made)
        });
        let change = || {
            for number in 0..CHANGES {
                crate::signals::check()?;
                let now = if number % 2 == 0 { fewer } else { pods };
                write_service(&lab.manifest_dir(), lab.plan(), NAME, NUMBER, now)?;
                thread::sleep(BETWEEN);
            }
            anyhow::Ok(())
        };
        let changed = change();
        done.store(true, Ordering::Relaxed);
        let made = load
            .join()
            .map_err(|_| anyhow::anyhow!("the load panicked"))??;
        changed?;
        Ok(format!("{made} made"))
    })
}
