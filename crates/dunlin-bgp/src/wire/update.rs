use std::ops::Range;

use dunlin_net::{Afi, Asn, PerFamily};

use super::check::MpFields;
use super::judge::Judge;
use super::nlri::{self, position};
use super::parse::{self, AttrList, Sections};
use super::{AttrFault, Disposition, Fault, UpdateJudgement, check, code, update_message};
use crate::attrs::{self, code as attr};
use crate::batch::{BatchItem, NextHop, RouteBatch};
use crate::policy::PeerType;

/// What a session agreed on that decides how its UPDATEs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeContext {
    /// The kind of peer.
    pub peer_type: PeerType,
    /// AS numbers have four octets: both sides offered RFC 6793.
    pub four_octet_as: bool,
    /// The unicast families negotiated. Prefixes of another are ignored and noted.
    pub families: PerFamily<bool>,
    /// Families whose prefixes come with path identifiers (RFC 7911).
    pub add_path: PerFamily<bool>,
    /// IPv4 prefixes may come with IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// The AS that paths must begin with (RFC 4271 6.3), if that is to be checked. Never for internal peers.
    pub enforce_first_as: Option<Asn>,
    /// The index of the interface of a session between link-local addresses; else 0. Over such a session a link-local next hop
    /// is on that interface, and is the one that counts even beside a global one, which need not be on any link of ours.
    pub interface: u32,
    /// The seed for [`attrs::hash`], the same for all sessions.
    pub hash_seed: u64,
}

/// Reads the body of an UPDATE, judges it by RFC 7606 and adds to the batch what it says. Withdrawals come first, so a
/// prefix in both fields is announced. A fault leaves the batch as it was.
///
/// Allocates nothing but room in the batch, except for attributes that must be rewritten. An UPDATE of n octets adds at
/// most n prefixes and, from two-octet peers, 2 n octets of attributes.
pub fn decode_update(
    ctx: &DecodeContext,
    body: &[u8],
    out: &mut RouteBatch,
) -> Result<UpdateJudgement, Fault> {
    let mark = Mark::of(out);
    let judged = decode(ctx, body, out);
    if judged.is_err() {
        mark.restore(out);
    }
    judged
}

/// How much a batch held.
struct Mark {
    attr_bytes: usize,
    items: usize,
    nlri: PerFamily<usize>,
    path_ids: PerFamily<usize>,
}

impl Mark {
    fn of(batch: &RouteBatch) -> Mark {
        Mark {
            attr_bytes: batch.attr_bytes.len(),
            items: batch.items.len(),
            nlri: PerFamily {
                v4: batch.nlri.v4.len(),
                v6: batch.nlri.v6.len(),
            },
            path_ids: PerFamily {
                v4: batch.path_ids.v4.len(),
                v6: batch.path_ids.v6.len(),
            },
        }
    }

    #[cold]
    fn restore(&self, batch: &mut RouteBatch) {
        batch.attr_bytes.truncate(self.attr_bytes);
        batch.items.truncate(self.items);
        batch.nlri.v4.truncate(self.nlri.v4);
        batch.nlri.v6.truncate(self.nlri.v6);
        batch.path_ids.v4.truncate(self.path_ids.v4);
        batch.path_ids.v6.truncate(self.path_ids.v6);
    }
}

/// Prefixes with the next hop they came with: none if it is missing or wrong.
struct Reach {
    afi: Afi,
    nlri: Range<u32>,
    next_hop: Option<NextHop>,
}

fn decode(
    ctx: &DecodeContext,
    body: &[u8],
    out: &mut RouteBatch,
) -> Result<UpdateJudgement, Fault> {
    let sections = parse::sections(body)?;
    let mut judge = Judge::default();
    let list = parse::attributes(sections.attrs, &mut judge)?;

    let unreach = match &list.mp_unreach {
        Some(raw) => check::mp_unreach(ctx, raw, &mut judge)?,
        None => None,
    };
    if let Some(afi) = end_of_rib(body, &sections, &list, unreach.as_ref()) {
        if *ctx.families.get(afi) {
            out.items.push(BatchItem::EndOfRib(afi));
        } else {
            judge.discard(0, AttrFault::FamilyNotNegotiated);
        }
        return Ok(judge.judgement);
    }
    let withdrawn = classic_field(ctx, sections.withdrawn, &mut judge, out)?;
    withdraw(Afi::Ipv4, withdrawn, &mut judge, out);
    if let Some(unreach) = unreach {
        let nlri = multi_field(ctx, &unreach, &mut judge, out)?;
        withdraw(unreach.afi, nlri, &mut judge, out);
    }

    let classic = classic_field(ctx, sections.nlri, &mut judge, out)?;
    let mut announces = !sections.nlri.is_empty();
    let mut multi = None;
    if let Some(raw) = &list.mp_reach {
        if let Some((fields, next_hop)) = check::mp_reach(ctx, raw, &mut judge)? {
            announces |= !fields.nlri.is_empty();
            multi = Some(Reach {
                afi: fields.afi,
                nlri: multi_field(ctx, &fields, &mut judge, out)?,
                next_hop,
            });
        } else {
            // A family that was not negotiated still says that this is an announcement.
            announces = true;
        }
    }

    let start = out.attr_bytes.len();
    let source = sections.attrs;
    let next_hop = check::attributes(ctx, &list, source, &mut judge, &mut out.attr_bytes)?;
    if announces {
        missing(&sections, &list, &mut judge);
    } else if let Some(fault) = judge.reset() {
        return Err(fault);
    }
    let classic = Reach {
        afi: Afi::Ipv4,
        nlri: classic,
        next_hop: next_hop.map(|addr| NextHop::new(addr.into())),
    };
    add_reach(ctx, start, [Some(classic), multi], &mut judge, out);
    Ok(judge.judgement)
}

