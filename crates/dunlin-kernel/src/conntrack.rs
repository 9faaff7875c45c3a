//! Connection tracking, as far as flows must be forgotten: UDP goes on to where its first packet went for as long as
//! there are packets.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use dunlin_net::Afi;
use dunlin_net::service::Protocol;

use crate::Error;
use crate::netlink::{
    ACK, AttrWriter, Attrs, DUMP, Header, Message, MessageBuf, REQUEST, Refusal, Socket,
};

const NEW: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// `struct nfgenmsg`.
const GENMSG_LEN: usize = 4;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIG: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// `CTA_FILTER_F_…` of the kernel's `nf_internals.h`: which parts of a tuple are compared.
const BY_SOURCE: u32 = 1;
const BY_DESTINATION: u32 = 1 << 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_SOURCE_PORT: u32 = 1 << 4;
const BY_DESTINATION_PORT: u32 = 1 << 5;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;

/// Up to so many flows are looked for one by one, each by a filter in the kernel. For more, all UDP flows are read once.
const ONE_BY_ONE: usize = 4;
/// Deletions sent at a time.
const AT_ONCE: usize = 256;

/// Which UDP flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Where their first packet was sent to.
    pub to: SocketAddr,
    /// Where their answers come from: where the first packet was translated to; `to` itself if it was not.
    pub answered_by: SocketAddr,
}

/// An open conntrack socket.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

/// What an entry is deleted by: the attributes that tell it from all others.
struct Entry {
    original: Vec<u8>,
    zone: Option<Vec<u8>>,
    id: Vec<u8>,
}

impl Conntrack {
    /// Opens a socket.
    pub fn open() -> Result<Conntrack, Error> {
        Ok(Conntrack {
            socket: Socket::open(libc::NETLINK_NETFILTER)?,
        })
    }

    /// Deletes the entries of these flows, of whatever client and zone, and no others. Gives how many there were.
    pub fn delete_udp(&mut self, flows: &[Flow]) -> Result<usize, Error> {
        let mut deleted = 0;
        for afi in Afi::ALL {
            let of_family = flows.iter().filter(|flow| Afi::of(flow.to.ip()) == afi);
            let wanted: HashSet<Flow> = of_family.copied().collect();
            let mut entries = Vec::new();
            if wanted.len() <= ONE_BY_ONE {
                for flow in &wanted {
                    self.find(afi, Some(flow), &wanted, &mut entries)?;
                }
            } else {
                self.find(afi, None, &wanted, &mut entries)?;
            }
            deleted += entries.len();
            self.delete(afi, &entries)?;
        }
        Ok(deleted)
    }

    /// `only`: what the kernel filters by, where it can. What it lets through is compared again: old kernels do not filter.
    fn find(
        &mut self,
        afi: Afi,
        only: Option<&Flow>,
        wanted: &HashSet<Flow>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        self.read(afi, only, |message| {
            entries.extend(entry(message, wanted));
        })
    }

    /// Reads UDP entries of a family; `only` as for [`Conntrack::find`].
    fn read(
        &mut self,
        afi: Afi,
        only: Option<&Flow>,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        let seq = self.socket.take_seqs(1);
        let mut request = MessageBuf::new();
        let header = Header {
            kind: GET,
            flags: REQUEST | DUMP,
            seq,
        };
        request.message(header, &genmsg(afi), |attrs| write_filter(attrs, only));
        let on_message = |message: &Message<'_>| {
            if message.kind == NEW {
                each(message);
            }
        };
        let what = "reading conntrack entries";
        self.socket.dump(what, &request, seq, on_message)?;
        Ok(())
    }

    /// The different UDP flows that are translated, or that `also` names by their first destination; at most `limit`.
    pub fn udp(
        &mut self,
        limit: usize,
        also: impl Fn(SocketAddr) -> bool,
    ) -> Result<HashSet<Flow>, Error> {
        let mut flows = HashSet::new();
        for afi in Afi::ALL {
            self.read(afi, None, |message| {
                if flows.len() < limit
                    && let Some((flow, _)) = flow(message)
                    && (flow.to != flow.answered_by || also(flow.to))
                {
                    flows.insert(flow);
                }
            })?;
        }
        Ok(flows)
    }

    fn delete(&mut self, afi: Afi, entries: &[Entry]) -> Result<(), Error> {
        let what = "deleting conntrack entries";
        for some in entries.chunks(AT_ONCE) {
            let first = self.socket.take_seqs(some.len() as u32);
            let last = first + some.len() as u32 - 1;
            let mut requests = MessageBuf::new();
            for (seq, entry) in (first..).zip(some) {
                let header = Header {
                    kind: DELETE,
                    flags: REQUEST | if seq == last { ACK } else { 0 },
                    seq,
                };
                requests.message(header, &genmsg(afi), |attrs| {
                    attrs.nest(TUPLE_ORIG, |attrs| attrs.put_raw(&entry.original));
                    if let Some(zone) = &entry.zone {
                        attrs.put(ZONE, zone);
                    }
                    attrs.put(ID, &entry.id);
                });
            }
            let mut refused = None;
            self.socket.transact(what, &requests, last, |_, refusal| {
                // It may have gone by itself.
                if refusal.errno != libc::ENOENT {
                    refused.get_or_insert(refusal);
                }
            })?;
            if let Some(Refusal { errno, message }) = refused {
                return Err(Error::Refused {
                    what,
                    errno,
                    message,
                });
            }
        }
        Ok(())
    }
}

