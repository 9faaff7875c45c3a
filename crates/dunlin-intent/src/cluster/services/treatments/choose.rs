//! Which endpoints new connections go to.

use std::net::SocketAddr;

/// What is known of an endpoint. Of one that is said twice, both count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Ready; one without this serves while it terminates.
    pub(super) const READY: Marks = Marks(1);
    /// On this node.
    pub(super) const LOCAL: Marks = Marks(2);
    /// It does not say its node.
    pub(super) const UNPLACED: Marks = Marks(4);
    /// It has hints for nodes.
    pub(super) const NODES: Marks = Marks(8);
    /// This node is one of them.
    pub(super) const THIS_NODE: Marks = Marks(16);
    /// It has hints for zones.
    pub(super) const ZONES: Marks = Marks(32);
    /// This node's zone is one of them.
    pub(super) const THIS_ZONE: Marks = Marks(64);
    /// Ready, or serving while it terminates: connections may go to it.
    pub(super) const SERVES: Marks = Marks(128);

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    pub(super) fn of_bits(bits: u8) -> Marks {
        Marks(bits)
    }

    pub(super) fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    pub(super) fn with(self, mark: Marks, set: bool) -> Marks {
        match set {
            true => Marks(self.0 | mark.0),
            false => self,
        }
    }
}

/// An endpoint of a port, as it may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) addr: SocketAddr,
    pub(super) marks: Marks,
}

impl Candidate {
    /// Connections may go to it.
    pub(super) fn serves(&self) -> bool {
        self.marks.has(Marks::SERVES)
    }
}

/// Puts candidates in order, each once.
pub(super) fn sort(candidates: &mut Vec<Candidate>) {
    candidates.sort_unstable_by_key(|candidate| candidate.addr);
    candidates.dedup_by(|next, kept| {
        let same = next.addr == kept.addr;
        kept.marks = kept.marks.with(next.marks, same);
        same
    });
}

/// The endpoints that the policies allow, ascending.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// By the policy Cluster; empty if there is none anywhere.
    pub(super) cluster: Vec<SocketAddr>,
    /// By the policy Local.
    pub(super) local: Vec<SocketAddr>,
}

/// Chooses among candidates in order. The ready ones come first, and those that serve while they terminate only where no
/// ready one is left: for each policy by itself. Hints bear on the policy Cluster alone.
pub(super) fn choose(candidates: &[Candidate]) -> Chosen {
    let ready = |c: &Candidate| c.marks.has(Marks::READY);
    let local = |c: &Candidate| c.marks.has(Marks::LOCAL);
    let hint = hint(candidates).map(Hint::mark);
    let hinted = |c: &Candidate| hint.is_none_or(|hint| c.marks.has(hint));
    let pick = |rule: &dyn Fn(&Candidate) -> bool| -> Vec<SocketAddr> {
        let picked = candidates.iter().filter(|c| rule(c));
        picked.map(|candidate| candidate.addr).collect()
    };
    let or_else = |first: Vec<SocketAddr>, rule: &dyn Fn(&Candidate) -> bool| match first.is_empty()
    {
        true => pick(rule),
        false => first,
    };
    Chosen {
        // Where none is ready, all that are left terminate.
        cluster: or_else(pick(&|c| ready(c) && hinted(c)), &|_| true),
        local: or_else(pick(&|c| ready(c) && local(c)), &local),
    }
}

/// What hints of EndpointSlices are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hint {
    /// This node.
    Node,
    /// This node's zone.
    Zone,
}

impl Hint {
    fn mark(self) -> Marks {
        match self {
            Hint::Node => Marks::THIS_NODE,
            Hint::Zone => Marks::THIS_ZONE,
        }
    }
}

/// The hint to go by, if any: every ready endpoint must have one, and one of them must be for us. A node comes before a zone.
pub(super) fn hint(candidates: &[Candidate]) -> Option<Hint> {
    let ready = || candidates.iter().filter(|c| c.marks.has(Marks::READY));
    let hints = [(Marks::NODES, Hint::Node), (Marks::ZONES, Hint::Zone)];
    let found = hints.into_iter().find(|(given, ours)| {
        ready().all(|c| c.marks.has(*given)) && ready().any(|c| c.marks.has(ours.mark()))
    });
    found.map(|(_, ours)| ours)
}
