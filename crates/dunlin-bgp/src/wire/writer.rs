use std::iter::Peekable;
use std::net::IpAddr;

use dunlin_net::{Afi, Family};

use super::encode::is_classic;
use super::frame::{self, HEADER_LEN, MessageType};
use super::{AfiSafi, ExportEncoding, Limits, nlri};
use crate::attrs::{code, flag};
use crate::batch::NextHop;

/// The attributes of a route leave no room for a prefix in a message: it cannot be told and is to be withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{attr_octets} octets of attributes leave no room for a prefix in a message of {max_octets}"
)]
pub struct AttrsTooLong {
    /// The octets of the attributes.
    pub attr_octets: usize,
    /// The longest message the peer takes.
    pub max_octets: usize,
}

/// Packs prefixes into as few UPDATEs as the message length allows, whole messages appended to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateWriter {
    max_len: usize,
}

/// The two length fields of an UPDATE.
const FIELDS_LEN: usize = 4;

/// Flags, type and extended length of an attribute.
const ATTR_HEAD_LEN: usize = 4;

impl UpdateWriter {
    /// For the peers of an export group.
    pub fn new(encoding: &ExportEncoding) -> UpdateWriter {
        UpdateWriter::with_limits(Limits {
            extended_message: encoding.extended_message,
            ..Limits::default()
        })
    }

    /// For a peer that takes messages of this length.
    pub fn with_limits(limits: Limits) -> UpdateWriter {
        UpdateWriter {
            max_len: limits.max_len(),
        }
    }

    /// Appends UPDATEs that announce the prefixes, all with the attributes that [`super::encode_attrs`] made for this
    /// family and next hop; returns how many. Appends nothing without prefixes.
    ///
    /// # Errors
    /// The attributes leave no room for a prefix.
    pub fn announce<F: Family>(
        &self,
        attrs: &[u8],
        next_hop: &NextHop,
        prefixes: impl IntoIterator<Item = F::Net>,
        out: &mut Vec<u8>,
    ) -> Result<usize, AttrsTooLong> {
        let items = prefixes.into_iter().map(Plain::<F>);
        self.announce_items(attrs, next_hop, items, out)
    }

    /// The same of paths: prefixes with their path identifiers (RFC 7911 3).
    ///
    /// # Errors
    /// The attributes leave no room for a path.
    pub fn announce_paths<F: Family>(
        &self,
        attrs: &[u8],
        next_hop: &NextHop,
        paths: impl IntoIterator<Item = (u32, F::Net)>,
        out: &mut Vec<u8>,
    ) -> Result<usize, AttrsTooLong> {
        let items = paths.into_iter().map(|(id, net)| Identified::<F>(id, net));
        self.announce_items(attrs, next_hop, items, out)
    }

    /// Appends UPDATEs that withdraw the prefixes; returns how many.
    pub fn withdraw<F: Family>(
        &self,
        prefixes: impl IntoIterator<Item = F::Net>,
        out: &mut Vec<u8>,
    ) -> usize {
        self.withdraw_items(prefixes.into_iter().map(Plain::<F>), out)
    }

    /// The same of paths.
    pub fn withdraw_paths<F: Family>(
        &self,
        paths: impl IntoIterator<Item = (u32, F::Net)>,
        out: &mut Vec<u8>,
    ) -> usize {
        let items = paths.into_iter().map(|(id, net)| Identified::<F>(id, net));
        self.withdraw_items(items, out)
    }

    fn announce_items<I: Item>(
        &self,
        attrs: &[u8],
        next_hop: &NextHop,
        items: impl Iterator<Item = I>,
        out: &mut Vec<u8>,
    ) -> Result<usize, AttrsTooLong> {
        let classic = is_classic::<I::Family>(next_hop);
        let next_hop = MpNextHop::of(next_hop);
        let reach_len = if classic {
            0
        } else {
            // Family, next hop with its length, reserved octet.
            ATTR_HEAD_LEN + 3 + 1 + next_hop.as_bytes().len() + 1
        };
        let used = HEADER_LEN + FIELDS_LEN + attrs.len() + reach_len;
        let room = self
            .max_len
            .checked_sub(used)
            .filter(|room| *room >= I::MAX_LEN)
            .ok_or(AttrsTooLong {
                attr_octets: attrs.len() + reach_len,
                max_octets: self.max_len,
            })?;
        let mut items = items.peekable();
        let mut messages = 0;
        while items.peek().is_some() {
            let start = frame::begin(MessageType::Update, out);
            out.extend_from_slice(&[0, 0]);
            let attrs_at = begin_field(out);
            if classic {
                out.extend_from_slice(attrs);
                finish_field(attrs_at, out);
                fill(&mut items, room, out);
            } else {
                // First among the attributes, as RFC 7606 5.1 asks.
                let reach_at = begin_attr(code::MP_REACH_NLRI, out);
                put_family(I::Family::AFI, out);
                out.push(next_hop.as_bytes().len() as u8); // 4, 16 or 32
                out.extend_from_slice(next_hop.as_bytes());
                out.push(0);
                fill(&mut items, room, out);
                finish_field(reach_at, out);
                out.extend_from_slice(attrs);
                finish_field(attrs_at, out);
            }
            frame::finish(start, out);
            messages += 1;
        }
        Ok(messages)
    }

