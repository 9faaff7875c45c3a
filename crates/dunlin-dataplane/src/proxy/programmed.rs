//! What the tables hold of one frontend, what they should hold of it, and what leads from one to the other.

use std::borrow::Cow;
use std::net::SocketAddr;

use dunlin_net::service::{Balance, Choice, Frontend, FrontendRule, Protocol, Treatment, View};
use dunlin_net::{Afi, IpNet};
use smallvec::SmallVec;

use super::element::{Element, Forget, FrontendSet, MAX_ENDPOINTS, Op, random_slots};
use super::maglev;
use super::slots::{Slots, is_usable};

/// All elements of one frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Programmed {
    /// Ascending, each once.
    pub(super) sets: SmallVec<[FrontendSet; 2]>,
    inside: Slots,
    /// None if there is nothing in it, so that equal is what has the same elements.
    rare: Option<Box<Rare>>,
}

/// What few frontends have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    outside: Slots,
    /// Ascending, each once.
    allowed: Box<[IpNet]>,
}

static NO_SLOTS: Slots = Slots::NONE;

/// What becomes of a connection, as the tables are able to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Balance,
    Reject,
    Drop,
}

impl Programmed {
    pub(super) fn slots(&self, view: View) -> &Slots {
        match view {
            View::Inside => &self.inside,
            View::Outside => match &self.rare {
                Some(rare) => &rare.outside,
                None => &NO_SLOTS,
            },
        }
    }

    /// To put something into; [`Programmed::settle`] if nothing may have been.
    pub(super) fn slots_mut(&mut self, view: View) -> &mut Slots {
        match view {
            View::Inside => &mut self.inside,
            View::Outside => &mut self.rare.get_or_insert_default().outside,
        }
    }

    /// The sources that may come: ascending, each once.
    pub(super) fn allowed(&self) -> &[IpNet] {
        self.rare.as_ref().map_or(&[], |rare| &rare.allowed)
    }

    /// Ascending, each once.
    pub(super) fn set_allowed(&mut self, allowed: Vec<IpNet>) {
        if !allowed.is_empty() || self.rare.is_some() {
            self.rare.get_or_insert_default().allowed = allowed.into();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.inside.is_empty() && self.has_nothing_rare()
    }

    fn has_nothing_rare(&self) -> bool {
        self.slots(View::Outside).is_empty() && self.allowed().is_empty()
    }

    /// Octets held besides its own.
    pub(super) fn memory(&self) -> usize {
        let rare = self.rare.as_ref().map_or(0, |rare| {
            size_of::<Rare>() + rare.outside.memory() + size_of_val(&*rare.allowed)
        });
        self.inside.memory() + rare
    }

    /// Orders what was gathered in any order.
    pub(super) fn settle(&mut self) {
        self.sets.sort_unstable();
        self.sets.dedup();
        self.inside.shrink();
        if self.has_nothing_rare() {
            self.rare = None;
        }
        if let Some(rare) = &mut self.rare {
            rare.outside.shrink();
            let mut allowed = std::mem::take(&mut rare.allowed).into_vec();
            allowed.sort_unstable();
            allowed.dedup();
            rare.allowed = allowed.into();
        }
    }

    pub(super) fn has(&self, set: FrontendSet) -> bool {
        self.sets.contains(&set)
    }

    /// How many elements it is.
    pub(super) fn len(&self, afi: Afi) -> usize {
        self.sets.len() + self.filled(afi) + self.allowed().len()
    }

    /// How many slots are filled.
    pub(super) fn filled(&self, afi: Afi) -> usize {
        let of = |view| self.slots(view).filled(afi);
        View::ALL.into_iter().map(of).sum()
    }

    pub(super) fn elements(&self, frontend: Frontend) -> impl Iterator<Item = Element> + '_ {
        let member = move |set: &FrontendSet| Element::Member {
            set: *set,
            frontend,
        };
        let slots = View::ALL.into_iter().flat_map(move |view| {
            let element = move |(slot, to)| Element::Slot {
                view,
                frontend,
                slot,
                to,
            };
            self.slots(view).iter(frontend.afi()).map(element)
        });
        let allowed = move |source: &IpNet| Element::Allowed {
            frontend,
            source: *source,
        };
        self.sets
            .iter()
            .map(member)
            .chain(slots)
            .chain(self.allowed().iter().map(allowed))
    }

