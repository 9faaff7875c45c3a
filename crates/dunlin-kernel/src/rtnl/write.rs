use std::net::IpAddr;

use dunlin_dataplane::fib::{Batch, BatchDone, NexthopContent, Op, OpError, Target};
use dunlin_dataplane::mark;
use dunlin_net::{Afi, IpNet};

use super::{
    NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF, RTA_DST, RTA_NH_ID, RTA_PRIORITY, RTM_DELNEXTHOP,
    RTM_DELROUTE, RTM_NEWNEXTHOP, RTM_NEWROUTE, RTN_BLACKHOLE, RTN_UNICAST, af,
};
use crate::Error;
use crate::netlink::{ACK, CREATE, EXCL, Header, MessageBuf, REPLACE, REQUEST, Refusal, Socket};

/// Messages a send. Each send has one acknowledgement, on its last message.
const MESSAGES: usize = 512;
/// A send is closed when it has this many octets.
const OCTETS: usize = 64 * 1024;
/// A delete matches any scope.
const RT_SCOPE_NOWHERE: u8 = 255;

/// Executes batches of route and nexthop operations.
#[derive(Debug)]
pub struct Writer {
    socket: Socket,
    messages: MessageBuf,
}

impl Writer {
    /// Opens a socket.
    pub fn open() -> Result<Writer, Error> {
        let socket = Socket::open(libc::NETLINK_ROUTE)?;
        Ok(Writer {
            socket,
            messages: MessageBuf::new(),
        })
    }

    /// The port that notifications of our own changes carry.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Executes a batch, in order. What a refusal is not told for was done.
    pub fn execute(&mut self, batch: &Batch) -> BatchDone {
        let mut done = BatchDone {
            id: batch.id,
            errors: Vec::new(),
            lost: false,
        };
        let mut start = 0;
        while let Some(rest) = batch.ops.get(start..).filter(|rest| !rest.is_empty()) {
            match self.send_some(rest, start, &mut done.errors) {
                Ok(sent) => start += sent,
                Err(error) => {
                    tracing::warn!(%error, "kernel route operations were lost; a read-back follows");
                    done.lost = true;
                    break;
                }
            }
        }
        done
    }

    /// Sends the first operations of `ops`, the first of which has number `start` in its batch. Gives how many were sent.
    fn send_some(
        &mut self,
        ops: &[Op],
        start: usize,
        errors: &mut Vec<OpError>,
    ) -> Result<usize, Error> {
        self.messages.clear();
        let first = self.socket.take_seqs(MESSAGES as u32);
        let mut last = (0, first);
        let mut sent = 0;
        for (seq, op) in (first..).zip(ops.iter().take(MESSAGES)) {
            if self.messages.len() >= OCTETS {
                break;
            }
            last = (self.messages.len(), seq);
            encode(&mut self.messages, seq, op);
            sent += 1;
        }
        self.messages.add_flags(last.0, ACK);
        let what = "writing routes";
        self.socket
            .transact(what, &self.messages, last.1, |seq, refusal| {
                let Refusal { errno, message } = refusal;
                let index = (seq.wrapping_sub(first) as usize).saturating_add(start);
                if let Ok(index) = u32::try_from(index) {
                    errors.push(OpError {
                        index,
                        errno,
                        message,
                    });
                }
            })?;
        Ok(sent)
    }
}

fn encode(messages: &mut MessageBuf, seq: u32, op: &Op) {
    match op {
        Op::Nexthop {
            id,
            content,
            replace,
        } => nexthop(messages, seq, *id, content, *replace),
        Op::NexthopDelete { id } => {
            let header = Header {
                kind: RTM_DELNEXTHOP,
                flags: REQUEST,
                seq,
            };
            messages.message(header, &[0; 8], |attrs| attrs.put_u32(NHA_ID, *id));
        }
        Op::Route {
            net,
            metric,
            target,
            replace,
        } => {
            let flags = REQUEST | if *replace { REPLACE } else { CREATE | EXCL };
            let header = Header {
                kind: RTM_NEWROUTE,
                flags,
                seq,
            };
            route(messages, header, *net, *metric, Some(*target));
        }
        Op::RouteDelete { net, metric } => {
            let header = Header {
                kind: RTM_DELROUTE,
                flags: REQUEST,
                seq,
            };
            route(messages, header, *net, *metric, None);
        }
    }
}

fn nexthop(messages: &mut MessageBuf, seq: u32, id: u32, content: &NexthopContent, replace: bool) {
    let flags = REQUEST | if replace { REPLACE } else { CREATE | EXCL };
    let family = match content {
        NexthopContent::Single(hop) => af(Afi::of(hop.gateway)),
        NexthopContent::Group(_) | NexthopContent::Other => libc::AF_UNSPEC as u8,
    };
    let fixed = [family, 0, mark::ROUTE_PROTOCOL, 0, 0, 0, 0, 0];
    messages.message(
        Header {
            kind: RTM_NEWNEXTHOP,
            flags,
            seq,
        },
        &fixed,
        |attrs| {
            attrs.put_u32(NHA_ID, id);
            match content {
                NexthopContent::Single(hop) => {
                    attrs.put_u32(NHA_OIF, hop.ifindex);
                    match hop.gateway {
                        IpAddr::V4(gateway) => attrs.put(NHA_GATEWAY, &gateway.octets()),
                        IpAddr::V6(gateway) => attrs.put(NHA_GATEWAY, &gateway.octets()),
                    }
                }
                NexthopContent::Group(ids) => {
                    // `struct nexthop_grp`: id, weight less one, reserved.
                    let entry = |id: &u32| [*id, 0].map(u32::to_ne_bytes);
                    let entries: Vec<[[u8; 4]; 2]> = ids.iter().map(entry).collect();
                    attrs.put(NHA_GROUP, entries.as_flattened().as_flattened());
                }
                NexthopContent::Other => {}
            }
        },
    );
}

/// `target`: what to write; `None` to delete.
fn route(
    messages: &mut MessageBuf,
    header: Header,
    net: IpNet,
    metric: u32,
    target: Option<Target>,
) {
    let (scope, kind) = match target {
        Some(Target::Blackhole) => (0, RTN_BLACKHOLE),
        Some(Target::Nexthop(_) | Target::Other) => (0, RTN_UNICAST),
        None => (RT_SCOPE_NOWHERE, 0),
    };
    let family = af(Afi::of_net(net));
    let len = net.prefix_len();
    let fixed = [
        family,
        len,
        0,
        0,
        mark::TABLE,
        mark::ROUTE_PROTOCOL,
        scope,
        kind,
        0,
        0,
        0,
        0,
    ];
    messages.message(header, &fixed, |attrs| {
        match net {
            IpNet::V4(net) => attrs.put(RTA_DST, &net.network().octets()),
            IpNet::V6(net) => attrs.put(RTA_DST, &net.network().octets()),
        }
        attrs.put_u32(RTA_PRIORITY, metric);
        if let Some(Target::Nexthop(id)) = target {
            attrs.put_u32(RTA_NH_ID, id);
        }
    });
}
