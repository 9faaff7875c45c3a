//! A bare netlink writer: the routes of the `kernel` scenario, encoded beforehand, written by nothing but `send`. What no daemon
//! can be faster than.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::netns::{DAEMON_LINK, Netns, driver_address};
use crate::wire;

/// Messages in one `send`, the last of which asks for an acknowledgement. As many as our own writer sends.
const MESSAGES: usize = 512;
const NEXTHOP: u32 = 1;
const METRIC: u32 = 512;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE_EXCLUSIVE: u16 = 0x400 | 0x200;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWROUTE: u16 = 24;
const RTA_DST: u16 = 1;
const RTA_PRIORITY: u16 = 6;
const RTA_NH_ID: u16 = 30;
const NLMSG_ERROR: u16 = 2;

/// Seconds to add so many routes by way of one nexthop object, and to delete them.
pub(crate) fn write(namespace: &Netns, routes: u32) -> Result<[Duration; 2]> {
    let via = driver_address(0);
    namespace.ip(&format!(
        "nexthop add id {NEXTHOP} via {via} dev {DAEMON_LINK}"
    ))?;
    namespace.run(|| {
        let socket = Socket::open()?;
        let timed = |add| -> Result<Duration> {
            let blocks = encode(routes, add);
            let started = Instant::now();
            blocks.iter().try_for_each(|block| socket.write(block))?;
            Ok(started.elapsed())
        };
        Ok([timed(true)?, timed(false)?])
    })?
}

fn encode(routes: u32, add: bool) -> Vec<Vec<u8>> {
    let starts = (0..routes).step_by(MESSAGES);
    let blocks = starts.map(|first| {
        let end = routes.min(first.saturating_add(MESSAGES as u32));
        let mut block = Vec::new();
        for index in first..end {
            let ack = if index + 1 == end { ACK } else { 0 };
            put_route(&mut block, wire::network(index), add, ack);
        }
        block
    });
    blocks.collect()
}

fn put_route(out: &mut Vec<u8>, network: Ipv4Addr, add: bool, ack: u16) {
    let mut attributes = Vec::new();
    let mut put = |kind: u16, value: &[u8; 4]| {
        attributes.extend_from_slice(&8u16.to_ne_bytes());
        attributes.extend_from_slice(&kind.to_ne_bytes());
        attributes.extend_from_slice(value);
    };
    put(RTA_DST, &network.octets());
    put(RTA_PRIORITY, &METRIC.to_ne_bytes());
    if add {
        put(RTA_NH_ID, &NEXTHOP.to_ne_bytes());
    }
    let (kind, flags, scope, route) = match add {
        true => (RTM_NEWROUTE, CREATE_EXCLUSIVE, 0, 1),
        false => (RTM_DELROUTE, 0, 255, 0),
    };
    let len = 16 + 12 + attributes.len();
    out.extend_from_slice(&u32::try_from(len).unwrap_or(0).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(REQUEST | ack | flags).to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    // IPv4, a /24, table main, the protocol of routes by hand.
    out.extend_from_slice(&[2, 24, 0, 0, 254, 4, scope, route, 0, 0, 0, 0]);
    out.extend_from_slice(&attributes);
}

struct Socket(OwnedFd);

impl Socket {
    fn open() -> Result<Socket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        ensure!(fd >= 0, "no netlink socket: {}", io::Error::last_os_error());
        // SAFETY: the descriptor was just made and is nobody else's.
        Ok(Socket(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a block and waits for its acknowledgement.
    fn write(&self, block: &[u8]) -> Result<()> {
        let fd = self.0.as_raw_fd();
        // SAFETY: the pointer and length are those of a slice that lives through the call.
        let sent = unsafe { libc::send(fd, block.as_ptr().cast(), block.len(), 0) };
        if usize::try_from(sent).ok() != Some(block.len()) {
            return Err(io::Error::last_os_error()).context("sending routes");
        }
        let mut answer = [0u8; 256];
        // SAFETY: as above, and the buffer is writable.
        let got = unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0) };
        let Ok(got) = usize::try_from(got) else {
            return Err(io::Error::last_os_error()).context("the acknowledgement");
        };
        let Some(head) = answer
            .get(..got)
            .and_then(|answer| answer.first_chunk::<20>())
        else {
            bail!("an answer of {got} octets");
        };
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let error = i32::from_ne_bytes([head[16], head[17], head[18], head[19]]);
        ensure!(
            kind == NLMSG_ERROR && error == 0,
            "the kernel refused a route: {}",
            io::Error::from_raw_os_error(-error)
        );
        Ok(())
    }
}
