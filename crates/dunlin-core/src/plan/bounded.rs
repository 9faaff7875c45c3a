//! Lists of prefixes that keep the first few and count the rest.

use std::collections::BTreeMap;

use dunlin_api::{FieldChange, Listed, PlannedPrefix, PlannedPrefixes};
use dunlin_bgp::policy::RejectReason;
use dunlin_net::{IpNet, PeerId};

/// What is kept of a prefix until it is known whether it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    fn shown(&self, show: impl Fn(IpNet, &Kept) -> PlannedPrefix) -> Listed<PlannedPrefix> {
        Listed {
            items: self.items.iter().map(|(net, k)| show(*net, k)).collect(),
            more: self.more,
        }
    }
}

/// Prefixes that come, go and change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shift {
    pub(super) appear: Bounded,
    pub(super) go: Bounded,
    pub(super) change: Bounded,
}

impl Shift {
    /// What goes as the one and comes as the other, originated and learned, stays and changes.
    pub(super) fn reconcile(&mut self) {
        let (appear, go) = (&mut self.appear.items, &mut self.go.items);
        let both: Vec<IpNet> = appear
            .keys()
            .filter(|net| go.contains_key(net))
            .copied()
            .collect();
        for net in both {
            go.remove(&net);
            if let Some(mut kept) = appear.remove(&net) {
                let (learned, ours) = (Some("learned".to_owned()), Some("ours".to_owned()));
                let (before, after) = match kept.from {
                    Some(_) => (ours, learned),
                    None => (learned, ours),
                };
                kept.changes = vec![FieldChange {
                    field: "origin".to_owned(),
                    before,
                    after,
                }];
                self.change.items.insert(net, kept);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.appear.is_empty() && self.go.is_empty() && self.change.is_empty()
    }

    /// In words. `origin` says where a prefix comes from, and whether that is to be looked up in what is now or what would be.
    pub(super) fn shown(
        &self,
        origin: impl Fn(IpNet, Option<PeerId>, Time) -> Option<String>,
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
            appear: self.appear.shown(show(Time::After)),
            go: self.go.shown(show(Time::Before)),
            change: self.change.shown(show(Time::After)),
        }
    }
}

/// Now, or with the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    Before,
    After,
}
