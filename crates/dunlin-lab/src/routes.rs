//! Reads routing tables and hears their changes, by rtnetlink, without starting a process.
//!
//! The lab's own eyes: they share no code with the agent, so they can bear witness against it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
    sockopt,
};

use crate::netns::Netns;

/// Route protocol `dunlin`.
pub const PROTOCOL_DUNLIN: u8 = 68;
/// The main table.
pub const TABLE_MAIN: u32 = 254;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const RTMGRP_ROUTES: u32 = 0x40 | 0x400;
const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
/// Room for events while nobody reads, in bytes.
const RECEIVE_BUFFER: usize = 8 << 20;

/// A route as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its destination.
    pub prefix: IpNet,
    /// Who installed it (`rtm_protocol`).
    pub protocol: u8,
    /// Its type: 1 unicast, 6 blackhole, 7 unreachable…
    pub kind: u8,
    /// Its table.
    pub table: u32,
    /// Its metric.
    pub metric: u32,
    /// Its gateways, in the kernel's order.
    pub gateways: Vec<IpAddr>,
}

impl Route {
    /// A forwarding route in the main table.
    pub fn is_unicast_in_main(&self) -> bool {
        self.kind == 1 && self.table == TABLE_MAIN
    }
}

/// What happened to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It took the place of another.
    Replaced,
    /// It is gone.
    Deleted,
}

/// A change of a routing table.
#[derive(Clone, Debug)]
pub struct RouteEvent {
    /// What happened.
    pub change: Change,
    /// To which route.
    pub route: Route,
    /// When it was read.
    pub at: Instant,
}

