//! The second step: what each attribute may say (RFC 7606 7), and its canonical form into the batch.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use dunlin_net::{Afi, Asn};

use super::judge::Judge;
use super::parse::{AttrList, RawAttr};
use super::{AfiSafi, AttrFault, DecodeContext, Disposition, Fault, as_path, code, update_message};
use crate::attrs::{AsPath, code as attr, flag, known_flags, put_attr};
use crate::batch::NextHop;
use crate::policy::PeerType;

/// Checks all attributes and appends what stays to `out` in canonical form; returns NEXT_HOP, if there is a good one.
pub(super) fn attributes<'a>(
    ctx: &DecodeContext,
    list: &AttrList<'a>,
    source: &'a [u8],
    judge: &mut Judge<'a>,
    out: &mut Vec<u8>,
) -> Result<Option<Ipv4Addr>, Fault> {
    let as4 = if ctx.four_octet_as {
        As4::default()
    } else {
        As4::gather(list)
    };
    let mut next_hop = None;
    let mut emit = Emitter {
        source,
        run: 0..0,
        out,
    };
    for raw in &list.attrs {
        let Some(flags) = known_flags(raw.code) else {
            if raw.flags & flag::OPTIONAL == 0 {
                return Err(Fault::with_data(
                    code::UPDATE,
                    update_message::UNRECOGNIZED_WELL_KNOWN,
                    raw.whole,
                    "an unknown well-known attribute",
                ));
            }
            if raw.flags & flag::TRANSITIVE != 0 {
                emit.keep(raw, flag::OPTIONAL | flag::TRANSITIVE);
            }
            continue;
        };
        if is_unexpected(ctx, raw.code) {
            judge.discard(raw.code, AttrFault::Unexpected);
            continue;
        }
        let checked = if (raw.flags ^ flags) & (flag::OPTIONAL | flag::TRANSITIVE) != 0 {
            Err(AttrFault::Flags)
        } else {
            value(ctx, raw, &as4)
        };
        match checked {
            Ok(Checked::Keep) => emit.keep(raw, flags),
            Ok(Checked::Rewrite(value)) => emit.rewrite(raw, flags, &value),
            Ok(Checked::NextHop(addr)) => next_hop = Some(addr),
            Ok(Checked::Drop) => {}
            Err(fault) => judge.note(raw.code, fault, disposition(raw.code, fault), raw.whole),
        }
    }
    emit.flush();
    Ok(next_hop)
}

/// Attributes that are dropped unread when they come from a peer of this kind (RFC 7606 7.5, 7.9, 7.10; RFC 6793 6).
#[inline]
fn is_unexpected(ctx: &DecodeContext, code: u8) -> bool {
    match code {
        attr::LOCAL_PREF | attr::ORIGINATOR_ID | attr::CLUSTER_LIST => {
            ctx.peer_type == PeerType::External
        }
        attr::AS4_PATH | attr::AS4_AGGREGATOR => ctx.four_octet_as,
        _ => false,
    }
}

/// What RFC 7606 (3, 7) and RFC 6793 (6) ask for a malformed attribute.
fn disposition(code: u8, fault: AttrFault) -> Disposition {
    match (code, fault) {
        (attr::AS4_PATH | attr::AS4_AGGREGATOR, _) => Disposition::AttributeDiscard,
        (_, AttrFault::Flags) => Disposition::TreatAsWithdraw,
        (attr::ATOMIC_AGGREGATE | attr::AGGREGATOR, _) => Disposition::AttributeDiscard,
        _ => Disposition::TreatAsWithdraw,
    }
}

enum Checked<'a> {
    /// The value is canonical as it is.
    Keep,
    /// This value stands for it.
    Rewrite(Cow<'a, [u8]>),
    /// It is NEXT_HOP.
    NextHop(Ipv4Addr),
    /// It is none of the canonical attributes.
    Drop,
}

