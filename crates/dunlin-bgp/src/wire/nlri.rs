//! Prefixes as they stand in NLRI fields (RFC 4271 4.3): a length in bits and as many octets as hold them.

use std::ops::Range;

use dunlin_net::{Afi, AsOctets, Family, V4, V6};

use crate::batch::{BatchFamily, RouteBatch};

/// A field whose prefixes cannot be told (RFC 7606 5.3).
#[derive(Debug)]
pub(super) struct Malformed;

/// Appends the prefixes of a field to the batch. Host bits are cleared; multicast prefixes are left out and counted in
/// `ignored` (RFC 4271 6.3). A field of n octets yields at most n prefixes. After an error the batch holds the prefixes
/// before it: the caller cuts them off.
pub(super) fn decode_into(
    afi: Afi,
    field: &[u8],
    out: &mut RouteBatch,
    ignored: &mut u32,
) -> Result<Range<u32>, Malformed> {
    match afi {
        Afi::Ipv4 => decode::<V4>(field, V4::nlri_mut(out), ignored),
        Afi::Ipv6 => decode::<V6>(field, V6::nlri_mut(out), ignored),
    }
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
