//! The first step: an UPDATE cut into its fields and attributes, without a look at what they say.

use smallvec::SmallVec;

use super::judge::Judge;
use super::{AttrFault, Disposition, Fault, code, update_message};
use crate::attrs::{code as attr, flag};

/// The fields of an UPDATE (RFC 4271 4.3).
pub(super) struct Sections<'a> {
    pub(super) withdrawn: &'a [u8],
    pub(super) attrs: &'a [u8],
    pub(super) nlri: &'a [u8],
}

/// Cuts the body of an UPDATE. Lengths that do not fit the message reset the session (RFC 7606 3 b).
pub(super) fn sections(body: &[u8]) -> Result<Sections<'_>, Fault> {
    let (withdrawn, rest) = counted(body)?;
    let (attrs, nlri) = counted(rest)?;
    Ok(Sections {
        withdrawn,
        attrs,
        nlri,
    })
}

fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    bytes
        .split_first_chunk::<2>()
        .and_then(|(len, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*len))))
        .ok_or_else(|| {
            Fault::new(
                code::UPDATE,
                update_message::MALFORMED_ATTRIBUTE_LIST,
                "the length of withdrawn routes or attributes exceeds the message",
            )
        })
}

/// One attribute as it came.
#[derive(Clone, Copy)]
pub(super) struct RawAttr<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    /// Where it begins in the attribute list.
    pub(super) start: u32,
    pub(super) value: &'a [u8],
    /// Head and value.
    pub(super) whole: &'a [u8],
}

/// The attributes of an UPDATE, each once, by rising type code.
pub(super) struct AttrList<'a> {
    /// All but the two that carry prefixes.
    pub(super) attrs: SmallVec<[RawAttr<'a>; 12]>,
    pub(super) mp_reach: Option<RawAttr<'a>>,
    pub(super) mp_unreach: Option<RawAttr<'a>>,
}

/// Cuts the attribute list. A repeated attribute is dropped (RFC 7606 3 g) and one that overruns the list ends it (4);
/// both reset the session for the attributes that carry prefixes, since these cannot be told then.
pub(super) fn attributes<'a>(list: &'a [u8], judge: &mut Judge<'a>) -> Result<AttrList<'a>, Fault> {
    let mut parsed = AttrList {
        attrs: SmallVec::new(),
        mp_reach: None,
        mp_unreach: None,
    };
    let mut seen = [0_u64; 4];
    let mut sorted = true;
    let mut last = 0;
    let mut rest = list;
    while !rest.is_empty() {
        let Some(raw) = cut(list, rest) else {
            overrun(rest, judge)?;
            break;
        };
        rest = &rest[raw.whole.len()..];
        let (word, bit) = (usize::from(raw.code >> 6), 1 << (raw.code & 63));
        let again = seen[word] & bit != 0;
        seen[word] |= bit;
        match raw.code {
            attr::MP_REACH_NLRI | attr::MP_UNREACH_NLRI if again => {
                return Err(Fault::new(
                    code::UPDATE,
                    update_message::MALFORMED_ATTRIBUTE_LIST,
                    "MP_REACH_NLRI or MP_UNREACH_NLRI appears twice",
                ));
            }
            code if again => judge.discard(code, AttrFault::Duplicate),
            attr::MP_REACH_NLRI => parsed.mp_reach = Some(raw),
            attr::MP_UNREACH_NLRI => parsed.mp_unreach = Some(raw),
            code => {
                sorted &= code > last;
                last = code;
                parsed.attrs.push(raw);
            }
        }
    }
    if !sorted {
        parsed.attrs.sort_unstable_by_key(|raw| raw.code);
    }
    Ok(parsed)
}

/// The attribute that `rest`, the end of `list`, begins with; `None` if it overruns.
#[inline]
fn cut<'a>(list: &'a [u8], rest: &'a [u8]) -> Option<RawAttr<'a>> {
    let (head, len) = match *rest {
        [flags, _, high, low, ..] if flags & flag::EXTENDED_LENGTH != 0 => {
            (4, usize::from(u16::from_be_bytes([high, low])))
        }
        [flags, _, len, ..] if flags & flag::EXTENDED_LENGTH == 0 => (3, usize::from(len)),
        _ => return None,
    };
    let whole = rest.get(..head + len)?;
    Some(RawAttr {
        flags: whole[0],
        code: whole[1],
        start: (list.len() - rest.len()) as u32, // the list has at most 65,535 octets
        value: &whole[head..],
        whole,
    })
}

#[cold]
fn overrun<'a>(rest: &'a [u8], judge: &mut Judge<'a>) -> Result<(), Fault> {
    let code = rest.get(1).copied().unwrap_or(0);
    if matches!(code, attr::MP_REACH_NLRI | attr::MP_UNREACH_NLRI) {
        return Err(Fault::new(
            code::UPDATE,
            update_message::MALFORMED_ATTRIBUTE_LIST,
            "MP_REACH_NLRI or MP_UNREACH_NLRI overruns the attribute list",
        ));
    }
    judge.note(code, AttrFault::Overrun, Disposition::TreatAsWithdraw, rest);
    Ok(())
}
