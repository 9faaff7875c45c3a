//! Delivering and announcing, in step: a service address is announced once the service proxy has programmed it, and what is
//! no longer wanted stays programmed for as long after its withdrawal as routers may still send.
//!
//! BGP does not say when a withdrawal has been acted upon, so time has to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dunlin_dataplane::proxy::{self, Proxy};
use dunlin_dataplane::{KernelCommand, KernelEvent};
use dunlin_intent::{HealthCheck, LocalIntent, NamespacedName, OriginKind, Origination};
use dunlin_net::service::{Frontend, FrontendRule, Treatment, View};
use dunlin_net::{Afi, Instant, IpNet};

use crate::announcing::Histogram;
use crate::core::{Action, Core, CoreConfig};

/// How long what was withdrawn is still delivered.
const LINGER: Duration = Duration::from_secs(5);
/// How long a start waits for the first programming before it announces to peers what it can.
const PATIENCE: Duration = Duration::from_secs(20);

/// The service proxy, and what waits for it.
#[derive(Debug)]
pub(crate) struct Delivery {
    proxy: Proxy,
    enabled: bool,
    /// Originations that wait until what they promise is programmed.
    held: BTreeMap<IpNet, Origination>,
    /// Service prefixes that were withdrawn, and until when packets may still come.
    withdrawn: BTreeMap<IpNet, Instant>,
    /// Rules that are wanted no longer, by their Services.
    lingering: BTreeMap<NamespacedName, Lingering>,
    /// Whose rule of a frontend lingers.
    lingering_at: BTreeMap<Frontend, NamespacedName>,
    /// Services whose rules have to be looked at again, besides those that the cluster tells.
    again: BTreeSet<NamespacedName>,
    /// All that was wanted when the sources had synced is programmed, or could not be.
    begun: bool,
    /// It was told that all that was wanted is programmed.
    told: bool,
    /// Until when it may take to get there; counted from when the sources have synced.
    patience: Option<Instant>,
    /// What load balancers are told.
    checks: BTreeMap<NamespacedName, HealthCheck>,
    /// It has changed.
    ports_due: bool,
    timing: Timing,
}

/// How long programming takes: from when a change was heard of to the acknowledgement of the batch that it went with. What is
/// done without a change, or in later batches of a change, counts from when it was given out.
#[derive(Debug, Default)]
struct Timing {
    /// When the first word came since conclusions were last drawn.
    heard: Option<Instant>,
    /// When the first change came that no batch was given out for.
    changed: Option<Instant>,
    /// Since when the batch counts that is outstanding.
    sent: Option<Instant>,
    histogram: Histogram,
    /// When all that was wanted when the sources had synced was programmed.
    first_sync: Option<Instant>,
}

/// What is told at a Service's health-check node port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPort {
    /// `namespace/name`.
    pub service: String,
    /// Ready endpoints of it on this node.
    pub local_endpoints: u32,
    /// The service proxy works.
    pub delivered: bool,
}

#[derive(Debug)]
struct Lingering {
    until: Instant,
    rules: Vec<FrontendRule>,
}

impl Delivery {
    pub(crate) fn new(config: &CoreConfig) -> Delivery {
        let options = config.service_proxy.as_ref();
        let enabled = options.is_some();
        let counting = options.is_some_and(|options| options.count_connections);
        let mut proxy = Proxy::new(config.seed).counting(counting);
        // Where it is off, what an agent that had it on left behind goes.
        proxy.set_enabled(enabled);
        Delivery {
            proxy,
            enabled,
            held: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            lingering: BTreeMap::new(),
            lingering_at: BTreeMap::new(),
            again: BTreeSet::new(),
            begun: false,
            told: false,
            patience: None,
            checks: BTreeMap::new(),
            ports_due: false,
            timing: Timing::default(),
        }
    }

    /// A source said something.
    pub(crate) fn on_source(&mut self, heard: Instant) {
        self.timing.heard.get_or_insert(heard);
    }

    /// How long programming took.
    pub(crate) fn histogram(&self) -> &Histogram {
        &self.timing.histogram
    }