    fn withdraw_items<I: Item>(&self, items: impl Iterator<Item = I>, out: &mut Vec<u8>) -> usize {
        let mut items = items.peekable();
        let mut messages = 0;
        while items.peek().is_some() {
            let start = frame::begin(MessageType::Update, out);
            let room = self.max_len - HEADER_LEN - FIELDS_LEN;
            if I::Family::AFI == Afi::Ipv4 {
                let withdrawn_at = begin_field(out);
                fill(&mut items, room, out);
                finish_field(withdrawn_at, out);
                out.extend_from_slice(&[0, 0]);
            } else {
                out.extend_from_slice(&[0, 0]);
                let attrs_at = begin_field(out);
                let unreach_at = begin_attr(code::MP_UNREACH_NLRI, out);
                put_family(I::Family::AFI, out);
                fill(&mut items, room - ATTR_HEAD_LEN - 3, out);
                finish_field(unreach_at, out);
                finish_field(attrs_at, out);
            }
            frame::finish(start, out);
            messages += 1;
        }
        messages
    }

    /// Appends the End-of-RIB of a family (RFC 4724 2).
    pub fn end_of_rib(afi: Afi, out: &mut Vec<u8>) {
        let start = frame::begin(MessageType::Update, out);
        out.extend_from_slice(&[0, 0]);
        let attrs_at = begin_field(out);
        if afi != Afi::Ipv4 {
            let unreach_at = begin_attr(code::MP_UNREACH_NLRI, out);
            put_family(afi, out);
            finish_field(unreach_at, out);
        }
        finish_field(attrs_at, out);
        frame::finish(start, out);
    }
}

/// A next hop as MP_REACH_NLRI holds it.
struct MpNextHop {
    octets: [u8; 32],
    len: usize,
}

impl MpNextHop {
    /// IPv4 as it is (for IPv4 prefixes it goes into NEXT_HOP anyway, IPv6 prefixes take it mapped).
    fn of(next_hop: &NextHop) -> MpNextHop {
        let addr = match next_hop.addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped(),
            IpAddr::V6(addr) => addr,
        };
        let mut octets = [0; 32];
        octets[..16].copy_from_slice(&addr.octets());
        let mut len = 16;
        if let Some(link_local) = next_hop.link_local {
            octets[16..].copy_from_slice(&link_local.octets());
            len = 32;
        }
        MpNextHop { octets, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// What stands in an NLRI field.
trait Item {
    type Family: Family;
    /// The octets of the longest.
    const MAX_LEN: usize;

    fn len(&self) -> usize;
    fn encode(self, out: &mut Vec<u8>);
}

/// A prefix.
struct Plain<F: Family>(F::Net);

/// A path identifier and a prefix.
struct Identified<F: Family>(u32, F::Net);

impl<F: Family> Item for Plain<F> {
    type Family = F;
    const MAX_LEN: usize = nlri::max_len::<F>();

    fn len(&self) -> usize {
        1 + usize::from(F::len(self.0).div_ceil(8))
    }

    #[inline]
    fn encode(self, out: &mut Vec<u8>) {
        nlri::encode::<F>(self.0, out);
    }
}

impl<F: Family> Item for Identified<F> {
    type Family = F;
    const MAX_LEN: usize = nlri::PATH_ID_LEN + nlri::max_len::<F>();

    fn len(&self) -> usize {
        nlri::PATH_ID_LEN + Plain::<F>(self.1).len()
    }

    #[inline]
    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
        nlri::encode::<F>(self.1, out);
    }
}

/// Appends items while they fit `room` octets.
#[inline]
fn fill<I: Item>(items: &mut Peekable<impl Iterator<Item = I>>, room: usize, out: &mut Vec<u8>) {
    // The longest item fits as long as the buffer ends here or before.
    let last = out.len() + room - I::MAX_LEN;
    while out.len() <= last {
        let Some(item) = items.next() else {
            return;
        };
        item.encode(out);
    }
    // Shorter ones may still.
    let end = last + I::MAX_LEN;
    while let Some(item) = items.next_if(|item| out.len() + item.len() <= end) {
        item.encode(out);
    }
}

fn put_family(afi: Afi, out: &mut Vec<u8>) {
    let family = AfiSafi::unicast(afi);
    out.extend_from_slice(&family.afi.to_be_bytes());
    out.push(family.safi);
}

/// Appends a two-octet length to be set by [`finish_field`]; returns where it stands.
fn begin_field(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0, 0]);
    out.len() - 2
}

/// Appends the head of an optional non-transitive attribute of a length to be set by [`finish_field`].
fn begin_attr(code: u8, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[flag::OPTIONAL | flag::EXTENDED_LENGTH, code]);
    begin_field(out)
}

/// Sets the length of a field that ends at the buffer's end. Messages are at most 65,535 octets, so it fits.
fn finish_field(at: usize, out: &mut [u8]) {
    let len = u16::try_from(out.len() - at - 2).unwrap_or(u16::MAX);
    out[at..at + 2].copy_from_slice(&len.to_be_bytes());
}
