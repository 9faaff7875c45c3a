//! New connections through service addresses, beside those through one rule written by hand.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::objects::{CLIENT, ENDPOINT_PORT, POD_RANGE, SERVICE_PORT, service_address};
use crate::interrupt;
use crate::netns::{Bed, DAEMON_ADDRESS, Netns, driver_address};

/// Connections of one subject before it is the next one's turn.
const BLOCK: u32 = 200;
/// Longer than any connection takes that is answered.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client behind a node, and a server that answers for all pods.
pub(super) struct Path {
    client: Netns,
    server: Server,
    services: u32,
    /// Connections so far.
    number: u32,
    /// Of each connection: until it was established, and until it was closed, in microseconds.
    established: Vec<f64>,
    /// Of each block: for one connection and its end, in microseconds.
    blocks: Vec<f64>,
}

impl Path {
    /// On a bed whose driver has the pods' addresses.
    pub(super) fn new(bed: &Bed, services: u32) -> Result<Path> {
        let client = Netns::new()?;
        bed.daemon.ip(&format!(
            "link add pod type veth peer name eth0 netns /proc/{}/fd/{}",
            std::process::id(),
            client.fd()
        ))?;
        bed.daemon
            .ip_batch(&format!("link set pod up\nroute add {CLIENT}/32 dev pod\n"))?;
        bed.daemon
            .run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        client.ip_batch(&format!(
            "addr add {CLIENT}/32 dev eth0\nlink set eth0 up\n\
             route add {DAEMON_ADDRESS} dev eth0\nroute add default via {DAEMON_ADDRESS}\n"
        ))?;
        bed.driver
            .ip_batch(&format!("route add {CLIENT}/32 via {DAEMON_ADDRESS}\n"))?;
        Ok(Path {
            client,
            server: Server::start(&bed.driver)?,
            services,
            number: 0,
            established: Vec::new(),
            blocks: Vec::new(),
        })
    }

    /// A block of connections, each to the next service of a walk through all of them.
    pub(super) fn block(&mut self) -> Result<()> {
        const STRIDE: u32 = 7919;
        let first = self.number;
        self.number += BLOCK;
        let services = self.services;
        let (times, took) = self.client.run(|| -> Result<(Vec<f64>, Duration)> {
            let mut times = Vec::with_capacity(BLOCK as usize);
            let begun = Instant::now();
            for number in first..first + BLOCK {
                interrupt::check(begun + PATIENCE * BLOCK, "connections")?;
                let at = number.wrapping_mul(STRIDE) % services;
                times.push(connect(service_address(at))?.as_secs_f64() * 1e6);
            }
            Ok((times, begun.elapsed()))
        })??;
        self.established.extend(times);
        self.blocks
            .push(took.as_secs_f64() * 1e6 / f64::from(BLOCK));
        Ok(())
    }

    /// Forgets what was measured so far: caches are warm now.
    pub(super) fn warm(&mut self) {
        self.established.clear();
        self.blocks.clear();
    }

    /// A connection and its end (median over blocks), until established (median, 99th percentile): microseconds.
    pub(super) fn figures(&mut self) -> Result<Vec<f64>> {
        ensure!(self.server.accepted(), "no connection has arrived");
        self.blocks.sort_by(f64::total_cmp);
        self.established.sort_by(f64::total_cmp);
        Ok(vec![
            super::at(&self.blocks, 0.5),
            super::at(&self.established, 0.5),
            super::at(&self.established, 0.99),
        ])
    }
}

/// How long it takes until established. Closed with a reset, so that neither end remembers it.
fn connect(address: Ipv4Addr) -> Result<Duration> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let to = SocketAddr::V4(SocketAddrV4::new(address, SERVICE_PORT));
    let begun = Instant::now();
    socket
        .connect(&to.into())
        .with_context(|| format!("connecting to {to}"))?;
    Ok(begun.elapsed())
}

/// A bed with one rule: connections to the first services, so many of them, all go to one endpoint.
pub(super) fn one_rule(services: u32) -> Result<Bed> {
    let bed = Bed::new(0)?;
    bed.daemon
        .ip(&format!("route add {POD_RANGE} via {}", driver_address(0)))?;
    bed.driver
        .ip(&format!("route add local {POD_RANGE} dev lo"))?;
    let rule = format!(
        "table ip bench {{ chain prerouting {{ type nat hook prerouting priority dstnat; \
         ip daddr {}-{} tcp dport {SERVICE_PORT} dnat to 10.128.16.2:{ENDPOINT_PORT}\n }}\n }}\n",
        service_address(0),
        service_address(services - 1)
    );
    let mut child = bed
        .daemon
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run nft; is nftables installed?")?;
    let mut stdin = child.stdin.take().expect("piped above");
    stdin.write_all(rule.as_bytes())?;
    drop(stdin);
    ensure!(child.wait()?.success(), "nft refuses the rule");
    Ok(bed)
}

/// Accepts and closes, until dropped.
struct Server {
    ends: Arc<AtomicBool>,
    any: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(namespace: &Netns) -> Result<Server> {
        let listener = namespace.run(|| -> Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ENDPOINT_PORT);
            socket.bind(&SocketAddr::V4(any).into())?;
            socket.listen(4096)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        })??;
        let ends = Arc::new(AtomicBool::new(false));
        let any = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (ends, any) = (ends.clone(), any.clone());
            move || {
                while !ends.load(Ordering::Relaxed) {
                    if listener.accept().is_ok() {
                        any.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
        Ok(Server {
            ends,
            any,
            thread: Some(thread),
        })
    }

    fn accepted(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