    /// When all was programmed for the first time.
    pub(crate) fn first_sync(&self) -> Option<Instant> {
        self.timing.first_sync
    }

    /// Whether what is delivered at a frontend is only what was wanted until lately.
    pub(crate) fn lingers(&self, frontend: &Frontend) -> bool {
        self.lingering_at.contains_key(frontend)
    }

    /// The service proxy, to look at.
    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Whether this node delivers.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Who this node is: what comes from it and its pods is inside, and its pods' answers come back to it.
    pub(crate) fn on_local(&mut self, local: &LocalIntent) {
        if self.enabled {
            self.proxy.set_near(&local.pod_subnets, &local.addresses);
        }
    }

    /// Whether what a start finds programmed, and what it adds to it, is in place: until then peers are not told that they
    /// have heard everything.
    pub(crate) fn has_begun(&self) -> bool {
        !self.enabled || self.begun
    }

    /// When to call [`Core::on_delivery_time`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let lingering = self.lingering.values().map(|lingering| lingering.until);
        let patience = self.patience.filter(|_| !self.begun);
        lingering.chain(patience).chain(self.proxy.deadline()).min()
    }

    /// Takes what lingers of a Service off the index.
    fn forget_lingering(&mut self, name: &NamespacedName) -> Option<Lingering> {
        let gone = self.lingering.remove(name)?;
        for rule in &gone.rules {
            self.lingering_at.remove(&rule.frontend);
        }
        Some(gone)
    }

    /// Whether routers may still send to an address of a Service: it is announced, or was a moment ago.
    fn may_still_come(&self, now: Instant, net: IpNet, announced: bool) -> bool {
        announced || self.withdrawn.get(&net).is_some_and(|until| now < *until)
    }
}

/// What stays for a while of a rule that a Service had and has no longer, or has with another treatment.
fn lingers(old: &FrontendRule, new: Option<&FrontendRule>) -> Option<FrontendRule> {
    let balanced =
        |rule: &FrontendRule| matches!(rule.treatment(View::Outside), Treatment::Balance(_));
    match new {
        None => balanced(old).then(|| old.clone()),
        // No endpoint here any more, but elsewhere: better by a detour than not at all.
        Some(new)
            if balanced(old)
                && new.outside == Some(Treatment::Drop)
                && matches!(new.inside, Treatment::Balance(_)) =>
        {
            Some(FrontendRule {
                outside: None,
                ..new.clone()
            })
        }
        Some(_) => None,
    }
}

impl Core {
    /// Originates a prefix, once what it promises is programmed.
    pub(crate) fn originate_delivered(&mut self, net: IpNet, origination: &Origination) {
        let is_service = matches!(origination.kind, OriginKind::Service(_));
        if is_service && self.delivery.enabled {
            self.delivery.withdrawn.remove(&net);
            let announced = self.is_service_prefix(net);
            if !announced && self.is_ours_to_deliver(net) && !self.delivers(net) {
                self.delivery.held.insert(net, origination.clone());
                return;
            }
            self.delivery.held.remove(&net);
        }
        self.originate(net, origination);
    }

    /// The same for a prefix that is originated no longer.
    pub(crate) fn originate_delivered_gone(&mut self, now: Instant, net: IpNet) {
        if self.delivery.enabled {
            let held = self.delivery.held.remove(&net).is_some();
            if !held && self.is_service_prefix(net) {
                self.delivery.withdrawn.insert(net, now + LINGER);
            }
        }
        self.originate_gone(net);
    }

    /// Whether any Service at an address has us deliver to it; of an aggregate that is not asked. What another service proxy
    /// delivers is announced by readiness alone.
    fn is_ours_to_deliver(&self, net: IpNet) -> bool {
        let is_host = net.prefix_len() == Afi::of_net(net).bits();
        let mut at = self.cluster.services_within(net).into_iter();
        !is_host
            || at.any(|(addr, name)| {
                let rules = self.cluster.treatment(name);
                rules.iter().any(|rule| rule.frontend.addr == addr)
            })
    }

