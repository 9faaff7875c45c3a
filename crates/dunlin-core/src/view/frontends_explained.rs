//! Why connections to a Service go where they go, through to the elements of the kernel's tables.

use std::net::IpAddr;

use dunlin_api::{
    Action, FrontendState, FrontendTreatment, ServiceEndpoint, ServiceFrontend, Step, Verdict,
};
use dunlin_dataplane::mark::NFT_PROXY_TABLE;
use dunlin_dataplane::proxy::{names, notes};
use dunlin_intent::{FrontendOffer, NamespacedName};
use dunlin_net::service::View;

use super::explain::step;
use super::frontends::kind;
use crate::core::Core;

/// The most endpoints, and the most elements, that are told of a frontend one by one.
const LINES_MAX: usize = 40;
/// So many elements are told where there are more than that.
const ELEMENTS_OF_MANY: usize = 8;
/// The most frontends that are gone into.
const FRONTENDS_MAX: usize = 100;

impl Core {
    /// Adds how a Service's frontends are delivered, or one address's. Gives that in short; none without the service proxy.
    pub(super) fn explain_frontends(
        &self,
        name: &NamespacedName,
        only: Option<IpAddr>,
        steps: &mut Vec<Step>,
    ) -> Option<String> {
        if !self.delivery.is_enabled() {
            return None;
        }
        let offers = self.cluster.frontend_offers(name);
        let wanted = |offer: &&FrontendOffer| only.is_none_or(|addr| addr == offer.frontend.addr);
        let offers: Vec<&FrontendOffer> = offers.iter().filter(wanted).collect();
        if offers.is_empty() {
            let text = "nothing of it is delivered by this node's service proxy";
            steps.push(step("proxy", Verdict::Info, text));
            return None;
        }
        let (mut programmed, mut refused, mut worst) = (0, 0, None);
        let mut told: Vec<Vec<ServiceEndpoint>> = Vec::new();
        for (at, offer) in offers.iter().enumerate() {
            let shown = self.service_frontend(name, offer);
            match shown.state {
                FrontendState::Programmed => programmed += 1,
                _ => worst = worst.or(Some((offer.frontend, shown.state))),
            }
            let rejects = |t: &FrontendTreatment| t.action == Action::Reject;
            refused += usize::from(shown.inside.as_ref().is_some_and(rejects));
            if at < FRONTENDS_MAX {
                let known = told.contains(&shown.endpoints);
                if !known {
                    told.push(shown.endpoints.clone());
                }
                steps.push(self.explain_treatment(offer, &shown, known));
                steps.extend(self.explain_elements(name, offer, &shown));
            }
        }
        if let more @ 1.. = offers.len().saturating_sub(FRONTENDS_MAX) {
            let text = format!("and {more} more: dunlin explain ADDRESS tells of one address");
            steps.push(step("proxy", Verdict::Info, text));
        }
        let all = offers.len();
        Some(match worst {
            None if refused > 0 => {
                format!(
                    "{} programmed, {refused} to refuse connections",
                    several(all)
                )
            }
            None => format!("{} programmed", several(all)),
            Some((frontend, state)) => format!(
                "{programmed} of {} programmed, {frontend} {}",
                several(all),
                standing(state)
            ),
        })
    }

    fn explain_treatment(
        &self,
        offer: &FrontendOffer,
        shown: &ServiceFrontend,
        endpoints_told: bool,
    ) -> Step {
        let port = match shown.port_name.as_str() {
            "" => String::new(),
            name => format!(", port {name}"),
        };
        let both = [&shown.inside, &shown.outside];
        let verdict = match shown.state {
            FrontendState::Programmed => treatment_verdict(both),
            FrontendState::Changing | FrontendState::Pending => Verdict::Wait,
            _ => Verdict::Stop,
        };
        let why = shown.message.as_ref();
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let does = match (shown.state, shown.inside.as_ref().map(|t| t.action)) {
            (FrontendState::Programmed, Some(Action::Reject)) => " to refuse connections",
            (FrontendState::Programmed, Some(Action::Drop)) => " to drop connections",
            _ => "",
        };
        let text = format!(
            "{} ({}{port}) {}{does}{why}",
            offer.frontend,
            kind(offer),
            standing(shown.state)
        );
        let mut lines = treatments(shown);
        let wanted = self.delivery.proxy().wanted(&offer.frontend);
        if let Some((_, rule)) = wanted.filter(|_| shown.inside.is_some()) {
            if rule.masquerade {
                lines.push("endpoints see this node's address as the source".to_owned());
            }
            lines.extend(notes(&rule).iter().map(ToString::to_string));
        }
        match endpoints_told {
            true if !shown.endpoints.is_empty() => {
                lines.push("endpoints: the same as above".to_owned());
            }
            _ => {
                let endpoints = shown.endpoints.iter().map(endpoint);
                lines.extend(bounded(endpoints, LINES_MAX, "endpoints"));
            }
        }
        Step {
            lines,
            ..step("proxy", verdict, text)
        }
    }

