use smallvec::SmallVec;

use super::{Fault, code, update_message};
use crate::attrs::code as attr;

/// What was wrong with a part of an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttrFault {
    /// The Optional or Transitive flag is not what the attribute's are.
    Flags,
    /// The length is not one the attribute may have.
    Length,
    /// The value is not one the attribute may have.
    Value,
    /// The attribute appears again; the first counts.
    Duplicate,
    /// The attribute runs over the end of the attribute list.
    Overrun,
    /// A mandatory attribute is missing.
    Missing,
    /// The attribute may not come from this kind of peer.
    Unexpected,
    /// Prefixes of a family that was not negotiated.
    FamilyNotNegotiated,
}

/// What is done about it (RFC 7606 2), weakest first. Session reset is not among them: that is a [`Fault`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disposition {
    /// Nothing was wrong.
    #[default]
    Ok,
    /// The attribute is left out, the routes are taken.
    AttributeDiscard,
    /// All prefixes of the UPDATE are withdrawn.
    TreatAsWithdraw,
}

/// One thing that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// The attribute's type code; 0 for the NLRI fields outside attributes.
    pub attr: u8,
    /// What was wrong.
    pub fault: AttrFault,
    /// What is done about it.
    pub disposition: Disposition,
}

/// How an UPDATE was judged, for counters and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateJudgement {
    /// The strongest of the findings.
    pub disposition: Disposition,
    /// What was wrong: the first [`UpdateJudgement::MAX_FINDINGS`].
    pub findings: SmallVec<[Finding; 4]>,
    /// Prefixes announced.
    pub announced: u32,
    /// Prefixes withdrawn, those of an announcement treated as withdrawal included.
    pub withdrawn: u32,
    /// Multicast prefixes left out (RFC 4271 6.3: logged and ignored).
    pub ignored: u32,
}

impl UpdateJudgement {
    /// No more findings than this are kept of one message.
    pub const MAX_FINDINGS: usize = 16;
}

/// A judgement in the making.
#[derive(Default)]
pub(super) struct Judge<'a> {
    pub(super) judgement: UpdateJudgement,
    /// The first finding that asks for a withdrawal, and the attribute it is about.
    withdraw: Option<(Finding, &'a [u8])>,
}

impl<'a> Judge<'a> {
    /// Notes a finding about an attribute; `whole` is the attribute as it came, head included.
    #[cold]
    pub(super) fn note(
        &mut self,
        attr: u8,
        fault: AttrFault,
        disposition: Disposition,
        whole: &'a [u8],
    ) {
        let finding = Finding {
            attr,
            fault,
            disposition,
        };
        if disposition == Disposition::TreatAsWithdraw && self.withdraw.is_none() {
            self.withdraw = Some((finding, whole));
        }
        self.judgement.disposition = self.judgement.disposition.max(disposition);
        if self.judgement.findings.len() < UpdateJudgement::MAX_FINDINGS {
            self.judgement.findings.push(finding);
        }
    }

    /// The attribute is left out.
    pub(super) fn discard(&mut self, attr: u8, fault: AttrFault) {
        self.note(attr, fault, Disposition::AttributeDiscard, &[]);
    }

    /// Treat-as-withdraw without a prefix to withdraw is a session reset (RFC 7606 5.2).
    pub(super) fn reset(&self) -> Option<Fault> {
        let (finding, whole) = self.withdraw?;
        Some(Fault::with_data(
            code::UPDATE,
            subcode(finding),
            whole,
            "a malformed attribute in an UPDATE that announces nothing to withdraw",
        ))
    }
}

/// The UPDATE error subcode of a finding (RFC 4271 6.3).
fn subcode(finding: Finding) -> u8 {
    match (finding.fault, finding.attr) {
        (AttrFault::Flags, _) => update_message::ATTRIBUTE_FLAGS,
        (AttrFault::Missing, _) => update_message::MISSING_WELL_KNOWN,
        (AttrFault::Length, attr::AS_PATH) => update_message::MALFORMED_AS_PATH,
        (AttrFault::Length, _) => update_message::ATTRIBUTE_LENGTH,
        (AttrFault::Value, attr::ORIGIN) => update_message::INVALID_ORIGIN,
        (AttrFault::Value, attr::AS_PATH) => update_message::MALFORMED_AS_PATH,
        (AttrFault::Value, attr::NEXT_HOP) => update_message::INVALID_NEXT_HOP,
        (AttrFault::Overrun | AttrFault::Duplicate, _) => update_message::MALFORMED_ATTRIBUTE_LIST,
        _ => update_message::OPTIONAL_ATTRIBUTE,
    }
}
