//! Where packets go at once when a route's only hop is dead: interned, and counted by who names them.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::types::Hop;

/// An interned backup.
pub(super) type BackupId = u16;
/// None.
pub(super) const NO_BACKUP: BackupId = 0;

/// Different backups. Routes with one more have none, and move by themselves when their hop dies.
const MAX_BACKUPS: usize = 1024;

#[derive(Debug)]
pub(super) struct Backups {
    /// With how many slots and objects name it. The first one is nobody's.
    entries: Vec<(Option<Hop>, u32)>,
    index: HashMap<Hop, BackupId, FixedState>,
    free: Vec<BackupId>,
}

impl Backups {
    pub(super) fn new(hasher: &FixedState) -> Backups {
        Backups {
            entries: vec![(None, 0)],
            index: HashMap::with_hasher(hasher.clone()),
            free: Vec::new(),
        }
    }

    pub(super) fn get(&self, id: BackupId) -> Option<Hop> {
        self.entries.get(usize::from(id))?.0
    }

    /// The backup of this hop, named once more.
    pub(super) fn acquire(&mut self, hop: Option<Hop>) -> BackupId {
        let Some(hop) = hop else { return NO_BACKUP };
        if let Some(&id) = self.index.get(&hop) {
            self.retain(id);
            return id;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.entries.len() <= MAX_BACKUPS => {
                self.entries.push((None, 0));
                BackupId::try_from(self.entries.len() - 1).unwrap_or(NO_BACKUP)
            }
            None => return NO_BACKUP,
        };
        self.entries[usize::from(id)] = (Some(hop), 1);
        self.index.insert(hop, id);
        id
    }

    pub(super) fn retain(&mut self, id: BackupId) {
        if id != NO_BACKUP {
            self.entries[usize::from(id)].1 += 1;
        }
    }

    /// Named once less.
    pub(super) fn release(&mut self, id: BackupId) {
        if id == NO_BACKUP {
            return;
        }
        let entry = &mut self.entries[usize::from(id)];
        entry.1 -= 1;
        if entry.1 == 0 {
            if let Some(hop) = entry.0.take() {
                self.index.remove(&hop);
            }
            self.free.push(id);
        }
    }
}
