//! What a change of objects would come to, worked out on a copy of the facts: nothing that runs is touched.
//!
//! A copy of the [`Cluster`] is told the change. What it then wants is compared with what is wanted now: sessions, what each
//! peer is told, and, by judging Adj-RIB-In anew, what is learned from each.

mod bounded;
mod classes;
mod exports;
mod fields;
mod imports;
mod node;
mod objects;
mod relays;
mod routes;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_api::Plan;
use dunlin_intent::{
    Change, Cluster, Fact, Initiative, Key, LocalIntent, Origination, PeerIntent, PeerKey, Problem,
    RouteInstallation,
};
use dunlin_net::IpNet;

use crate::core::Core;
use crate::peers::Peer;

/// An object of a planned change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// What becomes of it.
    pub change: PlannedChange,
    /// The file that it stands in, and the line from 1.
    pub at: Option<(Arc<str>, u64)>,
}

/// What becomes of an object.
#[expect(
    clippy::large_enum_variant,
    reason = "most are facts, so a pointer to each would cost more than it saves"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedChange {
    /// It is there, new or changed; what the cluster itself fills in may be left out.
    Apply(Fact),
    /// It goes.
    Delete(Key),
}

/// The most prefixes of each family that Adj-RIB-In is judged anew for: it bounds how long the core is held up.
const PREFIXES_MAX: usize = 250_000;

/// The most judgements of what peers would be told, over all of them: likewise. Peers that are told the same are judged for
/// once, and a path counts as one, or as many as a peer is told of its prefix.
const JUDGEMENTS_MAX: u64 = 2_000_000;

/// The most prefixes that become something else for a peer than for those it is told the same as, over all of them: it
/// bounds what is kept.
const APART_MAX: u64 = 100_000;

/// What is wanted at a moment.
struct Wanted {
    local: Option<Arc<LocalIntent>>,
    peers: BTreeMap<PeerKey, Arc<PeerIntent>>,
    originations: BTreeMap<IpNet, Origination>,
    problems: Vec<Problem>,
}

impl Wanted {
    fn of(cluster: &Cluster) -> Wanted {
        let peers = cluster.peers();
        let originations = cluster.originations();
        Wanted {
            local: cluster.local().cloned(),
            peers: peers.map(|p| (p.key.clone(), p.clone())).collect(),
            originations: originations.map(|(net, o)| (net, o.clone())).collect(),
            problems: cluster.problems().into_iter().cloned().collect(),
        }
    }

    fn installs(&self) -> bool {
        self.local
            .as_ref()
            .is_some_and(|local| local.route_installation == RouteInstallation::Kernel)
    }
}

/// What the copy said of its changes beside what it wants.
#[derive(Default)]
struct Moved {
    /// Routes are to be judged anew.
    judged_by: bool,
    service_ranges: bool,
    exclusions: Vec<IpNet>,
}

/// A plan in the making.
struct Draft<'a> {
    core: &'a Core,
    /// At most so many items in a list.
    limit: usize,
    before: Wanted,
    after: Wanted,
    /// The copy, told everything.
    cluster: Cluster,
    moved: Moved,
    /// Who we are would be another: all sessions start anew.
    anew: bool,
}

/// How much may be judged.
struct Budget {
    judgements: u64,
    apart: u64,
    /// It did not suffice.
    cut: bool,
}

impl Budget {
    /// Whether so many more judgements may be made.
    fn spend(&mut self, judgements: usize) -> bool {
        match self.judgements.checked_sub(judgements as u64) {
            Some(left) => self.judgements = left,
            None => self.cut = true,
        }
        !self.cut
    }

    /// Whether one more prefix of one peer may be kept.
    fn spend_apart(&mut self) -> bool {
        match self.apart.checked_sub(1) {
            Some(left) => self.apart = left,
            None => self.cut = true,
        }
        !self.cut
    }
}

impl Core {
    /// Works out what a change would come to; no list gets longer than `limit`. Nothing changes by it.
    pub fn plan(&self, steps: Vec<PlanStep>, limit: usize) -> Plan {
        let mut cluster = self.cluster.clone();
        // What was not told yet is no part of the change.
        while cluster.poll_change().is_some() {}
        let before = Wanted::of(&cluster);
        let mut plan = Plan {
            node: self.config.node_name.to_string(),
            ..Plan::default()
        };
        let concerned = objects::apply(&mut cluster, steps, limit, &mut plan);
        let mut moved = Moved::default();
        moved.follow(&mut cluster);
        drain(&before, &mut cluster);
        moved.follow(&mut cluster);
        let after = Wanted::of(&cluster);
        let draft = Draft {
            core: self,
            limit,
            anew: is_anew(&before, &after),
            before,
            after,
            cluster,
            moved,
        };
        let mut budget = Budget {
            judgements: JUDGEMENTS_MAX,
            apart: APART_MAX,
            cut: false,
        };
        draft.problems(&concerned, &mut plan);
        draft.node(&mut plan);
        let parties = draft.parties();
        draft.sessions(&parties, &mut plan);
        draft.routes(&parties, &mut budget, &mut plan);
        draft.notes(&budget, &mut plan);
        plan
    }
}