    /// What sets of a view say by themselves.
    fn fate_in(&self, view: View) -> Option<Fate> {
        let chooses = |set: &FrontendSet| {
            matches!(set, FrontendSet::Random { view: of, .. }
                | FrontendSet::Hashed { view: of, .. } if *of == view)
        };
        if self.has(FrontendSet::Dropped { view }) {
            Some(Fate::Drop)
        } else if self.sets.iter().any(chooses) {
            Some(Fate::Balance)
        } else {
            None
        }
    }

    /// Whose slots connections from a view come to, and what becomes of them. `None`: the tables do not care for them.
    pub(super) fn fate(&self, view: View) -> Option<(View, Fate)> {
        let of = |view| Some((view, self.fate_in(view)?));
        let refused = self.has(FrontendSet::Refused);
        of(view)
            .or_else(|| of(View::Inside))
            .or_else(|| refused.then_some((View::Inside, Fate::Reject)))
    }

    /// Endpoints that connections from a view come to, ascending.
    pub(super) fn reach(&self, afi: Afi, view: View) -> Vec<SocketAddr> {
        let Some((slots, Fate::Balance)) = self.fate(view) else {
            return Vec::new();
        };
        let mut reach: Vec<SocketAddr> = self.slots(slots).iter(afi).map(|(_, to)| to).collect();
        reach.sort_unstable();
        reach.dedup();
        reach
    }

    /// The same from either.
    pub(super) fn reach_of_all(&self, afi: Afi) -> Vec<SocketAddr> {
        union(&View::ALL.map(|view| self.reach(afi, view)))
    }

    pub(super) fn is_sticky(&self) -> bool {
        let sticky = |set: &FrontendSet| matches!(set, FrontendSet::Sticky { .. });
        self.sets.iter().any(sticky)
    }
}

fn union(of: &[Vec<SocketAddr>; 2]) -> Vec<SocketAddr> {
    let mut union = of.concat();
    union.sort_unstable();
    union.dedup();
    union
}

/// A treatment as the tables are able to do it.
pub(super) enum Plan<'a> {
    Balance(&'a Balance, Cow<'a, [SocketAddr]>),
    Reject,
    Drop,
}

impl Plan<'_> {
    fn fate(&self) -> Fate {
        match self {
            Plan::Balance(..) => Fate::Balance,
            Plan::Reject => Fate::Reject,
            Plan::Drop => Fate::Drop,
        }
    }
}

pub(super) fn plan(treatment: &Treatment, afi: Afi) -> Plan<'_> {
    match treatment {
        Treatment::Reject => Plan::Reject,
        Treatment::Drop => Plan::Drop,
        Treatment::Balance(balance) => {
            let given = &balance.endpoints;
            let endpoints = if given.iter().all(|endpoint| is_usable(afi, endpoint)) {
                Cow::Borrowed(given.get(..MAX_ENDPOINTS).unwrap_or(given))
            } else {
                let usable = given.iter().filter(|endpoint| is_usable(afi, endpoint));
                Cow::Owned(usable.take(MAX_ENDPOINTS).copied().collect())
            };
            if endpoints.is_empty() {
                Plan::Reject
            } else {
                Plan::Balance(balance, endpoints)
            }
        }
    }
}

/// What becomes of connections from inside, and from outside where that is something else. The tables cannot refuse one
/// view alone: outside is dropped where only it should be refused.
fn plans(rule: &FrontendRule) -> (Plan<'_>, Option<Plan<'_>>) {
    let afi = rule.frontend.afi();
    let inside = plan(&rule.inside, afi);
    let outside = rule.outside.as_ref();
    let outside = outside
        .filter(|outside| **outside != rule.inside)
        .map(|outside| match (plan(outside, afi), &inside) {
            (Plan::Reject, Plan::Balance(..)) => Plan::Drop,
            (plan, _) => plan,
        })
        .filter(|outside| match inside.fate() {
            Fate::Balance => true,
            Fate::Reject => outside.fate() != Fate::Reject,
            Fate::Drop => outside.fate() == Fate::Balance,
        });
    (inside, outside)
}

