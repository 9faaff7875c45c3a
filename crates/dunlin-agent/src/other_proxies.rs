//! Another service proxy on this machine: what it has in the kernel, taking that away, and whether it runs: while it does,
//! what is taken away comes back.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
pub use dunlin_kernel::others::Removed;
use dunlin_kernel::others::{Means, Remains};

/// Where kube-proxy tells its mode, unless it is told otherwise (`metricsBindAddress`).
const METRICS_PORT: u16 = 10_249;
/// Where it tells that it is alive (`healthzBindAddress`).
const HEALTH_PORT: u16 = 10_256;
const PATIENCE: Duration = Duration::from_millis(500);
/// An answer longer than this is not kube-proxy's.
const ANSWER_MAX: u64 = 4096;
const MODES: [&str; 4] = ["iptables", "ipvs", "nftables", "userspace"];
/// As `comm` has them, and what its command line says where it does not deliver services.
const PROGRAMS: [(&str, &str); 2] = [
    ("kube-proxy", "--cleanup"),
    ("kube-router", "--run-service-proxy=false"),
];

/// What another service proxy has in the kernel, and how things stand around it.
#[derive(Debug)]
pub struct Found {
    remains: Remains,
    /// Our own tables of services are there: connections go on without the other's.
    pub ours: bool,
}

impl Found {
    /// Looks at this network namespace.
    ///
    /// # Errors
    /// If the kernel's tables cannot be read.
    pub fn look() -> Result<Found> {
        let remains = Remains::find(Means::Programs)
            .context("cannot look for what another service proxy left")?;
        let ours = dunlin_kernel::nft::proxy::present();
        let ours = ours.context("cannot look for our own tables of services")?;
        Ok(Found { remains, ours })
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.remains.is_empty()
    }

    /// What can be removed, a line each.
    pub fn removable(&self) -> Vec<String> {
        self.remains.describe()
    }

    /// What stays, and why.
    pub fn left(&self) -> Vec<String> {
        [self.remains.kept(), self.remains.beyond()].concat()
    }

    /// Removes it.
    pub fn remove(&self) -> Removed {
        self.remains.remove()
    }
}

/// Who runs in this network namespace, and by what it was noticed; none where nobody is noticed. In a container without
/// the host's processes only kube-proxy's own ports tell.
pub fn running() -> Option<String> {
    process().or_else(|| {
        let addrs: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        addrs.into_iter().find_map(by_port)
    })
}

fn by_port(addr: IpAddr) -> Option<String> {
    let metrics = SocketAddr::new(addr, METRICS_PORT);
    if let Some(mode) = get(metrics, "/proxyMode").filter(|body| MODES.contains(&body.trim())) {
        return Some(format!("kube-proxy ({} mode, at {metrics})", mode.trim()));
    }
    let health = SocketAddr::new(addr, HEALTH_PORT);
    let body = get(health, "/healthz")?;
    // What other programs that answer there, as Cilium's, do not say.
    (body.contains("\"lastUpdated\"") && body.contains("\"nodeEligible\""))
        .then(|| format!("kube-proxy (at {health})"))
}

/// The body of an answer.
fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

fn process() -> Option<String> {
    let own = fs::read_link("/proc/thread-self/ns/net").ok()?;
    let entries = fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let pid: u32 = name.parse().ok()?;
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        let (program, idle) = PROGRAMS
            .iter()
            .find(|(program, _)| *program == comm.trim())?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|octet| *octet == 0);
        let here = fs::read_link(entry.path().join("ns/net")).is_ok_and(|space| space == own);
        (here && !words.any(|word| word == idle.as_bytes()))
            .then(|| format!("{program} (process {pid})"))
    })
}

#[cfg(test)]
mod tests;
