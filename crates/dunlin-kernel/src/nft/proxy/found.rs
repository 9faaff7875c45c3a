use std::collections::{BTreeMap, BTreeSet};

use dunlin_dataplane::proxy::{Element, Found, FrontendSet};
use dunlin_net::Afi;
use dunlin_net::service::View;

use super::octets::{self, Parts};
use super::shape::{self, Rule};
use super::{ProxyTables, rules};
use crate::Error;

/// What the tables look like, without their elements.
pub(super) struct Shape {
    /// A table of ours is there, of whatever shape.
    pub present: bool,
    /// The sets made on demand; `None` if the tables are not as this version makes them.
    pub made: Option<BTreeSet<FrontendSet>>,
}

impl ProxyTables {
    /// Reads back everything.
    pub fn read(&mut self) -> Result<Found, Error> {
        self.distrust();
        let shape = self.read_shape()?;
        let mut found = Found {
            elements: Vec::new(),
            intact: false,
            present: shape.present,
        };
        let Some(made) = shape.made else {
            return Ok(found);
        };
        for afi in Afi::ALL {
            if !self.read_table(afi, &made, &mut found.elements)? {
                found.elements.clear();
                return Ok(found);
            }
        }
        found.intact = true;
        self.made = Some(made);
        Ok(found)
    }

    pub(super) fn read_shape(&mut self) -> Result<Shape, Error> {
        let (mut present, mut whole) = (false, true);
        let mut made = None;
        for afi in Afi::ALL {
            let table = shape::table(afi);
            if !self.nft.has_table(table)? {
                whole = false;
                continue;
            }
            present = true;
            let sets = demanded(afi, &self.nft.set_names(table)?);
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
        })
    }

    /// False if there is something that we do not write.
    fn read_table(
        &mut self,
        afi: Afi,
        made: &BTreeSet<FrontendSet>,
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
            let name = shape::slots(view);
            all.push(self.nft.read_elements(table, name, |element| {
                Some(octets::slot(afi, view, element))
            })?);
        }
        all.push(self.nft.read_elements(table, shape::ALLOWED, |element| {
            Some(octets::allowed(afi, element))
        })?);
        all.push(self.nft.read_elements(table, shape::HAIRPIN, |element| {
            Some(octets::hairpin(afi, element))
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
}

/// The sets on demand among a table's. `None` if one is missing or not ours.
fn demanded(afi: Afi, names: &[String]) -> Option<BTreeSet<FrontendSet>> {
    let fixed: BTreeSet<String> = shape::fixed_sets(afi)
        .into_iter()
        .map(|set| set.name)
        .collect();
    let (there, others): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| fixed.contains(*name));
    let made = others.into_iter().map(|name| shape::set_of(name));
    (there.len() == fixed.len())
        .then(|| made.collect::<Option<_>>())
        .flatten()
}

/// Whether a table's rules are ours, in every chain: those that are always there first, in order, then those on demand in
/// the order in which they came.
fn has_rules(afi: Afi, made: &BTreeSet<FrontendSet>, rules: Vec<(String, String)>) -> bool {
    type Chains = BTreeMap<String, (Vec<String>, Vec<String>)>;
    let mut expected = Chains::new();
    for Rule { chain, comment, .. } in rules::fixed_rules(afi) {
        expected.entry(chain).or_default().0.push(comment);
    }
    let later = made.iter().flat_map(|set| rules::demanded(afi, *set).1);
    for Rule { chain, comment, .. } in later {
        expected.entry(chain).or_default().1.push(comment);
    }
    let mut found = Chains::new();
    for (chain, comment) in rules {
        let fixed = expected.get(&chain).map_or(0, |(fixed, _)| fixed.len());
        let (first, rest) = found.entry(chain).or_default();
        let list = if first.len() < fixed { first } else { rest };
        list.push(comment);
    }
    let sorted = |mut chains: Chains| {
        chains.values_mut().for_each(|(_, rest)| rest.sort());
        chains
    };
    sorted(found) == sorted(expected)
}
