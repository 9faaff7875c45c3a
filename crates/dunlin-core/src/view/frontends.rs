//! What the service proxy does, frontend by frontend.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dunlin_api::{
    Action, Frontend, FrontendOwner, FrontendState, FrontendTreatment, Problem, ProgrammedCounts,
    ProxyStatus, ServiceEndpoint, ServiceFrontend,
};
use dunlin_dataplane::proxy;
use dunlin_intent::{
    EndpointCondition, FrontendOffer, Hint, NamespacedName, ServiceAddressKind, TrafficPolicy,
};
use dunlin_net::service::{self, Balance, Choice, Treatment, View};

use super::{Seen, age_secs};
use crate::core::Core;
use crate::delivery::service_key;

/// The most frontends in one question.
const ASKED_MAX: usize = 10_000;
/// The most frontends that are problems each.
const PROBLEMS_SHOWN: usize = 20;

impl Core {
    /// The frontends of a Service, in order.
    pub(super) fn service_frontends(&self, name: &NamespacedName) -> Vec<ServiceFrontend> {
        let offers = self.cluster.frontend_offers(name);
        offers
            .iter()
            .map(|offer| self.service_frontend(name, offer))
            .collect()
    }

    pub(super) fn programmed_counts(&self, name: &NamespacedName) -> Option<ProgrammedCounts> {
        if !self.delivery.is_enabled() {
            return None;
        }
        let (all, programmed) = self.delivery.proxy().service_counts(&service_key(name));
        // An older Service's are not asked of the proxy.
        let all = all.max(self.cluster.frontend_count(name));
        Some(ProgrammedCounts {
            frontends: u32::try_from(all).unwrap_or(u32::MAX),
            programmed: u32::try_from(programmed).unwrap_or(u32::MAX),
        })
    }

    pub(super) fn service_frontend(
        &self,
        name: &NamespacedName,
        offer: &FrontendOffer,
    ) -> ServiceFrontend {
        let proxy = self.delivery.proxy();
        let wanted = proxy.wanted(&offer.frontend);
        let key = service_key(name);
        let rule = wanted.filter(|(holder, _)| **holder == key);
        let rule = rule.map(|(_, rule)| rule);
        let rule = rule.as_deref();
        let (state, message) = self.offer_state(offer, rule.is_some());
        let lingers = self.delivery.lingers(&offer.frontend);
        let treatment = |view| {
            let treatment = rule?.treatment(view);
            Some(shown(offer, view, treatment, lingers))
        };
        let reaches = |view: View, to: &SocketAddr| {
            let treatment = rule.map(|rule| rule.treatment(view));
            balance(treatment).is_some_and(|b| b.endpoints.binary_search(to).is_ok())
        };
        let endpoints = offer.endpoints.iter().map(|endpoint| ServiceEndpoint {
            address: endpoint.addr.ip(),
            port: endpoint.addr.port(),
            node: endpoint.node.as_deref().map(Into::into),
            here: endpoint.here,
            state: endpoint.condition.as_str().into(),
            inside: reaches(View::Inside, &endpoint.addr),
            outside: reaches(View::Outside, &endpoint.addr),
        });
        ServiceFrontend {
            frontend: offer.frontend.into(),
            kind: kind(offer).into(),
            port_name: offer.port_name.as_ref().into(),
            policy: match offer.policy {
                TrafficPolicy::Cluster => "Cluster".into(),
                TrafficPolicy::Local => "Local".into(),
            },
            state,
            message,
            elements: match rule {
                Some(_) => proxy.frontend(&offer.frontend).map_or(0, |f| f.elements) as u64,
                None => 0,
            },
            connections: None,
            inside: treatment(View::Inside),
            outside: treatment(View::Outside),
            sources: rule.and_then(|rule| rule.sources.as_deref().map(<[_]>::to_vec)),
            endpoints: endpoints.collect(),
        }
    }

    fn offer_state(&self, offer: &FrontendOffer, held: bool) -> (FrontendState, Option<String>) {
        if let (false, Some(unfit)) = (held, &offer.unfit) {
            return (FrontendState::Unfit, Some(unfit.clone()));
        }
        if let (false, Some(older)) = (held, &offer.older) {
            let text = format!("the Service {older} is older and has its connections");
            return (FrontendState::Conflict, Some(text));
        }
        match self.delivery.proxy().frontend(&offer.frontend) {
            Some(view) if held => state(&view.state),
            _ => (FrontendState::Pending, None),
        }
    }

    /// Whose frontends are.
    pub(super) fn frontend_owners(&self, asked: &[Frontend]) -> Vec<FrontendOwner> {
        let proxy = self.delivery.proxy();
        let owner = |asked: &Frontend| {
            let frontend: service::Frontend = asked.known()?;
            let view = proxy.frontend(&frontend)?;
            let (state, message) = state(&view.state);
            let wanted = proxy.wanted(&frontend);
            Some(FrontendOwner {
                frontend: asked.clone(),
                service: wanted.map(|(service, _)| service.as_ref().into()),
                state,
                message,
            })
        };
        asked.iter().take(ASKED_MAX).filter_map(owner).collect()
    }

    pub(super) fn proxy_status(&self, seen: &Seen<'_>) -> Option<ProxyStatus> {
        if !self.delivery.is_enabled() {
            return None;
        }
        let proxy = self.delivery.proxy();
        let counters = proxy.counters();
        let first_sync = self.delivery.first_sync();
        let first_sync = first_sync.map(|at| at.since(self.started).as_millis());
        Some(ProxyStatus {
            services: counters.services as u64,
            frontends: counters.frontends as u64,
            pending: counters.pending as u64,
            failed: counters.failed as u64,
            conflicts: counters.conflicts as u64,
            slots: counters.endpoints as u64,
            elements: counters.elements as u64,
            operations: counters.ops_done,
            batches: counters.batches,
            refused: counters.refused,
            unforgotten: counters.unforgotten,
            reads: counters.reads,
            repairs: counters.repairs,
            repair_age_secs: proxy.last_repair().map(|at| age_secs(seen.now, at)),
            first_sync_millis: first_sync.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            last_error: proxy.last_error().map(ToString::to_string),
        })
    }

