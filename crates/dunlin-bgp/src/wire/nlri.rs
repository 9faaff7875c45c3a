//! Prefixes as they stand in NLRI fields (RFC 4271 4.3): a length in bits and as many octets as hold them.

use std::ops::Range;

use dunlin_net::{Afi, AsOctets, Family, V4, V6};

use crate::batch::{BatchFamily, RouteBatch};

/// A field whose prefixes cannot be told (RFC 7606 5.3).
#[derive(Debug)]
pub(super) struct Malformed;

/// Appends the prefixes of a field to the batch, with their path identifiers if they have such (RFC 7911 3). Host bits are cleared; multicast prefixes are left out and counted in
/// `ignored` (RFC 4271 6.3). A field of n octets yields at most n prefixes. After an error the batch holds the prefixes
/// before it: the caller cuts them off.
pub(super) fn decode_into(
    (afi, identified): (Afi, bool),
    field: &[u8],
    out: &mut RouteBatch,
    ignored: &mut u32,
) -> Result<Range<u32>, Malformed> {
    let (v4, v6) = (&mut out.nlri.v4, &mut out.nlri.v6);
    match (afi, identified) {
        (Afi::Ipv4, false) => decode::<V4>(field, v4, ignored),
        (Afi::Ipv6, false) => decode::<V6>(field, v6, ignored),
        (Afi::Ipv4, true) => identified_into::<V4>(field, v4, &mut out.path_ids.v4, ignored),
        (Afi::Ipv6, true) => identified_into::<V6>(field, v6, &mut out.path_ids.v6, ignored),
    }
}

/// The octets of a path identifier.
pub(super) const PATH_ID_LEN: usize = 4;

/// Prefixes that have a path identifier each.
fn identified_into<F: BatchFamily>(
    field: &[u8],
    nets: &mut Vec<F::Net>,
    ids: &mut Vec<u32>,
    ignored: &mut u32,
) -> Result<Range<u32>, Malformed> {
    let start = position(nets.len());
    let mut rest = field;
    while !rest.is_empty() {
        let (id, tail) = rest.split_first_chunk::<PATH_ID_LEN>().ok_or(Malformed)?;
        let bits = tail.first().ok_or(Malformed)?;
        let (prefix, tail) = tail
            .split_at_checked(1 + usize::from(bits.div_ceil(8)))
            .ok_or(Malformed)?;
        let before = nets.len();
        decode::<F>(prefix, nets, ignored)?;
        // A prefix that was ignored has no identifier to keep.
        if nets.len() > before {
            ids.push(u32::from_be_bytes(*id));
        }
        rest = tail;
    }
    Ok(start..position(nets.len()))
}

fn decode<F: BatchFamily>(
    field: &[u8],
    out: &mut Vec<F::Net>,
    ignored: &mut u32,
) -> Result<Range<u32>, Malformed> {
    let addr_len = usize::from(F::BITS / 8);
    let start = position(out.len());
    let mut rest = field;
    while let [bits, tail @ ..] = rest {
        let octets = usize::from(bits.div_ceil(8));
        if *bits > F::BITS || octets > tail.len() {
            return Err(Malformed);
        }
        // Where a whole address can be read, the octets after the prefix are host bits and get cleared.
        let addr = match tail.get(..addr_len) {
            Some(addr) => F::from_octets(addr),
            None => {
                let mut addr = [0; 16];
                addr[..octets].copy_from_slice(&tail[..octets]);
                F::from_octets(&addr[..addr_len])
            }
        };
        rest = &tail[octets..];
        let first = if octets == 0 { 0 } else { tail[0] };
        if is_multicast::<F>(first, *bits) {
            *ignored += 1;
            continue;
        }
        out.push(addr.and_then(|addr| F::net(addr, *bits)).ok_or(Malformed)?);
    }
    Ok(start..position(out.len()))
}

/// Whether a prefix that begins with this octet lies within 224.0.0.0/4 or ff00::/8.
#[inline]
fn is_multicast<F: Family>(first: u8, bits: u8) -> bool {
    match F::AFI {
        Afi::Ipv4 => first & 0xf0 == 0xe0 && bits >= 4,
        Afi::Ipv6 => first == 0xff && bits >= 8,
    }
}

/// An index into a batch. Batches are handed over long before 2³² of anything.
pub(super) fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// The octets of the longest prefix of a family.
pub(super) const fn max_len<F: Family>() -> usize {
    1 + F::BITS as usize / 8
}

/// Appends a prefix.
#[inline]
pub(super) fn encode<F: Family>(net: F::Net, out: &mut Vec<u8>) {
    let bits = F::len(net);
    let mut octets = [0; 16];
    F::addr(net).octets_into(&mut octets);
    let end = out.len() + 1 + usize::from(bits.div_ceil(8));
    // Copies a fixed length and cuts: quicker than copying a length only known here.
    out.push(bits);
    out.extend_from_slice(&octets[..usize::from(F::BITS / 8)]);
    out.truncate(end);
}