    /// Whether packets to a prefix are delivered. An aggregate promises no address in particular.
    fn delivers(&self, net: IpNet) -> bool {
        if net.prefix_len() != Afi::of_net(net).bits() {
            return self.delivery.has_begun();
        }
        let proxy = &self.delivery.proxy;
        let mut any = false;
        for (addr, name) in self.cluster.services_within(net) {
            for view in proxy.service(&service_key(name)) {
                if view.frontend.addr == addr {
                    any = true;
                    if !proxy.is_programmed(&view.frontend) {
                        return false;
                    }
                }
            }
        }
        any
    }

    /// Whether a prefix waits for its programming.
    pub(crate) fn is_held(&self, net: IpNet) -> bool {
        self.delivery.held.contains_key(&net)
    }

    /// What a Service's frontends are to do has changed.
    fn on_treatment(&mut self, now: Instant, name: &NamespacedName) {
        let check = self.cluster.health_check(name);
        let checks = &mut self.delivery.checks;
        if checks.get(name) != check.as_ref() {
            match check {
                Some(check) => checks.insert(name.clone(), check),
                None => checks.remove(name),
            };
            self.delivery.ports_due = true;
        }
        let mut rules = self.cluster.treatment(name);
        for rule in &rules {
            // A frontend that another Service has now does not linger for the one that had it.
            if let Some(other) = self.delivery.lingering_at.get(&rule.frontend)
                && other != name
            {
                let other = other.clone();
                self.delivery.forget_lingering(&other);
                self.delivery.again.insert(other);
            }
        }
        self.linger(now, name, &mut rules);
        let timing = &mut self.delivery.timing;
        timing.changed.get_or_insert(timing.heard.unwrap_or(now));
        self.delivery.proxy.set(&service_key(name), rules);
    }

    /// Adds what stays for a while.
    fn linger(&mut self, now: Instant, name: &NamespacedName, rules: &mut Vec<FrontendRule>) {
        let mut until = now + LINGER;
        let mut stay: BTreeMap<Frontend, FrontendRule> = BTreeMap::new();
        if let Some(before) = self.delivery.forget_lingering(name)
            && now < before.until
        {
            // What lingers already does not begin anew.
            until = before.until;
            stay.extend(before.rules.into_iter().map(|rule| (rule.frontend, rule)));
        }
        let new: BTreeMap<Frontend, &FrontendRule> =
            rules.iter().map(|rule| (rule.frontend, rule)).collect();
        stay.retain(
            |frontend, old| match lingers(old, new.get(frontend).copied()) {
                Some(rule) => {
                    *old = rule;
                    true
                }
                None => false,
            },
        );
        let key = service_key(name);
        for view in self.delivery.proxy.service(&key) {
            let wanted = self.delivery.proxy.wanted(&view.frontend);
            let Some((_, old)) = wanted.filter(|(holder, _)| **holder == key) else {
                continue;
            };
            let net = IpNet::from(old.frontend.addr);
            if stay.contains_key(&old.frontend)
                || !self
                    .delivery
                    .may_still_come(now, net, self.is_service_prefix(net))
            {
                continue;
            }
            if let Some(rule) = lingers(&old, new.get(&old.frontend).copied()) {
                stay.insert(old.frontend, rule);
                until = now + LINGER;
            }
        }
        if stay.is_empty() {
            return;
        }
        rules.retain(|rule| !stay.contains_key(&rule.frontend));
        rules.extend(stay.values().cloned());
        rules.sort_unstable_by_key(|rule| rule.frontend);
        for frontend in stay.keys() {
            self.delivery.lingering_at.insert(*frontend, name.clone());
        }
        let rules = stay.into_values().collect();
        let lingering = Lingering { until, rules };
        self.delivery.lingering.insert(name.clone(), lingering);
    }

    /// Deadlines may have passed.
    pub(crate) fn on_delivery_time(&mut self, now: Instant) {
        let delivery = &mut self.delivery;
        delivery.withdrawn.retain(|_, until| now < *until);
        let over = |(name, lingering): (&NamespacedName, &Lingering)| {
            (lingering.until <= now).then(|| name.clone())
        };
        let over: Vec<NamespacedName> = delivery.lingering.iter().filter_map(over).collect();
        for name in over {
            delivery.forget_lingering(&name);
            delivery.again.insert(name);
        }
    }

