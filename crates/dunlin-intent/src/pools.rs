//! Load-balancer addresses: which Service has which.
//!
//! [`Pools`] is fed the facts of pools, Services, Namespaces and Nodes, and decides level-triggered. One decider at a time
//! acts in a cluster; whoever begins starts from the Services' status, so nothing else is remembered anywhere.
//!
//! * An address is given only while nobody holds it, or with those it may be shared with. Whatever the status of a Service of
//!   type LoadBalancer shows is held by it, whosever class it is of, and so is what was decided and is not written yet, and
//!   what any Service has in `spec.externalIPs`. What Nodes, pods, BGP peers and API servers use, and cluster IPs, nobody gets.
//! * What a Service has it keeps: over restarts, and when pools change. It loses it when the Service goes, or is no longer
//!   ours; when it asks for another address or pool and gets one; when a family goes; when it may not share it any more.
//! * Services of age come first. A Service's pool is the one it names; or the first, of those that give addresses by
//!   themselves and select it, by number of selectors and then name. The lowest free address of the first range is taken.

mod book;
mod choose;
mod intervals;
mod outcome;
mod pool;
mod reserved;
mod service;
mod view;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin_net::Afi;

use crate::fact::{Fact, Key, Kind, NamespacedName, SourceEvent};
use crate::selector::Labels;
use book::{Book, Hold};
use pool::Pool;
use reserved::Reserved;
use service::{Rank, Service, Wait, Wish};

pub use outcome::{Outcome, Remark, Shortfall};
pub(crate) use pool::{span_len, spans};
pub use reserved::ReservedBy;
pub(crate) use reserved::Taken;
pub use view::{PoolDefect, PoolView};

/// The `spec.loadBalancerClass` of Services that are ours.
pub const LOAD_BALANCER_CLASS: &str = "dunlin.dev/bgp";
/// The most addresses that a Service may ask for.
pub const MAX_REQUESTED: usize = 16;

/// The kinds that must have been told in full before anything is decided.
const NEEDED: [Kind; 4] = [Kind::Service, Kind::Namespace, Kind::Pool, Kind::Node];

/// What a Service shall have from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which Service.
    pub service: NamespacedName,
    /// Its uid: another Service of the name is not meant.
    pub uid: Option<String>,
    /// The addresses and the reasons.
    pub outcome: Outcome,
    /// The status shows other addresses, as far as is known.
    pub differs: bool,
}

/// Who has which address.
#[derive(Debug)]
pub struct Pools {
    default_class: bool,
    missing: BTreeSet<Kind>,
    namespaces: BTreeMap<Arc<str>, Labels>,
    pools: BTreeMap<Arc<str>, Pool>,
    /// The pools in the order they are tried.
    order: BTreeSet<(Reverse<usize>, Arc<str>)>,
    reserved: Reserved,
    /// All Services of type LoadBalancer, and those with external addresses.
    services: BTreeMap<NamespacedName, Service>,
    book: Book,
    /// Services to decide upon, oldest first.
    dirty: BTreeSet<Rank>,
    waiting: BTreeMap<Wait, BTreeSet<Rank>>,
    /// Where room may have come up that somebody waits for.
    rooms: BTreeSet<(Arc<str>, Afi)>,
    /// Services whose outcome is to be told.
    tell: BTreeSet<NamespacedName>,
}

impl Pools {
    /// Without any facts. `default_class` makes Services without a class ours.
    pub fn new(default_class: bool) -> Pools {
        Pools {
            default_class,
            missing: NEEDED.into(),
            namespaces: BTreeMap::new(),
            pools: BTreeMap::new(),
            order: BTreeSet::new(),
            reserved: Reserved::default(),
            services: BTreeMap::new(),
            book: Book::default(),
            dirty: BTreeSet::new(),
            waiting: BTreeMap::new(),
            rooms: BTreeSet::new(),
            tell: BTreeSet::new(),
        }
    }