/// Checks the value of a known attribute whose flags are right.
#[inline]
fn value<'a>(
    ctx: &DecodeContext,
    raw: &RawAttr<'a>,
    as4: &As4<'a>,
) -> Result<Checked<'a>, AttrFault> {
    let value = raw.value;
    let fits = match raw.code {
        attr::ORIGIN => match *value {
            [0..=2] => true,
            [_] => return Err(AttrFault::Value),
            _ => false,
        },
        attr::AS_PATH => return path(ctx, value, as4),
        attr::NEXT_HOP => {
            let octets = <[u8; 4]>::try_from(value).map_err(|_| AttrFault::Length)?;
            let addr = Ipv4Addr::from(octets);
            return if is_host(addr.into()) {
                Ok(Checked::NextHop(addr))
            } else {
                Err(AttrFault::Value)
            };
        }
        attr::MED | attr::LOCAL_PREF | attr::ORIGINATOR_ID | attr::ONLY_TO_CUSTOMER => {
            value.len() == 4
        }
        attr::ATOMIC_AGGREGATE => value.is_empty(),
        attr::AGGREGATOR => return aggregator(ctx, value, as4),
        attr::COMMUNITIES | attr::CLUSTER_LIST => is_list::<4>(value),
        attr::EXTENDED_COMMUNITIES => is_list::<8>(value),
        attr::LARGE_COMMUNITIES if is_list::<12>(value) => {
            return Ok(distinct(value.as_chunks().0).map_or(Checked::Keep, Checked::Rewrite));
        }
        attr::AS4_PATH if as4.path.is_none() => return Err(AttrFault::Value),
        attr::AS4_AGGREGATOR if as4.aggregator.is_none() => return Err(AttrFault::Length),
        attr::AS4_PATH | attr::AS4_AGGREGATOR => return Ok(Checked::Drop),
        _ => false,
    };
    if fits {
        Ok(Checked::Keep)
    } else {
        Err(AttrFault::Length)
    }
}

#[inline]
fn is_list<const N: usize>(value: &[u8]) -> bool {
    !value.is_empty() && value.len().is_multiple_of(N)
}

#[inline]
fn path<'a>(ctx: &DecodeContext, value: &'a [u8], as4: &As4<'a>) -> Result<Checked<'a>, AttrFault> {
    let checked = if ctx.four_octet_as {
        as_path::check::<4>(value)?;
        Checked::Keep
    } else {
        as_path::check::<2>(value)?;
        let mut path = as_path::widen(value);
        if let Some(as4_path) = as4.path.as_ref().filter(|_| as4.counts) {
            path = as_path::merge(&path, as4_path);
        }
        if path.len() > usize::from(u16::MAX) {
            return Err(AttrFault::Length);
        }
        Checked::Rewrite(Cow::Owned(path))
    };
    if let Some(first) = ctx.enforce_first_as {
        let path = match &checked {
            Checked::Rewrite(path) => AsPath::new(path),
            _ => AsPath::new(value),
        };
        if path.neighbour() != Some(first) {
            return Err(AttrFault::Value);
        }
    }
    Ok(checked)
}

fn aggregator<'a>(
    ctx: &DecodeContext,
    value: &'a [u8],
    as4: &As4<'a>,
) -> Result<Checked<'a>, AttrFault> {
    if ctx.four_octet_as {
        return match *value {
            [0, 0, 0, 0, _, _, _, _] => Err(AttrFault::Value),
            [_, _, _, _, _, _, _, _] => Ok(Checked::Keep),
            _ => Err(AttrFault::Length),
        };
    }
    match *value {
        [0, 0, _, _, _, _] => Err(AttrFault::Value),
        [a, b, c, d, e, f] => Ok(Checked::Rewrite(match as4.aggregator {
            Some(exact) if as4.counts => Cow::Borrowed(exact),
            _ => Cow::Owned(vec![0, 0, a, b, c, d, e, f]),
        })),
        _ => Err(AttrFault::Length),
    }
}

/// What a two-octet peer passes on beside AS_PATH and AGGREGATOR (RFC 6793 4.2.3).
#[derive(Default)]
struct As4<'a> {
    /// AS4_PATH, if it is well formed.
    path: Option<Vec<u8>>,
    /// The value of AS4_AGGREGATOR, if it is well formed.
    aggregator: Option<&'a [u8]>,
    /// Both count: no aggregator after the one in AS4_AGGREGATOR replaced it.
    counts: bool,
}

