//! Random sequences of all that can happen, against the treatments computed anew.

mod check;
mod draw;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dunlin_net::service::{Frontend, FrontendRule, Protocol, View};
use dunlin_net::{Instant, IpNet};

use check::{is_sticky, source};

use super::kernel::{Kernel, Walk, error};
use super::{Rng, frontend, name};
use crate::proxy::{Batch, BatchDone, Command, Element, Forget, FrontendSet, Op, Proxy};

/// Pod subnets, node addresses, and what is near then.
const NEAR: [(&[&str], &[&str], &[&str]); 3] = [
    (
        &["10.0.0.0/28", "fd00::/124"],
        &["10.0.0.3", "192.0.2.1"],
        &["10.0.0.0/28", "192.0.2.1/32", "fd00::/124"],
    ),
    (
        &["10.0.0.0/29", "10.0.0.8/29"],
        &["192.0.2.1"],
        &["10.0.0.0/28", "192.0.2.1/32"],
    ),
    (&[], &["2001:db8::1"], &["2001:db8::1/128"]),
];
const SERVICES: usize = 12;

struct World {
    rng: Rng,
    now: Instant,
    proxy: Proxy,
    kernel: Kernel,
    services: BTreeMap<usize, Vec<FrontendRule>>,
    /// Who wants a frontend, in the order they came.
    claims: BTreeMap<Frontend, Vec<usize>>,
    near: usize,
    enabled: bool,
    synced: bool,
    /// What was there at the start, and must stay until it is synced.
    found: BTreeSet<Element>,
    /// The kernel may hold what nobody asked for, or lack what was.
    doubt: bool,
    /// Forgetting was owed or may have been, and a restart loses it.
    debts: bool,
    /// Only the machine knows what went by another hand.
    frail: bool,
    /// UDP flows that conntrack has, to an endpoint or (`None`) untranslated.
    flows: BTreeSet<(Frontend, Option<SocketAddr>)>,
    clients: BTreeSet<(Frontend, View, SocketAddr)>,
    /// A read-back since the start has told of flows.
    flows_told: bool,
}

fn all_frontends() -> Vec<Frontend> {
    let mut all = Vec::new();
    for n in 1..=5 {
        all.push(frontend(&format!("10.96.0.{n}:80")));
        all.push(frontend(&format!("10.96.0.{n}:53/UDP")));
        all.push(frontend(&format!("[fd96::{n}]:80/UDP")));
    }
    all.push(frontend("[fd96::9]:443"));
    all
}

impl World {
    fn new(seed: u64) -> World {
        let mut proxy = Proxy::new(seed);
        proxy.set_enabled(true);
        let mut world = World {
            rng: Rng(seed),
            now: Instant::ZERO,
            proxy,
            kernel: Kernel::default(),
            services: BTreeMap::new(),
            claims: BTreeMap::new(),
            near: 0,
            enabled: true,
            synced: false,
            found: BTreeSet::new(),
            doubt: true,
            debts: false,
            frail: false,
            flows: BTreeSet::new(),
            clients: BTreeSet::new(),
            flows_told: false,
        };
        world.set_near(0);
        world
    }

    fn set_near(&mut self, which: usize) {
        self.near = which;
        let (pods, nodes, _) = NEAR[which];
        let pods: Vec<IpNet> = pods.iter().map(|net| net.parse().unwrap()).collect();
        let nodes: Vec<IpAddr> = nodes.iter().map(|addr| addr.parse().unwrap()).collect();
        self.proxy.set_near(&pods, &nodes);
    }

    fn change_service(&mut self) {
        let service = self.rng.below(SERVICES);
        let all = all_frontends();
        let old = self.services.get(&service).cloned().unwrap_or_default();
        let rules: Vec<FrontendRule> = match self.rng.below(5) {
            0 => Vec::new(),
            1 => old.clone(),
            2 if !old.is_empty() => {
                let old = old.iter().map(|rule| rule.frontend).collect::<Vec<_>>();
                old.into_iter().map(|at| self.rule(at)).collect()
            }
            _ => (0..1 + self.rng.below(3))
                .map(|_| {
                    let at = all[self.rng.below(all.len())];
                    self.rule(at)
                })
                .collect(),
        };
        self.claim(service, rules.clone());
        self.proxy.set(&name(&format!("ns/{service}")), rules);
    }

    fn claim(&mut self, service: usize, rules: Vec<FrontendRule>) {
        let wants: BTreeSet<Frontend> = rules.iter().map(|rule| rule.frontend).collect();
        self.claims.retain(|at, claims| {
            claims.retain(|who| *who != service || wants.contains(at));
            !claims.is_empty()
        });
        for at in wants {
            let claims = self.claims.entry(at).or_default();
            if !claims.contains(&service) {
                claims.push(service);
            }
        }
        self.services.insert(service, rules);
    }

