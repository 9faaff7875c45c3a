//! Lists of prefixes that keep the first few and count the rest.

use std::collections::BTreeMap;

use dunlin_api::{FieldChange, Listed, PlannedPrefix, PlannedPrefixes};
use dunlin_bgp::policy::RejectReason;
use dunlin_bgp::rib::Moment;
use dunlin_net::{IpNet, PeerId};

/// What is kept of a prefix until it is known whether it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    /// Whom it was learned from; none for what this node originates.
    pub(super) from: Option<PeerId>,
    pub(super) reason: Option<RejectReason>,
    pub(super) changes: Vec<FieldChange>,
}

impl Kept {
    pub(super) fn from(from: Option<PeerId>) -> Kept {
        Kept {
            from,
            reason: None,
            changes: Vec::new(),
        }
    }
}

/// The first prefixes of those added.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bounded {
    items: BTreeMap<IpNet, Kept>,
    more: u64,
}

impl Bounded {
    /// Adds a prefix that was not added before; `kept` is asked for only where it may be shown.
    pub(super) fn add(&mut self, limit: usize, net: IpNet, kept: impl FnOnce() -> Kept) {
        if self.items.len() < limit {
            self.items.insert(net, kept());
            return;
        }
        self.more += 1;
        let last = self.items.last_key_value().map(|(last, _)| *last);
        if last.is_some_and(|last| net < last) {
            self.items.pop_last();
            self.items.insert(net, kept());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.more == 0
    }

    /// How many were added.
    pub(super) fn total(&self) -> u64 {
        self.items.len() as u64 + self.more
    }

    /// All but `out` of them, among which are those that `keep` says no to; and what is in `own`.
    pub(super) fn without(
        &self,
        out: u64,
        keep: impl Fn(IpNet, &Kept) -> bool,
        own: &Bounded,
        limit: usize,
    ) -> Bounded {
        let stay = self.items.iter().filter(|(net, kept)| keep(**net, kept));
        let items = stay.chain(&own.items);
        let mut items: BTreeMap<IpNet, Kept> = items.map(|(n, k)| (*n, k.clone())).collect();
        while items.len() > limit {
            items.pop_last();
        }
        let total = self.total().saturating_sub(out) + own.total();
        let more = total.saturating_sub(items.len() as u64);
        Bounded { items, more }
    }

    fn shown(&self, show: impl Fn(IpNet, &Kept) -> PlannedPrefix) -> Listed<PlannedPrefix> {
        Listed {
            items: self.items.iter().map(|(net, k)| show(*net, k)).collect(),
            more: self.more,
        }
    }
}

/// Prefixes that come, go and change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shift {
    pub(super) appear: Bounded,
    pub(super) go: Bounded,
    pub(super) change: Bounded,
}

impl Shift {
    pub(super) fn is_empty(&self) -> bool {
        self.appear.is_empty() && self.go.is_empty() && self.change.is_empty()
    }

    /// In words. `origin` says where a prefix comes from, and whether that is to be looked up in what is now or what would be.
    pub(super) fn shown(
        &self,
        origin: impl Fn(IpNet, Option<PeerId>, Moment) -> Option<String>,
    ) -> PlannedPrefixes {
        let show = |time| {
            let origin = &origin;
            move |net: IpNet, kept: &Kept| PlannedPrefix {
                prefix: net,
                origin: origin(net, kept.from, time),
                reason: kept.reason.map(|reason| reason.to_string()),
                changes: kept.changes.clone(),
            }
        };
        PlannedPrefixes {
            appear: self.appear.shown(show(Moment::After)),
            go: self.go.shown(show(Moment::Before)),
            change: self.change.shown(show(Moment::After)),
        }
    }
}
