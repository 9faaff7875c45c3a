//! Stands in for the kernel: elements by key, whole transactions, refusals.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use dunlin_net::service::{Frontend, View};
use dunlin_net::{Instant, IpNet};

use crate::KernelError;
use crate::proxy::{
    Batch, BatchDone, Command, Element, Forget, Found, FrontendSet, Op, Proxy, block,
};

/// An element without what its key leads to.
fn key(element: &Element) -> Element {
    match *element {
        Element::Slot {
            view,
            frontend,
            slot,
            ..
        } => Element::Slot {
            view,
            frontend,
            slot,
            to: SocketAddr::from(([0, 0, 0, 0], 0)),
        },
        other => other,
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    pub(super) present: bool,
    pub(super) intact: bool,
    /// By key.
    pub(super) elements: BTreeMap<Element, Element>,
    pub(super) forgotten: Vec<Forget>,
    pub(super) batches: usize,
    pub(super) ops: usize,
    pub(super) largest: usize,
}

pub(super) fn error(errno: i32) -> KernelError {
    KernelError {
        errno,
        message: "refused by the test".to_owned(),
    }
}

impl Kernel {
    pub(super) fn set(&self) -> BTreeSet<Element> {
        self.elements.values().copied().collect()
    }

    pub(super) fn has(&self, element: &Element) -> bool {
        self.elements.get(&key(element)) == Some(element)
    }

    pub(super) fn found(&self) -> Found {
        let elements = if self.intact {
            self.elements.values().copied().collect()
        } else {
            Vec::new()
        };
        Found {
            elements,
            intact: self.intact,
            present: self.present,
            flows: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, element: Element) {
        self.elements.insert(key(&element), element);
    }

    pub(super) fn take(&mut self, element: &Element) {
        self.elements.remove(&key(element));
    }

    pub(super) fn flush(&mut self) {
        self.elements.clear();
        self.present = false;
        self.intact = false;
    }

    /// All or nothing.
    pub(super) fn apply(&mut self, batch: &Batch) -> Result<(), KernelError> {
        let mut undo: Vec<(Element, Option<Element>)> = Vec::new();
        let before = (batch.rebuild || !self.intact).then(|| self.clone());
        if batch.rebuild {
            self.elements.clear();
            self.present = true;
            self.intact = true;
        } else if !self.intact {
            return Err(error(2));
        }
        for op in &batch.ops {
            let result = match op {
                Op::Add(element) if self.elements.contains_key(&key(element)) => Err(error(17)),
                Op::Add(element) => {
                    undo.push((key(element), None));
                    self.put(*element);
                    Ok(())
                }
                Op::Remove(element) if !self.has(element) => Err(error(2)),
                Op::Remove(element) => {
                    undo.push((key(element), Some(*element)));
                    self.take(element);
                    Ok(())
                }
            };
            if result.is_err() {
                match before {
                    Some(before) => *self = before,
                    None => {
                        for (key, had) in undo.into_iter().rev() {
                            match had {
                                Some(element) => self.elements.insert(key, element),
                                None => self.elements.remove(&key),
                            };
                        }
                    }
                }
                return result;
            }
        }
        self.batches += 1;
        self.ops += batch.ops.len();
        self.largest = self.largest.max(batch.ops.len());
        self.forgotten.extend(&batch.forget);
        Ok(())
    }

    /// Does all that is asked, without fail, until nothing is.
    pub(super) fn run(&mut self, proxy: &mut Proxy, now: Instant) {
        while let Some(command) = proxy.next(now) {
            self.answer(proxy, now, command);
        }
    }

    pub(super) fn answer(&mut self, proxy: &mut Proxy, now: Instant, command: Command) {
        match command {
            Command::Read => proxy.on_found(now, Ok(self.found())),
            Command::Remove => {
                self.flush();
                proxy.on_found(now, Ok(self.found()));
            }
            Command::Submit(batch) => {
                let number = batch.number;
                let result = self.apply(&batch);
                let done = BatchDone {
                    number,
                    result,
                    unsure: false,
                    forgotten: Ok(()),
                };
                proxy.on_done(now, done);
            }
        }
    }

    fn member(&self, frontend: Frontend, set: FrontendSet) -> bool {
        self.has(&Element::Member { set, frontend })
    }

    /// The elements whose frontend is this one.
    pub(super) fn of(&self, frontend: Frontend) -> Vec<Element> {
        let is = |element: &&Element| {
            matches!(element, Element::Member { frontend: f, .. }
                | Element::Slot { frontend: f, .. }
                | Element::Allowed { frontend: f, .. } if *f == frontend)
        };
        self.elements.values().filter(is).copied().collect()
    }

    /// What the rules of the tables do with a first packet, chain by chain, for a client without affinity; from `None`:
    /// for one from wherever is allowed.
    pub(super) fn walk(&self, frontend: Frontend, view: View, from: Option<IpNet>) -> Walk {
        if !self.has(&Element::Served(block(frontend.addr))) {
            return self.refused(frontend);
        }
        let of = self.of(frontend);
        if let (View::Outside, Some(from)) = (view, from) {
            let allows = |element: &Element| matches!(element, Element::Allowed { source, .. } if source.contains(&from));
            if self.member(frontend, FrontendSet::Guarded) && !of.iter().any(allows) {
                return Walk::Dropped;
            }
        }
        let views: &[View] = match view {
            View::Outside => &[View::Outside, View::Inside],
            View::Inside => &[View::Inside],
        };
        for view in views {
            if self.member(frontend, FrontendSet::Dropped { view: *view }) {
                return Walk::Dropped;
            }
            let limit =
                of.iter().find_map(|element| match element {
                    Element::Member {
                        set:
                            FrontendSet::Random { view: v, slots }
                            | FrontendSet::Hashed { view: v, slots },
                        ..
                    } if v == view => Some(*slots),
                    _ => None,
                });
            let Some(limit) = limit else { continue };
            let reached = of.iter().filter_map(|element| match element {
                Element::Slot {
                    view: v, slot, to, ..
                } if v == view && *slot < limit => Some(*to),
                _ => None,
            });
            return Walk::Reaches(reached.collect());
        }
        self.refused(frontend)
    }

    fn refused(&self, frontend: Frontend) -> Walk {
        if self.member(frontend, FrontendSet::Refused) {
            Walk::Refused
        } else {
            Walk::Untouched
        }
    }
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    Untouched,
    Dropped,
    Refused,
    Reaches(BTreeSet<SocketAddr>),
}
