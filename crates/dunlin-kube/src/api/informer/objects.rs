//! One object: what is new of it, what is wrong with it, and that it is gone.

use dunlin_intent::{Key, SourceEvent};

use super::{Informer, Stop};
use crate::api::teller::Closed;
use crate::api::trouble::Trouble;
use crate::object::{ObjectFault, read_json};

impl Informer {
    /// Takes in an object, and tells what is new of it.
    pub(super) async fn object(&mut self, text: &[u8], save: bool) -> Result<(), Stop> {
        let fact = match read_json(self.selection.resource, text) {
            Ok(fact) => fact,
            Err(fault) => return self.misunderstood(fault).await,
        };
        let (change, hash) = self.seen.look(&fact);
        let key = fact.key();
        // A list that broke off has told of it already.
        if !save && self.seen.told(&key) {
            return Ok(());
        }
        if change.problem_over {
            self.problem_over(&key).await?;
        }
        if change.fact {
            self.means.teller.tell(SourceEvent::Apply(fact)).await?;
        }
        let mut unsaved = false;
        if save && change.save {
            // What waits for the change goes first; of a list, all the same.
            if self.version.is_some() {
                tokio::task::yield_now().await;
            }
            let saver = &self.means.saver;
            unsaved = !saver.put(self.selection.resource, &key, text).await;
        }
        self.seen.note(key, hash, unsaved);
        Ok(())
    }

    /// An object does not say what it should: what it last said stays, all others go on.
    async fn misunderstood(&mut self, fault: ObjectFault) -> Result<(), Stop> {
        let Some(key) = fault.key.clone() else {
            return Err(Trouble::Garbage(fault.to_string()).into());
        };
        let kept = self.seen.told(&key);
        if let Some(problem) = fault.problem(kept) {
            tracing::warn!("{problem}");
            let event = SourceEvent::Problems(key.object(), vec![problem]);
            self.means.teller.tell(event).await?;
        }
        self.seen.note_problem(key);
        Ok(())
    }

    pub(super) async fn gone(&mut self, key: Key) -> Result<(), Closed> {
        let Some(has_problem) = self.seen.known(&key) else {
            return Ok(());
        };
        if has_problem {
            self.problem_over(&key).await?;
        }
        self.means.saver.delete(self.selection.resource, &key).await;
        if self.seen.told(&key) {
            self.means
                .teller
                .tell(SourceEvent::Remove(key.clone()))
                .await?;
        }
        self.seen.forget(&key);
        Ok(())
    }

    async fn problem_over(&self, key: &Key) -> Result<(), Closed> {
        let event = SourceEvent::Problems(key.object(), Vec::new());
        self.means.teller.tell(event).await
    }
}