/// What becomes of connections from a view when all is programmed.
pub(super) fn wanted_fate(rule: &FrontendRule, view: View) -> Fate {
    let (inside, outside) = plans(rule);
    match (view, outside) {
        (View::Outside, Some(outside)) => outside.fate(),
        _ => inside.fate(),
    }
}

/// What the tables should hold of a frontend. Where endpoints are chosen at random they keep the slots that they have.
pub(super) fn target(rule: &FrontendRule, has: &Programmed, counted: bool) -> Programmed {
    let mut target = Programmed::default();
    if counted {
        target.sets.push(FrontendSet::Counted);
    }
    let (inside, outside) = plans(rule);
    let secs = [Some(&inside), outside.as_ref()].into_iter().flatten();
    let secs = secs.filter_map(|plan| match plan {
        Plan::Balance(balance, _) => balance.affinity_secs.filter(|secs| *secs > 0),
        _ => None,
    });
    if let Some(secs) = secs.max() {
        target.sets.push(FrontendSet::Sticky { secs });
    }
    place(rule.frontend, View::Inside, &inside, has, &mut target);
    if let Some(outside) = &outside {
        place(rule.frontend, View::Outside, outside, has, &mut target);
    }
    if let Some(allowed) = allowed(rule) {
        target.sets.push(FrontendSet::Guarded);
        target.set_allowed(allowed);
    }
    if rule.masquerade {
        target.sets.push(FrontendSet::Masqueraded);
    }
    target.sets.sort_unstable();
    target
}

fn place(frontend: Frontend, view: View, plan: &Plan<'_>, has: &Programmed, to: &mut Programmed) {
    let afi = frontend.afi();
    let (balance, endpoints) = match plan {
        Plan::Balance(balance, endpoints) => (balance, endpoints),
        Plan::Reject => return to.sets.push(FrontendSet::Refused),
        Plan::Drop => return to.sets.push(FrontendSet::Dropped { view }),
    };
    match balance.choice {
        Choice::Random => {
            let slots = random_slots(endpoints.len());
            to.sets.push(FrontendSet::Random { view, slots });
            *to.slots_mut(view) = keep_places(afi, endpoints, has.slots(view));
        }
        Choice::Maglev { slots } => {
            let slots = maglev::table_slots(slots);
            to.sets.push(FrontendSet::Hashed { view, slots });
            *to.slots_mut(view) = hashed(afi, endpoints, slots);
        }
    }
}

fn hashed(afi: Afi, endpoints: &[SocketAddr], slots: u32) -> Slots {
    let table = maglev::table(endpoints, slots);
    let mut packed = Slots::with_capacity(afi, table.len());
    for index in table {
        if let Some(endpoint) = endpoints.get(index as usize) {
            packed.push(endpoint);
        }
    }
    packed
}

/// As many slots as endpoints, without a hole. Who has one of them keeps it; who comes, or stood behind the end, takes
/// what is free.
fn keep_places(afi: Afi, endpoints: &[SocketAddr], has: &Slots) -> Slots {
    let mut slots = Slots::with_capacity(afi, endpoints.len());
    let had = has.len(afi).min(endpoints.len());
    let mut placed: SmallVec<[bool; 32]> = SmallVec::from_elem(false, endpoints.len());
    let mut keep: SmallVec<[Option<usize>; 32]> = SmallVec::from_elem(None, had);
    for (slot, keep) in keep.iter_mut().enumerate() {
        let found = has
            .get(afi, slot)
            .and_then(|endpoint| endpoints.binary_search(&endpoint).ok());
        if let Some(index) = found.filter(|index| !placed[*index]) {
            placed[index] = true;
            *keep = Some(index);
        }
    }
    let mut others = (0..endpoints.len()).filter(|index| !placed[*index]);
    for slot in 0..endpoints.len() {
        let kept = keep.get(slot).copied().flatten();
        if let Some(index) = kept.or_else(|| others.next()) {
            slots.push(&endpoints[index]);
        }
    }
    slots
}

