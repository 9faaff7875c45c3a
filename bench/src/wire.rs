//! As much of BGP-4 as a load generator needs, written apart from `dunlin-bgp` on purpose: what
//! the monitor accepts here was not judged by the code under test.
//!
//! Prefixes are numbered: number `n` is the n-th IPv4 /24 from 20.0.0.0/24 upward. Attribute sets
//! are numbered too, and the number travels in two standard communities, so the monitor can tell
//! that a prefix arrived with the attributes it was sent with.

use std::net::Ipv4Addr;

pub(crate) const HEADER_LEN: usize = 19;
/// RFC 4271 section 4.1; nobody here offers extended messages.
pub(crate) const MESSAGE_MAX: usize = 4096;

pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;
/// RFC 2918.
pub(crate) const ROUTE_REFRESH: u8 = 5;

const PREFIX_LEN: u8 = 24;
const FIRST_PREFIX: u32 = 20 << 16;
/// Prefix numbers stay below this, so that all of them are ordinary unicast space (20/8 to 84/8).
pub(crate) const PREFIX_MAX: u32 = 64 << 16;

const COMMUNITY_LOW: u16 = 64_997;
const COMMUNITY_HIGH: u16 = 64_998;

/// The network of prefix number `index`, without its length (always /24).
pub(crate) fn network(index: u32) -> Ipv4Addr {
    Ipv4Addr::from((FIRST_PREFIX + index) << 8)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + body.len());
    put_message(&mut out, kind, body);
    out
}

fn put_message(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let len = u16::try_from(HEADER_LEN + body.len()).expect("messages here are below 4,096 bytes");
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&len.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
}

/// An OPEN with IPv4 unicast, route refresh and four-octet AS numbers; no graceful restart, so
/// that closing the session withdraws its routes at once.
pub(crate) fn open(asn: u32, hold_time_secs: u16, router_id: Ipv4Addr) -> Vec<u8> {
    const AS_TRANS: u16 = 23_456;
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0, 65, 4];
    capabilities.extend_from_slice(&asn.to_be_bytes());
    let mut body = vec![4];
    body.extend_from_slice(&u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes());
    body.extend_from_slice(&hold_time_secs.to_be_bytes());
    body.extend_from_slice(&router_id.octets());
    let len = u8::try_from(capabilities.len()).expect("a few capabilities");
    body.extend_from_slice(&[len + 2, 2, len]);
    body.extend_from_slice(&capabilities);
    message(OPEN, &body)
}

pub(crate) fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

/// Cease / Administrative Shutdown (RFC 4486).
pub(crate) fn cease() -> Vec<u8> {
    message(NOTIFICATION, &[6, 2])
}

/// End-of-RIB for IPv4 unicast (RFC 4724 section 2): an UPDATE that says nothing.
pub(crate) fn put_end_of_rib(out: &mut Vec<u8>) {
    put_message(out, UPDATE, &[0, 0, 0, 0]);
}

/// Who announces, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announcer {
    pub(crate) asn: u32,
    pub(crate) next_hop: Ipv4Addr,
    /// The session is internal: LOCAL_PREF has to be there.
    pub(crate) internal: bool,
    /// Makes the AS_PATH five long instead of four, so that another announcer is preferred.
    pub(crate) second_choice: bool,
}

