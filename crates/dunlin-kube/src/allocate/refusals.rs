//! What the API server says when it does not let us: said once in the log, not with every request.

use std::time::Duration;

use dunlin_net::Instant;

use crate::lease::plus;

/// How long the same answer is not said again.
const SILENCE: Duration = Duration::from_secs(300);

/// Answers that refuse something.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// How many there were.
    pub(super) count: u64,
    /// The code of the last that was said, and when.
    said: Option<(u16, Instant)>,
}

impl Refusals {
    /// There was one more. Whether to say so: it is another than the last, or that was long ago.
    pub(super) fn note(&mut self, now: Instant, code: u16) -> bool {
        self.count += 1;
        let is_news = match self.said {
            Some((said, at)) => said != code || now >= plus(at, SILENCE),
            None => true,
        };
        if is_news {
            self.said = Some((code, now));
        }
        is_news
    }
}

#[cfg(test)]
mod tests;
