use std::borrow::Cow;
use std::sync::Arc;

use dunlin_net::service::{Balance, Choice, Frontend, FrontendRule, Treatment, View};

use super::element::MAX_ENDPOINTS;
use super::programmed::{Fate, wanted_fate};
use super::slots::{Slots, is_usable};

/// A rule as it is kept, without its frontend. Of most there is nothing to say but their endpoints, and there may be tens
/// of thousands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Connections from anywhere go at random to one of these, at least one and all usable.
    Plain(Slots),
    Other(Box<FrontendRule>),
}

impl Kept {
    pub(super) fn new(rule: FrontendRule) -> Kept {
        match plain(&rule) {
            Some(endpoints) => Kept::Plain(endpoints),
            None => Kept::Other(Box::new(rule)),
        }
    }

    /// The rule for its frontend.
    pub(super) fn rule(&self, frontend: Frontend) -> Cow<'_, FrontendRule> {
        match self {
            Kept::Other(rule) => Cow::Borrowed(rule),
            Kept::Plain(endpoints) => {
                let endpoints = endpoints.iter(frontend.afi()).map(|(_, to)| to);
                let balance = Balance {
                    endpoints: endpoints.collect(),
                    choice: Choice::Random,
                    affinity_secs: None,
                };
                Cow::Owned(FrontendRule {
                    frontend,
                    inside: Treatment::Balance(Arc::new(balance)),
                    outside: None,
                    masquerade: false,
                    sources: None,
                    serving: None,
                })
            }
        }
    }

    /// What becomes of connections from a view when all is programmed.
    pub(super) fn fate(&self, view: View) -> Fate {
        match self {
            Kept::Plain(_) => Fate::Balance,
            Kept::Other(rule) => wanted_fate(rule, view),
        }
    }

    /// Octets held besides its own, but for what rules share.
    pub(super) fn memory(&self) -> usize {
        match self {
            Kept::Plain(endpoints) => endpoints.memory(),
            Kept::Other(_) => size_of::<FrontendRule>(),
        }
    }
}

/// The endpoints of a rule of which there is nothing else to say.
fn plain(rule: &FrontendRule) -> Option<Slots> {
    let afi = rule.frontend.afi();
    let Treatment::Balance(balance) = &rule.inside else {
        return None;
    };
    let says_more = rule.outside.is_some()
        || rule.masquerade
        || rule.sources.is_some()
        || rule.serving.is_some()
        || balance.choice != Choice::Random
        || balance.affinity_secs.is_some();
    let endpoints = &balance.endpoints;
    let fits = (1..=MAX_ENDPOINTS).contains(&endpoints.len());
    if says_more || !fits || !endpoints.iter().all(|endpoint| is_usable(afi, endpoint)) {
        return None;
    }
    let mut slots = Slots::with_capacity(afi, endpoints.len());
    endpoints.iter().for_each(|endpoint| slots.push(endpoint));
    Some(slots)
}