/// Appends one UPDATE that announces `prefixes` with attribute set `set`: a path of four ASes
/// beginning with the announcer's, and two communities.
pub(crate) fn put_update(
    out: &mut Vec<u8>,
    announcer: Announcer,
    set: u32,
    prefixes: std::ops::Range<u32>,
) {
    let Announcer {
        asn,
        next_hop,
        internal,
        second_choice,
    } = announcer;
    let path = [asn, asn, 400_000 + set % 60_000, 500_000 + set / 7, 600_000];
    let path = &path[usize::from(!second_choice)..];
    let mut body = Vec::with_capacity(64 + 4 * prefixes.len());
    body.extend_from_slice(&[0, 0, 0, 0]);
    body.extend_from_slice(&[0x40, 1, 1, 0]);
    let hops = path.len() as u8;
    body.extend_from_slice(&[0x40, 2, 2 + 4 * hops, 2, hops]);
    for hop in path {
        body.extend_from_slice(&hop.to_be_bytes());
    }
    body.extend_from_slice(&[0x40, 3, 4]);
    body.extend_from_slice(&next_hop.octets());
    if internal {
        body.extend_from_slice(&[0x40, 5, 4, 0, 0, 0, 100]);
    }
    let [high, low] = [(set >> 16) as u16, set as u16];
    body.extend_from_slice(&[0xc0, 8, 8]);
    for half in [COMMUNITY_LOW, low, COMMUNITY_HIGH, high] {
        body.extend_from_slice(&half.to_be_bytes());
    }
    let attributes_len = u16::try_from(body.len() - 4).expect("below 4,096 bytes");
    body[2..4].copy_from_slice(&attributes_len.to_be_bytes());
    for index in prefixes {
        body.push(PREFIX_LEN);
        body.extend_from_slice(&network(index).octets()[..3]);
    }
    put_message(out, UPDATE, &body);
}

/// Why bytes from the daemon are not what RFC 4271 or the scenario allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Marker,
    Length,
    Attributes,
    Prefix,
    AsPath,
    MissingAttribute,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Marker => "a message without the all-ones marker",
            Self::Length => "a message with an impossible length",
            Self::Attributes => "path attributes that do not parse",
            Self::Prefix => "a prefix that no sender announced",
            Self::AsPath => "an AS_PATH that is not the daemon's AS and the sender's four",
            Self::MissingAttribute => {
                "NLRI without ORIGIN, AS_PATH, NEXT_HOP or the sent communities"
            }
        })
    }
}

/// One whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) body: &'a [u8],
    /// Bytes on the wire, header included.
    pub(crate) len: usize,
}

/// The first message in `bytes`; `None` means that more bytes are needed.
pub(crate) fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, Fault> {
    let Some(header) = bytes.get(..HEADER_LEN) else {
        return Ok(None);
    };
    if header[..16] != [0xff; 16] {
        return Err(Fault::Marker);
    }
    let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
    if !(HEADER_LEN..=MESSAGE_MAX).contains(&len) {
        return Err(Fault::Length);
    }
    Ok(bytes.get(HEADER_LEN..len).map(|body| Frame {
        kind: header[18],
        body,
        len,
    }))
}

