//! Frontends, and the services that they are of.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_net::service::{Frontend, FrontendRule, View};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::kept::Kept;
use super::programmed::{Fate, Programmed};

/// No service.
const NOBODY: u32 = u32::MAX;

/// One frontend that is wanted or there.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) frontend: Frontend,
    service: u32,
    wanted: Option<Kept>,
    pub(super) believed: Programmed,
    pub(super) queued: bool,
    pub(super) sent: bool,
    /// A read-back saw it.
    pub(super) found: bool,
    /// So is its block.
    pub(super) served: bool,
    programmed: bool,
    free: bool,
}

impl Entry {
    pub(super) fn wanted(&self) -> Option<Cow<'_, FrontendRule>> {
        Some(self.wanted.as_ref()?.rule(self.frontend))
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Endpoints that flows go on to though new ones do not.
    pub(super) fn serving(&self) -> &[SocketAddr] {
        match &self.wanted {
            Some(Kept::Other(rule)) => rule.serving.as_deref().unwrap_or_default(),
            Some(Kept::Plain(_)) | None => &[],
        }
    }

    pub(super) fn is_programmed(&self) -> bool {
        self.programmed
    }
}

#[derive(Debug)]
struct Service {
    name: Arc<str>,
    /// Those that it holds or waits for.
    frontends: SmallVec<[u32; 2]>,
}

/// By number; numbers are used again.
#[derive(Debug)]
pub(super) struct Frontends {
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_frontend: HashTable<u32>,
    services: Vec<Service>,
    free_services: Vec<u32>,
    by_name: HashTable<u32>,
    /// Who else wants a frontend that is held, in the order they came.
    waiting: BTreeMap<u32, Vec<(u32, FrontendRule)>>,
    /// How many are wanted.
    wanted: usize,
    /// Those that may not be as wanted: each once, and it says that it is.
    pub(super) queue: VecDeque<u32>,
    /// Bounded by the services that there are between two calls of `take_changed`.
    pub(super) changed: BTreeSet<Arc<str>>,
    hasher: FixedState,
}

impl Frontends {
    pub(super) fn new(hasher: &FixedState) -> Frontends {
        Frontends {
            entries: Vec::new(),
            free: Vec::new(),
            by_frontend: HashTable::new(),
            services: Vec::new(),
            free_services: Vec::new(),
            by_name: HashTable::new(),
            waiting: BTreeMap::new(),
            wanted: 0,
            queue: VecDeque::new(),
            changed: BTreeSet::new(),
            hasher: hasher.clone(),
        }
    }

    pub(super) fn find(&self, frontend: &Frontend) -> Option<u32> {
        let hash = self.hasher.hash_one(frontend);
        let is = |at: &u32| self.entries[*at as usize].frontend == *frontend;
        self.by_frontend.find(hash, is).copied()
    }

    pub(super) fn ensure(&mut self, frontend: Frontend) -> u32 {
        if let Some(at) = self.find(&frontend) {
            return at;
        }
        let entry = Entry {
            frontend,
            service: NOBODY,
            wanted: None,
            believed: Programmed::default(),
            queued: false,
            sent: false,
            found: false,
            served: false,
            programmed: false,
            free: false,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                push(&mut self.entries, entry);
                u32::try_from(self.entries.len() - 1).expect("memory ends before numbers do")
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = |at: &u32| hasher.hash_one(entries[*at as usize].frontend);
        self.by_frontend.insert_unique(hash(&at), at, hash);
        at
    }

    pub(super) fn entry(&self, at: u32) -> &Entry {
        &self.entries[at as usize]
    }

    pub(super) fn entry_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.entries[at as usize]
    }

