//! rtnetlink: links, addresses, routes and nexthop objects: reading, writing and watching.

mod monitor;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use monitor::Monitor;
pub use read::{Reader, parse_address, parse_link, parse_nexthop, parse_route};
pub use write::Writer;

use dunlin_net::Afi;

use crate::Error;
use crate::netlink::{ACK, Header, MessageBuf, REQUEST, Socket};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;

const IFINFOMSG_LEN: usize = 16;
const IFADDRMSG_LEN: usize = 8;
const RTMSG_LEN: usize = 12;
const NHMSG_LEN: usize = 8;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_NH_ID: u16 = 30;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

const RTN_UNICAST: u8 = 1;
const RTN_BLACKHOLE: u8 = 6;
const RTM_F_CLONED: u32 = 0x200;

fn af(afi: Afi) -> u8 {
    match afi {
        Afi::Ipv4 => libc::AF_INET as u8,
        Afi::Ipv6 => libc::AF_INET6 as u8,
    }
}

/// Whether this process may change the network of its namespace: [`Error::NetAdmin`] if not. Asks the kernel for something
/// that is refused to everybody, for different reasons.
pub fn check_net_admin() -> Result<(), Error> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let seq = socket.take_seqs(1);
    let mut message = MessageBuf::new();
    let header = Header {
        kind: RTM_DELNEXTHOP,
        flags: REQUEST | ACK,
        seq,
    };
    message.message(header, &[0; NHMSG_LEN], |_| {});
    match socket.request("checking for CAP_NET_ADMIN", &message, seq) {
        Err(Error::Refused {
            errno: libc::EPERM, ..
        }) => Err(Error::NetAdmin),
        Err(Error::Refused { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}
