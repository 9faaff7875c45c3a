//! What a router announces, takes back and keeps.

use dunlin_api::SessionEffect;
use dunlin_bgp::batch::{BatchItem, RouteBatch};
use dunlin_bgp::session::{DownReason, SessionEvent, StaleInfo, TransportError};
use dunlin_core::{PlanStep, PlannedChange};
use dunlin_intent::Fact;
use dunlin_net::{Afi, Ipv4Net, PerFamily};

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

    /// The router goes, to come back soon.
    pub(crate) fn restarts(&mut self) {
        let peer = self.router.expect("the router is wanted");
        self.session(SessionEvent::Down {
            peer,
            conn: CONN,
            reason: DownReason::Transport(TransportError::Eof),
            stale: Some(StaleInfo {
                restart_time_secs: 120,
                families: PerFamily { v4: true, v6: true },
                ..StaleInfo::default()
            }),
        });
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

/// One UPDATE that withdraws these prefixes.
fn withdraw(nets: Vec<Ipv4Net>) -> RouteBatch {
    let mut batch = RouteBatch::default();
    batch.items.push(BatchItem::Withdraw {
        afi: Afi::Ipv4,
        nlri: 0..u32::try_from(nets.len()).unwrap(),
    });
    batch.nlri.v4 = nets;
    batch
}
