//! What must be true after each batch, and when nothing is left to do.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dunlin_net::service::{Frontend, FrontendRule, Treatment, View};
use dunlin_net::{Afi, IpNet};

use super::super::kernel::{Kernel, Walk};
use super::{NEAR, World, all_frontends};
use crate::proxy::{Batch, Counters, Element, Forget, FrontendSet, Op, block, random_slots};

/// Somebody else put slots from here on, behind all that there may be: they go by themselves.
const ODD: u32 = 1 << 20;

impl World {
    /// Nobody meets half of a frontend, and only what is gone is forgotten.
    pub(super) fn check_step(&self, before: &Kernel, batch: &Batch) {
        if self.doubt {
            return;
        }
        let touched: BTreeSet<Frontend> = batch
            .ops
            .iter()
            .filter_map(|(Op::Add(element) | Op::Remove(element))| match element {
                Element::Slot { slot, .. } if *slot >= ODD => None,
                Element::Slot { frontend, .. } | Element::Member { frontend, .. } => {
                    Some(*frontend)
                }
                _ => None,
            })
            .collect();
        for at in touched {
            self.check_shape(at);
            let reached = View::ALL
                .into_iter()
                .any(|view| matches!(before.walk(at, view, None), Walk::Reaches(_)));
            let gone = self.kernel.of(at).is_empty();
            assert!(!(reached && gone && self.wanted_at_plan(at)), "{at} went");
        }
        for forget in &batch.forget {
            if let Forget::Flows { frontend, endpoint } = forget {
                assert!(
                    self.debts || !self.serves(*frontend, endpoint),
                    "{endpoint} serves"
                );
                for view in View::ALL {
                    // A batch that owes may come when the endpoint is back.
                    if let Walk::Reaches(reached) = self.kernel.walk(*frontend, view, None) {
                        assert!(self.debts || !reached.contains(endpoint));
                    }
                }
            }
        }
    }

    fn serves(&self, at: Frontend, endpoint: &SocketAddr) -> bool {
        let serving = self.wanted(&at).and_then(|rule| rule.serving.as_ref());
        serving.is_some_and(|serving| serving.contains(endpoint))
    }

    /// The totals are what a look at each frontend gives.
    pub(super) fn check_counters(&self) {
        let (proxy, counters) = (&self.proxy, self.proxy.counters());
        let mut expected = Counters {
            frontends: 0,
            endpoints: 0,
            elements: proxy.elements().count(),
            pending: 0,
            ..counters
        };
        for at in proxy.frontends.all() {
            let entry = proxy.frontends.entry(at);
            expected.frontends += usize::from(entry.is_wanted());
            expected.endpoints += entry.believed.filled(entry.frontend.afi());
            let waits = entry.queued || entry.sent;
            expected.pending += usize::from(waits && proxy.retries.get(at).is_none());
        }
        assert_eq!(counters, expected);
    }

    fn wanted_at_plan(&self, at: Frontend) -> bool {
        self.wanted(&at).is_some()
    }

    /// Slots without a hole, as many as its set says.
    fn check_shape(&self, at: Frontend) {
        let of = self.kernel.of(at);
        for view in View::ALL {
            let slots: Vec<u32> = of
                .iter()
                .filter_map(|element| match element {
                    Element::Slot { view: v, slot, .. } if *v == view && *slot < ODD => Some(*slot),
                    _ => None,
                })
                .collect();
            let count = u32::try_from(slots.len()).unwrap();
            assert!(
                slots.iter().copied().eq(0..count),
                "{at}: holes in {slots:?}"
            );
            let sets = of.iter().filter_map(|element| match element {
                Element::Member { set, .. } => Some(*set),
                _ => None,
            });
            let sizes: Vec<bool> = sets
                .filter_map(|set| match set {
                    FrontendSet::Random { view: v, slots } if v == view => {
                        Some(random_slots(count as usize) == slots)
                    }
                    FrontendSet::Hashed { view: v, slots } if v == view => Some(slots == count),
                    _ => None,
                })
                .collect();
            let expected: &[bool] = if count == 0 { &[] } else { &[true] };
            assert_eq!(sizes, expected, "{at}");
        }
    }