/// Hears every change of a namespace's routes, both families, from its opening on.
#[derive(Debug)]
pub struct RouteWatch {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl RouteWatch {
    /// Begins to listen in `netns`.
    ///
    /// # Errors
    /// If the socket cannot be opened.
    pub fn open(netns: &Netns) -> Result<RouteWatch> {
        Ok(RouteWatch {
            socket: open_socket(netns, RTMGRP_ROUTES)?,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Everything that happened since the last call; waits for nothing.
    ///
    /// # Errors
    /// If events were lost (the buffer overran): what was seen would be no proof.
    pub fn events(&mut self) -> Result<Vec<RouteEvent>> {
        let mut events = Vec::new();
        loop {
            let flags = RecvFlags::DONTWAIT;
            match recv(&self.socket, self.buffer.as_mut_slice(), flags) {
                Ok((_, len)) => {
                    let at = Instant::now();
                    for_each_message(&self.buffer[..len], |kind, flags, body| {
                        let change = match kind {
                            RTM_DELROUTE => Change::Deleted,
                            RTM_NEWROUTE if flags & NLM_F_REPLACE != 0 => Change::Replaced,
                            RTM_NEWROUTE => Change::Added,
                            _ => return,
                        };
                        if let Some(route) = parse_route(body) {
                            events.push(RouteEvent { change, route, at });
                        }
                    });
                }
                Err(Errno::AGAIN) => return Ok(events),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("route events were lost"),
            }
        }
    }
}

/// Waits until one of the watches has something to tell, or one of `others` is readable; says whether one had or was
/// before the deadline.
///
/// # Errors
/// If the kernel refuses to wait, or the program was asked to end.
pub fn wait_any<'a>(
    watches: impl IntoIterator<Item = &'a RouteWatch>,
    others: &[OwnedFd],
    deadline: Instant,
) -> Result<bool> {
    let interrupt = crate::signals::descriptor();
    let mut polled: Vec<_> = watches
        .into_iter()
        .map(|watch| PollFd::new(&watch.socket, PollFlags::IN))
        .collect();
    polled.extend(others.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
    if let Some(fd) = &interrupt {
        polled.push(PollFd::from_borrowed_fd(*fd, PollFlags::IN));
    }
    loop {
        crate::signals::check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(ready) => {
                crate::signals::check()?;
                return Ok(ready > 0);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for route events"),
        }
    }
}

/// The routes of `netns` that `wanted` accepts, both families, in the kernel's order.
///
/// # Errors
/// If the kernel refuses the dump.
pub fn dump(netns: &Netns, wanted: impl Fn(&Route) -> bool) -> Result<Vec<Route>> {
    let socket = open_socket(netns, 0)?;
    // nlmsghdr, then a rtmsg of zeroes: every family, every table.
    let mut request = [0u8; 28];
    request[0..4].copy_from_slice(&28u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETROUTE.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&1u32.to_ne_bytes());
    send(&socket, &request, SendFlags::empty()).context("cannot ask for the routes")?;
    let mut buffer = vec![0u8; 64 << 10];
    let mut routes = Vec::new();
    loop {
        let (_, len) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())
            .context("cannot read the routes")?;
        let (mut done, mut failed) = (false, false);
        for_each_message(&buffer[..len], |kind, _, body| match kind {
            NLMSG_DONE => done = true,
            NLMSG_ERROR => failed = true,
            RTM_NEWROUTE => routes.extend(parse_route(body).filter(&wanted)),
            _ => {}
        });
        if failed {
            bail!("the kernel refused to list the routes of {}", netns.name());
        }
        if done {
            return Ok(routes);
        }
    }
}

/// The routes of `netns` in the main table that `protocol` forwards by.
///
/// # Errors
/// If the kernel refuses the dump.
pub fn installed_by(netns: &Netns, protocol: u8) -> Result<Vec<Route>> {
    dump(netns, |route| {
        route.protocol == protocol && route.is_unicast_in_main()
    })
}

fn open_socket(netns: &Netns, groups: u32) -> Result<OwnedFd> {
    netns.run(|| {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("cannot open a netlink socket")?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            // Without the capability in the first user namespace the ordinary limit stays.
            let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
        }
        bind(&socket, &SocketAddrNetlink::new(0, groups)).context("cannot bind to netlink")?;
        Ok(socket)
    })
}

fn for_each_message(mut data: &[u8], mut each: impl FnMut(u16, u16, &[u8])) {
    while let (Some(len), Some(kind), Some(flags)) =
        (u32_at(data, 0), u16_at(data, 4), u16_at(data, 6))
    {
        let len = len as usize;
        let Some(body) = data.get(16..len) else {
            return;
        };
        each(kind, flags, body);
        data = data.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

fn parse_route(body: &[u8]) -> Option<Route> {
    let family = *body.first()?;
    let len = *body.get(1)?;
    let unspecified: IpAddr = match family {
        2 => Ipv4Addr::UNSPECIFIED.into(),
        10 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut route = Route {
        prefix: IpNet::new(unspecified, len).ok()?,
        table: u32::from(*body.get(4)?),
        protocol: *body.get(5)?,
        kind: *body.get(7)?,
        metric: 0,
        gateways: Vec::new(),
    };
    for_each_attribute(body.get(12..)?, |kind, value| match kind {
        RTA_DST => {
            if let Some(prefix) = address(value).and_then(|a| IpNet::new(a, len).ok()) {
                route.prefix = prefix;
            }
        }
        RTA_TABLE => route.table = u32_at(value, 0).unwrap_or(route.table),
        RTA_PRIORITY => route.metric = u32_at(value, 0).unwrap_or(0),
        RTA_GATEWAY => route.gateways.extend(address(value)),
        RTA_VIA => route.gateways.extend(value.get(2..).and_then(address)),
        RTA_MULTIPATH => {
            let mut hops = value;
            while let Some(len) = u16_at(hops, 0).map(usize::from).filter(|len| *len >= 8) {
                for_each_attribute(hops.get(8..len).unwrap_or(&[]), |kind, value| {
                    if kind == RTA_GATEWAY {
                        route.gateways.extend(address(value));
                    }
                });
                hops = hops.get(len.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
        _ => {}
    });
    Some(route)
}

fn for_each_attribute(mut data: &[u8], mut each: impl FnMut(u16, &[u8])) {
    while let (Some(len), Some(kind)) = (u16_at(data, 0).map(usize::from), u16_at(data, 2)) {
        let Some(value) = data.get(4..len) else {
            return;
        };
        each(kind & 0x3fff, value);
        data = data.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(<[u8; 4]>::try_from(octets).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(octets).ok()?.into()),
        _ => None,
    }
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}
