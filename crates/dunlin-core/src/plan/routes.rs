//! One pass over the table: imports, routes in the kernel, and what is passed on.

use dunlin_api::{Plan, PlannedPrefixes};
use dunlin_bgp::rib::{Chosen, Foresight, RibFamily};
use dunlin_intent::OriginKind;
use dunlin_net::{IpNet, PeerId, V4, V6};

use super::bounded::{Kept, Shift, Time};
use super::exports::Class;
use super::fields::Fields;
use super::imports::{Imports, Learned};
use super::{Budget, Draft, PREFIXES_MAX, Party};
use crate::peers::Peer;
use crate::view::announced_for;

/// What the pass over the table found.
#[derive(Default)]
struct Found {
    learned: Learned,
    kernel: Shift,
}

impl Draft<'_> {
    pub(super) fn routes(&self, parties: &[Party<'_>], budget: &mut Budget, plan: &mut Plan) {
        let moved = self.originations_moved();
        let mut classes = self.classes(parties);
        for class in &mut classes {
            self.originated(class, &moved, budget);
        }
        let imports = self.imports(parties);
        let mut found = Found::default();
        let relays = |class: &Class<'_>| class.relay.is_some() && class.sides[0] != class.sides[1];
        let is_needed = imports.differ
            || self.moved.judged_by
            || self.moved.service_ranges
            || !moved.is_empty()
            || self.before.local != self.after.local
            || classes.iter().any(relays);
        if is_needed {
            self.scan::<V4>(&imports, &mut found, &mut classes, budget);
            self.scan::<V6>(&imports, &mut found, &mut classes, budget);
        }
        plan.exports = self.exports(classes);
        plan.imports = found.learned.shown(parties, self.limit);
        plan.routes = self.shown(&found.kernel);
    }

    fn scan<F: RibFamily>(
        &self,
        imports: &Imports<'_>,
        found: &mut Found,
        classes: &mut [Class<'_>],
        budget: &mut Budget,
    ) {
        let Some(routing) = &self.core.routing else {
            return;
        };
        let visit = |prefix: Foresight<'_, F>| {
            // An export filter judges what was learned whether import changes it or not.
            for class in classes.iter_mut().filter(|class| class.relay.is_some()) {
                if budget.spend() {
                    self.relayed(class, &prefix);
                }
            }
            self.installed(&mut found.kernel, &prefix);
            if prefix.changed {
                found.learned.see(imports, self.limit, &prefix);
            }
        };
        let rib = &routing.rib;
        let more = rib.foresee::<F, _>(imports, PREFIXES_MAX, visit);
        budget.cut |= more;
    }

    /// Notes what would become of a learned route in the kernel.
    fn installed<F: RibFamily>(&self, kernel: &mut Shift, seen: &Foresight<'_, F>) {
        let net: IpNet = seen.net.into();
        let own = self.after.originations.contains_key(&net);
        let learned = |best: &'_ Option<Chosen<'_>>, installs: bool| {
            let best = best
                .as_ref()
                .filter(|best| installs && !best.info.is_local());
            best.map(|best| (best.info.peer, best.hops.clone()))
        };
        let before = learned(&seen.before, self.before.installs());
        let after = learned(&seen.after, self.after.installs() && !own);
        match (before, after) {
            (None, Some((from, _))) => kernel.appear.add(self.limit, net, || Kept::from(from)),
            (Some((from, _)), None) => kernel.go.add(self.limit, net, || Kept::from(from)),
            (Some((_, before)), Some((from, after))) if before != after => {
                kernel.change.add(self.limit, net, || {
                    let mut fields = Fields::default();
                    let hops = [before, after].map(|hops| {
                        let addrs = hops.iter().map(|hop| hop.addr);
                        addrs.collect::<Vec<_>>()
                    });
                    fields.list("next hops", [&hops[0], &hops[1]].map(Vec::as_slice));
                    Kept {
                        changes: fields.0,
                        ..Kept::from(from)
                    }
                });
            }
            _ => {}
        }
    }

    /// In words, with where each prefix comes from.
    pub(super) fn shown(&self, shift: &Shift) -> PlannedPrefixes {
        shift.shown(|net, from, time| Some(self.origin(net, from, time)))
    }

    fn origin(&self, net: IpNet, from: Option<PeerId>, time: Time) -> String {
        if let Some(from) = from {
            let peer = self.core.peers.get(from);
            return peer.map_or_else(String::new, Peer::name);
        }
        let (wanted, cluster) = match time {
            Time::Before => (&self.before, &self.core.cluster),
            Time::After => (&self.after, &self.cluster),
        };
        match wanted
            .originations
            .get(&net)
            .map(|origination| origination.kind)
        {
            Some(OriginKind::Service(_)) => announced_for(cluster, net),
            _ => format!("Node/{}", self.core.config.node_name),
        }
    }
}
