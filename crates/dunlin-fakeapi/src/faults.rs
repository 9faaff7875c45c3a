//! What the server does wrong, when it is told to.

use std::time::Duration;

/// Something to do wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answer with this status, this `Retry-After` in seconds, and this reason.
    Status(u16, Option<u64>, &'static str),
    /// Answer 200 with something that is no JSON.
    Garbage,
    /// End the connection without an answer.
    Refuse,
    /// Take the request, and never answer.
    Silence,
    /// Answer after so long.
    Delay(Duration),
    /// Break the answer off after so many octets, or end it in order if `clean`.
    Cut {
        /// Octets let through.
        after: usize,
        /// Whether the end looks like one that was meant.
        clean: bool,
    },
}

/// A rule: what to do with which requests.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Requests whose method, path and query contain this.
    pub(crate) pattern: String,
    pub(crate) fault: Fault,
    /// For so many requests; none for as long as the rule stands.
    pub(crate) left: Option<u32>,
}

/// What the server does wrong. The first rule that fits a request counts.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub(crate) rules: Vec<Rule>,
}

impl Faults {
    /// From now on, requests that contain this in `METHOD /path?query` go wrong like this.
    pub fn on(&mut self, pattern: &str, fault: Fault) {
        self.add(pattern, fault, None);
    }

    /// The next so many requests that contain this go wrong like this.
    pub fn times(&mut self, times: u32, pattern: &str, fault: Fault) {
        self.add(pattern, fault, Some(times));
    }

    /// Nothing goes wrong any more.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    fn add(&mut self, pattern: &str, fault: Fault, left: Option<u32>) {
        self.rules.push(Rule {
            pattern: pattern.to_owned(),
            fault,
            left,
        });
    }

    /// The fault for a request, used up once.
    pub(crate) fn take(&mut self, request: &str) -> Option<Fault> {
        let rule = self
            .rules
            .iter_mut()
            .find(|rule| rule.left != Some(0) && request.contains(&rule.pattern))?;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        Some(rule.fault.clone())
    }
}