    /// The elements that the kernel has.
    fn explain_elements(
        &self,
        name: &NamespacedName,
        offer: &FrontendOffer,
        shown: &ServiceFrontend,
    ) -> Option<Step> {
        if shown.elements == 0 {
            return None;
        }
        let proxy = self.delivery.proxy();
        let family = names::family(offer.frontend.afi());
        let elements = proxy.elements_of(&offer.frontend);
        let text = format!(
            "{} elements, each found by: nft get element {family} {NFT_PROXY_TABLE} …",
            elements.len()
        );
        let most = match elements.len() {
            0..=LINES_MAX => LINES_MAX,
            // The others look alike.
            _ => ELEMENTS_OF_MANY,
        };
        let mut lines = bounded(elements.iter().map(ToString::to_string), most, "elements");
        if elements.len() > LINES_MAX {
            lines.push(format!("all of them: dunlin nft --service {name} -o wide"));
        }
        let verdict = match shown.state {
            FrontendState::Programmed => Verdict::Pass,
            _ => Verdict::Info,
        };
        Some(Step {
            lines,
            ..step("kernel", verdict, text)
        })
    }
}

/// What each view gets, and who may come.
fn treatments(shown: &ServiceFrontend) -> Vec<String> {
    let mut lines = Vec::new();
    match (&shown.inside, &shown.outside) {
        (Some(inside), Some(outside)) if inside == outside => {
            lines.push(treated(
                "from everywhere",
                inside,
                count(shown, View::Inside),
            ));
        }
        (inside, outside) => {
            let from = [
                ("from this node and its pods", inside, View::Inside),
                ("from elsewhere", outside, View::Outside),
            ];
            for (from, treatment, view) in from {
                if let Some(treatment) = treatment {
                    lines.push(treated(from, treatment, count(shown, view)));
                }
            }
        }
    }
    if let Some(sources) = &shown.sources {
        let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
        lines.push(match sources.as_slice() {
            [] => "from elsewhere nobody may come: loadBalancerSourceRanges".to_owned(),
            some => format!(
                "from elsewhere only {} may come: loadBalancerSourceRanges; others are dropped",
                some.join(", ")
            ),
        });
    }
    lines
}

/// Refused is what nobody wants; that what comes from elsewhere is dropped here may well be wanted.
fn treatment_verdict(treatments: [&Option<FrontendTreatment>; 2]) -> Verdict {
    let [inside, outside] = treatments.map(|t| t.as_ref().map(|t| t.action));
    match (inside, outside) {
        (Some(Action::Balance), Some(Action::Drop)) => Verdict::Info,
        (Some(Action::Balance), _) => Verdict::Pass,
        _ => Verdict::Stop,
    }
}

/// How far the kernel is, after what it is about.
fn standing(state: FrontendState) -> &'static str {
    match state {
        FrontendState::Programmed => "is programmed",
        FrontendState::Changing => "is programmed as it was until lately: the change is on its way",
        FrontendState::Pending => "is not programmed yet",
        FrontendState::Failed => "was refused by the kernel",
        FrontendState::Conflict => "is not delivered to this Service",
        FrontendState::Unfit => "is not delivered",
        FrontendState::Stale => "is not wanted any longer, and about to go",
    }
}

fn several(frontends: usize) -> String {
    match frontends {
        1 => "1 frontend".into(),
        n => format!("{n} frontends"),
    }
}

fn count(shown: &ServiceFrontend, view: View) -> usize {
    let gets = |endpoint: &&ServiceEndpoint| match view {
        View::Inside => endpoint.inside,
        View::Outside => endpoint.outside,
    };
    shown.endpoints.iter().filter(gets).count()
}

fn treated(from: &str, treatment: &FrontendTreatment, endpoints: usize) -> String {
    let why = &treatment.why;
    match treatment.action {
        Action::Reject => format!("{from}: refused ({why})"),
        Action::Drop => format!("{from}: dropped ({why})"),
        Action::Balance => {
            let how = match treatment.choice.as_deref() {
                Some("Maglev") => "by a hash of the client's address and port",
                _ => "at random",
            };
            let to = match endpoints {
                1 => "to 1 endpoint".to_owned(),
                n => format!("{how} to one of {n} endpoints"),
            };
            let back = match treatment.affinity_secs {
                Some(secs) => format!("; a client comes back to its endpoint for {secs} s"),
                None => String::new(),
            };
            format!("{from}: {to} ({why}){back}")
        }
    }
}

fn endpoint(endpoint: &ServiceEndpoint) -> String {
    let at = std::net::SocketAddr::new(endpoint.address, endpoint.port);
    let node = match (&endpoint.node, endpoint.here) {
        (Some(node), true) => format!(" on {node}, this node"),
        (None, true) => " on this node".to_owned(),
        (Some(node), false) => format!(" on {node}"),
        (None, false) => String::new(),
    };
    let state = match endpoint.state.as_str() {
        "Ready" => "ready",
        "Terminating" => "terminating, still serving",
        _ => "not ready",
    };
    let gets = match (endpoint.inside, endpoint.outside) {
        (true, true) => "",
        (true, false) => ": not from elsewhere",
        (false, true) => ": only from elsewhere",
        (false, false) => ": gets no new connection",
    };
    format!("endpoint {at}{node}: {state}{gets}")
}

fn bounded(lines: impl ExactSizeIterator<Item = String>, most: usize, what: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(most);
    let mut shown: Vec<String> = lines.take(most).collect();
    if more > 0 {
        shown.push(format!("and {more} more {what}"));
    }
    shown
}
