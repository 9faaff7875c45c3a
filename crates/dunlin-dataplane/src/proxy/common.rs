//! Elements that are of no frontend: what is near, pods that may reach themselves, and what nothing of ours is like.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_net::IpNet;
use dunlin_net::service::{FrontendRule, Treatment};

use super::element::{Element, Op};

/// What stands for these elements where others are frontends.
pub(super) const UNIT: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Common {
    /// Ascending, without overlap.
    near: Vec<IpNet>,
    near_has: Vec<IpNet>,
    pods: Vec<IpNet>,
    /// Those of this node's pods that are endpoints: bounded by its pods.
    hairpins: BTreeMap<IpAddr, Hairpin>,
    /// Those whose element may not be as it should.
    stirred: BTreeSet<IpAddr>,
    /// To be removed.
    odd: Vec<Element>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hairpin {
    /// By so many treatments of frontends.
    uses: u32,
    has: bool,
}

/// What a batch changes of it.
#[derive(Debug, Default)]
pub(super) struct CommonSent {
    near: Option<Vec<IpNet>>,
    hairpins: Vec<(IpAddr, bool)>,
    odd: usize,
}

impl CommonSent {
    pub(super) fn is_empty(&self) -> bool {
        self.near.is_none() && self.hairpins.is_empty() && self.odd == 0
    }
}

impl Common {
    /// False if it is as before. Else all endpoints must be counted again, and then [`Common::recounted`].
    pub(super) fn set_near(&mut self, pods: &[IpNet], nodes: &[IpAddr]) -> bool {
        let order = |nets: &[IpNet]| {
            let nets: Vec<IpNet> = nets.iter().map(IpNet::trunc).collect();
            let mut nets = IpNet::aggregate(&nets);
            nets.sort_unstable();
            nets
        };
        let pods = order(pods);
        let mut near = pods.clone();
        near.extend(nodes.iter().map(|node| IpNet::from(*node)));
        let near = order(&near);
        if near == self.near && pods == self.pods {
            return false;
        }
        self.near = near;
        self.pods = pods;
        for hairpin in self.hairpins.values_mut() {
            hairpin.uses = 0;
        }
        true
    }

    pub(super) fn recounted(&mut self) {
        self.hairpins
            .retain(|_, hairpin| hairpin.uses > 0 || hairpin.has);
        let stirred = self.hairpins.iter();
        let stirred = stirred.filter(|(_, hairpin)| (hairpin.uses > 0) != hairpin.has);
        self.stirred = stirred.map(|(addr, _)| *addr).collect();
    }

    /// One rule more, or one less, has its endpoints.
    pub(super) fn count_endpoints(&mut self, rule: &FrontendRule, more: bool) {
        let treatments = std::iter::once(&rule.inside).chain(&rule.outside);
        for treatment in treatments {
            let Treatment::Balance(balance) = treatment else {
                continue;
            };
            for endpoint in balance.endpoints.iter() {
                let addr = endpoint.ip();
                if self.pods.iter().any(|pods| pods.contains(&addr)) {
                    self.count(addr, more);
                }
            }
        }
    }

    fn count(&mut self, addr: IpAddr, more: bool) {
        let hairpin = self.hairpins.entry(addr).or_default();
        hairpin.uses = if more {
            hairpin.uses.saturating_add(1)
        } else {
            hairpin.uses.saturating_sub(1)
        };
        self.settle(addr);
    }

    /// What must be there before frontends are, and what may go when nothing that they do waits.
    pub(super) fn plan(&self, may_remove: bool, ops: &mut Vec<Op>) -> CommonSent {
        let mut sent = CommonSent::default();
        if self.near != self.near_has {
            let only = |a: &[IpNet], b: &[IpNet]| -> Vec<IpNet> {
                let not_in_b = a.iter().filter(|net| b.binary_search(net).is_err());
                not_in_b.copied().collect()
            };
            let gone = only(&self.near_has, &self.near);
            if may_remove || gone.is_empty() {
                ops.extend(gone.into_iter().map(|net| Op::Remove(Element::Near(net))));
                let new = only(&self.near, &self.near_has);
                ops.extend(new.into_iter().map(|net| Op::Add(Element::Near(net))));
                sent.near = Some(self.near.clone());
            }
        }
        for addr in &self.stirred {
            let hairpin = self.hairpins.get(addr).copied().unwrap_or_default();
            if hairpin.uses > 0 && !hairpin.has {
                ops.push(Op::Add(Element::Hairpin(*addr)));
                sent.hairpins.push((*addr, true));
            }
        }
        if may_remove {
            ops.extend(self.odd.iter().copied().map(Op::Remove));
            sent.odd = self.odd.len();
        }
        sent
    }

    /// Pods that are no endpoint any more, when no frontend has them.
    pub(super) fn plan_last(&self, sent: &mut CommonSent, ops: &mut Vec<Op>) {
        for addr in &self.stirred {
            let hairpin = self.hairpins.get(addr).copied().unwrap_or_default();
            if hairpin.uses == 0 && hairpin.has {
                ops.push(Op::Remove(Element::Hairpin(*addr)));
                sent.hairpins.push((*addr, false));
            }
        }
    }

    /// A batch was done.
    pub(super) fn done(&mut self, sent: CommonSent) {
        if let Some(near) = sent.near {
            self.near_has = near;
        }
        self.odd.drain(..sent.odd.min(self.odd.len()));
        for (addr, has) in sent.hairpins {
            self.hairpins.entry(addr).or_default().has = has;
            self.settle(addr);
        }
    }

    fn settle(&mut self, addr: IpAddr) {
        let hairpin = self.hairpins.get(&addr).copied().unwrap_or_default();
        if (hairpin.uses > 0) == hairpin.has {
            self.stirred.remove(&addr);
        } else {
            self.stirred.insert(addr);
        }
        if hairpin.uses == 0 && !hairpin.has {
            self.hairpins.remove(&addr);
        }
    }

    /// Nothing of it is there.
    pub(super) fn believe_nothing(&mut self) {
        self.near_has.clear();
        self.odd.clear();
        for hairpin in self.hairpins.values_mut() {
            hairpin.has = false;
        }
        self.recounted();
    }

    /// A read-back saw one; [`Common::believe_nothing`] goes before, [`Common::found_all`] after.
    pub(super) fn found(&mut self, element: Element) {
        match element {
            Element::Near(net) => self.near_has.push(net),
            Element::Hairpin(addr) => self.hairpins.entry(addr).or_default().has = true,
            _ => self.odd.push(element),
        }
    }

    pub(super) fn found_all(&mut self) {
        self.near_has.sort_unstable();
        self.near_has.dedup();
        self.recounted();
    }

    /// Whether all is there that should be, and nothing else.
    pub(super) fn is_settled(&self) -> bool {
        self.near == self.near_has && self.stirred.is_empty() && self.odd.is_empty()
    }

    /// The elements that are believed to be there.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element> + '_ {
        let near = self.near_has.iter().map(|net| Element::Near(*net));
        let hairpins = self.hairpins.iter().filter(|(_, hairpin)| hairpin.has);
        near.chain(hairpins.map(|(addr, _)| Element::Hairpin(*addr)))
            .chain(self.odd.iter().copied())
    }
}