    /// Numbers of all that are wanted or there, ascending.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| !entry.free)
            .map(|(at, _)| at)
    }

    /// The rules of those that are wanted.
    pub(super) fn rules(&self) -> impl Iterator<Item = Cow<'_, FrontendRule>> {
        self.entries.iter().filter_map(Entry::wanted)
    }

    pub(super) fn service_name(&self, entry: &Entry) -> Option<&Arc<str>> {
        Some(&self.services.get(entry.service as usize)?.name)
    }

    /// A service's frontends, and whether it holds them.
    pub(super) fn of_service(&self, name: &str) -> impl Iterator<Item = (u32, bool)> + '_ {
        let service = self.service(name);
        let of = service.and_then(|service| self.services.get(service as usize));
        let frontends = of.map(|service| service.frontends.as_slice());
        let holds = move |at: &u32| (*at, Some(self.entry(*at).service) == service);
        frontends.unwrap_or_default().iter().map(holds)
    }

    /// How many rules wait for a frontend that another service holds.
    pub(super) fn conflicts(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// `on_change` is told the frontend's number, the rule before and the rule after.
    pub(super) fn set(
        &mut self,
        name: &Arc<str>,
        rules: Vec<FrontendRule>,
        mut on_change: impl FnMut(u32, Option<&FrontendRule>, Option<&FrontendRule>),
    ) {
        let service = match self.service(name) {
            Some(service) => service,
            None if rules.is_empty() => return,
            None => self.add_service(name),
        };
        let old = std::mem::take(&mut self.services[service as usize].frontends);
        let mut new: SmallVec<[u32; 2]> = SmallVec::with_capacity(rules.len());
        let mut seen = BTreeSet::new();
        for rule in rules {
            let at = self.ensure(rule.frontend);
            if seen.insert(at) {
                new.push(at);
                self.want(at, service, rule, &mut on_change);
            }
        }
        for at in old {
            if !seen.contains(&at) {
                self.let_go(at, service, &mut on_change);
            }
        }
        if new.is_empty() {
            let hash = self.hasher.hash_one(&**name);
            if let Ok(found) = self.by_name.find_entry(hash, |other| *other == service) {
                found.remove();
            }
            self.free_services.push(service);
        } else {
            self.services[service as usize].frontends = new;
        }
    }

    fn add_service(&mut self, name: &Arc<str>) -> u32 {
        let service = Service {
            name: name.clone(),
            frontends: SmallVec::new(),
        };
        let at = match self.free_services.pop() {
            Some(at) => {
                self.services[at as usize] = service;
                at
            }
            None => {
                push(&mut self.services, service);
                u32::try_from(self.services.len() - 1).expect("memory ends before numbers do")
            }
        };
        let (services, hasher) = (&self.services, &self.hasher);
        let hash = |at: &u32| hasher.hash_one(&*services[*at as usize].name);
        self.by_name.insert_unique(hash(&at), at, hash);
        at
    }

    /// The number of a service.
    fn service(&self, name: &str) -> Option<u32> {
        let is = |at: &u32| *self.services[*at as usize].name == *name;
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, is).copied()
    }

    fn want(
        &mut self,
        at: u32,
        service: u32,
        rule: FrontendRule,
        on_change: &mut impl FnMut(u32, Option<&FrontendRule>, Option<&FrontendRule>),
    ) {
        let entry = &mut self.entries[at as usize];
        if entry.service == NOBODY || entry.service == service {
            entry.service = service;
            self.change(at, Some(rule), on_change);
            return;
        }
        let waiting = self.waiting.entry(at).or_default();
        match waiting.iter_mut().find(|(who, _)| *who == service) {
            Some((_, waits)) => *waits = rule,
            None => {
                waiting.push((service, rule));
                self.note_change(service);
            }
        }
    }

    fn let_go(
        &mut self,
        at: u32,
        service: u32,
        on_change: &mut impl FnMut(u32, Option<&FrontendRule>, Option<&FrontendRule>),
    ) {
        let waiting = self.waiting.get_mut(&at);
        if self.entries[at as usize].service != service {
            if let Some(waiting) = waiting {
                waiting.retain(|(who, _)| *who != service);
                if waiting.is_empty() {
                    self.waiting.remove(&at);
                }
            }
            return;
        }
        let next = waiting.map(|waiting| waiting.remove(0));
        if self.waiting.get(&at).is_some_and(Vec::is_empty) {
            self.waiting.remove(&at);
        }
        if self.entries[at as usize].programmed {
            self.note_change(service);
        }
        let (service, rule) = next.map_or((NOBODY, None), |(who, rule)| (who, Some(rule)));
        let entry = &mut self.entries[at as usize];
        entry.service = service;
        entry.programmed = false;
        self.note_change(service);
        self.change(at, rule, on_change);
    }

    fn change(
        &mut self,
        at: u32,
        rule: Option<FrontendRule>,
        on_change: &mut impl FnMut(u32, Option<&FrontendRule>, Option<&FrontendRule>),
    ) {
        let entry = &mut self.entries[at as usize];
        let wanted = rule.map(Kept::new);
        if entry.wanted != wanted {
            let old = std::mem::replace(&mut entry.wanted, wanted);
            self.wanted += usize::from(entry.wanted.is_some());
            self.wanted -= usize::from(old.is_some());
            let old = old.as_ref().map(|old| old.rule(entry.frontend));
            on_change(at, old.as_deref(), entry.wanted().as_deref());
            self.enqueue(at);
        }
        self.refresh(at);
    }

    fn note_change(&mut self, service: u32) {
        if let Some(service) = self.services.get(service as usize) {
            self.changed.insert(service.name.clone());
        }
    }

    /// How many are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// It may not be as wanted.
    pub(super) fn enqueue(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        if !entry.queued && !entry.free {
            entry.queued = true;
            self.queue.push_back(at);
        }
    }

    /// It is to be the next.
    pub(super) fn enqueue_first(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        if !entry.queued && !entry.free {
            entry.queued = true;
            self.queue.push_front(at);
        }
    }

    pub(super) fn requeue_all(&mut self) {
        for at in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            self.enqueue(at);
        }
    }

    /// Sees again whether it is programmed, and forgets it if it is neither wanted nor there.
    pub(super) fn refresh(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        let in_force = |wanted| is_in_force(wanted, &entry.believed);
        let programmed = entry.served && entry.wanted.as_ref().is_some_and(in_force);
        let service = entry.service;
        if std::mem::replace(&mut entry.programmed, programmed) != programmed {
            self.note_change(service);
        }
        self.drop_unused(at);
    }

    fn drop_unused(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        let used = entry.wanted.is_some() || entry.queued || entry.sent || entry.free;
        if used || !entry.believed.is_empty() {
            return;
        }
        entry.free = true;
        entry.believed = Programmed::default();
        let hash = self.hasher.hash_one(entry.frontend);
        if let Ok(found) = self.by_frontend.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        self.free.push(at);
    }

    pub(super) fn is_programmed(&self, frontend: &Frontend) -> bool {
        self.find(frontend)
            .is_some_and(|at| self.entry(at).programmed)
    }

    /// The names of services, in no particular (but repeatable) order.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let named = self.services.iter();
        named
            .filter(|service| !service.frontends.is_empty())
            .map(|service| &service.name)
    }

    /// Octets held for entries and services, by capacity, without what rules share.
    pub(super) fn memory(&self) -> usize {
        let of =
            |entry: &Entry| entry.believed.memory() + entry.wanted.as_ref().map_or(0, Kept::memory);
        self.entries.capacity() * size_of::<Entry>()
            + self.entries.iter().map(of).sum::<usize>()
            + self.services.capacity() * size_of::<Service>()
            + self.queue.capacity() * size_of::<u32>()
            + self.by_frontend.capacity() * (size_of::<u32>() + 1)
            + self.by_name.capacity() * (size_of::<u32>() + 1)
    }
}

/// Appends without ever having much more room than there is need for: these are the longest lists of all.
fn push<T>(list: &mut Vec<T>, one: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 16);
    }
    list.push(one);
}

/// Where clients should find endpoints they do, and otherwise something is said of them.
fn is_in_force(wanted: &Kept, believed: &Programmed) -> bool {
    believed.sets.iter().any(|set| set.decides())
        && View::ALL.into_iter().all(|view| {
            let has = believed.fate(view).map(|(_, fate)| fate);
            wanted.fate(view) != Fate::Balance || has == Some(Fate::Balance)
        })
}
