//! How nodes peer with each other: every one with every other, or all with a few that reflect.
//!
//! Who reflects follows from the Nodes alone. Only whether a node keeps a mesh *besides* has a memory, so that a cluster
//! whose size goes to and fro over `meshLimit` stays as it is: between nine tenths of the limit and the limit the chosen
//! nodes reflect, and whether others also peer directly does not matter to who reaches whom. So agents need not agree
//! on it, and one that restarts may forget.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cluster;
use super::nodes::Node;
use crate::fact::TopologyMode;
use crate::intent::Initiative;
use crate::problem::Reason;
use crate::reflectors::{Candidate, Fitness, Ranking, ZONE};
use crate::settings::{Faults, Settings};

/// What a Node is to the other Nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeRole {
    /// It peers with every other.
    Mesh,
    /// It peers with every other, and tells each what it learns from the others.
    Reflector,
    /// It peers with the reflectors.
    Client,
    /// It peers with no other.
    None,
}

impl NodeRole {
    /// The role as objects spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeRole::Mesh => "Mesh",
            NodeRole::Reflector => "Reflector",
            NodeRole::Client => "Client",
            NodeRole::None => "None",
        }
    }
}

/// Whether a Node reflects, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidacy {
    /// It reflects.
    Chosen,
    /// It has no InternalIP.
    NoAddress,
    /// `spec.topology.reflectors.nodeSelector` does not select it.
    NotSelected,
    /// There are enough that are Ready.
    NotReady,
    /// It is cordoned or drained, and there are enough that stay.
    Leaving,
    /// It could, and others come before it.
    Behind,
}

impl Candidacy {
    /// In words that follow the name of the Node.
    pub fn text(self) -> &'static str {
        match self {
            Candidacy::Chosen => "is chosen",
            Candidacy::NoAddress => "has no InternalIP",
            Candidacy::NotSelected => "is not selected by spec.topology.reflectors.nodeSelector",
            Candidacy::NotReady => "is not Ready, and there are enough that are",
            Candidacy::Leaving => "is cordoned or drained, and there are enough that stay",
            Candidacy::Behind => "may be one, and others come first: zones take turns",
        }
    }
}

/// How nodes peer, as last worked out.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    /// Something changed that it follows from.
    pub(super) dirty: bool,
    /// The Nodes that may reflect, in order; none if it has to be made anew, since who may has changed for all.
    pub(super) ranking: Option<Ranking>,
    /// Who reflects; nobody in a mesh.
    reflectors: BTreeSet<Arc<str>>,
    /// Every node wants a session with every other.
    meshed: bool,
    /// There should be reflectors, and nobody may be one.
    nobody: bool,
    /// How many Nodes there were.
    count: u32,
    /// This node was a reflector in this run: who still dials it may see it as one.
    was_reflector: bool,
}

impl Default for Topology {
    fn default() -> Topology {
        Topology {
            dirty: true,
            ranking: None,
            reflectors: BTreeSet::new(),
            meshed: true,
            nobody: false,
            count: 0,
            was_reflector: false,
        }
    }
}

/// What another Node is to this one.
pub(super) struct Tie {
    pub(super) initiative: Initiative,
    /// It reflects for us.
    pub(super) reflector: bool,
    /// We reflect for it.
    pub(super) client: bool,
}

/// Up to how many Nodes a mesh comes back once there were reflectors: nine tenths of the limit, and less than it.
fn low_mark(mesh_limit: u32) -> u32 {
    mesh_limit.saturating_sub((mesh_limit / 10).max(1))
}

impl Cluster {
    /// What a Node is to the others, as of the last poll.
    pub fn role(&self, node: &str) -> NodeRole {
        match self.settings.as_ref().map(|settings| settings.topology) {
            None | Some(TopologyMode::None) => NodeRole::None,
            Some(_) if self.topology.reflectors.contains(node) => NodeRole::Reflector,
            Some(_) if self.topology.meshed => NodeRole::Mesh,
            Some(_) => NodeRole::Client,
        }
    }

    /// The Nodes that reflect, by name, as of the last poll.
    pub fn reflectors(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topology.reflectors.iter()
    }

    /// Whether a Node reflects and why not, as of the last poll; `None` where nobody is to, or there is no such Node.
    pub fn candidacy(&self, node: &str) -> Option<Candidacy> {
        let settings = self.settings.as_ref()?;
        let topology = &self.topology;
        let known = self.nodes.get(node)?;
        if topology.reflectors.is_empty() && !topology.nobody {
            return None;
        }
        Some(if topology.reflectors.contains(node) {
            Candidacy::Chosen
        } else if known.addresses.is_empty() {
            Candidacy::NoAddress
        } else if !may_reflect(settings, known) {
            Candidacy::NotSelected
        } else {
            match fitness(known) {
                Fitness::Fit => Candidacy::Behind,
                Fitness::Leaving => Candidacy::Leaving,
                Fitness::NotReady => Candidacy::NotReady,
            }
        })
    }

    /// Why nodes peer as they do, as of the last poll, in words.
    pub fn topology_reason(&self) -> String {
        let Some(settings) = &self.settings else {
            return "the objects are not read yet".to_owned();
        };
        let (limit, nodes) = (settings.mesh_limit, self.topology.count);
        let auto = |how| format!("mode is Auto: {nodes} Nodes, {how} meshLimit {limit}");
        let why = match settings.topology {
            TopologyMode::Mesh => "mode is Mesh".to_owned(),
            TopologyMode::None => "mode is None".to_owned(),
            TopologyMode::Reflectors => "mode is Reflectors".to_owned(),
            TopologyMode::Auto if nodes > limit => auto("more than"),
            TopologyMode::Auto if nodes <= low_mark(limit) => auto("within"),
            TopologyMode::Auto => auto("just within"),
        };
        match self.topology.nobody {
            true => format!("{why}, and no Node may reflect"),
            false => why,
        }
    }

