//! `BGPFilter`s compiled into filters, and attributes into edits.

use std::sync::Arc;

use dunlin_bgp::policy::{AttrEdits, Filter, FilterAction, FilterRule, Match};
use dunlin_net::{Afi, Asn};

use crate::fact::{Attributes, FilterFact, Prepend};
use crate::problem::{ObjectKind, ObjectRef, Problem};
use crate::settings::{Faults, asn_fault, host_bits_fault};

/// The most rules of a filter: their numbers are of 16 bits, and each costs every route.
pub const MAX_FILTER_RULES: usize = 10_000;

/// The most times a number is put before a path: 255 fit one segment, and real paths are far shorter.
const MAX_PREPEND: u8 = 32;

/// Compiles a filter. A filter with any fault is refused as a whole.
pub(crate) fn compile(fact: &FilterFact, own_asn: Asn) -> (Option<Arc<Filter>>, Vec<Problem>) {
    let mut faults = Faults::new(ObjectRef::new(ObjectKind::BgpFilter, &fact.name));
    faults.malformed(&fact.malformed);
    if fact.rules.len() > MAX_FILTER_RULES {
        faults.invalid(
            "spec.rules",
            format!("has {} rules: at most {MAX_FILTER_RULES}", fact.rules.len()),
        );
        return (None, faults.problems);
    }
    let mut rules = Vec::with_capacity(fact.rules.len());
    for (at, rule) in fact.rules.iter().enumerate() {
        let field = format!("spec.rules[{at}]");
        check_match(&rule.matches, &field, &mut faults);
        check_attributes(
            &rule.attributes,
            &format!("{field}.attributes"),
            &mut faults,
        );
        if rule.action == FilterAction::Reject && rule.attributes != Attributes::default() {
            faults.invalid(
                format!("{field}.attributes"),
                "a rule that rejects changes nothing: remove the attributes or accept",
            );
        }
        rules.push(FilterRule {
            matches: rule.matches.clone(),
            action: rule.action,
            edits: edits(&rule.attributes, own_asn),
        });
    }
    if !faults.problems.is_empty() {
        return (None, faults.problems);
    }
    let filter = Filter {
        name: fact.name.clone(),
        rules,
    };
    (Some(Arc::new(filter)), Vec::new())
}

fn check_match(matches: &Match, field: &str, faults: &mut Faults) {
    let bits = match matches.cidr {
        Some(net) => {
            faults.check(format!("{field}.match.cidr"), host_bits_fault(net));
            Afi::of_net(net).bits()
        }
        None => Afi::Ipv6.bits(),
    };
    for (name, length) in [
        ("lengthMin", matches.length_min),
        ("lengthMax", matches.length_max),
    ] {
        if let Some(length) = length
            && length > bits
        {
            faults.invalid(
                format!("{field}.match.{name}"),
                format!("{length} is longer than an address: at most {bits}"),
            );
        }
    }
    let shortest = matches
        .length_min
        .or(matches.cidr.map(|net| net.prefix_len()))
        .unwrap_or(0);
    if let Some(max) = matches.length_max
        && max < shortest
    {
        faults.invalid(
            format!("{field}.match.lengthMax"),
            format!("{max} is shorter than {shortest}, so the rule matches nothing"),
        );
    }
    for (at, asn) in matches.as_path_prefix.iter().enumerate() {
        faults.check(format!("{field}.match.asPath[{at}]"), asn_fault(*asn));
    }
}

/// Checks what an advertisement or a rule sets.
pub(crate) fn check_attributes(attributes: &Attributes, field: &str, faults: &mut Faults) {
    if let Some(Prepend { asn, count }) = attributes.prepend {
        if count == 0 || count > MAX_PREPEND {
            faults.invalid(
                format!("{field}.prepend.count"),
                format!("{count} is out of range: give 1 to {MAX_PREPEND}"),
            );
        }
        if let Some(asn) = asn {
            faults.check(format!("{field}.prepend.asn"), asn_fault(asn));
        }
    }
}

/// Attributes as edits, with communities in order and without repeats.
pub(crate) fn edits(attributes: &Attributes, own_asn: Asn) -> AttrEdits {
    let mut add_communities = attributes.communities.clone();
    add_communities.sort();
    add_communities.dedup();
    AttrEdits {
        local_pref: attributes.local_preference,
        med: attributes.med,
        prepend: attributes
            .prepend
            .map(|prepend| (prepend.asn.unwrap_or(own_asn), prepend.count)),
        add_communities,
    }
}

/// What a prefix carries that two advertisements announce to the same peer: all communities, the higher local
/// preference, the lower MED, the longer prepending (then the lower AS number).
pub(crate) fn merge(a: AttrEdits, b: AttrEdits) -> AttrEdits {
    let mut add_communities = a.add_communities;
    add_communities.extend(b.add_communities);
    add_communities.sort();
    add_communities.dedup();
    let longer = |prepend: &(Asn, u8)| (prepend.1, std::cmp::Reverse(prepend.0));
    AttrEdits {
        local_pref: a.local_pref.max(b.local_pref),
        med: a.med.into_iter().chain(b.med).min(),
        prepend: a.prepend.into_iter().chain(b.prepend).max_by_key(longer),
        add_communities,
    }
}

#[cfg(test)]
mod tests;