    /// Takes in what a source tells. Other kinds than pools, Services, Namespaces, Nodes, ServiceCIDRs and BGPPeers do not
    /// matter.
    pub fn handle(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Apply(Fact::Service(fact)) => {
                let name = fact.name.clone();
                match Wish::new(fact, self.default_class) {
                    Some((wish, observed)) => self.put_service(wish, observed),
                    None => self.drop_service(&name),
                }
            }
            SourceEvent::Remove(Key::Service(name)) => self.drop_service(&name),
            SourceEvent::Apply(Fact::Namespace(fact)) => {
                let name: Arc<str> = fact.name.as_str().into();
                self.put_namespace(name, Some(fact.labels));
            }
            SourceEvent::Remove(Key::Namespace(name)) => {
                self.put_namespace(name.as_str().into(), None);
            }
            SourceEvent::Apply(Fact::Pool(fact)) => {
                let name: Arc<str> = fact.name.as_str().into();
                self.put_pool(name, Some(Pool::new(fact)));
            }
            SourceEvent::Remove(Key::Pool(name)) => self.put_pool(name.as_str().into(), None),
            SourceEvent::Apply(Fact::Node(fact)) => {
                let spans = reserved::of_node(&fact);
                self.reserve(Key::Node(fact.name).into(), spans);
            }
            SourceEvent::Apply(Fact::Peer(fact)) => {
                let spans = reserved::of_peer(&fact);
                self.reserve(Key::Peer(fact.name).into(), spans);
            }
            SourceEvent::ApiServers(addresses) => {
                let spans = reserved::of_addresses(addresses).collect();
                self.reserve(ReservedBy::ApiServers, spans);
            }
            SourceEvent::Apply(Fact::ServiceCidr(fact)) => {
                let spans = reserved::of_service_cidr(&fact);
                self.reserve(Key::ServiceCidr(fact.name).into(), spans);
            }
            SourceEvent::Remove(key @ (Key::Node(_) | Key::ServiceCidr(_) | Key::Peer(_))) => {
                self.reserve(key.into(), Vec::new());
            }
            SourceEvent::Synced(kind) => {
                if self.missing.remove(&kind) && self.missing.is_empty() {
                    self.begin();
                }
            }
            SourceEvent::Apply(_) | SourceEvent::Remove(_) | SourceEvent::Problems(..) => {}
        }
    }

    /// To be said before a Service's status is written: until it is known what came of it, nobody else gets these addresses,
    /// whatever is decided meanwhile.
    pub fn writing(&mut self, name: &NamespacedName, uid: Option<&str>, addresses: &[IpAddr]) {
        if let Some(service) = self.of_uid(name, uid) {
            service.attempted.extend(addresses);
            self.rehold(name);
        }
    }

    /// Takes in that the status of a Service shows these addresses now, because we wrote it. No write that was begun before
    /// can come later: each is for the version that it saw.
    pub fn written(&mut self, name: &NamespacedName, uid: Option<&str>, addresses: &[IpAddr]) {
        if let Some(service) = self.of_uid(name, uid) {
            service.observed = addresses.to_vec();
            service.attempted.clear();
            service.doubtful = false;
            self.rehold(name);
        }
    }

    /// Takes in that a write was refused, or, where it is not `certain`, that nobody knows whether it was done.
    pub fn not_written(&mut self, name: &NamespacedName, uid: Option<&str>, certain: bool) {
        if let Some(service) = self.of_uid(name, uid) {
            service.doubtful |= !certain;
            if !service.doubtful {
                service.attempted.clear();
                self.rehold(name);
            }
        }
    }

    fn of_uid(&mut self, name: &NamespacedName, uid: Option<&str>) -> Option<&mut Service> {
        let service = self.services.get_mut(name);
        service.filter(|service| service.wish.uid.as_deref() == uid)
    }

    /// Whether everything needed has been told, so that decisions are made.
    pub fn ready(&self) -> bool {
        self.missing.is_empty()
    }

    /// The next Service whose outcome changed, or whose status was found to show other addresses than it shall.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.decide();
        loop {
            let name = self.tell.pop_first()?;
            if let Some(service) = self.services.get_mut(&name) {
                service.told = true;
                return self.decision(&name);
            }
        }
    }

    /// What stands for a Service that is ours, told or not.
    pub fn decision(&self, name: &NamespacedName) -> Option<Decision> {
        let service = self.services.get(name).filter(|s| s.wish.ours)?;
        Some(Decision {
            service: name.clone(),
            uid: service.wish.uid.clone(),
            outcome: service.outcome.clone(),
            differs: service.differs(),
        })
    }

    /// Everything needed is there: first what Services have is taken over, then the rest is decided.
    fn begin(&mut self) {
        let mut ranks: Vec<Rank> = self
            .services
            .values()
            .map(|s| s.wish.rank.clone())
            .collect();
        ranks.sort();
        for rank in &ranks {
            self.adopt(&rank.2);
        }
        self.dirty.extend(ranks);
    }

    /// Takes over what the status of a Service shows when it is first seen, unless an older Service has it.
    fn adopt(&mut self, name: &NamespacedName) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        if !std::mem::replace(&mut service.adopted, true)
            && service.wish.ours
            && !service.wish.elsewhere
        {
            service.sharing = service.wish.sharing.clone();
            let (book, wish) = (&self.book, &service.wish);
            let free = |ip: &&IpAddr| {
                let kept_from = book.kept_from_by(**ip, name, wish.sharing.as_deref());
                kept_from.is_none()
            };
            let shown = service.observed.iter().filter(free).copied().collect();
            service.outcome.addresses = shown;
        }
        self.rehold(name);
    }

    fn put_service(&mut self, wish: Wish, observed: Vec<IpAddr>) {
        let name = wish.name().clone();
        let known = self.services.get(&name);
        if known.is_some_and(|s| s.wish.uid != wish.uid || s.wish.ours != wish.ours) {
            self.drop_service(&name);
        }
        let ready = self.ready();
        match self.services.get_mut(&name) {
            Some(service) => {
                let same = service.wish == wish;
                if same && service.observed == observed {
                    return;
                }
                if service.wish.rank != wish.rank {
                    self.dirty.remove(&service.wish.rank);
                    let before = std::mem::take(&mut service.waits);
                    forget_waits(&mut self.waiting, &service.wish.rank, before);
                }
                (service.wish, service.observed) = (wish, observed);
                if service.told && service.wish.ours && service.differs() {
                    self.tell.insert(name.clone());
                }
            }
            None => {
                self.services
                    .insert(name.clone(), Service::new(wish, observed));
            }
        }
        if ready {
            self.adopt(&name);
            self.touch(&name);
        }
    }

    fn drop_service(&mut self, name: &NamespacedName) {
        let Some(service) = self.services.remove(name) else {
            return;
        };
        self.dirty.remove(&service.wish.rank);
        self.tell.remove(name);
        forget_waits(&mut self.waiting, &service.wish.rank, service.waits);
        for ip in service.held {
            let effect = self.book.set(ip, name, None);
            self.wake(ip, effect);
        }
    }

    fn put_namespace(&mut self, name: Arc<str>, labels: Option<Labels>) {
        let before = match labels.clone() {
            Some(labels) => self.namespaces.insert(name.clone(), labels),
            None => self.namespaces.remove(&name),
        };
        if before != labels && self.ready() {
            let from = NamespacedName::new(name.clone(), "");
            let inside = self.services.range(from..);
            let inside = inside.take_while(|(service, _)| service.namespace == name);
            let ours = inside.filter(|(_, service)| service.wish.ours);
            self.dirty.extend(ours.map(|(_, s)| s.wish.rank.clone()));
        }
    }

    fn put_pool(&mut self, name: Arc<str>, pool: Option<Pool>) {
        if let Some(before) = self.pools.get(&name) {
            if pool.as_ref() == Some(before) {
                return;
            }
            self.order.remove(&before.preference(&name));
        }
        match pool {
            Some(pool) => {
                self.order.insert(pool.preference(&name));
                self.pools.insert(name, pool);
            }
            None => {
                self.pools.remove(&name);
            }
        }
        if self.ready() {
            let ours = self.services.values().filter(|s| s.wish.ours);
            self.dirty.extend(ours.map(|s| s.wish.rank.clone()));
        }
    }

    fn reserve(&mut self, by: ReservedBy, spans: Vec<(Afi, u128, u128)>) {
        if self.reserved.set(by, spans) {
            let asking = self.waiting.get(&Wait::Unreserved);
            self.dirty.extend(asking.into_iter().flatten().cloned());
            let both = |name: &Arc<str>| Afi::ALL.map(|afi| (name.clone(), afi));
            self.rooms.extend(self.pools.keys().flat_map(both));
        }
    }

    fn touch(&mut self, name: &NamespacedName) {
        if let Some(service) = self.services.get(name)
            && service.wish.ours
        {
            self.dirty.insert(service.wish.rank.clone());
        }
    }

    /// Decides upon all that changed, oldest Service first, and then lets in those who wait where there is room.
    fn decide(&mut self) {
        if !self.ready() {
            return;
        }
        self.reserved.refresh();
        let mut tried = None;
        loop {
            while let Some(rank) = self.dirty.pop_first() {
                self.settle(&rank.2);
            }
            let Some((pool, afi)) = self.rooms.pop_first() else {
                return;
            };
            let wait = Wait::Room(pool.clone(), afi);
            let first = self.waiting.get(&wait).and_then(BTreeSet::first);
            let there = self.pools.get(&pool);
            let room = there.is_some_and(|p| self.next_free(p, afi).is_some());
            // Whoever waits here either takes the address or then waits for something else.
            if let (Some(first), true) = (first, room)
                && tried.as_ref() != Some(&(wait.clone(), first.clone()))
            {
                self.dirty.insert(first.clone());
                tried = Some((wait, first.clone()));
                self.rooms.insert((pool, afi));
            }
        }
    }

    fn settle(&mut self, name: &NamespacedName) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        let choice = self.choose(service);
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let rank = service.wish.rank.clone();
        service.sharing = service.wish.sharing.clone();
        if choice.outcome != service.outcome || !service.told {
            service.outcome = choice.outcome;
            self.tell.insert(name.clone());
        }
        if choice.waits != service.waits {
            let before = std::mem::replace(&mut service.waits, choice.waits.clone());
            forget_waits(&mut self.waiting, &rank, before);
            for wait in choice.waits {
                self.waiting.entry(wait).or_default().insert(rank.clone());
            }
        }
        self.rehold(name);
    }

    /// Writes into the book what a Service holds: what it shall have, what its status shows or may show, and its external
    /// addresses.
    fn rehold(&mut self, name: &NamespacedName) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let given = service.outcome.addresses.iter();
        let others = service.observed.iter().chain(&service.attempted);
        let others = others.chain(&service.wish.external);
        let holds: BTreeSet<IpAddr> = given.chain(others).copied().collect();
        let before = std::mem::replace(&mut service.held, holds.clone());
        let sharing = service.sharing.clone();
        let addresses = service.outcome.addresses.clone();
        for ip in before.difference(&holds) {
            let effect = self.book.set(*ip, name, None);
            self.wake(*ip, effect);
        }
        for ip in holds {
            let hold = Hold {
                given: addresses.contains(&ip),
                sharing: sharing.clone(),
            };
            let effect = self.book.set(ip, name, Some(hold));
            self.wake(ip, effect);
        }
    }

    /// Sees to those whom a change of a hold may help.
    fn wake(&mut self, ip: IpAddr, effect: book::Effect) {
        if !effect.changed {
            return;
        }
        let keys = effect.keys.into_iter().flatten().map(Wait::Key);
        for wait in keys.chain([Wait::Address(ip)]) {
            if let Some(ranks) = self.waiting.get(&wait) {
                self.dirty.extend(ranks.iter().cloned());
            }
        }
        if effect.freed {
            let pools = self.pools_with(ip);
            let rooms: Vec<_> = pools.map(|(name, _)| (name.clone(), Afi::of(ip))).collect();
            self.rooms.extend(rooms);
        }
    }
}

fn forget_waits(waiting: &mut BTreeMap<Wait, BTreeSet<Rank>>, rank: &Rank, waits: Vec<Wait>) {
    for wait in waits {
        if let Some(ranks) = waiting.get_mut(&wait) {
            ranks.remove(rank);
            if ranks.is_empty() {
                waiting.remove(&wait);
            }
        }
    }
}

#[cfg(test)]
mod tests;