    pub(crate) fn on_kernel_proxy(&mut self, now: Instant, event: KernelEvent) {
        let proxy = &mut self.delivery.proxy;
        match event {
            KernelEvent::ProxyDone(done) => {
                let timing = &mut self.delivery.timing;
                if let Some(since) = timing.sent.take()
                    && done.result.is_ok()
                {
                    timing.histogram.add(now.since(since));
                }
                proxy.on_done(now, done);
            }
            KernelEvent::ProxyFound(found) => proxy.on_found(now, found),
            KernelEvent::ProxyMeddled => proxy.on_meddled(now),
            _ => {}
        }
    }

    /// Draws conclusions: what to write, and what may be announced by now.
    pub(crate) fn settle_delivery(&mut self, now: Instant) {
        while let Some(name) = self.cluster.poll_treatment_change() {
            self.on_treatment(now, &name);
        }
        for name in std::mem::take(&mut self.delivery.again) {
            self.on_treatment(now, &name);
        }
        let delivery = &mut self.delivery;
        delivery.timing.heard = None;
        // Before the machine's addresses are known, node ports may be missing.
        let known = self.synced && self.read_back && self.local.is_some();
        if delivery.enabled && known && delivery.patience.is_none() {
            delivery.patience = Some(now + PATIENCE);
            delivery.proxy.synced();
        }
        while let Some(command) = self.delivery.proxy.next(now) {
            let command = match command {
                proxy::Command::Read => KernelCommand::ReadProxy,
                proxy::Command::Submit(batch) => {
                    let timing = &mut self.delivery.timing;
                    timing.sent = Some(timing.changed.take().unwrap_or(now));
                    KernelCommand::SubmitProxy(batch)
                }
                proxy::Command::Remove => KernelCommand::RemoveProxy,
            };
            self.kernel(command);
        }
        if self.delivery.timing.sent.is_none() {
            // What changed asked for nothing.
            self.delivery.timing.changed = None;
        }
        self.announce_delivered(now);
        self.tell_health_ports();
    }

    /// What is programmed by now may be announced.
    fn announce_delivered(&mut self, now: Instant) {
        let delivery = &mut self.delivery;
        let settled = delivery.proxy.is_settled();
        let ready = delivery
            .patience
            .is_some_and(|until| settled || until <= now);
        if settled && delivery.patience.is_some() {
            delivery.timing.first_sync.get_or_insert(now);
        }
        let begins = ready && !delivery.begun;
        delivery.begun |= begins;
        if settled && delivery.patience.is_some() && !delivery.told {
            delivery.told = true;
            self.actions.push_back(Action::Delivering);
        }
        delivery.ports_due |= begins;
        let changed = delivery.proxy.take_changed();
        if delivery.held.is_empty() {
            return;
        }
        let mut candidates: BTreeSet<IpNet> = BTreeSet::new();
        for name in &changed {
            let views = delivery.proxy.service(name);
            candidates.extend(views.iter().map(|view| IpNet::from(view.frontend.addr)));
        }
        if begins {
            candidates.extend(delivery.held.keys());
        }
        for net in candidates {
            if self.is_held(net)
                && self.delivers(net)
                && let Some(origination) = self.delivery.held.remove(&net)
            {
                self.originate(net, &origination);
            }
        }
    }

    fn tell_health_ports(&mut self) {
        if !std::mem::take(&mut self.delivery.ports_due) {
            return;
        }
        let delivered = self.delivery.begun;
        let port = |check: &HealthCheck| {
            let figures = HealthPort {
                service: check.service.to_string(),
                local_endpoints: check.local_ready,
                delivered,
            };
            (check.node_port, figures)
        };
        let ports = self.delivery.checks.values().map(port).collect();
        self.actions.push_back(Action::HealthPorts(ports));
    }
}

/// A Service as the proxy names it.
pub(crate) fn service_key(name: &NamespacedName) -> Arc<str> {
    name.to_string().into()
}
