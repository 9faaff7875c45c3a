//! UDP flows that go on to endpoints which get no new ones: those that terminate and still serve, and those that a policy
//! or a hint passes over by now. TCP goes on by itself until it ends; conntrack keeps a UDP flow for as long as there are
//! packets, so that it must be told when the endpoint is really gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use dunlin_net::service::{Frontend, Protocol};

use super::Proxy;
use super::element::Forget;
use super::programmed::Programmed;

/// Where flows may go to besides to the endpoints that the tables hold. Of one frontend that are at most the endpoints that
/// serve; and what the first read-back found ([`MAX_FLOWS`]), until all that is wanted has been gone through.
#[derive(Debug, Default)]
pub(super) struct Flows {
    others: BTreeMap<Frontend, Vec<SocketAddr>>,
    /// What was found may be of frontends that nobody wants.
    found: bool,
}

/// So many pairs of frontend and endpoint may a read-back tell; of more, flows stay remembered.
pub const MAX_FLOWS: usize = 20_000;

impl Flows {
    /// Takes in what conntrack has.
    pub(super) fn found(&mut self, flows: Vec<(Frontend, SocketAddr)>) {
        self.found |= !flows.is_empty();
        for (frontend, endpoint) in flows.into_iter().take(MAX_FLOWS) {
            let others = self.others.entry(frontend).or_default();
            others.push(endpoint);
        }
    }

    /// Nothing is delivered any more.
    pub(super) fn clear(&mut self) {
        *self = Flows::default();
    }

    pub(super) fn set(&mut self, frontend: Frontend, others: Vec<SocketAddr>) {
        if others.is_empty() {
            self.others.remove(&frontend);
        } else {
            self.others.insert(frontend, others);
        }
    }

    /// All that is wanted has been gone through: what is of none of it is none of ours.
    pub(super) fn gone_through(&mut self, is_ours: impl Fn(&Frontend) -> bool) {
        if std::mem::take(&mut self.found) {
            self.others.retain(|frontend, _| is_ours(frontend));
        }
    }
}

impl Proxy {
    /// Appends the flows of a frontend that are to be forgotten besides those to what it loses now, and gives where others
    /// may go to once it has `to`; `None` if that is as before.
    pub(super) fn plan_flows(
        &self,
        at: u32,
        to: &Programmed,
        forget: &mut Vec<Forget>,
    ) -> Option<Vec<SocketAddr>> {
        let entry = self.frontends.entry(at);
        let (frontend, afi) = (entry.frontend, entry.frontend.afi());
        if frontend.protocol != Protocol::Udp {
            return None;
        }
        // Not all that serves may have been said yet; what is gone is gone.
        let unsaid = !self.synced && entry.is_wanted();
        let others = self.flows.others.get(&frontend);
        let serving = entry.serving();
        if others.is_none() && serving.is_empty() {
            return None;
        }
        let itself = SocketAddr::new(frontend.addr, frontend.port);
        let after = to.reach_of_all(afi);
        let is_in = |list: &[SocketAddr], one: &SocketAddr| list.binary_search(one).is_ok();
        let mut stay = BTreeSet::new();
        for other in others.into_iter().flatten() {
            if is_in(&after, other) {
                continue;
            }
            let lasts = is_in(serving, other) || (after.is_empty() && *other == itself);
            if lasts || unsaid {
                stay.insert(*other);
            } else {
                forget.push(Forget::Flows {
                    frontend,
                    endpoint: *other,
                });
            }
        }
        let lost = self.lost.get(&at).into_iter().flatten();
        for had in std::iter::once(&entry.believed).chain(lost) {
            let reached = had.reach_of_all(afi).into_iter();
            stay.extend(reached.filter(|one| !is_in(&after, one) && is_in(serving, one)));
        }
        Some(stay.into_iter().collect())
    }
}
