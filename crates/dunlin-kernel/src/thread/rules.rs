use std::sync::PoisonError;
use std::time::{Duration, Instant};

use dunlin_dataplane::rules::Rules;
use dunlin_dataplane::{KernelError, KernelEvent, mark};

use super::worker::Worker;
use crate::Error;
use crate::nft::{self, RuleKeeper};

/// After a failed attempt at the nf_tables table, and between repairs; doubled up to the maximum while it goes on.
const RULES_DELAY: Duration = Duration::from_millis(100);
const RULES_MAX_DELAY: Duration = Duration::from_secs(10);

/// Our nf_tables table and when to look at them again.
pub(super) struct Keeper {
    rules: RuleKeeper,
    pub(super) monitor: nft::Monitor,
    wanted: Option<Rules>,
    delay: Duration,
    /// Not before this; `None`: nothing to do.
    pub(super) due: Option<Instant>,
    last: Option<Instant>,
    repair: bool,
}

impl<S: FnMut(KernelEvent)> Worker<S> {
    /// Takes a new wish, hears of changes by others, and writes if it is time.
    pub(super) fn keep_rules(&mut self) {
        let wish = self
            .shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(wanted) = wish {
            let keeper = match self.table.take() {
                Some(keeper) => Ok(Keeper { wanted, ..keeper }),
                None => Keeper::open(wanted),
            };
            match keeper {
                Ok(keeper) => {
                    let keeper = self.table.insert(keeper);
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
        match keeper.monitor.drain() {
            Ok(false) => {}
            Ok(true) => keeper.on_meddling(),
            Err(error) => tracing::warn!(%error, "watching nf_tables failed"),
        }
        if keeper.due.is_some_and(|due| due <= Instant::now())
            && let Some(event) = keeper.apply()
        {
            (self.sink)(event);
        }
    }
}

impl Keeper {
    fn open(wanted: Option<Rules>) -> Result<Keeper, Error> {
        let rules = RuleKeeper::open()?;
        let monitor = nft::Monitor::open(rules.port(), mark::NFT_TABLE)?;
        let (delay, due, last) = (RULES_DELAY, None, None);
        Ok(Keeper {
            rules,
            monitor,
            wanted,
            delay,
            due,
            last,
            repair: false,
        })
    }

    /// Somebody else changed the table. Repaired at once, but not in a busy fight.
    fn on_meddling(&mut self) {
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