    fn wanted(&self, at: &Frontend) -> Option<&FrontendRule> {
        let service = self.claims.get(at)?.first()?;
        let rules = self.services.get(service)?.iter();
        rules.into_iter().find(|rule| rule.frontend == *at)
    }

    /// What the first read-back tells of conntrack.
    fn told_flows(&self) -> Vec<(Frontend, SocketAddr)> {
        let known = |at: &Frontend| !self.kernel.of(*at).is_empty();
        let told = |(at, to): &(Frontend, Option<SocketAddr>)| match to {
            Some(to) => Some((*at, *to)),
            None => known(at).then(|| (*at, SocketAddr::new(at.addr, at.port))),
        };
        self.flows.iter().filter_map(told).collect()
    }

    /// One thing to the kernel and its answer.
    fn step(&mut self, faults: bool) -> bool {
        let Some(command) = self.proxy.next(self.now) else {
            return false;
        };
        match command {
            Command::Read => {
                if faults && self.rng.below(10) == 0 {
                    self.proxy.on_found(self.now, Err(error(4)));
                    return true;
                }
                let mut found = self.kernel.found();
                if !std::mem::replace(&mut self.flows_told, true) {
                    found.flows = self.told_flows();
                    // Of a frontend that is neither found nor wanted it cannot be known whose flows they are.
                    let (kernel, claims) = (&self.kernel, &self.claims);
                    let tells =
                        |at: &Frontend| claims.contains_key(at) || !kernel.of(*at).is_empty();
                    self.flows.retain(|(at, _)| tells(at));
                }
                self.doubt = false;
                if faults && self.rng.below(10) == 0 {
                    self.meddle();
                }
                self.proxy.on_found(self.now, Ok(found));
            }
            Command::Remove => {
                if faults && self.rng.below(5) == 0 {
                    self.proxy.on_found(self.now, Err(error(1)));
                    return true;
                }
                self.flows.clear();
                self.clients.clear();
                self.found.clear();
                self.kernel.flush();
                self.proxy.on_found(self.now, Ok(self.kernel.found()));
            }
            Command::Submit(batch) => self.submit(&batch, faults),
        }
        true
    }

    fn submit(&mut self, batch: &Batch, faults: bool) {
        if !self.synced {
            let spares = |op: &Op| !matches!(op, Op::Remove(gone) if self.found.contains(gone));
            assert!(batch.ops.iter().all(spares), "removed before it is synced");
            assert!(!(batch.rebuild && self.kernel.present && !self.found.is_empty()));
        }
        let (fault, number) = (self.rng.below(30), batch.number);
        let mut done = BatchDone {
            number,
            result: Ok(()),
            unsure: false,
            forgotten: Ok(()),
        };
        if faults && fault < 3 {
            done.result = Err(error([12, 28, 17][self.rng.below(3)]));
            return self.proxy.on_done(self.now, done);
        }
        let before = self.kernel.clone();
        done.result = self.kernel.apply(batch);
        if done.result.is_ok() {
            if batch.rebuild {
                // The affinity map is new, too.
                self.clients.clear();
            }
            self.check_step(&before, batch);
        } else {
            assert!(self.doubt, "refused: {:?}", batch.ops);
        }
        if faults && fault == 4 && done.result.is_ok() {
            done.forgotten = Err(error(1));
            self.debts = true;
        } else if faults && (fault == 5 || fault == 6) {
            // The answer is lost.
            if fault == 5 {
                self.kernel = before;
            }
            self.doubt = true;
            self.debts = true;
            done.result = Err(error(0));
            done.unsure = true;
        } else if done.result.is_ok() {
            batch.forget.iter().for_each(|forget| self.forget(forget));
        }
        self.check_counters();
        // What is wanted may change while the batch is away.
        if self.rng.below(20) == 0 {
            self.change_service();
        }
        self.proxy.on_done(self.now, done);
    }

    fn forget(&mut self, forget: &Forget) {
        match *forget {
            Forget::Flows { frontend, endpoint } => {
                assert_eq!(frontend.protocol, Protocol::Udp);
                self.flows.remove(&(frontend, Some(endpoint)));
                if endpoint == SocketAddr::new(frontend.addr, frontend.port) {
                    self.flows.remove(&(frontend, None));
                }
            }
            Forget::Untranslated { frontend } => {
                assert_eq!(frontend.protocol, Protocol::Udp);
                self.flows.remove(&(frontend, None));
            }
            Forget::Clients { frontend, endpoint } => {
                let is =
                    |(at, _, to): &(Frontend, View, SocketAddr)| *at == frontend && *to == endpoint;
                self.clients.retain(|client| !is(client));
            }
        }
    }

