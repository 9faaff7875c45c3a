//! Proof that nothing else changed: sessions between real agents and the kernel's routes, seen from outside.

use dunlin_lab::routes::{self, PROTOCOL_DUNLIN, Route, RouteWatch};

use crate::agent::Agent;

/// Watches agents from its making on.
#[derive(Debug)]
pub struct Witness<'a> {
    seen: Vec<Seen<'a>>,
}

#[derive(Debug)]
struct Seen<'a> {
    agent: &'a Agent,
    watch: RouteWatch,
    before: Vec<Route>,
    flaps: Vec<(String, String, u64)>,
    foreign: Vec<Route>,
}

impl<'a> Witness<'a> {
    /// Looks at these agents as they are now.
    ///
    /// # Panics
    /// If the kernel does not answer.
    pub fn new(agents: &[&'a Agent]) -> Witness<'a> {
        let seen = agents.iter().map(|&agent| {
            let netns = &agent.place.netns;
            Seen {
                agent,
                watch: RouteWatch::open(netns).expect("a watch"),
                before: ours(agent),
                flaps: node_sessions(agent),
                foreign: routes::dump(netns, |r| r.protocol != PROTOCOL_DUNLIN).expect("routes"),
            }
        });
        Witness {
            seen: seen.collect(),
        }
    }

    /// Nothing has changed: no session between nodes, no route to a pod subnet, nobody else's route.
    ///
    /// # Panics
    /// With what has.
    #[track_caller]
    pub fn nothing_changed(&mut self) {
        for seen in &mut self.seen {
            let name = &seen.agent.place.node;
            let events = seen.watch.events().expect("no event is lost");
            let events: Vec<_> = events.iter().filter(|e| is_pods(&e.route)).collect();
            assert!(events.is_empty(), "{name}: routes changed: {events:#?}");
            assert_eq!(ours(seen.agent), seen.before, "{name}: our routes");
            let known =
                |s: &(String, String, u64)| seen.flaps.iter().any(|(name, ..)| *name == s.0);
            let mut sessions = node_sessions(seen.agent);
            sessions.retain(known);
            assert_eq!(sessions, seen.flaps, "{name}: sessions");
            let netns = &seen.agent.place.netns;
            let foreign = routes::dump(netns, |r| r.protocol != PROTOCOL_DUNLIN);
            assert_eq!(
                foreign.expect("routes"),
                seen.foreign,
                "{name}: others' routes"
            );
        }
    }
}

/// The tests' pod subnets are all within these.
fn is_pods(route: &Route) -> bool {
    let text = route.prefix.to_string();
    text.starts_with("10.244.") || text.starts_with("fd10:")
}

fn ours(agent: &Agent) -> Vec<Route> {
    let wanted = |route: &Route| route.protocol == PROTOCOL_DUNLIN && is_pods(route);
    let mut all = routes::dump(&agent.place.netns, wanted).expect("routes");
    all.sort_by_key(|route| (route.prefix, route.metric));
    all
}

/// Sessions with nodes: name, state, flaps.
fn node_sessions(agent: &Agent) -> Vec<(String, String, u64)> {
    let neighbors = agent.neighbors();
    let nodes = neighbors.into_iter().filter(|n| n.kind == "node");
    nodes.map(|n| (n.name, n.state, n.flaps)).collect()
}