    pub(super) fn check_settled(&self) {
        let kernel = self.kernel.set();
        assert_eq!(kernel, self.proxy.elements().collect());
        assert_eq!(kernel.len(), self.proxy.counters().elements);
        for element in &kernel {
            if let Element::Member { frontend, .. }
            | Element::Slot { frontend, .. }
            | Element::Allowed { frontend, .. } = element
            {
                assert!(self.wanted(frontend).is_some(), "{frontend} is left");
            }
        }
        let mut near = BTreeSet::new();
        let mut hairpins = BTreeSet::new();
        let mut served = BTreeSet::new();
        for element in &kernel {
            match element {
                Element::Near(net) => drop(near.insert(net.to_string())),
                Element::Hairpin(addr) => drop(hairpins.insert(*addr)),
                Element::Served(block) => drop(served.insert(*block)),
                _ => {}
            }
        }
        let (pods, _, expected) = NEAR[self.near];
        assert_eq!(near, expected.iter().map(ToString::to_string).collect());
        let pods: Vec<IpNet> = pods.iter().map(|net| net.parse().unwrap()).collect();
        let mut expected = BTreeSet::new();
        let mut blocks = BTreeSet::new();
        for at in all_frontends() {
            let Some(rule) = self.wanted(&at) else {
                continue;
            };
            blocks.insert(block(at.addr));
            for treatment in std::iter::once(&rule.inside).chain(&rule.outside) {
                if let Treatment::Balance(balance) = treatment {
                    let addrs = balance.endpoints.iter().map(SocketAddr::ip);
                    expected.extend(addrs.filter(|a| pods.iter().any(|net| net.contains(a))));
                }
            }
            self.check_frontend(rule);
        }
        assert_eq!(hairpins, expected);
        assert_eq!(served, blocks);
        for (at, to) in &self.flows {
            let reached = reach(&self.kernel, *at);
            match to {
                Some(to) => {
                    let lasts = reached.iter().any(|r| r.contains(to)) || self.serves(*at, to);
                    assert!(lasts, "a flow of {at} to {to}");
                }
                None => assert!(reached.iter().all(BTreeSet::is_empty), "{at} untranslated"),
            }
        }
        for (at, view, to) in &self.clients {
            assert!(is_sticky(&self.kernel, *at));
            let reached = reach(&self.kernel, *at);
            assert!(reached[*view as usize].contains(to), "{at} {view:?} {to}");
        }
    }

    fn check_frontend(&self, rule: &FrontendRule) {
        let at = rule.frontend;
        self.check_shape(at);
        assert!(self.proxy.is_programmed(&at));
        let of = self.kernel.of(at);
        for view in View::ALL {
            let expected = expected(rule, view);
            let from = (view == View::Outside).then(|| source(at.afi()));
            assert_eq!(self.kernel.walk(at, view, from), expected, "{rule:?}");
        }
        if let Some(sources) = &rule.sources {
            let elsewhere: IpNet = match at.afi() {
                Afi::Ipv4 => "203.0.113.7/32".parse().unwrap(),
                Afi::Ipv6 => "2001:db8:ffff::1/128".parse().unwrap(),
            };
            let all = sources.iter().any(|net| net.contains(&elsewhere));
            let walk = self.kernel.walk(at, View::Outside, Some(elsewhere));
            if !all {
                assert_eq!(walk, Walk::Dropped);
            }
        }
        let outside = of.iter().any(|element| {
            matches!(
                element,
                Element::Slot {
                    view: View::Outside,
                    ..
                }
            )
        });
        if rule.outside.is_none() || rule.outside.as_ref() == Some(&rule.inside) {
            assert!(!outside);
        }
    }
}

/// One address that most ranges of the test allow.
pub(super) fn source(afi: Afi) -> IpNet {
    match afi {
        Afi::Ipv4 => "198.51.100.7/32".parse().unwrap(),
        Afi::Ipv6 => "2001:db8:1::7/128".parse().unwrap(),
    }
}

pub(super) fn is_sticky(kernel: &Kernel, at: Frontend) -> bool {
    let sticky = |element: &Element| {
        matches!(
            element,
            Element::Member {
                set: FrontendSet::Sticky { .. },
                ..
            }
        )
    };
    kernel.of(at).iter().any(sticky)
}

/// The endpoints that each view comes to, from wherever is allowed.
fn reach(kernel: &Kernel, at: Frontend) -> [BTreeSet<SocketAddr>; 2] {
    View::ALL.map(|view| match kernel.walk(at, view, None) {
        Walk::Reaches(reached) => reached,
        _ => BTreeSet::new(),
    })
}

/// What becomes of a client at [`source`] by the words of the rule.
fn expected(rule: &FrontendRule, view: View) -> Walk {
    let at = rule.frontend;
    let of = |treatment: &Treatment| match treatment {
        Treatment::Reject => Walk::Refused,
        Treatment::Drop => Walk::Dropped,
        Treatment::Balance(balance) => {
            let usable = |to: &&SocketAddr| to.is_ipv4() == at.addr.is_ipv4() && to.port() > 0;
            let usable: BTreeSet<SocketAddr> =
                balance.endpoints.iter().filter(usable).copied().collect();
            if usable.is_empty() {
                Walk::Refused
            } else {
                Walk::Reaches(usable)
            }
        }
    };
    let (inside, outside) = (of(&rule.inside), of(rule.treatment(View::Outside)));
    if view == View::Inside {
        return inside;
    }
    if let Some(sources) = &rule.sources {
        let from = source(at.afi());
        if !sources.iter().any(|net| net.contains(&from)) {
            return Walk::Dropped;
        }
    }
    match (outside, inside) {
        (Walk::Refused, Walk::Reaches(_) | Walk::Dropped) => Walk::Dropped,
        (outside, _) => outside,
    }
}