    /// Somebody else changes the tables.
    fn meddle(&mut self) {
        self.doubt = true;
        self.frail = true;
        let set: Vec<Element> = self.kernel.set().into_iter().collect();
        match self.rng.below(6) {
            0 => self.kernel.flush(),
            1 => self.kernel.intact = false,
            _ if set.is_empty() => {}
            2 => {
                // A slot leads elsewhere, or far behind the others.
                let element = set[self.rng.below(set.len())];
                if let Element::Slot {
                    view,
                    frontend,
                    slot,
                    ..
                } = element
                {
                    let to = SocketAddr::new(frontend.addr, 9);
                    let slot = [slot, slot + 100, 1 << 20][self.rng.below(3)];
                    self.kernel.put(Element::Slot {
                        view,
                        frontend,
                        slot,
                        to,
                    });
                }
            }
            3 => {
                let set = FrontendSet::Random {
                    view: View::Outside,
                    slots: 128,
                };
                let frontend = frontend("10.97.0.1:1");
                self.kernel.put(Element::Member { set, frontend });
            }
            _ => {
                for _ in 0..1 + self.rng.below(5) {
                    self.kernel.take(&set[self.rng.below(set.len())]);
                }
            }
        }
        if !self.kernel.intact {
            // What it has is nothing to go by.
            self.found.clear();
        }
        let left = self.kernel.set();
        self.found.retain(|element| left.contains(element));
        self.proxy.on_meddled(self.now);
    }

    fn restart(&mut self) {
        if self.doubt || self.debts || self.frail || !self.kernel.intact {
            // Of flows to what nobody wants any more, and of those that were never translated, nothing tells.
            let claims = &self.claims;
            self.flows
                .retain(|(at, to)| to.is_some() && claims.contains_key(at));
            self.clients.clear();
        }
        self.flows_told = false;
        self.debts = false;
        self.frail = false;
        self.doubt = true;
        self.synced = false;
        self.enabled = true;
        self.found = if self.kernel.intact {
            self.kernel.set()
        } else {
            BTreeSet::new()
        };
        let seed = self.rng.next();
        self.proxy = Proxy::new(seed);
        let near = self.rng.below(NEAR.len());
        self.set_near(near);
        self.claims.clear();
        let services = std::mem::take(&mut self.services);
        for (service, rules) in services {
            self.claim(service, rules.clone());
            self.proxy.set(&name(&format!("ns/{service}")), rules);
            if self.rng.below(4) == 0 {
                self.proxy.set_enabled(true);
                self.step(true);
            }
        }
        self.proxy.set_enabled(true);
    }

    /// A client comes: what it is given, conntrack and the affinity map remember.
    fn connect(&mut self) {
        if self.doubt || self.kernel.intact != self.kernel.present {
            return;
        }
        let all = all_frontends();
        let at = all[self.rng.below(all.len())];
        let view = View::ALL[self.rng.below(2)];
        let from = (view == View::Outside).then(|| source(at.afi()));
        let to = match self.kernel.walk(at, view, from) {
            Walk::Reaches(reached) => {
                let reached: Vec<SocketAddr> = reached.into_iter().collect();
                if reached.is_empty() {
                    // Somebody has taken all slots away.
                    return;
                }
                Some(reached[self.rng.below(reached.len())])
            }
            Walk::Untouched => None,
            Walk::Dropped | Walk::Refused => return,
        };
        if at.protocol == Protocol::Udp {
            self.flows.insert((at, to));
        }
        if let Some(to) = to.filter(|_| is_sticky(&self.kernel, at)) {
            self.clients.insert((at, view, to));
        }
    }

    fn event(&mut self) {
        match self.rng.below(100) {
            0 => self.meddle(),
            1 if self.rng.below(5) == 0 => self.restart(),
            2 if self.rng.below(5) == 0 => {
                self.enabled = !self.enabled;
                self.proxy.set_enabled(self.enabled);
            }
            3 => {
                let near = self.rng.below(NEAR.len());
                self.set_near(near);
            }
            4 => {
                self.proxy.synced();
                self.synced = true;
            }
            5..30 => self.change_service(),
            30..60 => self.connect(),
            60..70 => self.now = self.now + Duration::from_millis(self.rng.next() % 300),
            _ => {
                self.step(true);
            }
        }
    }

    fn settle(&mut self) {
        if !self.enabled {
            self.enabled = true;
            self.proxy.set_enabled(true);
        }
        self.synced = true;
        self.proxy.synced();
        let mut steps = 0;
        while self.step(false) || self.proxy.deadline().is_some() {
            steps += 1;
            assert!(steps < 10_000, "never settles");
            if let Some(deadline) = self.proxy.deadline() {
                self.now = self.now.max(deadline);
            }
        }
        self.doubt = false;
        self.debts = false;
        self.frail = false;
        assert!(self.proxy.is_settled());
        self.check_settled();
    }
}

fn play(seed: u64, events: usize) {
    let mut world = World::new(seed);
    for n in 0..events {
        world.event();
        world.check_counters();
        if n % 97 == 96 {
            world.settle();
        }
    }
    world.settle();
}

#[test]
fn a_hundred_thousand_events_end_as_the_treatments_say() {
    for seed in 1..=10 {
        play(seed, 10_000);
    }
}