/// The family whose End-of-RIB this is (RFC 4724 2): nothing at all, or one MP_UNREACH_NLRI without prefixes.
fn end_of_rib(
    body: &[u8],
    sections: &Sections<'_>,
    list: &AttrList<'_>,
    unreach: Option<&MpFields<'_, '_>>,
) -> Option<Afi> {
    if body == [0; 4] {
        return Some(Afi::Ipv4);
    }
    let raw = list.mp_unreach.as_ref()?;
    let alone = raw.whole.len() == sections.attrs.len()
        && sections.withdrawn.is_empty()
        && sections.nlri.is_empty();
    unreach
        .filter(|fields| alone && fields.nlri.is_empty())
        .map(|fields| fields.afi)
}

/// The prefixes of MP_REACH_NLRI or MP_UNREACH_NLRI.
fn multi_field(
    ctx: &DecodeContext,
    fields: &MpFields<'_, '_>,
    judge: &mut Judge<'_>,
    out: &mut RouteBatch,
) -> Result<Range<u32>, Fault> {
    let kind = (fields.afi, *ctx.add_path.get(fields.afi));
    nlri::decode_into(kind, fields.nlri, out, &mut judge.judgement.ignored).map_err(|_| {
        check::mp_fault(
            fields.raw,
            "a prefix in MP_REACH_NLRI or MP_UNREACH_NLRI is malformed",
        )
    })
}

/// The prefixes of one of the two IPv4 fields outside attributes.
fn classic_field(
    ctx: &DecodeContext,
    field: &[u8],
    judge: &mut Judge<'_>,
    out: &mut RouteBatch,
) -> Result<Range<u32>, Fault> {
    let before = out.nlri.v4.len();
    let kind = (Afi::Ipv4, ctx.add_path.v4);
    let nlri = nlri::decode_into(kind, field, out, &mut judge.judgement.ignored).map_err(|_| {
        Fault::new(
            code::UPDATE,
            update_message::INVALID_NETWORK,
            "a prefix is longer than 32 bits or overruns its field",
        )
    })?;
    if !ctx.families.v4 && !field.is_empty() {
        out.nlri.v4.truncate(before);
        out.path_ids.v4.truncate(before);
        judge.discard(0, AttrFault::FamilyNotNegotiated);
        return Ok(position(before)..position(before));
    }
    Ok(nlri)
}

fn withdraw(afi: Afi, nlri: Range<u32>, judge: &mut Judge<'_>, out: &mut RouteBatch) {
    if !nlri.is_empty() {
        judge.judgement.withdrawn += nlri.end - nlri.start;
        out.items.push(BatchItem::Withdraw { afi, nlri });
    }
}

/// Notes mandatory attributes that an announcement lacks (RFC 7606 3 d).
fn missing(sections: &Sections<'_>, list: &AttrList<'_>, judge: &mut Judge<'_>) {
    // They have the lowest codes but 0, so they are among the first four.
    let mut present = list
        .attrs
        .iter()
        .map(|raw| raw.code)
        .take(4)
        .fold(0_u32, |set, code| {
            set | 1_u32.checked_shl(u32::from(code)).unwrap_or(0)
        });
    if sections.nlri.is_empty() {
        present |= 1 << attr::NEXT_HOP;
    }
    for code in [attr::ORIGIN, attr::AS_PATH, attr::NEXT_HOP] {
        if present & 1 << code == 0 {
            judge.note(code, AttrFault::Missing, Disposition::TreatAsWithdraw, &[]);
        }
    }
}

/// Adds announcements, or withdrawals in their place. The attributes lie in the batch from `start` on.
fn add_reach(
    ctx: &DecodeContext,
    start: usize,
    reaches: [Option<Reach>; 2],
    judge: &mut Judge<'_>,
    out: &mut RouteBatch,
) {
    let good = judge.judgement.disposition < Disposition::TreatAsWithdraw;
    let attrs = position(start)..position(out.attr_bytes.len());
    let mut used = false;
    for reach in reaches.into_iter().flatten() {
        if reach.nlri.is_empty() {
            continue;
        }
        let Some(next_hop) = reach.next_hop.filter(|_| good) else {
            withdraw(reach.afi, reach.nlri, judge, out);
            continue;
        };
        used = true;
        judge.judgement.announced += reach.nlri.end - reach.nlri.start;
        out.items.push(BatchItem::Announce {
            afi: reach.afi,
            attrs: attrs.clone(),
            hash: attrs::hash(ctx.hash_seed, &out.attr_bytes[start..], &next_hop),
            next_hop,
            nlri: reach.nlri,
        });
    }
    if !used {
        out.attr_bytes.truncate(start);
    }
}