fn genmsg(afi: Afi) -> [u8; GENMSG_LEN] {
    let family = match afi {
        Afi::Ipv4 => libc::AF_INET,
        Afi::Ipv6 => libc::AF_INET6,
    };
    [family as u8, 0, 0, 0]
}

/// Without a flow, all of UDP.
fn write_filter(attrs: &mut AttrWriter<'_>, only: Option<&Flow>) {
    let (mut original, mut reply) = (BY_PROTOCOL, 0);
    if let Some(flow) = only {
        original |= BY_DESTINATION_PORT;
        reply |= BY_PROTOCOL | BY_SOURCE_PORT;
        // For IPv6, Linux (as of 6.18) lets through all addresses but the one it is asked for.
        if flow.to.is_ipv4() {
            original |= BY_DESTINATION;
            reply |= BY_SOURCE;
        }
    }
    attrs.nest(TUPLE_ORIG, |attrs| {
        write_tuple(attrs, only.map(|flow| flow.to), false);
    });
    if let Some(flow) = only {
        attrs.nest(TUPLE_REPLY, |attrs| {
            write_tuple(attrs, Some(flow.answered_by), true);
        });
    }
    attrs.nest(FILTER, |attrs| {
        attrs.put_u32(FILTER_ORIG, original);
        attrs.put_u32(FILTER_REPLY, reply);
    });
}

/// One end of a tuple of UDP.
fn write_tuple(attrs: &mut AttrWriter<'_>, end: Option<SocketAddr>, source: bool) {
    if let Some(end) = end {
        attrs.nest(TUPLE_IP, |attrs| match end.ip() {
            IpAddr::V4(addr) => attrs.put(ip_attr(Afi::Ipv4, source), &addr.octets()),
            IpAddr::V6(addr) => attrs.put(ip_attr(Afi::Ipv6, source), &addr.octets()),
        });
    }
    attrs.nest(TUPLE_PROTO, |attrs| {
        attrs.put(PROTO_NUM, &[Protocol::Udp.number()]);
        if let Some(end) = end {
            attrs.put(port_attr(source), &end.port().to_be_bytes());
        }
    });
}

fn ip_attr(afi: Afi, source: bool) -> u16 {
    match (afi, source) {
        (Afi::Ipv4, true) => 1,
        (Afi::Ipv4, false) => 2,
        (Afi::Ipv6, true) => 3,
        (Afi::Ipv6, false) => 4,
    }
}

fn port_attr(source: bool) -> u16 {
    if source {
        PROTO_SRC_PORT
    } else {
        PROTO_DST_PORT
    }
}

/// The entry a message tells, if it is of a flow that is wanted.
fn entry(message: &Message<'_>, wanted: &HashSet<Flow>) -> Option<Entry> {
    let attrs = message.attrs(GENMSG_LEN);
    let (flow, original) = flow(message)?;
    wanted.contains(&flow).then(|| Entry {
        original: original.to_vec(),
        zone: attrs.get(ZONE).map(<[u8]>::to_vec),
        id: attrs.get(ID).unwrap_or_default().to_vec(),
    })
}

/// The flow of a message, if it is of UDP, and its first tuple.
pub(crate) fn flow<'a>(message: &Message<'a>) -> Option<(Flow, &'a [u8])> {
    let attrs = message.attrs(GENMSG_LEN);
    let original = attrs.get(TUPLE_ORIG)?;
    let flow = Flow {
        to: end(original, false)?,
        answered_by: end(attrs.get(TUPLE_REPLY)?, true)?,
    };
    Some((flow, original))
}

/// One end of a tuple, if it is of UDP.
fn end(tuple: &[u8], source: bool) -> Option<SocketAddr> {
    let tuple = Attrs::new(tuple);
    let ip = Attrs::new(tuple.get(TUPLE_IP)?);
    let proto = Attrs::new(tuple.get(TUPLE_PROTO)?);
    if proto.get(PROTO_NUM)? != [Protocol::Udp.number()] {
        return None;
    }
    let port = u16::from_be_bytes(*proto.get(port_attr(source))?.first_chunk()?);
    let ipv4 = ip
        .get(ip_attr(Afi::Ipv4, source))
        .and_then(|octets| octets.first_chunk::<4>());
    let ipv6 = ip
        .get(ip_attr(Afi::Ipv6, source))
        .and_then(|octets| octets.first_chunk::<16>());
    let addr = match (ipv4, ipv6) {
        (Some(octets), _) => IpAddr::from(*octets),
        (None, Some(octets)) => IpAddr::from(*octets),
        (None, None) => return None,
    };
    Some(SocketAddr::new(addr, port))
}