/// One UPDATE, taken apart as far as the monitor checks it.
#[derive(Debug, Default)]
pub(crate) struct Update<'a> {
    withdrawn: [&'a [u8]; 2],
    announced: [&'a [u8]; 2],
    /// The attribute set named by the communities.
    pub(crate) set: Option<u32>,
}

impl<'a> Update<'a> {
    /// Reads an UPDATE's body; with NLRI in it, the mandatory attributes must be there and the
    /// AS_PATH must be `local_as` followed by a sender's four.
    pub(crate) fn parse(body: &'a [u8], local_as: u32) -> Result<Self, Fault> {
        let (withdrawn, rest) = counted(body)?;
        let (attributes, nlri) = counted(rest)?;
        let mut update = Self {
            withdrawn: [withdrawn, &[]],
            announced: [nlri, &[]],
            set: None,
        };
        let seen = update.read_attributes(attributes, local_as)?;
        let mandatory = if nlri.is_empty() { 0b011 } else { 0b111 };
        if update.announced.iter().any(|nlri| !nlri.is_empty())
            && (seen & mandatory != mandatory || update.set.is_none())
        {
            return Err(Fault::MissingAttribute);
        }
        Ok(update)
    }

    /// Returns the bits of ORIGIN (0), AS_PATH (1) and NEXT_HOP (2) as seen.
    fn read_attributes(&mut self, mut rest: &'a [u8], local_as: u32) -> Result<u8, Fault> {
        let mut seen = 0;
        while let [flags, kind, tail @ ..] = rest {
            let (len, tail) = if flags & 0x10 != 0 {
                let [a, b, tail @ ..] = tail else {
                    return Err(Fault::Attributes);
                };
                (usize::from(u16::from_be_bytes([*a, *b])), tail)
            } else {
                let [a, tail @ ..] = tail else {
                    return Err(Fault::Attributes);
                };
                (usize::from(*a), tail)
            };
            let (value, tail) = tail.split_at_checked(len).ok_or(Fault::Attributes)?;
            rest = tail;
            match kind {
                1 => seen |= 0b001,
                2 => {
                    check_path(value, local_as)?;
                    seen |= 0b010;
                }
                3 => seen |= 0b100,
                8 => self.set = Some(set_of(value)?),
                14 => self.announced[1] = mp_reach(value)?,
                15 => {
                    self.withdrawn[1] = value.strip_prefix(&[0, 1, 1]).ok_or(Fault::Attributes)?;
                }
                _ => {}
            }
        }
        if rest.is_empty() {
            Ok(seen)
        } else {
            Err(Fault::Attributes)
        }
    }

    /// Calls `each` with the number of every withdrawn prefix.
    pub(crate) fn for_each_withdrawn(&self, each: impl FnMut(u32)) -> Result<(), Fault> {
        each_prefix(self.withdrawn, each)
    }

    /// Calls `each` with the number of every announced prefix.
    pub(crate) fn for_each_announced(&self, each: impl FnMut(u32)) -> Result<(), Fault> {
        each_prefix(self.announced, each)
    }
}

fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let [a, b, rest @ ..] = bytes else {
        return Err(Fault::Length);
    };
    rest.split_at_checked(usize::from(u16::from_be_bytes([*a, *b])))
        .ok_or(Fault::Length)
}

fn check_path(value: &[u8], local_as: u32) -> Result<(), Fault> {
    let [2, 5, hops @ ..] = value else {
        return Err(Fault::AsPath);
    };
    if hops.len() == 20 && hops[..4] == local_as.to_be_bytes() {
        Ok(())
    } else {
        Err(Fault::AsPath)
    }
}

fn set_of(value: &[u8]) -> Result<u32, Fault> {
    let (mut low, mut high) = (None, None);
    for community in value.chunks_exact(4) {
        let [name, half] = [0, 2].map(|at| u16::from_be_bytes([community[at], community[at + 1]]));
        match name {
            COMMUNITY_LOW => low = Some(u32::from(half)),
            COMMUNITY_HIGH => high = Some(u32::from(half)),
            _ => {}
        }
    }
    Ok(high.ok_or(Fault::MissingAttribute)? << 16 | low.ok_or(Fault::MissingAttribute)?)
}

/// The NLRI of an MP_REACH_NLRI for IPv4 unicast (RFC 4760 section 3).
fn mp_reach(value: &[u8]) -> Result<&[u8], Fault> {
    let [0, 1, 1, next_hop_len, rest @ ..] = value else {
        return Err(Fault::Attributes);
    };
    rest.get(usize::from(*next_hop_len) + 1..)
        .ok_or(Fault::Attributes)
}

fn each_prefix(fields: [&[u8]; 2], mut each: impl FnMut(u32)) -> Result<(), Fault> {
    for field in fields {
        let mut prefixes = field.chunks_exact(4);
        for prefix in &mut prefixes {
            let &[PREFIX_LEN, a, b, c] = prefix else {
                return Err(Fault::Prefix);
            };
            let network = u32::from_be_bytes([0, a, b, c]);
            match network.checked_sub(FIRST_PREFIX) {
                Some(index) if index < PREFIX_MAX => each(index),
                _ => return Err(Fault::Prefix),
            }
        }
        if !prefixes.remainder().is_empty() {
            return Err(Fault::Prefix);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