impl Moved {
    fn follow(&mut self, cluster: &mut Cluster) {
        while let Some(change) = cluster.poll_change() {
            match change {
                Change::OwnerChanged(_) | Change::ProtectionChanged(_) => self.judged_by = true,
                Change::ServiceRangesChanged => self.service_ranges = true,
                Change::EgressExclusionChanged(net) => self.exclusions.push(net),
                _ => {}
            }
        }
    }
}

/// A node that would be drained has withdrawn its service addresses once peers have had the time to move.
fn drain(before: &Wanted, cluster: &mut Cluster) {
    let draining = |local: Option<&Arc<LocalIntent>>| local.is_some_and(|l| l.draining.is_some());
    let would = draining(cluster.local());
    if would != draining(before.local.as_ref()) {
        cluster.set_withdrawn(would);
    }
}

fn is_anew(before: &Wanted, after: &Wanted) -> bool {
    let (Some(before), Some(after)) = (&before.local, &after.local) else {
        return false;
    };
    before.router_id != after.router_id
        || before.asn != after.asn
        || before.route_installation != after.route_installation
}

/// A peer that is there now, or would be, or both.
struct Party<'a> {
    key: &'a PeerKey,
    /// How it stands now.
    peer: Option<&'a Peer>,
    before: Option<&'a Arc<PeerIntent>>,
    after: Option<&'a Arc<PeerIntent>>,
    /// What would become of its session; none if it stays as it is.
    fate: Option<sessions::Fate>,
}

impl Party<'_> {
    fn effect(&self) -> Option<dunlin_api::SessionEffect> {
        self.fate.as_ref().map(|fate| fate.0)
    }

    fn name(&self) -> String {
        self.peer
            .map_or_else(|| self.key.name().to_owned(), Peer::name)
    }

    fn is_range(&self) -> bool {
        use dunlin_intent::Remote;
        let intent = self.after.or(self.before);
        let range = intent.is_some_and(|i| matches!(i.session.remote, Remote::Range(_)));
        range && self.peer.is_none_or(|peer| peer.dynamic.is_none())
    }
}

impl Draft<'_> {
    /// Every peer, by what it is, those from a range after the range.
    fn parties(&self) -> Vec<Party<'_>> {
        let mut keys: Vec<&PeerKey> = self.before.peers.keys().collect();
        let new = self.after.peers.keys();
        keys.extend(new.filter(|key| !self.before.peers.contains_key(*key)));
        keys.sort_unstable();
        let mut parties = Vec::with_capacity(keys.len());
        let peers = &self.core.peers;
        // Where only the other side may want a session, there is none to plan.
        let wanted = |intent: &&Arc<PeerIntent>| intent.initiative == Initiative::Ours;
        keys.retain(|key| {
            let of = |side: &Wanted| side.peers.get(*key).filter(wanted).is_some();
            of(&self.before) || of(&self.after)
        });
        for key in keys {
            let party = |peer| {
                let mut party = Party {
                    key,
                    peer,
                    before: self.before.peers.get(key).filter(wanted),
                    after: self.after.peers.get(key).filter(wanted),
                    fate: None,
                };
                party.fate = self.fate(&party);
                party
            };
            parties.push(party(peers.id_of(key).and_then(|id| peers.get(id))));
            if !key.is_node() {
                let members = peers.of_range(key);
                parties.extend(members.iter().map(|id| party(peers.get(*id))));
            }
        }
        parties
    }

    fn notes(&self, budget: &Budget, plan: &mut Plan) {
        let mut note = |text: &str| plan.notes.push(text.to_owned());
        if !self.cluster.is_synced() {
            note("the source has not told all objects yet: this goes by those that are known");
        }
        if self.anew {
            note(
                "who this node is would change: all sessions start anew; kernel routes stay meanwhile",
            );
        }
        if budget.cut {
            note(
                "there are too many routes to judge all of them: the lists of prefixes are not complete",
            );
        }
        if plan
            .node_changes
            .iter()
            .any(|c| c.field == "draining" && c.after.is_some())
        {
            note("service addresses would be withdrawn 10 s after the node begins to drain");
        }
    }
}
