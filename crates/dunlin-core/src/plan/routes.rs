//! One pass over the table: imports, routes in the kernel, and what is passed on.

use std::collections::BTreeSet;

use dunlin_api::{Plan, PlannedPrefixes};
use dunlin_bgp::rib::{Chosen, Foresight, Moment, RibFamily};
use dunlin_intent::OriginKind;
use dunlin_net::{IpNet, PeerId, V4, V6};

use super::bounded::{Kept, Shift};
use super::classes::Class;
use super::fields::Fields;
use super::imports::{Imports, Learned};
use super::relays::Ours;
use super::{Budget, Draft, PREFIXES_MAX, Party};
use crate::view::announced_for;

/// What the pass over the table found.
#[derive(Default)]
struct Found {
    learned: Learned,
    kernel: Shift,
    /// Of what is or would be originated here, what was among the routes.
    passed: BTreeSet<IpNet>,
}

impl Draft<'_> {
    pub(super) fn routes(&self, parties: &[Party<'_>], budget: &mut Budget, plan: &mut Plan) {
        let ours = Ours::new(self.originations_moved());
        let mut classes = self.classes(parties);
        let imports = self.imports(parties);
        let mut found = Found::default();
        let is_needed = imports.differ
            || self.moved.judged_by
            || self.moved.service_ranges
            || !ours.moved.is_empty()
            || self.before.local != self.after.local
            || classes.iter().any(|class| class.relays && !class.stays());
        if is_needed {
            let of = (&imports, &ours);
            self.scan::<V4>(of, &mut found, &mut classes, budget);
            self.scan::<V6>(of, &mut found, &mut classes, budget);
        }
        for class in &mut classes {
            self.originated(class, &ours, &found.passed, budget);
        }
        plan.exports = self.exports(classes);
        plan.imports = found.learned.shown(parties, self.limit);
        plan.routes = self.shown(&found.kernel);
    }

    fn scan<F: RibFamily>(
        &self,
        (imports, ours): (&Imports<'_>, &Ours),
        found: &mut Found,
        classes: &mut [Class<'_>],
        budget: &mut Budget,
    ) {
        let Some(routing) = &self.core.routing else {
            return;
        };
        let visit = |prefix: Foresight<'_, F>| {
            let net: IpNet = prefix.net.into();
            let concerns_all = prefix.changed || ours.moved.contains(&net);
            // What was learned is told on whether import changes it or not.
            for class in classes.iter_mut().filter(|class| class.relays) {
                if (concerns_all || !class.stays()) && !budget.cut {
                    self.relayed(class, &prefix, ours, budget);
                }
            }
            if prefix.is_ours || ours.moved.contains(&net) {
                found.passed.insert(net);
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

    fn origin(&self, net: IpNet, from: Option<PeerId>, time: Moment) -> String {
        if let Some(from) = from {
            return self.core.peer_name(from).unwrap_or_default();
        }
        let (wanted, cluster) = match time {
            Moment::Before => (&self.before, &self.core.cluster),
            Moment::After => (&self.after, &self.cluster),
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
