//! Answers to queries: what the machines hold, in the words of the admin API.

mod bfd;
mod bmp;
mod down;
mod explain;
mod frontends;
mod frontends_explained;
mod neighbors;
mod next_hops;
mod pools;
mod report;
mod routes;
mod services;
mod status;
mod topology;
mod unnumbered;

pub use bfd::{BfdOutside, BfdSeen};
pub(crate) use services::announced_for;

use std::collections::{BTreeMap, HashMap};

use dunlin_api::{Answer, Query};
use dunlin_bgp::session::PeerSnapshot;
use dunlin_intent::NamespacedName;
use dunlin_net::{Instant, PeerId};

use crate::core::Core;

/// What only the adapters know, and answers need.
#[derive(Debug, Default)]
pub struct Outside {
    /// The sessions' own figures.
    pub sessions: Vec<PeerSnapshot>,
    /// Connections to the listening port that were refused since the start, by reason.
    pub refused_connections: BTreeMap<String, u64>,
    /// The BFD sessions' own figures, if BFD runs.
    pub bfd: Option<BfdOutside>,
    /// Router advertisements and solicitations by what became of them, if there are unnumbered peers.
    pub router_discovery: BTreeMap<String, u64>,
    /// Problems that adapters have, such as a port that cannot be listened on.
    pub problems: Vec<dunlin_api::Problem>,
}

/// An [`Outside`] with its sessions by peer.
struct Seen<'a> {
    now: Instant,
    sessions: HashMap<PeerId, &'a PeerSnapshot, foldhash::fast::FixedState>,
    outside: &'a Outside,
}

impl Core {
    /// Whether answering needs [`Outside::sessions`] and [`Outside::bfd`].
    pub fn needs_sessions(query: &Query) -> bool {
        matches!(
            query,
            Query::Neighbors | Query::Metrics | Query::ExplainNeighbor(_)
        )
    }

    /// Answers a query.
    pub fn answer(&mut self, now: Instant, query: &Query, outside: &Outside) -> Answer {
        let seen = Seen {
            now,
            sessions: outside
                .sessions
                .iter()
                .map(|session| (session.peer, session))
                .collect(),
            outside,
        };
        match query {
            Query::Status => Answer::Status(Box::new(self.status(&seen))),
            Query::Metrics => Answer::Metrics(Box::new(self.metrics(&seen))),
            Query::NodeReport => Answer::NodeReport(Box::new(self.node_report(&seen))),
            Query::ObjectReport => Answer::ObjectReport(Box::new(self.object_report(&seen))),
            Query::Neighbors => Answer::Neighbors(self.neighbors(&seen)),
            Query::Nodes => Answer::Nodes(self.nodes(&seen)),
            Query::Routes(filter) => Answer::Routes(self.routes(&seen, filter)),
            Query::Advertisements(filter) => Answer::Advertisements(self.advertisements(filter)),
            Query::Services(filter) => Answer::Services(self.services(filter)),
            Query::Frontends(asked) => Answer::Frontends(self.frontend_owners(asked)),
            Query::Pools => Answer::Pools(self.pools()),
            Query::ExplainPrefix(net) => Answer::Explanation(self.explain_prefix(&seen, *net)),
            Query::ExplainService { namespace, name } => {
                let name = NamespacedName::new(namespace.as_str(), name.as_str());
                match self.explain_service(&seen, &name, None) {
                    Some(explanation) => Answer::Explanation(explanation),
                    None => Answer::NotFound(format!("no Service is called {name}")),
                }
            }
            Query::ExplainNeighbor(name) => match self.find_peer(name) {
                Some(id) => Answer::Explanation(self.explain_neighbor(&seen, id)),
                None => Answer::NotFound(format!("no neighbor has the name or address {name}")),
            },
        }
    }

    /// A peer by its name or address.
    fn find_peer(&self, name: &str) -> Option<PeerId> {
        let wanted = name.parse().ok();
        let found = |peer: &&&crate::peers::Peer| {
            peer.name() == name || wanted.is_some() && peer.address() == wanted
        };
        self.peers.sorted().iter().find(found).map(|peer| peer.id)
    }
}

fn age_secs(now: Instant, since: Instant) -> u64 {
    now.since(since).as_secs()
}