/// The sources that may come, of the frontend's family, without overlap. `None`: all.
fn allowed(rule: &FrontendRule) -> Option<Vec<IpNet>> {
    let afi = rule.frontend.afi();
    let sources = rule.sources.as_ref()?;
    let sources = sources.iter().filter(|source| Afi::of_net(**source) == afi);
    let sources: Vec<IpNet> = sources.map(IpNet::trunc).collect();
    let mut sources = IpNet::aggregate(&sources);
    sources.sort_unstable();
    let all = sources.iter().any(|source| source.prefix_len() == 0);
    (!all).then_some(sources)
}

/// Appends what makes `to` of `has`: first what a lookup ends at, then what leads to it; what nothing leads to last.
pub(super) fn difference(frontend: Frontend, has: &Programmed, to: &Programmed, ops: &mut Vec<Op>) {
    let afi = frontend.afi();
    let mut behind = Vec::new();
    for view in View::ALL {
        let (old, new) = (has.slots(view), to.slots(view));
        if old == new {
            continue;
        }
        for at in 0..old.len(afi).max(new.len(afi)) {
            let (old, new) = (old.get(afi, at), new.get(afi, at));
            let slot = u32::try_from(at).unwrap_or(u32::MAX);
            let element = |to| Element::Slot {
                view,
                frontend,
                slot,
                to,
            };
            match (old, new) {
                (Some(old), None) => behind.push(Op::Remove(element(old))),
                (None, Some(new)) => ops.push(Op::Add(element(new))),
                (Some(old), Some(new)) if old != new => {
                    ops.push(Op::Remove(element(old)));
                    ops.push(Op::Add(element(new)));
                }
                _ => {}
            }
        }
    }
    let allowed = |source: &IpNet| Element::Allowed {
        frontend,
        source: *source,
    };
    // A wider source may come in place of narrower ones: they must be gone before.
    let only = |a: &[IpNet], b: &[IpNet]| -> Vec<Element> {
        let not_in_b = a.iter().filter(|net| b.binary_search(net).is_err());
        not_in_b.map(allowed).collect()
    };
    ops.extend(
        only(has.allowed(), to.allowed())
            .into_iter()
            .map(Op::Remove),
    );
    ops.extend(only(to.allowed(), has.allowed()).into_iter().map(Op::Add));
    let member = |set: &FrontendSet| Element::Member {
        set: *set,
        frontend,
    };
    let new = to.sets.iter().filter(|set| !has.has(**set));
    ops.extend(new.map(member).map(Op::Add));
    let gone = has.sets.iter().filter(|set| !to.has(**set));
    ops.extend(gone.map(member).map(Op::Remove));
    ops.append(&mut behind);
}

/// Appends what is no longer true for flows and clients once `to` is there in place of `has`. Flows to those of `serving`
/// (ascending) go on.
pub(super) fn forgets(
    frontend: Frontend,
    has: &Programmed,
    to: &Programmed,
    serving: &[SocketAddr],
    forget: &mut Vec<Forget>,
) {
    let afi = frontend.afi();
    let udp = frontend.protocol == Protocol::Udp;
    if !udp && !has.is_sticky() {
        return;
    }
    let reach = |of: &Programmed| View::ALL.map(|view| of.reach(afi, view));
    let (before, after) = (reach(has), reach(to));
    let lacks = |of: &[SocketAddr], endpoint: &SocketAddr| of.binary_search(endpoint).is_err();
    let (all_before, all_after) = (union(&before), union(&after));
    if udp {
        let gone = all_before
            .iter()
            .filter(|endpoint| lacks(&all_after, endpoint) && lacks(serving, endpoint));
        forget.extend(gone.map(|endpoint| Forget::Flows {
            frontend,
            endpoint: *endpoint,
        }));
        let mut views = before.iter().zip(&after);
        if views.any(|(before, after)| before.is_empty() && !after.is_empty()) {
            forget.push(Forget::Untranslated { frontend });
        }
    }
    if has.is_sticky() {
        let stays = to.is_sticky();
        let lost = |endpoint: &&SocketAddr| {
            !stays
                || before
                    .iter()
                    .zip(&after)
                    .any(|(before, after)| !lacks(before, endpoint) && lacks(after, endpoint))
        };
        let gone = all_before.iter().filter(lost);
        forget.extend(gone.map(|endpoint| Forget::Clients {
            frontend,
            endpoint: *endpoint,
        }));
    }
}
