//! Evaluation of filters.

use dunlin_net::{Family, IpNet};

use super::{
    AttrEdits, CommunityValue, Filter, FilterAction, FilterRule, Match, PeerType, RejectReason,
};
use crate::attrs::Attrs;

/// What a filter says of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It passes, with these changes.
    Accept(&'a AttrEdits),
    /// It stops here.
    Reject(RejectReason),
}

impl<'a> Verdict<'a> {
    /// In the form the RIB's policies answer in: no edits where there is nothing to change.
    pub fn into_result(self) -> Result<Option<&'a AttrEdits>, RejectReason> {
        match self {
            Verdict::Accept(edits) => Ok((!edits.is_empty()).then_some(edits)),
            Verdict::Reject(reason) => Err(reason),
        }
    }
}

impl Filter {
    /// Judges a route. `peer_type` is the kind of session it was learned by (import) or goes to (export).
    pub fn judge<F: Family>(
        &self,
        net: F::Net,
        attrs: Attrs<'_>,
        peer_type: PeerType,
    ) -> Verdict<'_> {
        let hit = |rule: &&FilterRule| rule.matches.holds::<F>(net, attrs, peer_type);
        match (0u16..).zip(&self.rules).find(|(_, rule)| hit(rule)) {
            Some((_, rule)) if rule.action == FilterAction::Accept => Verdict::Accept(&rule.edits),
            Some((number, _)) => Verdict::Reject(RejectReason::FilterRule(number)),
            None => Verdict::Reject(RejectReason::FilterNoMatch),
        }
    }
}

impl Filter {
    /// Whether some route to this prefix, whatever its attributes, could pass.
    pub fn may_accept<F: Family>(&self, net: F::Net) -> bool {
        let fitting = self.rules.iter().filter(|rule| rule.matches.fits::<F>(net));
        for rule in fitting {
            match rule.action {
                FilterAction::Accept => return true,
                FilterAction::Reject if rule.matches.is_of_prefix_alone() => return false,
                FilterAction::Reject => {}
            }
        }
        false
    }
}

impl Match {
    /// Whether the conditions on the prefix hold.
    fn fits<F: Family>(&self, net: F::Net) -> bool {
        let len = F::len(net);
        self.length_min.is_none_or(|min| len >= min)
            && self.length_max.is_none_or(|max| len <= max)
            && self.cidr.is_none_or(|cidr| contains::<F>(cidr, net))
    }

    /// Whether there are no other conditions.
    fn is_of_prefix_alone(&self) -> bool {
        self.peer_type.is_none() && self.communities.is_empty() && self.as_path_prefix.is_empty()
    }

    /// Whether all conditions hold for a route.
    pub fn holds<F: Family>(&self, net: F::Net, attrs: Attrs<'_>, peer_type: PeerType) -> bool {
        self.peer_type.is_none_or(|wanted| wanted == peer_type)
            && self.fits::<F>(net)
            && self.communities.iter().all(|&value| carries(attrs, value))
            && (self.as_path_prefix.is_empty() || attrs.as_path().starts_with(&self.as_path_prefix))
    }
}

fn contains<F: Family>(cidr: IpNet, net: F::Net) -> bool {
    let net: IpNet = net.into();
    match (cidr, net) {
        (IpNet::V4(cidr), IpNet::V4(net)) => cidr.contains(&net),
        (IpNet::V6(cidr), IpNet::V6(net)) => cidr.contains(&net),
        _ => false,
    }
}

fn carries(attrs: Attrs<'_>, value: CommunityValue) -> bool {
    match value {
        CommunityValue::Standard(wanted) => attrs.communities().any(|had| had == wanted),
        CommunityValue::Large(a, b, c) => attrs.large_communities().any(|had| had == [a, b, c]),
    }
}
