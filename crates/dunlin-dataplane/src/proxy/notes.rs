//! What the tables cannot do as it was asked for.

use std::fmt;
use std::net::SocketAddr;

use dunlin_net::service::{Choice, FrontendRule, Treatment, View};

use super::element::MAX_ENDPOINTS;
use super::maglev;
use super::programmed::{Plan, plan};
use super::slots::is_usable;

/// What must be known of a rule besides what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// More endpoints than a frontend may have: the first ones are used.
    TooManyEndpoints {
        /// From where clients come that miss the others.
        view: View,
        /// How many there are.
        given: usize,
        /// How many are used.
        used: usize,
    },
    /// The table has less than 100 slots for each endpoint: shares differ by more than one percent, and an endpoint that
    /// goes moves more connections than its own.
    CoarseTable {
        /// From where clients come that it is for.
        view: View,
        /// The table's size.
        slots: u32,
        /// How many endpoints share it.
        endpoints: usize,
    },
    /// From outside alone connections should be refused; they are dropped, as the tables refuse everybody or nobody.
    DroppedInsteadOfRefused,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = |view| match view {
            View::Inside => "",
            View::Outside => "from elsewhere: ",
        };
        match *self {
            Note::TooManyEndpoints { view, given, used } => write!(
                f,
                "{}only {used} of {given} endpoints are used, more cannot be",
                from(view)
            ),
            Note::CoarseTable {
                view,
                slots,
                endpoints,
            } => write!(
                f,
                "{}{endpoints} endpoints share {slots} slots of a table of hashes, less than 100 each: shares differ",
                from(view)
            ),
            Note::DroppedInsteadOfRefused => f.write_str(
                "from elsewhere: dropped where it should be refused, as the tables refuse everybody or nobody",
            ),
        }
    }
}

/// What must be known of a rule besides what it does.
pub fn notes(rule: &FrontendRule) -> Vec<Note> {
    let afi = rule.frontend.afi();
    let mut notes = Vec::new();
    let of = [
        (View::Inside, Some(&rule.inside)),
        (View::Outside, rule.outside.as_ref()),
    ];
    for (view, treatment) in of {
        let Some(Treatment::Balance(balance)) = treatment else {
            continue;
        };
        let usable = |endpoint: &&SocketAddr| is_usable(afi, endpoint);
        let given = balance.endpoints.iter().filter(usable).count();
        let used = given.min(MAX_ENDPOINTS);
        if given > used {
            notes.push(Note::TooManyEndpoints { view, given, used });
        }
        if let Choice::Maglev { slots } = balance.choice {
            let slots = maglev::table_slots(slots);
            if used.saturating_mul(100) > slots as usize {
                notes.push(Note::CoarseTable {
                    view,
                    slots,
                    endpoints: used,
                });
            }
        }
    }
    let refused = |treatment: &Treatment| matches!(plan(treatment, afi), Plan::Reject);
    let balanced = matches!(plan(&rule.inside, afi), Plan::Balance(..));
    if balanced && rule.outside.as_ref().is_some_and(refused) {
        notes.push(Note::DroppedInsteadOfRefused);
    }
    notes
}
