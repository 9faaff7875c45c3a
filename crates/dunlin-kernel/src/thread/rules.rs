use std::sync::PoisonError;
use std::time::{Duration, Instant};

use dunlin_dataplane::rules::Rules;
use dunlin_dataplane::{KernelError, KernelEvent};

use super::worker::Worker;
use crate::Error;
use crate::nft::{self, RuleKeeper};

/// After a failed attempt at the nf_tables table, and between repairs; doubled up to the maximum while it goes on.
const RULES_DELAY: Duration = Duration::from_millis(100);
const RULES_MAX_DELAY: Duration = Duration::from_secs(10);

/// Our nf_tables table and when to look at them again.
pub(super) struct Keeper {
    rules: RuleKeeper,
    wanted: Option<Rules>,
    delay: Duration,
    /// Not before this; `None`: nothing to do.
    pub(super) due: Option<Instant>,
    last: Option<Instant>,
    repair: bool,
}

impl<S: FnMut(KernelEvent)> Worker<S> {
    /// Takes a new wish, and writes if it is time.
    pub(super) fn keep_rules(&mut self) {
        let wish = self
            .shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(wanted) = wish {
            match self.open_rules() {
                Ok(keeper) => {
                    keeper.wanted = wanted;
                    keeper.due = Some(Instant::now());
                }
                Err(error) => {
                    let error = KernelError::from(&error);
                    (self.sink)(KernelEvent::RulesDone(Err(error)));
                }
            }
        }
        let Some(keeper) = &mut self.table else {
            return;
        };
        if keeper.due.is_some_and(|due| due <= Instant::now())
            && let Some(event) = keeper.apply()
        {
            (self.sink)(event);
        }
    }

    fn open_rules(&mut self) -> Result<&mut Keeper, Error> {
        let keeper = match self.table.take() {
            Some(keeper) => keeper,
            None => {
                let rules = RuleKeeper::open()?;
                self.watch_nft([nft::RULES_TABLE], rules.port())?;
                Keeper::new(rules)
            }
        };
        Ok(self.table.insert(keeper))
    }
}

impl Keeper {
    fn new(rules: RuleKeeper) -> Keeper {
        Keeper {
            rules,
            wanted: None,
            delay: RULES_DELAY,
            due: None,
            last: None,
            repair: false,
        }
    }

    /// Somebody else changed the table. Repaired at once, but not in a busy fight.
    pub(super) fn on_meddling(&mut self) {
        self.rules.forget();
        self.repair = true;
        let now = Instant::now();
        match self.last {
            Some(last) if now.duration_since(last) < self.delay => {
                self.due.get_or_insert(last + self.delay);
            }
            _ => self.due = Some(now),
        }
    }

    /// `None` if a suspected repair found nothing to do.
    fn apply(&mut self) -> Option<KernelEvent> {
        let now = Instant::now();
        let repair = std::mem::take(&mut self.repair);
        let calm = self
            .last
            .is_none_or(|last| now.duration_since(last) > RULES_MAX_DELAY);
        let result = self.rules.apply(self.wanted.as_ref());
        self.last = Some(now);
        self.due = None;
        let again = (self.delay * 2).min(RULES_MAX_DELAY);
        match result {
            Ok(outcome) => {
                let changed = outcome.rebuilt || outcome.added > 0 || outcome.removed > 0;
                let fighting = repair && changed && !calm;
                self.delay = if fighting { again } else { RULES_DELAY };
                let outcome = nft_outcome(outcome, repair && changed);
                (changed || !repair).then_some(KernelEvent::RulesDone(Ok(outcome)))
            }
            Err(error) => {
                self.due = Some(now + self.delay);
                self.delay = again;
                Some(KernelEvent::RulesDone(Err(KernelError::from(&error))))
            }
        }
    }
}

fn nft_outcome(
    outcome: dunlin_dataplane::rules::Outcome,
    repaired: bool,
) -> dunlin_dataplane::rules::Outcome {
    dunlin_dataplane::rules::Outcome {
        repaired,
        ..outcome
    }
}
