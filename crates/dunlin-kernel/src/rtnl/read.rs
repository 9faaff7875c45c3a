use std::net::IpAddr;

use dunlin_dataplane::fib::{DumpItem, Hop, NexthopContent, Target};
use dunlin_dataplane::links::{Address, Link};
use dunlin_dataplane::mark;
use dunlin_net::{Afi, IpNet};

use super::{
    IFADDRMSG_LEN, IFINFOMSG_LEN, NHA_GATEWAY, NHA_GROUP, NHA_ID, NHA_OIF, NHMSG_LEN, RTA_DST,
    RTA_MULTIPATH, RTA_NH_ID, RTA_OIF, RTA_PRIORITY, RTA_TABLE, RTM_F_CLONED, RTM_GETADDR,
    RTM_GETLINK, RTM_GETNEXTHOP, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEXTHOP,
    RTM_NEWROUTE, RTMSG_LEN, RTN_BLACKHOLE, af,
};
use crate::Error;
use crate::netlink::{
    Attrs, DUMP, DumpEnd, Header, Message, MessageBuf, REQUEST, Socket, ne_u16, ne_u32,
};

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTPROT_RA: u8 = 9;
/// `struct rtnexthop`.
const RTNEXTHOP_LEN: usize = 8;

/// Reads tables. One request at a time.
#[derive(Debug)]
pub struct Reader {
    socket: Socket,
}

impl Reader {
    /// Opens a socket.
    pub fn open() -> Result<Reader, Error> {
        Ok(Reader {
            socket: Socket::open(libc::NETLINK_ROUTE)?,
        })
    }

    /// All links.
    pub fn links(&mut self, mut on_link: impl FnMut(Link)) -> Result<DumpEnd, Error> {
        let fixed = [0; IFINFOMSG_LEN];
        let attr = Some((IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS));
        self.dump("reading links", RTM_GETLINK, &fixed, attr, |message| {
            if message.kind == RTM_NEWLINK
                && let Some(link) = parse_link(message)
            {
                on_link(link);
            }
        })
    }

    /// All addresses of both families.
    pub fn addresses(&mut self, mut on_address: impl FnMut(Address)) -> Result<DumpEnd, Error> {
        let fixed = [0; IFADDRMSG_LEN];
        self.dump("reading addresses", RTM_GETADDR, &fixed, None, |message| {
            if message.kind == RTM_NEWADDR
                && let Some(address) = parse_address(message)
            {
                on_address(address);
            }
        })
    }

    /// All nexthops, ours or not.
    pub fn nexthops(&mut self, mut on_item: impl FnMut(DumpItem)) -> Result<DumpEnd, Error> {
        let fixed = [0; NHMSG_LEN];
        self.dump(
            "reading nexthops",
            RTM_GETNEXTHOP,
            &fixed,
            None,
            |message| {
                if message.kind == RTM_NEWNEXTHOP
                    && let Some(item) = parse_nexthop(message)
                {
                    on_item(item);
                }
            },
        )
    }

    /// The routes of our protocol in our table, of one family. The kernel selects them.
    pub fn our_routes(
        &mut self,
        afi: Afi,
        mut on_item: impl FnMut(DumpItem),
    ) -> Result<DumpEnd, Error> {
        self.routes(afi, mark::ROUTE_PROTOCOL, |message| {
            if let Some(item) = parse_route(message) {
                on_item(item);
            }
        })
    }