    /// Notes that a Node changed, if that can change who reflects.
    pub(super) fn topology_touched(&mut self, before: Option<&Node>, node: Option<&Node>) {
        let settings = self.settings.as_ref();
        let seen = |node: &Node| settings.and_then(|settings| candidate(settings, node));
        let (had, has) = (before.and_then(seen), node.and_then(seen));
        // Also how many there are matters.
        self.topology.dirty |= had != has || before.is_some() != node.is_some();
        if had != has
            && let Some(ranking) = &mut self.topology.ranking
        {
            if let (Some(before), Some(candidate)) = (before, had) {
                ranking.remove(&before.age.name, &candidate);
            }
            if let (Some(node), Some(candidate)) = (node, has) {
                ranking.insert(&node.age.name, candidate);
            }
        }
    }

    /// Works out who reflects, and marks the Nodes whose session that concerns.
    pub(super) fn settle_topology(&mut self) {
        if !std::mem::take(&mut self.topology.dirty) {
            return;
        }
        if self.topology.ranking.is_none() {
            self.topology.ranking = self.ranked();
        }
        let Some(settings) = &self.settings else {
            self.topology = Topology {
                dirty: false,
                was_reflector: self.topology.was_reflector,
                ..Topology::default()
            };
            self.dirty.mesh = true;
            return;
        };
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let (reflect, meshed) = match settings.topology {
            TopologyMode::None => (false, false),
            TopologyMode::Mesh => (false, true),
            TopologyMode::Reflectors => (true, false),
            TopologyMode::Auto if count > settings.mesh_limit => (true, false),
            TopologyMode::Auto if count <= low_mark(settings.mesh_limit) => (false, true),
            TopologyMode::Auto => (true, self.topology.meshed),
        };
        let ranking = self.topology.ranking.as_ref();
        let reflectors = match reflect {
            true => ranking.map_or_else(BTreeSet::new, |r| r.choose(settings.reflectors)),
            false => BTreeSet::new(),
        };
        let nobody = reflect && reflectors.is_empty();
        // Better a mesh than nobody who hears of anybody.
        let meshed = meshed || nobody;
        let before = std::mem::replace(&mut self.topology.reflectors, reflectors);
        let reflectors = &self.topology.reflectors;
        let moved: Vec<Arc<str>> = before.symmetric_difference(reflectors).cloned().collect();
        self.topology.was_reflector |= reflectors.contains(&self.own);
        let all = meshed != self.topology.meshed || moved.contains(&self.own);
        self.topology.meshed = meshed;
        self.topology.nobody = nobody;
        self.topology.count = count;
        self.dirty.mesh = true;
        if all {
            self.mark_all_nodes();
        } else {
            self.dirty.nodes.extend(moved);
        }
    }

    /// All Nodes that may reflect, once the settings are known.
    fn ranked(&self) -> Option<Ranking> {
        let settings = self.settings.as_ref()?;
        let mut ranking = Ranking::default();
        for (name, node) in &self.nodes {
            if let Some(candidate) = candidate(settings, node) {
                ranking.insert(name, candidate);
            }
        }
        Some(ranking)
    }

    /// What a Node with an address is to this one.
    pub(super) fn tie(&self, name: &str) -> Tie {
        let reflectors = &self.topology.reflectors;
        let we_reflect = reflectors.contains(&self.own);
        let reflector = reflectors.contains(name);
        let wanted = we_reflect || reflector || self.topology.meshed;
        Tie {
            initiative: match wanted {
                true => Initiative::Ours,
                false => Initiative::Theirs,
            },
            reflector,
            client: we_reflect || (!wanted && self.topology.was_reflector),
        }
    }

    pub(super) fn report_topology(&self, faults: &mut Faults) {
        if self.topology.nobody && self.nodes.contains_key(&self.own) {
            let (field, why) = match self.settings.as_ref().map(|s| &s.reflector_selector) {
                Some(Some(_)) => (
                    "spec.topology.reflectors.nodeSelector",
                    "selects no Node with an InternalIP",
                ),
                _ => ("spec.topology.mode", "no Node has an InternalIP"),
            };
            faults.add(
                Reason::NoReflector,
                field,
                format!("{why}, so there are no reflectors and the nodes keep a mesh: label some Nodes or change the selector"),
            );
        }
    }
}

fn may_reflect(settings: &Settings, node: &Node) -> bool {
    let selector = settings.reflector_selector.as_ref();
    !node.addresses.is_empty() && selector.is_none_or(|s| s.matches(&node.fact.labels))
}

fn candidate(settings: &Settings, node: &Node) -> Option<Candidate> {
    may_reflect(settings, node).then(|| Candidate {
        place: node.place,
        zone: node.fact.labels.get(ZONE).cloned().unwrap_or_default(),
        fitness: fitness(node),
    })
}

fn fitness(node: &Node) -> Fitness {
    if node.fact.ready == Some(false) {
        Fitness::NotReady
    } else if node.fact.unschedulable || node.fact.drain {
        Fitness::Leaving
    } else {
        Fitness::Fit
    }
}
