//! What a router takes back, and what a plan says of its limit.

use dunlin_api::SessionEffect;
use dunlin_bgp::session::SessionEvent;
use dunlin_core::{PlanStep, PlannedChange};
use dunlin_intent::Fact;
use dunlin_net::Ipv4Net;

use super::update::withdraw;
use super::{Bench, CONN};

impl Bench {
    /// The router takes these prefixes back.
    pub(crate) fn withdraws(&mut self, nets: &[&str]) {
        let peer = self.router.expect("the router is wanted");
        let nets: Vec<Ipv4Net> = nets.iter().map(|net| net.parse().unwrap()).collect();
        let batch = withdraw(nets);
        let conn = CONN;
        self.session(SessionEvent::Routes { peer, conn, batch });
    }

    /// How many sessions a plan of this says would be reset.
    pub(crate) fn plan_resets(&self, fact: Fact) -> usize {
        let change = PlannedChange::Apply(fact);
        let plan = self.plan(vec![PlanStep { change, at: None }]);
        let sessions = plan.sessions.items.into_iter();
        sessions
            .filter(|group| group.effect == SessionEffect::Resets)
            .map(|group| group.peers.items.len())
            .sum()
    }
}