    /// The links through which router advertisements gave a default route.
    pub fn advertised_default_links(&mut self) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        self.routes(Afi::Ipv6, RTPROT_RA, |message| {
            // A default route has no destination.
            if message.body.get(1) != Some(&0) {
                return;
            }
            let attrs = message.attrs(RTMSG_LEN);
            found.extend(attrs.get(RTA_OIF).and_then(ne_u32));
            let mut hops = attrs.get(RTA_MULTIPATH).unwrap_or_default();
            while let (Some(len), Some(hop)) = (ne_u16(hops), hops.get(..RTNEXTHOP_LEN)) {
                found.extend(hop.get(4..).and_then(ne_u32));
                let len = usize::from(len).max(RTNEXTHOP_LEN).next_multiple_of(4);
                hops = hops.get(len..).unwrap_or_default();
            }
        })?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn routes(
        &mut self,
        afi: Afi,
        protocol: u8,
        mut on_route: impl FnMut(&Message<'_>),
    ) -> Result<DumpEnd, Error> {
        let mut fixed = [0; RTMSG_LEN];
        fixed[0] = af(afi);
        fixed[5] = protocol;
        let attr = Some((RTA_TABLE, u32::from(mark::TABLE)));
        let result = self.dump("reading routes", RTM_GETROUTE, &fixed, attr, |message| {
            // An old kernel does not select.
            let ours =
                message.body.get(4) == Some(&mark::TABLE) && message.body.get(5) == Some(&protocol);
            if message.kind == RTM_NEWROUTE && ours {
                on_route(message);
            }
        });
        match result {
            // The family has no such table yet, or is disabled.
            Err(Error::Refused {
                errno: libc::ENOENT | libc::EAFNOSUPPORT,
                ..
            }) => Ok(DumpEnd::Complete),
            other => other,
        }
    }

    fn dump(
        &mut self,
        what: &'static str,
        kind: u16,
        fixed: &[u8],
        attr: Option<(u16, u32)>,
        on_message: impl FnMut(&Message<'_>),
    ) -> Result<DumpEnd, Error> {
        let seq = self.socket.take_seqs(1);
        let mut request = MessageBuf::new();
        request.message(
            Header {
                kind,
                flags: REQUEST | DUMP,
                seq,
            },
            fixed,
            |attrs| {
                if let Some((kind, value)) = attr {
                    attrs.put_u32(kind, value);
                }
            },
        );
        self.socket.dump(what, &request, seq, on_message)
    }
}

/// From `RTM_NEWLINK` or `RTM_DELLINK`. `None` if malformed, or about a link's role in a bridge.
pub fn parse_link(message: &Message<'_>) -> Option<Link> {
    if *message.body.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    let flags = ne_u32(message.body.get(8..)?)?;
    let attrs = message.attrs(IFINFOMSG_LEN);
    let name = attrs.get(IFLA_IFNAME)?;
    let up = (libc::IFF_UP | libc::IFF_LOWER_UP).cast_unsigned();
    Some(Link {
        ifindex: ne_u32(message.body.get(4..)?)?,
        name: String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned(),
        up: flags & up == up,
        loopback: flags & libc::IFF_LOOPBACK.cast_unsigned() != 0,
        mtu: attrs.get(IFLA_MTU).and_then(ne_u32).unwrap_or(0),
    })
}

/// From `RTM_NEWADDR` or `RTM_DELADDR`. `None` if malformed or of another family.
pub fn parse_address(message: &Message<'_>) -> Option<Address> {
    let (family, len) = (*message.body.first()?, *message.body.get(1)?);
    let attrs = message.attrs(IFADDRMSG_LEN);
    let far = address(
        family,
        attrs.get(IFA_ADDRESS).or_else(|| attrs.get(IFA_LOCAL))?,
    )?;
    let local = attrs
        .get(IFA_LOCAL)
        .and_then(|local| address(family, local))
        .unwrap_or(far);
    Some(Address {
        ifindex: ne_u32(message.body.get(4..)?)?,
        local,
        on_link: IpNet::new(far, len).ok()?.trunc(),
    })
}

/// From `RTM_NEWROUTE` or `RTM_DELROUTE`. `None` if malformed, of another table, cached, or with a type of service or a
/// source prefix in its key: no route of ours has those.
pub fn parse_route(message: &Message<'_>) -> Option<DumpItem> {
    let body = message.body;
    let (family, len, source_len, tos) =
        (*body.first()?, *body.get(1)?, *body.get(2)?, *body.get(3)?);
    let (table, protocol, kind) = (*body.get(4)?, *body.get(5)?, *body.get(7)?);
    let flags = ne_u32(body.get(8..)?)?;
    if table != mark::TABLE || source_len != 0 || tos != 0 || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let attrs = message.attrs(RTMSG_LEN);
    let any = match i32::from(family) {
        libc::AF_INET => IpAddr::from([0; 4]),
        libc::AF_INET6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let addr = match attrs.get(RTA_DST) {
        Some(dst) => address(family, dst)?,
        None => any,
    };
    let target = match attrs.get(RTA_NH_ID).and_then(ne_u32) {
        Some(id) => Target::Nexthop(id),
        None if kind == RTN_BLACKHOLE => Target::Blackhole,
        None => Target::Other,
    };
    Some(DumpItem::Route {
        net: IpNet::new(addr, len).ok()?.trunc(),
        metric: attrs.get(RTA_PRIORITY).and_then(ne_u32).unwrap_or(0),
        protocol,
        target,
    })
}

/// From `RTM_NEWNEXTHOP` or `RTM_DELNEXTHOP`.
pub fn parse_nexthop(message: &Message<'_>) -> Option<DumpItem> {
    let protocol = *message.body.get(2)?;
    let attrs = message.attrs(NHMSG_LEN);
    let id = attrs.get(NHA_ID).and_then(ne_u32)?;
    let content = match (attrs.get(NHA_GROUP), attrs.get(NHA_GATEWAY)) {
        (Some(group), _) => group_content(group),
        (None, Some(gateway)) => single_content(gateway, &attrs),
        (None, None) => NexthopContent::Other,
    };
    Some(DumpItem::Nexthop {
        id,
        protocol,
        content,
    })
}

/// `struct nexthop_grp` each: id, weight (less one), and reserved.
fn group_content(group: &[u8]) -> NexthopContent {
    let member = |entry: &[u8]| match entry.get(4) {
        Some(0) => ne_u32(entry),
        // Members that do not weigh the same were not written by us.
        _ => None,
    };
    let members: Option<_> = group.chunks(8).map(member).collect();
    members.map_or(NexthopContent::Other, NexthopContent::Group)
}

fn single_content(gateway: &[u8], attrs: &Attrs<'_>) -> NexthopContent {
    let gateway = match gateway.len() {
        4 => address(libc::AF_INET as u8, gateway),
        _ => address(libc::AF_INET6 as u8, gateway),
    };
    match (gateway, attrs.get(NHA_OIF).and_then(ne_u32)) {
        (Some(gateway), Some(ifindex)) => NexthopContent::Single(Hop { gateway, ifindex }),
        _ => NexthopContent::Other,
    }
}

fn address(family: u8, octets: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        libc::AF_INET6 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}
