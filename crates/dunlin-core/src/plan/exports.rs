//! What peers would be told of what this node originates, and what they are told in all.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_api::{Listed, PlannedExports};
use dunlin_bgp::rib::Moment;
use dunlin_net::IpNet;

use super::bounded::Shift;
use super::classes::Class;
use super::relays::Ours;
use super::{Budget, Draft};

impl Draft<'_> {
    /// The prefixes whose origination would not stay as it is.
    pub(super) fn originations_moved(&self) -> BTreeSet<IpNet> {
        let (before, after) = (&self.before.originations, &self.after.originations);
        let gone = before.iter().filter(|(net, o)| after.get(net) != Some(o));
        let new = after.iter().filter(|(net, o)| before.get(net) != Some(o));
        gone.chain(new).map(|(net, _)| *net).collect()
    }

    /// What the peers of a class would be told of what this node originates; not of what `passed` among the routes, where
    /// they are told of such.
    pub(super) fn originated(
        &self,
        class: &mut Class<'_>,
        ours: &Ours,
        passed: &BTreeSet<IpNet>,
        budget: &mut Budget,
    ) {
        let all: BTreeSet<IpNet>;
        let nets = if class.stays() {
            &ours.moved
        } else {
            let wanted = [&self.before, &self.after];
            let nets = wanted.into_iter().flat_map(|w| w.originations.keys());
            all = nets.copied().collect();
            &all
        };
        for net in nets.iter().copied() {
            if class.relays && passed.contains(&net) {
                continue;
            }
            if !budget.spend(1) {
                return;
            }
            let told = |moment| ours.told(net, class.teller(moment)?);
            let (before, after) = (told(Moment::Before), told(Moment::After));
            let said = [before.as_slice(), after.as_slice()];
            let becomes = self.becomes(said, class.to());
            class
                .found
                .note(net, (becomes, Vec::new()), self.limit, budget);
        }
    }

    /// The classes' outcomes, those of the same outcome together.
    pub(super) fn exports(&self, classes: Vec<Class<'_>>) -> Listed<PlannedExports> {
        let mut outcomes = Outcomes::new(self.limit);
        for class in classes {
            let mut all = None;
            for (name, peer) in class.peers {
                let place = match class.found.own(peer, self.limit) {
                    Some(own) => outcomes.place(own),
                    None => *all.get_or_insert_with(|| outcomes.place(class.found.shift.clone())),
                };
                if let Some(place) = place {
                    outcomes.peers[place].add(self.limit, name);
                }
            }
        }
        let mut shifts: Vec<(usize, Shift)> =
            outcomes.places.into_iter().map(|(s, at)| (at, s)).collect();
        shifts.sort_unstable_by_key(|(at, _)| *at);
        let items = shifts.into_iter().zip(outcomes.peers);
        let items = items.map(|((_, shift), peers)| PlannedExports {
            peers,
            prefixes: self.shown(&shift),
        });
        Listed {
            items: items.collect(),
            more: outcomes.more,
        }
    }
}

/// Different outcomes, the first ones.
struct Outcomes {
    limit: usize,
    places: BTreeMap<Shift, usize>,
    /// Whose each is.
    peers: Vec<Listed<String>>,
    /// How many there are beyond; those that are the same are counted apart.
    more: u64,
}

impl Outcomes {
    fn new(limit: usize) -> Outcomes {
        Outcomes {
            limit,
            places: BTreeMap::new(),
            peers: Vec::new(),
            more: 0,
        }
    }

    /// Which it is; none if nothing comes of it, or it is beyond the limit.
    fn place(&mut self, shift: Shift) -> Option<usize> {
        if shift.is_empty() {
            return None;
        }
        if let Some(place) = self.places.get(&shift) {
            return Some(*place);
        }
        if self.peers.len() >= self.limit {
            self.more += 1;
            return None;
        }
        let place = self.peers.len();
        self.peers.push(Listed::default());
        self.places.insert(shift, place);
        Some(place)
    }
}
