//! Where hosts are, and what is theirs.

use std::net::{IpAddr, Ipv4Addr};

use dunlin_net::{IpNet, Ipv4Net};

pub(crate) fn host_addr(number: u16) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    IpAddr::V4(Ipv4Addr::from(first + u32::from(number)))
}

pub(crate) fn underlay() -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16).into()
}

pub(crate) fn subnet(number: u16) -> IpNet {
    let [high, low] = number.to_be_bytes();
    Ipv4Net::new_assert(Ipv4Addr::new(10, 64 + high, low, 0), 24).into()
}
