use std::collections::{BTreeMap, BTreeSet};

use dunlin_dataplane::proxy::{Element, Found, FrontendSet};
use dunlin_net::Afi;
use dunlin_net::service::View;

use super::octets::{self, Octets, Parts};
use super::shape::{self, Rule};
use super::{ProxyTables, rules};
use crate::Error;
use crate::nft::set::ElementRef;

/// What the tables look like, without their elements.
pub(super) struct Shape {
    /// A table of ours is there, of whatever shape.
    pub present: bool,
    /// The sets made on demand; `None` if the tables are not as this version makes them.
    pub made: Option<BTreeSet<FrontendSet>>,
    /// How many elements a set has, where the kernel tells.
    counts: Counts,
}

type Counts = BTreeMap<(Afi, String), u32>;

/// Slots of that many endpoints, or more, are looked up one by one: a dump would take longer.
const LOOK_UP: usize = 20_000;

impl ProxyTables {
    /// Reads back everything.
    pub fn read(&mut self) -> Result<Found, Error> {
        self.distrust();
        let shape = self.read_shape()?;
        let mut found = Found {
            elements: Vec::new(),
            intact: false,
            present: shape.present,
            flows: Vec::new(),
        };
        let Some(made) = shape.made else {
            self.tell_flows(&mut found);
            return Ok(found);
        };
        for afi in Afi::ALL {
            if !self.read_table(afi, &made, &shape.counts, &mut found.elements)? {
                found.elements.clear();
                self.tell_flows(&mut found);
                return Ok(found);
            }
        }
        found.intact = true;
        self.tell_flows(&mut found);
        self.made = Some(made);
        Ok(found)
    }

    pub(super) fn read_shape(&mut self) -> Result<Shape, Error> {
        let (mut present, mut whole) = (false, true);
        let mut made = None;
        let mut counts = Counts::new();
        for afi in Afi::ALL {
            let table = shape::table(afi);
            if !self.nft.has_table(table)? {
                whole = false;
                continue;
            }
            present = true;
            let sets = self.nft.sets(table)?;
            for (name, count) in &sets {
                counts.extend(count.map(|count| ((afi, name.clone()), count)));
            }
            let sets = demanded(afi, sets.iter().map(|(name, _)| name.as_str()));
            let rules = self.nft.all_rule_comments(table)?;
            let same = sets.as_ref().is_some_and(|sets| {
                has_rules(afi, sets, rules) && made.as_ref().is_none_or(|made| made == sets)
            });
            whole &= same;
            made = sets;
        }
        Ok(Shape {
            present,
            made: made.filter(|_| whole),
            counts,
        })
    }

    /// False if there is something that we do not write.
    fn read_table(
        &mut self,
        afi: Afi,
        made: &BTreeSet<FrontendSet>,
        counts: &Counts,
        found: &mut Vec<Element>,
    ) -> Result<bool, Error> {
        let table = shape::table(afi);
        let mut all = Vec::new();
        for set in shape::FIXED.iter().chain(made) {
            let member = |frontend| Element::Member {
                set: *set,
                frontend,
            };
            let name = shape::set_name(*set);
            all.push(self.nft.read_elements(table, &name, |element| {
                Some(octets::member(afi, element).map(member))
            })?);
        }
        for view in View::ALL {
            let members = all.iter().flatten().flatten().flatten();
            let by_key = self.look_up_slots(afi, view, counts, members)?;
            all.push(match by_key {
                Some(slots) => Some(slots),
                None => self
                    .nft
                    .read_elements(table, shape::slots(view), |element| {
                        Some(octets::slot(afi, view, element))
                    })?,
            });
        }
        all.push(self.nft.read_elements(table, shape::ALLOWED, |element| {
            Some(octets::allowed(afi, element))
        })?);
        all.push(self.nft.read_elements(table, shape::HAIRPIN, |element| {
            Some(octets::hairpin(afi, element))
        })?);
        all.push(self.nft.read_elements(table, shape::SERVED, |element| {
            Some(octets::served(afi, element))
        })?);
        let marks = self.nft.read_elements(table, shape::NEAR, |element| {
            let addr = Parts::new(afi, element.key).address();
            Some(addr.map(|addr| (addr, element.end)))
        })?;
        let near = marks
            .and_then(|marks| marks.into_iter().collect::<Option<Vec<_>>>())
            .and_then(octets::near);
        all.push(near.map(|near| near.into_iter().map(Some).collect()));
        for elements in all {
            let Some(elements) =
                elements.and_then(|list| list.into_iter().collect::<Option<Vec<_>>>())
            else {
                return Ok(false);
            };
            found.extend(elements);
        }
        Ok(true)
    }

