//! Elements that are of no one frontend: what is near, where frontends are, pods that may reach themselves, and what nothing
//! of ours is like.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dunlin_net::IpNet;
use dunlin_net::service::{Frontend, FrontendRule, Treatment};

use super::element::{Element, Op, block};
use super::uses::Uses;

/// What stands for these elements where others are frontends.
pub(super) const UNIT: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Common {
    /// Ascending, without overlap.
    near: Vec<IpNet>,
    near_has: Vec<IpNet>,
    pods: Vec<IpNet>,
    /// Those of this node's pods that are endpoints, by the treatments of frontends that have them: bounded by its pods.
    hairpins: Uses<IpAddr>,
    /// By the frontends in them.
    served: Uses<IpNet>,
    /// To be removed.
    odd: Vec<Element>,
}

/// What a batch changes of it.
#[derive(Debug, Default)]
pub(super) struct CommonSent {
    near: Option<Vec<IpNet>>,
    hairpins: Vec<(IpAddr, bool)>,
    /// They come with the first of their frontends, and go after the last.
    served: BTreeMap<IpNet, bool>,
    odd: usize,
}

impl CommonSent {
    /// But for what comes with frontends.
    pub(super) fn is_empty(&self) -> bool {
        let goes = |has: &bool| !has;
        self.near.is_none()
            && self.hairpins.is_empty()
            && !self.served.values().any(goes)
            && self.odd == 0
    }

    pub(super) fn serves_more(&self) -> bool {
        self.served.values().any(|has| *has)
    }

    /// Whether it makes that packets to a frontend are looked at.
    pub(super) fn serves(&self, frontend: &Frontend) -> bool {
        self.served.get(&block(frontend.addr)) == Some(&true)
    }

    /// A block comes with it. False if it did before.
    pub(super) fn serve(&mut self, frontend: &Frontend) -> bool {
        self.served.insert(block(frontend.addr), true).is_none()
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
        self.hairpins.count_anew();
        true
    }

    pub(super) fn recounted(&mut self) {
        self.hairpins.settle_all();
    }

    /// One frontend more is wanted, or one less.
    pub(super) fn count_frontend(&mut self, frontend: &Frontend, more: bool) {
        self.served.count(block(frontend.addr), more);
    }

    /// The element without which no packet to a frontend is looked at; `Err`: it is not there.
    pub(super) fn served(&self, frontend: &Frontend) -> Result<Element, Element> {
        let block = block(frontend.addr);
        match self.served.has(&block) {
            true => Ok(Element::Served(block)),
            false => Err(Element::Served(block)),
        }
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
                    self.hairpins.count(addr, more);
                }
            }
        }
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
        for addr in self.hairpins.lacking() {
            ops.push(Op::Add(Element::Hairpin(addr)));
            sent.hairpins.push((addr, true));
        }
        if may_remove {
            ops.extend(self.odd.iter().copied().map(Op::Remove));
            sent.odd = self.odd.len();
        }
        sent
    }

    /// Pods that are no endpoint any more, and blocks without a frontend, when no frontend has them.
    pub(super) fn plan_last(&self, sent: &mut CommonSent, ops: &mut Vec<Op>) {
        for addr in self.hairpins.idle() {
            ops.push(Op::Remove(Element::Hairpin(addr)));
            sent.hairpins.push((addr, false));
        }
        for block in self.served.idle() {
            ops.push(Op::Remove(Element::Served(block)));
            sent.served.insert(block, false);
        }
    }

    /// A batch was done.
    pub(super) fn done(&mut self, sent: CommonSent) {
        if let Some(near) = sent.near {
            self.near_has = near;
        }
        self.odd.drain(..sent.odd.min(self.odd.len()));
        for (addr, has) in sent.hairpins {
            self.hairpins.set(addr, has);
        }
        for (block, has) in sent.served {
            self.served.set(block, has);
        }
    }

    /// Nothing of it is there.
    pub(super) fn believe_nothing(&mut self) {
        self.near_has.clear();
        self.odd.clear();
        self.hairpins.has_nothing();
        self.served.has_nothing();
    }

    /// A read-back saw one; [`Common::believe_nothing`] goes before, [`Common::found_all`] after.
    pub(super) fn found(&mut self, element: Element) {
        match element {
            Element::Near(net) => self.near_has.push(net),
            Element::Hairpin(addr) => self.hairpins.set(addr, true),
            Element::Served(block) => self.served.set(block, true),
            _ => self.odd.push(element),
        }
    }

    pub(super) fn found_all(&mut self) {
        self.near_has.sort_unstable();
        self.near_has.dedup();
    }

    /// Whether all is there that should be, and nothing else.
    pub(super) fn is_settled(&self) -> bool {
        self.near == self.near_has
            && self.hairpins.is_settled()
            && self.served.is_settled()
            && self.odd.is_empty()
    }

    /// The elements that are believed to be there.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element> + '_ {
        let near = self.near_has.iter().map(|net| Element::Near(*net));
        near.chain(self.hairpins.all().map(Element::Hairpin))
            .chain(self.served.all().map(Element::Served))
            .chain(self.odd.iter().copied())
    }
}
