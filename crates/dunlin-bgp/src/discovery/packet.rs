//! Router solicitations and advertisements (RFC 4861 4.1, 4.2): what is read of them, and ours.

use std::net::Ipv6Addr;

/// The ICMPv6 types that are read.
pub mod kind {
    /// Router Solicitation.
    pub const SOLICITATION: u8 = 133;
    /// Router Advertisement.
    pub const ADVERTISEMENT: u8 = 134;
}

/// Neighbor Discovery packets have this hop limit, or come from another link (RFC 4861 6.1).
pub const HOP_LIMIT: u8 = 255;

/// The option that names the link-layer address of whoever sends.
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// An ICMPv6 message as it came. The kernel has looked at its checksum.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// From whom.
    pub from: Ipv6Addr,
    /// The index of the interface it came by.
    pub interface: u32,
    /// Its hop limit.
    pub hop_limit: u8,
    /// The message, from the type on.
    pub payload: &'a [u8],
}

/// What a message says that concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Somebody wants to know the routers.
    Solicitation,
    /// Whoever sent it is a router.
    Advertisement,
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum DropReason {
    /// The hop limit is not 255: it may come from another link.
    #[error("hop limit below 255")]
    HopLimit,
    /// An advertisement whose source is not link-local, or a solicitation whose source cannot be one.
    #[error("bad source address")]
    Source,
    /// Neither a solicitation nor an advertisement.
    #[error("another message")]
    Type,
    /// The code is not 0.
    #[error("code not 0")]
    Code,
    /// Shorter than its fixed part.
    #[error("too short")]
    Length,
    /// An option of no length, or over the end, or one that may not be there.
    #[error("bad option")]
    Option,
    /// It came by an interface that nobody asked for.
    #[error("interface not watched")]
    Interface,
    /// It is our own.
    #[error("our own")]
    Own,
    /// More routers are on the link than are kept.
    #[error("too many routers on the link")]
    TooMany,
}

/// Reads a message, with all checks of RFC 4861 6.1.1 and 6.1.2 but that of the checksum.
pub fn parse(datagram: &Datagram<'_>) -> Result<Message, DropReason> {
    if datagram.hop_limit != HOP_LIMIT {
        return Err(DropReason::HopLimit);
    }
    let Some(&[kind, code]) = datagram.payload.first_chunk() else {
        return Err(DropReason::Length);
    };
    let (message, fixed) = match kind {
        kind::SOLICITATION => (Message::Solicitation, 8),
        kind::ADVERTISEMENT => (Message::Advertisement, 16),
        _ => return Err(DropReason::Type),
    };
    if code != 0 {
        return Err(DropReason::Code);
    }
    let options = datagram.payload.get(fixed..).ok_or(DropReason::Length)?;
    let names_link_layer = check_options(options)?;
    let from = datagram.from;
    match message {
        Message::Advertisement if !from.is_unicast_link_local() => Err(DropReason::Source),
        Message::Solicitation if from.is_unspecified() && names_link_layer => {
            Err(DropReason::Option)
        }
        Message::Solicitation if from.is_multicast() || from.is_loopback() => {
            Err(DropReason::Source)
        }
        message => Ok(message),
    }
}

/// All options have a length and end where the message does. Whether the sender names its link-layer address.
fn check_options(mut options: &[u8]) -> Result<bool, DropReason> {
    let mut found = false;
    while let Some((&kind, rest)) = options.split_first() {
        let units = *rest.first().ok_or(DropReason::Option)?;
        if units == 0 {
            return Err(DropReason::Option);
        }
        found |= kind == SOURCE_LINK_LAYER_ADDRESS;
        options = options
            .get(usize::from(units) * 8..)
            .ok_or(DropReason::Option)?;
    }
    Ok(found)
}

/// Our solicitation. The kernel puts the checksum in.
pub fn solicitation() -> Vec<u8> {
    let mut octets = vec![0; 8];
    octets[0] = kind::SOLICITATION;
    octets
}

/// Our advertisement: router lifetime 0, so that no host takes us for a default router, and nothing else said (all fields
/// "unspecified", no options). The kernel puts the checksum in.
pub fn advertisement() -> Vec<u8> {
    let mut octets = vec![0; 16];
    octets[0] = kind::ADVERTISEMENT;
    octets
}