    /// The slots of the frontends that choose by slot, one by one. `None` if there are few of them, or others beside
    /// these, or the kernel does not tell.
    fn look_up_slots<'a>(
        &mut self,
        afi: Afi,
        view: View,
        counts: &Counts,
        members: impl Iterator<Item = &'a Element>,
    ) -> Result<Option<Vec<Option<Element>>>, Error> {
        let name = shape::slots(view);
        let count = counts
            .get(&(afi, name.to_owned()))
            .map(|count| *count as usize);
        let Some(count) = count.filter(|count| *count >= LOOK_UP) else {
            return Ok(None);
        };
        let runs = members.filter_map(|member| match *member {
            Element::Member { set, frontend } => {
                let (of, slots) = slots_of(set)?;
                let key = Octets::frontend(frontend);
                let keys = (0..slots).map(move |slot| key.slot(slot));
                (of == view).then_some(keys)
            }
            _ => None,
        });
        let make = |element: &ElementRef<'_>| Some(octets::slot(afi, view, element));
        let found = self.nft.look_up(shape::table(afi), name, runs, make)?;
        Ok((found.len() == count).then_some(found))
    }
}

/// The slots of a frontend in a set.
fn slots_of(set: FrontendSet) -> Option<(View, u32)> {
    match set {
        FrontendSet::Random { view, slots } | FrontendSet::Hashed { view, slots } => {
            Some((view, slots))
        }
        _ => None,
    }
}

/// The sets on demand among a table's. `None` if one is missing or not ours.
pub(super) fn demanded<'a>(
    afi: Afi,
    names: impl Iterator<Item = &'a str>,
) -> Option<BTreeSet<FrontendSet>> {
    let fixed: BTreeSet<String> = shape::fixed_sets(afi)
        .into_iter()
        .map(|set| set.name)
        .collect();
    let (there, others): (Vec<&str>, Vec<&str>) = names.partition(|name| fixed.contains(*name));
    let made = others.into_iter().map(shape::set_of);
    (there.len() == fixed.len())
        .then(|| made.collect::<Option<_>>())
        .flatten()
}

/// Whether a table's rules are ours, in every chain: those on demand that stand first, in the order in which they came,
/// then those that are always there, in order, then the others on demand.
pub(super) fn has_rules(
    afi: Afi,
    made: &BTreeSet<FrontendSet>,
    rules: Vec<(String, String)>,
) -> bool {
    type Chains = BTreeMap<String, (Vec<String>, Vec<String>)>;
    let mut expected = Chains::new();
    for Rule { chain, comment, .. } in rules::fixed_rules(afi) {
        expected.entry(chain).or_default().0.push(comment);
    }
    let mut front = BTreeSet::new();
    let later = made.iter().flat_map(|set| rules::demanded(afi, *set).1);
    for rule in later {
        if rule.first {
            front.insert((rule.chain.clone(), rule.comment.clone()));
        }
        expected.entry(rule.chain).or_default().1.push(rule.comment);
    }
    let mut found = Chains::new();
    for (chain, comment) in rules {
        let fixed = expected.get(&chain).map_or(0, |(fixed, _)| fixed.len());
        let rule = (chain, comment);
        let is_front = front.contains(&rule);
        let (chain, comment) = rule;
        let (first, rest) = found.entry(chain).or_default();
        let in_place = !is_front || first.is_empty();
        let behind = first.len() >= fixed && !(is_front && fixed > 0);
        if behind || (is_front && in_place) {
            rest.push(comment);
        } else {
            first.push(comment);
        }
    }
    let sorted = |mut chains: Chains| {
        chains.values_mut().for_each(|(_, rest)| rest.sort());
        chains
    };
    sorted(found) == sorted(expected)
}