impl<'a> As4<'a> {
    #[cold]
    fn gather(list: &AttrList<'a>) -> As4<'a> {
        const TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;
        let find = |code| {
            list.attrs
                .iter()
                .find(|raw| raw.code == code && raw.flags & TRANSITIVE == TRANSITIVE)
                .map(|raw| raw.value)
        };
        let aggregator = find(attr::AS4_AGGREGATOR)
            .filter(|value| value.len() == 8 && !value.starts_with(&[0; 4]));
        let trans = as_path::narrow_asn(Asn::TRANS);
        let replaced = aggregator.is_some()
            && find(attr::AGGREGATOR).is_some_and(|value| !value.starts_with(&trans));
        As4 {
            path: find(attr::AS4_PATH).and_then(as_path::as4_path),
            aggregator,
            counts: !replaced,
        }
    }
}

/// The large communities without repetitions, if there are any (RFC 8092 5).
fn distinct(records: &[[u8; 12]]) -> Option<Cow<'static, [u8]>> {
    /// Up to this many are compared each with each; above, sorting is quicker.
    const FEW: usize = 16;
    let repeated = if records.len() <= FEW {
        records
            .iter()
            .enumerate()
            .any(|(index, record)| records[..index].contains(record))
    } else {
        let mut sorted = records.to_vec();
        sorted.sort_unstable();
        sorted.windows(2).any(|pair| pair[0] == pair[1])
    };
    if !repeated {
        return None;
    }
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|index| records[*index]);
    order.dedup_by_key(|index| records[*index]);
    order.sort_unstable();
    Some(Cow::Owned(
        order.iter().flat_map(|index| records[*index]).collect(),
    ))
}

/// Copies attributes in canonical form; runs that are canonical already at once.
struct Emitter<'s, 'o> {
    source: &'s [u8],
    /// What of the source is to be copied as it is.
    run: Range<usize>,
    out: &'o mut Vec<u8>,
}

impl Emitter<'_, '_> {
    /// The flags an attribute has in canonical form, but for the extended length.
    #[inline]
    fn flags(raw: &RawAttr<'_>, flags: u8) -> u8 {
        // Partial means something on optional transitive attributes only (RFC 4271 4.3).
        if flags == flag::OPTIONAL | flag::TRANSITIVE {
            flags | raw.flags & flag::PARTIAL
        } else {
            flags
        }
    }

    #[inline]
    fn keep(&mut self, raw: &RawAttr<'_>, flags: u8) {
        let flags = Self::flags(raw, flags);
        let extended = if raw.value.len() > usize::from(u8::MAX) {
            flag::EXTENDED_LENGTH
        } else {
            0
        };
        if raw.flags != flags | extended {
            self.flush();
            put_attr(flags, raw.code, raw.value, self.out);
            return;
        }
        let start = raw.start as usize;
        if start != self.run.end {
            self.flush();
            self.run.start = start;
        }
        self.run.end = start + raw.whole.len();
    }

    fn rewrite(&mut self, raw: &RawAttr<'_>, flags: u8, value: &[u8]) {
        self.flush();
        put_attr(Self::flags(raw, flags), raw.code, value, self.out);
    }

    #[inline]
    fn flush(&mut self) {
        // A run lies within the source by construction.
        self.out
            .extend_from_slice(self.source.get(self.run.clone()).unwrap_or(&[]));
        self.run.start = self.run.end;
    }
}

/// Whether an address can be a host's: not unspecified, loopback, multicast or broadcast (RFC 4271 6.3).
#[inline]
fn is_host(addr: IpAddr) -> bool {
    let broadcast = addr == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() || broadcast)
}

/// What MP_REACH_NLRI and MP_UNREACH_NLRI have in common.
pub(super) struct MpFields<'r, 'a> {
    pub(super) raw: &'r RawAttr<'a>,
    pub(super) afi: Afi,
    pub(super) nlri: &'a [u8],
}

