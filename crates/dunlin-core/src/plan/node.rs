//! What changes for the node as a whole.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dunlin_api::{Listed, Plan, PlannedPrefix, PlannedPrefixes};
use dunlin_intent::{BmpStation, LocalIntent, PodEgress, RouteInstallation};
use dunlin_net::{Afi, IpNet};

use super::Draft;
use super::fields::{Fields, restart};

impl Draft<'_> {
    pub(super) fn node(&self, plan: &mut Plan) {
        let mut fields = Fields::default();
        match (&self.before.local, &self.after.local) {
            (Some(before), Some(after)) => local(&mut fields, [before, after]),
            (before, after) => {
                let known = |local: &Option<_>| match local {
                    Some(_) => "known",
                    None => "not known, or its configuration is not",
                };
                fields.plain("the own Node", [known(before), known(after)]);
            }
        }
        plan.node_changes = fields.0;
        if self.masquerades() {
            let was = |net: &IpNet| self.core.cluster.egress_excluded(*net);
            let nets: BTreeSet<IpNet> = self.moved.exclusions.iter().copied().collect();
            let is = |net: &IpNet| self.cluster.egress_excluded(*net);
            let before = nets.iter().copied().filter(was).collect();
            let after = nets.iter().copied().filter(is).collect();
            plan.masquerade_exclusions = self.between(&before, &after);
        }
        if self.moved.service_ranges {
            let before = self.core.cluster.service_ranges().collect();
            let after = self.cluster.service_ranges().collect();
            plan.service_ranges = self.between(&before, &after);
        }
    }

    fn masquerades(&self) -> bool {
        let mut locals = [&self.before.local, &self.after.local]
            .into_iter()
            .flatten();
        locals.any(|local| local.pod_egress.masquerade)
    }

    fn between(&self, before: &BTreeSet<IpNet>, after: &BTreeSet<IpNet>) -> PlannedPrefixes {
        let listed = |these: &BTreeSet<IpNet>, others: &BTreeSet<IpNet>| {
            let mut listed = Listed::default();
            for net in these.difference(others) {
                listed.add(self.limit, PlannedPrefix::new(*net));
            }
            listed
        };
        PlannedPrefixes {
            appear: listed(after, before),
            go: listed(before, after),
            change: Listed::default(),
        }
    }
}

fn local(fields: &mut Fields, both: [&LocalIntent; 2]) {
    fields.plain("asn", both.map(|l| l.asn));
    fields.plain("routerID", both.map(|l| l.router_id));
    fields.plain("listenPort", both.map(|l| l.listen_port));
    fields.list("addresses", both.map(|l| l.addresses.as_slice()));
    for afi in Afi::ALL {
        let field = format!("next hop for {afi}");
        fields.optional(&field, both.map(|l| *l.next_hops.get(afi)));
    }
    fields.list("podCIDRs", both.map(|l| l.pod_subnets.as_slice()));
    fields.compare(
        "routeInstallation",
        both.map(|l| l.route_installation),
        |mode| Some(installation(*mode).to_owned()),
    );
    fields.compare("gracefulRestart", both.map(|l| l.graceful_restart), |gr| {
        gr.map(|gr| restart(&gr))
    });
    fields.compare("masquerade", both.map(|l| &l.pod_egress), |egress| {
        Some(masquerade(egress))
    });
    let stations = both.map(|l| l.bmp.iter().map(station).collect::<Vec<String>>());
    fields.list("bmp", [&stations[0], &stations[1]].map(Vec::as_slice));
    fields.compare("draining", both.map(|l| l.draining), |cause| {
        cause.map(|cause| cause.as_str().to_owned())
    });
}

pub(super) fn installation(mode: RouteInstallation) -> &'static str {
    match mode {
        RouteInstallation::Kernel => "Kernel",
        RouteInstallation::None => "None",
    }
}

fn station(station: &BmpStation) -> String {
    let mut tables = [
        (station.adj_rib_in, "AdjRIBIn"),
        (station.loc_rib, "LocRIB"),
    ]
    .into_iter()
    .filter_map(|(told, name)| told.then_some(name))
    .collect::<Vec<_>>()
    .join(" and ");
    if station.statistics_secs > 0 {
        tables.push_str(&format!(", statistics each {} s", station.statistics_secs));
    }
    let at = SocketAddr::new(station.address, station.port);
    format!("{at} ({tables})")
}

fn masquerade(egress: &PodEgress) -> String {
    if !egress.masquerade || egress.sources.is_empty() {
        return "off".to_owned();
    }
    let sources: Vec<String> = egress.sources.iter().map(ToString::to_string).collect();
    format!("of {}", sources.join(", "))
}
