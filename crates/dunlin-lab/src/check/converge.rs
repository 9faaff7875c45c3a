//! Waits until the kernels hold the routes that the plan demands.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ipnet::IpNet;

use crate::lab::Lab;
use crate::plan::Plan;
use crate::report::Report;
use crate::routes::{self, Change, RouteWatch};
use crate::topology::ROUTER;

/// How long the routes may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The pod subnets that a node must learn: all but its own.
pub fn expected_on_node(plan: &Plan, node: u16) -> BTreeSet<IpNet> {
    let others = plan.node_numbers().filter(|other| *other != node);
    others
        .flat_map(|other| {
            plan.families()
                .iter()
                .map(move |afi| Plan::pod_cidr(other, *afi))
        })
        .collect()
}

/// The pod subnets that the router must learn: all.
pub fn expected_on_router(plan: &Plan) -> BTreeSet<IpNet> {
    expected_on_node(plan, 0)
}

/// One namespace whose routes are awaited.
struct Awaited {
    host: String,
    role: String,
    protocol: u8,
    missing: BTreeSet<IpNet>,
    watch: RouteWatch,
}

impl Awaited {
    fn new(lab: &Lab, host: String, protocol: u8, expected: &BTreeSet<IpNet>) -> Result<Awaited> {
        let netns = lab.netns(&host)?;
        // Listen first, then look: nothing falls between.
        let watch = RouteWatch::open(&netns)?;
        let there = routes::installed_by(&netns, protocol)?;
        let mut missing = expected.clone();
        for route in there {
            missing.remove(&route.prefix);
        }
        let first = lab
            .state()
            .daemons
            .iter()
            .find(|daemon| daemon.host == host);
        Ok(Awaited {
            role: first.map_or_else(|| host.clone(), |daemon| daemon.role.clone()),
            host,
            protocol,
            missing,
            watch,
        })
    }

    /// Takes in what happened since.
    fn update(&mut self, expected: &BTreeSet<IpNet>) -> Result<()> {
        for event in self.watch.events()? {
            let route = event.route;
            if route.protocol != self.protocol || !route.is_unicast_in_main() {
                continue;
            }
            match event.change {
                Change::Added | Change::Replaced => {
                    self.missing.remove(&route.prefix);
                }
                Change::Deleted if expected.contains(&route.prefix) => {
                    self.missing.insert(route.prefix);
                }
                Change::Deleted => {}
            }
        }
        Ok(())
    }
}

/// Waits until every node, and the router, holds every pod subnet it must learn. Returns the number of routes.
///
/// # Errors
/// If the deadline comes first: what is missing, where, and the last lines of that daemon's log.
pub fn await_routes(lab: &Lab, deadline: Instant) -> Result<usize> {
    let plan = lab.plan();
    let mut awaited = Vec::new();
    let mut routes = 0;
    for node in plan.node_numbers() {
        let expected = expected_on_node(plan, node);
        routes += expected.len();
        let host = Plan::node_name(node);
        awaited.push((
            Awaited::new(lab, host, lab.node_protocol(), &expected)?,
            expected,
        ));
    }
    if let Some(protocol) = lab.router_protocol() {
        let expected = expected_on_router(plan);
        routes += expected.len();
        awaited.push((
            Awaited::new(lab, ROUTER.to_owned(), protocol, &expected)?,
            expected,
        ));
    }
    let daemons = lab.state().daemons.iter();
    let ends: Vec<_> = daemons
        .filter_map(|daemon| daemon.process.pidfd())
        .collect();
    loop {
        for (awaited, expected) in &mut awaited {
            awaited.update(expected)?;
        }
        if awaited.iter().all(|(a, _)| a.missing.is_empty()) {
            return Ok(routes);
        }
        let mut daemons = lab.state().daemons.iter();
        if let Some(ended) = daemons.find(|daemon| !daemon.process.is_alive()) {
            bail!("{}", lab.last_words(&ended.role));
        }
        let open = awaited.iter().map(|(awaited, _)| &awaited.watch);
        if !routes::wait_any(open, &ends, deadline)? {
            break;
        }
    }
    let lacking: Vec<_> = awaited
        .iter()
        .map(|(a, _)| a)
        .filter(|a| !a.missing.is_empty())
        .collect();
    let Some(worst) = lacking.first() else {
        bail!("the routes came and went");
    };
    let missing: Vec<String> = worst.missing.iter().take(4).map(IpNet::to_string).collect();
    bail!(
        "{} lacks {} of its routes ({}); {} hosts lack some. {}",
        worst.host,
        worst.missing.len(),
        missing.join(" "),
        lacking.len(),
        lab.last_words(&worst.role)
    );
}

/// Waits for the routes, and prints how long after the last daemon's start they were there.
///
/// # Errors
/// As [`await_routes`].
pub fn converge(lab: &Lab, report: &Report) -> Result<()> {
    let routes = await_routes(lab, Instant::now() + DEADLINE)?;
    let router = match lab.router_protocol() {
        Some(_) => ", the router all",
        None => "",
    };
    let text = format!("{routes} in the kernels: every node has the others' pod subnets{router}");
    report.done("routes", &text, lab.started().elapsed());
    Ok(())
}