/// Reads MP_REACH_NLRI (RFC 4760 3) and the next hop in it, `None` if that is no host address, which is noted. No fields
/// for a family that was not negotiated, which is noted too. What keeps its prefixes from being found resets the session
/// (RFC 7606 5.3, 7.11).
pub(super) fn mp_reach<'r, 'a>(
    ctx: &DecodeContext,
    raw: &'r RawAttr<'a>,
    judge: &mut Judge<'a>,
) -> Result<Option<(MpFields<'r, 'a>, Option<NextHop>)>, Fault> {
    let bad = || mp_fault(raw, "MP_REACH_NLRI is malformed");
    mp_flags(raw)?;
    let Some((&[a, b, safi, len], tail)) = raw.value.split_first_chunk() else {
        return Err(bad());
    };
    let family = AfiSafi {
        afi: u16::from_be_bytes([a, b]),
        safi,
    };
    let Some(afi) = negotiated(ctx, family) else {
        judge.discard(raw.code, AttrFault::FamilyNotNegotiated);
        return Ok(None);
    };
    let Some((next_hop, [_reserved, nlri @ ..])) = tail.split_at_checked(usize::from(len)) else {
        return Err(bad());
    };
    let extended = afi == Afi::Ipv6 || ctx.extended_next_hop;
    let next_hop = match next_hop.len() {
        4 if afi == Afi::Ipv4 => <[u8; 4]>::try_from(next_hop)
            .map(|octets| NextHop::new(Ipv4Addr::from(octets).into()))
            .map_err(|_| bad())?,
        16 | 32 if extended => next_hop_v6(ctx, next_hop),
        _ => {
            return Err(mp_fault(
                raw,
                "the next hop in MP_REACH_NLRI has a wrong length",
            ));
        }
    };
    let next_hop = Some(next_hop).filter(|next_hop| is_host(next_hop.addr));
    if next_hop.is_none() {
        let withdraw = Disposition::TreatAsWithdraw;
        judge.note(raw.code, AttrFault::Value, withdraw, raw.whole);
    }
    Ok(Some((MpFields { raw, afi, nlri }, next_hop)))
}

/// A next hop of one or two IPv6 addresses (RFC 2545 3). Where the global one is left unspecified, the link-local one
/// takes its place; so it does where the interface it is on is known.
fn next_hop_v6(ctx: &DecodeContext, octets: &[u8]) -> NextHop {
    let mut addrs = octets
        .as_chunks::<16>()
        .0
        .iter()
        .map(|octets| Ipv6Addr::from(*octets));
    let global = addrs.next().unwrap_or(Ipv6Addr::UNSPECIFIED);
    let link_local = addrs.next().filter(Ipv6Addr::is_unicast_link_local);
    let named = link_local.or(Some(global).filter(Ipv6Addr::is_unicast_link_local));
    if let (Some(link_local), 1..) = (named, ctx.interface) {
        return NextHop::on_interface(link_local, ctx.interface);
    }
    match link_local {
        Some(link_local) if global.is_unspecified() => NextHop::new(link_local.into()),
        link_local => NextHop {
            link_local,
            ..NextHop::new(global.into())
        },
    }
}

/// Reads MP_UNREACH_NLRI (RFC 4760 4); nothing for a family that was not negotiated, which is noted.
pub(super) fn mp_unreach<'r, 'a>(
    ctx: &DecodeContext,
    raw: &'r RawAttr<'a>,
    judge: &mut Judge<'a>,
) -> Result<Option<MpFields<'r, 'a>>, Fault> {
    mp_flags(raw)?;
    let Some((&[a, b, safi], nlri)) = raw.value.split_first_chunk() else {
        return Err(mp_fault(raw, "MP_UNREACH_NLRI is malformed"));
    };
    let family = AfiSafi {
        afi: u16::from_be_bytes([a, b]),
        safi,
    };
    let Some(afi) = negotiated(ctx, family) else {
        judge.discard(raw.code, AttrFault::FamilyNotNegotiated);
        return Ok(None);
    };
    Ok(Some(MpFields { raw, afi, nlri }))
}

fn negotiated(ctx: &DecodeContext, family: AfiSafi) -> Option<Afi> {
    family.as_unicast().filter(|afi| *ctx.families.get(*afi))
}

/// Wrong flags on an attribute that carries prefixes (RFC 7606 5.3).
fn mp_flags(raw: &RawAttr<'_>) -> Result<(), Fault> {
    if raw.flags & (flag::OPTIONAL | flag::TRANSITIVE) == flag::OPTIONAL {
        return Ok(());
    }
    Err(Fault::with_data(
        code::UPDATE,
        update_message::ATTRIBUTE_FLAGS,
        raw.whole,
        "MP_REACH_NLRI or MP_UNREACH_NLRI has wrong flags",
    ))
}

/// An attribute that carries prefixes which cannot be told (RFC 4760 7).
pub(super) fn mp_fault(raw: &RawAttr<'_>, what: &'static str) -> Fault {
    Fault::with_data(
        code::UPDATE,
        update_message::OPTIONAL_ATTRIBUTE,
        raw.whole,
        what,
    )
}
