//! AS paths between two and four octets (RFC 6793).

use dunlin_net::Asn;

use super::AttrFault;
use crate::attrs::{AsPath, SegmentKind};

const TRANS: [u8; 2] = (Asn::TRANS.0 as u16).to_be_bytes();

/// Checks the value of an AS_PATH with AS numbers of `W` octets (RFC 7606 7.2, RFC 7607): kinds known, counts not zero,
/// segments filling the value, no AS 0. Confederation segments are malformed outside of one (RFC 5065 5).
#[inline]
pub(super) fn check<const W: usize>(value: &[u8]) -> Result<(), AttrFault> {
    let mut rest = value;
    while !rest.is_empty() {
        let &[kind, count, ref tail @ ..] = rest else {
            return Err(AttrFault::Length);
        };
        if SegmentKind::from_octet(kind).is_none() || count == 0 {
            return Err(AttrFault::Value);
        }
        let (asns, tail) = tail
            .split_at_checked(usize::from(count) * W)
            .ok_or(AttrFault::Length)?;
        if asns.as_chunks::<W>().0.contains(&[0; W]) {
            return Err(AttrFault::Value);
        }
        rest = tail;
    }
    Ok(())
}

/// A checked two-octet path with four octets.
pub(super) fn widen(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 2);
    let mut rest = value;
    while let [kind, count, tail @ ..] = rest {
        let (asns, tail) = tail
            .split_at_checked(usize::from(*count) * 2)
            .unwrap_or((tail, &[]));
        out.extend_from_slice(&[*kind, *count]);
        out.extend(asns.as_chunks().0.iter().flat_map(|&[a, b]| [0, 0, a, b]));
        rest = tail;
    }
    out
}

/// A four-octet path with two octets, AS_TRANS for what does not fit; and whether that happened.
pub(super) fn narrow(path: AsPath<'_>) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(path.as_bytes().len());
    let mut lossy = false;
    for segment in path.segments() {
        let asns = segment.asns();
        out.extend_from_slice(&[segment.kind as u8, asns.len() as u8]); // at most 255
        for asn in asns {
            let octets = narrow_asn(asn);
            lossy |= !asn.is_two_octet();
            out.extend_from_slice(&octets);
        }
    }
    (out, lossy)
}

/// An AS number in two octets, AS_TRANS if it does not fit.
pub(super) fn narrow_asn(asn: Asn) -> [u8; 2] {
    u16::try_from(asn.0).map_or(TRANS, u16::to_be_bytes)
}

/// The value of an AS4_PATH without confederation segments, which are to be dropped; `None` if it is malformed
/// (RFC 6793 6).
pub(super) fn as4_path(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    if value.len() < 6 {
        return None;
    }
    while !rest.is_empty() {
        let &[kind @ 1..=4, count @ 1..=255, ref tail @ ..] = rest else {
            return None;
        };
        let len = 2 + usize::from(count) * 4;
        let asns = rest.get(2..len)?;
        if asns.as_chunks::<4>().0.contains(&[0; 4]) {
            return None;
        }
        if kind <= 2 {
            out.extend_from_slice(&rest[..len]);
        }
        rest = &tail[len - 2..];
    }
    Some(out)
}

/// The exact path out of AS_PATH (widened) and AS4_PATH (RFC 6793 4.2.3): as many leading AS numbers of AS_PATH as it
/// has more, then AS4_PATH. An AS4_PATH that is longer is ignored.
pub(super) fn merge(as_path: &[u8], as4_path: &[u8]) -> Vec<u8> {
    let path_len = |value| usize::from(AsPath::new(value).path_len());
    let Some(mut missing) = path_len(as_path).checked_sub(path_len(as4_path)) else {
        return as_path.to_vec();
    };
    let mut out = Vec::with_capacity(as_path.len() + as4_path.len());
    // Where the last sequence taken from AS_PATH begins, to be joined with the first of AS4_PATH.
    let mut last_sequence = None;
    for segment in AsPath::new(as_path).segments() {
        if missing == 0 {
            break;
        }
        let asns = segment.asns();
        let taken = match segment.kind {
            SegmentKind::Set => {
                missing -= 1;
                last_sequence = None;
                asns.len()
            }
            SegmentKind::Sequence => {
                let taken = asns.len().min(missing);
                missing -= taken;
                last_sequence = Some(out.len());
                taken
            }
        };
        out.extend_from_slice(&[segment.kind as u8, taken as u8]); // at most 255
        out.extend(asns.take(taken).flat_map(|asn| asn.0.to_be_bytes()));
    }
    const SEQUENCE: u8 = SegmentKind::Sequence as u8;
    match (last_sequence, as4_path) {
        (Some(at), [SEQUENCE, count, tail @ ..]) if out[at + 1].checked_add(*count).is_some() => {
            out[at + 1] += count;
            out.extend_from_slice(tail);
        }
        _ => out.extend_from_slice(as4_path),
    }
    out
}