    /// What keeps the service proxy from its work.
    pub(super) fn delivery_problems(&self, problems: &mut Vec<Problem>) {
        if !self.delivery.is_enabled() {
            return;
        }
        const REASON: &str = "ServiceProxyFailed";
        let proxy = self.delivery.proxy();
        let failed = proxy.failed();
        if let (Some(error), 0) = (proxy.last_error(), failed) {
            problems.push(Problem {
                object: "ServiceProxy".into(),
                reason: REASON.into(),
                message: format!("{error}: services may be out of reach, and are not announced"),
            });
        }
        if failed == 0 {
            return;
        }
        if let Some(failure) = proxy.common_failure() {
            problems.push(Problem {
                object: "ServiceProxy".into(),
                reason: REASON.into(),
                message: format!(
                    "{}: it is not known what comes from this node and its pods",
                    failure.error
                ),
            });
        }
        let mut shown = BTreeSet::new();
        for view in proxy.frontends() {
            if let proxy::FrontendState::Failed(failure) = &view.state {
                shown.insert((view.frontend, failure.error.to_string(), failure.attempts));
                if shown.len() > PROBLEMS_SHOWN {
                    shown.pop_last();
                }
            }
        }
        for (frontend, error, attempts) in shown {
            let owner = proxy.wanted(&frontend);
            let object = owner.map_or_else(
                || "ServiceProxy".to_owned(),
                |(service, _)| format!("Service/{service}"),
            );
            problems.push(Problem {
                object,
                reason: REASON.into(),
                message: format!(
                    "{frontend} is not programmed as wanted (tried {attempts} times, and again soon): {error}"
                ),
            });
        }
        if failed > PROBLEMS_SHOWN {
            problems.push(Problem {
                object: "ServiceProxy".into(),
                reason: REASON.into(),
                message: format!("the kernel refused {failed} frontends: the first are shown"),
            });
        }
    }
}

/// What its address is to a Service.
pub(super) fn kind(offer: &FrontendOffer) -> &'static str {
    offer.kind.map_or("NodePort", ServiceAddressKind::as_str)
}

fn state(state: &proxy::FrontendState) -> (FrontendState, Option<String>) {
    use proxy::FrontendState as S;
    match state {
        S::Current => (FrontendState::Programmed, None),
        S::Behind => (FrontendState::Changing, None),
        S::Pending => (FrontendState::Pending, None),
        S::Failed(failure) => {
            let text = format!("{} (tried {} times)", failure.error, failure.attempts);
            (FrontendState::Failed, Some(text))
        }
        S::Conflict { holder } => {
            let text = format!("the Service {holder} has its connections");
            (FrontendState::Conflict, Some(text))
        }
        S::Stale => (FrontendState::Stale, None),
    }
}

fn balance(treatment: Option<&Treatment>) -> Option<&Balance> {
    match treatment {
        Some(Treatment::Balance(balance)) => Some(balance),
        _ => None,
    }
}

fn shown(
    offer: &FrontendOffer,
    view: View,
    treatment: &Treatment,
    lingers: bool,
) -> FrontendTreatment {
    let balance = balance(Some(treatment));
    FrontendTreatment {
        action: match treatment {
            Treatment::Balance(_) => Action::Balance,
            Treatment::Reject => Action::Reject,
            Treatment::Drop => Action::Drop,
        },
        choice: balance.map(|balance| match balance.choice {
            Choice::Random => "Random".into(),
            Choice::Maglev { .. } => "Maglev".into(),
        }),
        affinity_secs: balance.and_then(|balance| balance.affinity_secs),
        why: match lingers {
            true => "it was withdrawn a moment ago, and routers may still send".into(),
            false => why(offer, view, treatment),
        },
    }
}

/// Why a view gets what it gets.
fn why(offer: &FrontendOffer, view: View, treatment: &Treatment) -> String {
    let all = offer.endpoints.len();
    let has = |condition| offer.endpoints.iter().any(|e| e.condition == condition);
    let external = offer.kind != Some(ServiceAddressKind::ClusterIp);
    let local = offer.policy == TrafficPolicy::Local && !(external && view == View::Inside);
    let policy = match external {
        true => "externalTrafficPolicy Local",
        false => "internalTrafficPolicy Local",
    };
    match treatment {
        Treatment::Reject if all == 0 => "there is no endpoint for this port".into(),
        Treatment::Reject => format!("none of {all} endpoints is ready or serving"),
        Treatment::Drop => format!("{policy}, and no endpoint on this node is ready or serving"),
        Treatment::Balance(balance) => {
            let used = balance.endpoints.iter();
            let ready = |to: &SocketAddr| {
                let at = offer.endpoints.binary_search_by_key(to, |e| e.addr);
                at.is_ok_and(|at| offer.endpoints[at].condition == EndpointCondition::Ready)
            };
            let which = match used.clone().any(ready) {
                true => "all that are ready",
                false => "all that serve while they terminate, as none is ready",
            };
            match (local, offer.hint, has(EndpointCondition::Ready)) {
                (true, ..) => format!("{policy}: {which} on this node"),
                (false, Some(Hint::Node), true) => {
                    format!("by hints for this node: {which}")
                }
                (false, Some(Hint::Zone), true) => {
                    format!("by hints for this node's zone: {which}")
                }
                _ => which.to_owned(),
            }
        }
    }
}
