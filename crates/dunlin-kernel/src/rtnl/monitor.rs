use dunlin_dataplane::fib::{DumpItem, RouteChange, RouteEvent};
use dunlin_dataplane::links::LinkEvent;
use dunlin_dataplane::{KernelEvent, mark};

use super::{
    NHA_ID, NHMSG_LEN, RTA_PRIORITY, RTM_DELADDR, RTM_DELLINK, RTM_DELNEXTHOP, RTM_DELROUTE,
    RTM_F_CLONED, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEXTHOP, RTM_NEWROUTE, RTMSG_LEN, parse_address,
    parse_link, parse_nexthop, parse_route,
};
use crate::Error;
use crate::netlink::{Filter, HEADER_LEN, Message, REPLACE, Received, Socket};

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_NEXTHOP: u32 = 32;

/// Hears what others change: links, addresses, our routes and foreign ones at our metrics, our nexthops. The kernel filters,
/// so a host with a million foreign routes that come and go does not wake us, nor do our own changes.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Opens the socket. `own_port`: the [`super::Writer`]'s.
    pub fn open(own_port: u32) -> Result<Monitor, Error> {
        let socket = Socket::open(libc::NETLINK_ROUTE)?;
        socket.attach(&filter(own_port))?;
        for group in [
            RTNLGRP_LINK,
            RTNLGRP_IPV4_IFADDR,
            RTNLGRP_IPV4_ROUTE,
            RTNLGRP_IPV6_IFADDR,
            RTNLGRP_IPV6_ROUTE,
            RTNLGRP_NEXTHOP,
        ] {
            socket.join(group)?;
        }
        Ok(Monitor { socket })
    }

    /// The socket, for `poll`.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes what has been heard, without waiting.
    pub fn drain(&mut self, mut on_event: impl FnMut(KernelEvent)) -> Result<(), Error> {
        loop {
            match self.socket.receive(false)? {
                Received::Nothing => return Ok(()),
                Received::Overrun => on_event(KernelEvent::Overrun),
                Received::Messages(messages) => {
                    messages
                        .filter_map(|message| event(&message))
                        .for_each(&mut on_event);
                }
            }
        }
    }
}

fn event(message: &Message<'_>) -> Option<KernelEvent> {
    match message.kind {
        RTM_NEWLINK => parse_link(message).map(|link| KernelEvent::Link(LinkEvent::Link(link))),
        RTM_DELLINK => {
            let ifindex = parse_link(message)?.ifindex;
            Some(KernelEvent::Link(LinkEvent::LinkGone { ifindex }))
        }
        RTM_NEWADDR => {
            parse_address(message).map(|address| KernelEvent::Link(LinkEvent::Address(address)))
        }
        RTM_DELADDR => {
            parse_address(message).map(|address| KernelEvent::Link(LinkEvent::AddressGone(address)))
        }
        RTM_NEWROUTE | RTM_DELROUTE => {
            let DumpItem::Route {
                net,
                metric,
                protocol,
                target,
            } = parse_route(message)?
            else {
                return None;
            };
            let change = if message.kind == RTM_DELROUTE {
                RouteChange::Deleted
            } else {
                RouteChange::New {
                    target,
                    replaced: message.flags & REPLACE != 0,
                }
            };
            Some(KernelEvent::Route(RouteEvent {
                net,
                metric,
                protocol,
                change,
            }))
        }
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => match parse_nexthop(message)? {
            DumpItem::Nexthop { id, .. } if mark::is_our_nexthop_id(id) => {
                Some(KernelEvent::NexthopChanged { id })
            }
            _ => None,
        },
        _ => None,
    }
}

/// The program loads in network order what the kernel wrote in its own.
fn swap(number: u32) -> u32 {
    u32::from_be_bytes(number.to_ne_bytes())
}

fn swap16(number: u16) -> u32 {
    u32::from(u16::from_be_bytes(number.to_ne_bytes()))
}

fn filter(own_port: u32) -> Filter {
    const KIND: u32 = 4;
    const PORT: u32 = 12;
    const BODY: u32 = HEADER_LEN as u32;
    let mut filter = Filter::new();
    let (routes, nexthops, accept, drop) = (
        filter.label(),
        filter.label(),
        filter.label(),
        filter.label(),
    );

    filter.load16(KIND);
    for kind in [RTM_NEWROUTE, RTM_DELROUTE] {
        filter.jump_if(swap16(kind), routes);
    }
    for kind in [RTM_NEWNEXTHOP, RTM_DELNEXTHOP] {
        filter.jump_if(swap16(kind), nexthops);
    }
    filter.end(true);

    filter.place(routes);
    filter.load32(PORT);
    filter.jump_if(swap(own_port), drop);
    filter.load32(BODY + 8);
    filter.jump_if_any(swap(RTM_F_CLONED), drop);
    let main = filter.label();
    filter.load8(BODY + 4);
    filter.jump_if(u32::from(mark::TABLE), main);
    filter.end(false);
    filter.place(main);
    filter.load8(BODY + 5);
    filter.jump_if(u32::from(mark::ROUTE_PROTOCOL), accept);
    // Foreign: of interest where it could stand in the place of ours.
    filter.find_attr(BODY + RTMSG_LEN as u32, RTA_PRIORITY);
    filter.jump_if(0, drop);
    filter.load32_at_attr(4);
    for metric in [mark::ROUTE_METRIC, mark::BLACKHOLE_METRIC] {
        filter.jump_if(swap(metric), accept);
    }
    filter.end(false);

    filter.place(nexthops);
    filter.load32(PORT);
    filter.jump_if(swap(own_port), drop);
    filter.find_attr(BODY + NHMSG_LEN as u32, NHA_ID);
    filter.jump_if(0, drop);
    // Our ids share their highest octet.
    filter.load8_at_attr(if cfg!(target_endian = "little") { 7 } else { 4 });
    filter.jump_if(mark::NEXTHOP_FIRST >> 24, accept);
    filter.place(drop);
    filter.end(false);
    filter.place(accept);
    filter.end(true);
    filter
}
