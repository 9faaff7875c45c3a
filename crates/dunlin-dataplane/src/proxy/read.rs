//! What a read-back tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dunlin_net::service::Protocol;
use dunlin_net::{Instant, IpNet};

use super::common;
use super::element::{Element, Found};
use super::programmed::Programmed;
use super::{MAX_LOST, Outstanding, Proxy, Tables};
use crate::KernelError;

impl Proxy {
    /// What a read-back found, or why there was none; or what is left after [`super::Command::Remove`]. What was found
    /// is believed, whatever was before.
    pub fn on_found(&mut self, now: Instant, found: Result<Found, KernelError>) {
        let again = match self.outstanding {
            Outstanding::Read { again } => again,
            Outstanding::Remove => return self.on_removed(now, found),
            Outstanding::Nothing | Outstanding::Batch(_) => return,
        };
        self.outstanding = Outstanding::Nothing;
        self.last_read = Some(now);
        self.tally.reads += 1;
        if self.enabled != Some(true) {
            return;
        }
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.last_error = Some(Arc::new(error));
                return self.want_read(now);
            }
        };
        let was_made = self.tables == Tables::Made;
        self.tables = if found.intact {
            Tables::Made
        } else {
            let present = found.present;
            Tables::ToMake { present }
        };
        self.pause_until = None;
        self.flows.found(found.flows);
        let elements = if found.intact {
            found.elements
        } else {
            Vec::new()
        };
        let differs = self.believe(elements);
        // What changed while it was read may be found by the next.
        if std::mem::replace(&mut self.meddled, again) && was_made && (differs || !found.intact) {
            self.tally.repairs += 1;
            self.last_repair = Some(now);
        }
        if again {
            self.want_read(now);
        }
    }

    fn on_removed(&mut self, now: Instant, left: Result<Found, KernelError>) {
        self.outstanding = Outstanding::Nothing;
        let error = match left {
            Ok(left) if !left.present => {
                self.pause_until = None;
                self.last_error = None;
                if self.enabled == Some(false) {
                    self.tables = Tables::ToMake { present: false };
                }
                self.believe(Vec::new());
                self.owed.clear();
                self.owed_at = None;
                self.lost.clear();
                self.flows.clear();
                return;
            }
            Ok(_) => KernelError {
                errno: 0,
                message: "tables of the service proxy are still there after their removal"
                    .to_owned(),
            },
            Err(error) => error,
        };
        self.refusals = self.refusals.saturating_add(1);
        self.pause(now, Arc::new(error));
    }

    /// Gives whether that is something else than was believed.
    fn believe(&mut self, elements: Vec<Element>) -> bool {
        let common: BTreeSet<Element> = self.common.elements().collect();
        let before: Vec<(u32, Programmed)> = {
            let all: Vec<u32> = self.frontends.all().collect();
            let take = |at| {
                (
                    at,
                    std::mem::take(&mut self.frontends.entry_mut(at).believed),
                )
            };
            all.into_iter().map(take).collect()
        };
        self.adopted = !elements.is_empty();
        self.common.believe_nothing();
        let mut allowed: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
        for element in elements {
            self.believe_one(element, &mut allowed);
        }
        for (at, sources) in allowed {
            self.frontends.entry_mut(at).believed.set_allowed(sources);
        }
        self.common.found_all();
        (self.tally.elements, self.tally.endpoints) = (0, 0);
        let all: Vec<u32> = self.frontends.all().collect();
        for at in &all {
            let entry = self.frontends.entry_mut(*at);
            entry.believed.settle();
            entry.found = !entry.believed.is_empty();
            entry.served = self.common.served(&entry.frontend).is_ok();
            let afi = entry.frontend.afi();
            self.tally.elements += entry.believed.len(afi);
            self.tally.endpoints += entry.believed.filled(afi);
        }
        // What frontends have that were known before; the rest is of others.
        let mut of_known = 0;
        let mut differs = common != self.common.elements().collect();
        for (at, before) in before {
            let entry = self.frontends.entry(at);
            of_known += entry.believed.len(entry.frontend.afi());
            if before != entry.believed {
                differs = true;
                self.retries.clear(at);
                self.lose(at, before);
            }
        }
        self.retries.clear(common::UNIT);
        for at in all {
            self.frontends.enqueue(at);
            self.frontends.refresh(at);
        }
        differs || of_known != self.tally.elements
    }

    fn believe_one(&mut self, element: Element, allowed: &mut BTreeMap<u32, Vec<IpNet>>) {
        match element {
            Element::Hairpin(_) | Element::Near(_) | Element::Served(_) => {
                self.common.found(element);
            }
            Element::Member { set, frontend } => {
                let at = self.frontends.ensure(frontend);
                self.frontends.entry_mut(at).believed.sets.push(set);
            }
            Element::Allowed { frontend, source } => {
                let at = self.frontends.ensure(frontend);
                allowed.entry(at).or_default().push(source);
            }
            Element::Slot {
                view,
                frontend,
                slot,
                to,
            } => {
                let afi = frontend.afi();
                let at = self.frontends.ensure(frontend);
                let slots = self.frontends.entry_mut(at).believed.slots_mut(view);
                if !slots.fill(afi, slot, &to) && slots.get(afi, slot as usize) != Some(to) {
                    self.common.found(element);
                }
            }
        }
    }

    /// Flows and clients go on by what was there, though it went by another hand.
    fn lose(&mut self, at: u32, before: Programmed) {
        let frontend = self.frontends.entry(at).frontend;
        if frontend.protocol != Protocol::Udp && !before.is_sticky() {
            return;
        }
        let lost = self.lost.entry(at).or_default();
        if lost.len() < MAX_LOST && !lost.contains(&before) {
            lost.push(before);
        }
    }
}
