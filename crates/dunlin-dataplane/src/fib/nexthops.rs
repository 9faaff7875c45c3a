//! Hop sets, interned, and the kernel objects that hold them.

mod sets;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet, HashTable};
use smallvec::SmallVec;

use super::backups::{BackupId, Backups, NO_BACKUP};
use super::types::Hops;
use crate::mark;

/// An interned hop set.
pub(super) type SetId = u32;
/// No set: nothing is wanted, or the content is unknown.
pub(super) const NO_SET: SetId = 0;
/// The blackhole.
pub(super) const HOLE_SET: SetId = 1;

/// A kernel object, or one of four things that are not objects.
pub(super) type ObjectId = u32;
/// The kernel holds no route.
pub(super) const ABSENT: ObjectId = 0;
/// The kernel holds a route of ours that leads we know not where.
pub(super) const UNKNOWN: ObjectId = 1;
/// Somebody else's route has our prefix and metric.
pub(super) const FOREIGN: ObjectId = 2;
/// The kernel holds our blackhole.
pub(super) const HOLE: ObjectId = 3;
const FIRST_OBJECT: ObjectId = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Free,
    /// Wanted, not in the kernel.
    Absent,
    InFlight,
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    Group,
}

#[derive(Clone, Debug)]
pub(super) struct Set {
    /// Sorted, without repetition.
    pub(super) hops: Hops,
    /// Slots that want it.
    pub(super) wanted: u32,
    /// Objects that hold it or are to hold it.
    held: u32,
    /// The object new routes use; 0 if there is none. A single for one hop, else a group.
    pub(super) object: ObjectId,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    /// The kernel's id.
    pub(super) id: u32,
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    /// What it holds, or is to hold once it is made.
    pub(super) set: SetId,
    /// What it holds once the replacement in flight is acknowledged.
    pub(super) moving: SetId,
    /// Slots believed to name it.
    pub(super) routes: u32,
    /// Groups that contain it or are to contain it.
    pub(super) groups: u32,
    /// Of a group.
    pub(super) members: SmallVec<[ObjectId; 4]>,
    /// Of a group: its members once the replacement in flight is acknowledged.
    incoming: SmallVec<[ObjectId; 4]>,
    /// A replacement of its content was refused: routes move one by one.
    pub(super) fixed: bool,
    /// What it becomes when its hop dies. Only of a single that is in no group, and never of the one new routes use.
    pub(super) label: BackupId,
}

#[derive(Debug)]
pub(super) struct Nexthops {
    pub(super) sets: Vec<Set>,
    set_index: HashTable<SetId>,
    free_sets: Vec<SetId>,
    /// Interned and not yet referred to.
    unclaimed: Vec<SetId>,
    pub(super) objects: Vec<Object>,
    pub(super) by_id: HashMap<u32, ObjectId, FixedState>,
    free_objects: Vec<ObjectId>,
    /// Objects that may have lost their last use.
    pub(super) idle: Vec<ObjectId>,
    /// Ids in our range that somebody else uses; bounded by the range.
    pub(super) taken: HashSet<u32, FixedState>,
    next_id: u32,
    pub(super) backups: Backups,
    /// One object for each hop and backup.
    pub(super) labelled: HashMap<(SetId, BackupId), ObjectId, FixedState>,
    hasher: FixedState,
}

impl Nexthops {
    pub(super) fn new(hasher: &FixedState) -> Nexthops {
        let set = Set {
            hops: Hops::new(),
            wanted: 0,
            held: 0,
            object: 0,
        };
        let object = Object {
            id: 0,
            kind: Kind::Single,
            phase: Phase::Present,
            set: NO_SET,
            moving: NO_SET,
            routes: 0,
            groups: 0,
            members: SmallVec::new(),
            incoming: SmallVec::new(),
            fixed: true,
            label: NO_BACKUP,
        };
        let mut objects = vec![object; FIRST_OBJECT as usize];
        objects[HOLE as usize].set = HOLE_SET;
        Nexthops {
            sets: vec![set; 2],
            set_index: HashTable::new(),
            free_sets: Vec::new(),
            unclaimed: Vec::new(),
            objects,
            by_id: HashMap::with_hasher(hasher.clone()),
            free_objects: Vec::new(),
            idle: Vec::new(),
            taken: HashSet::with_hasher(hasher.clone()),
            next_id: mark::NEXTHOP_FIRST,
            backups: Backups::new(hasher),
            labelled: HashMap::with_hasher(hasher.clone()),
            hasher: hasher.clone(),
        }
    }

    pub(super) fn set(&self, set: SetId) -> &Set {
        &self.sets[set as usize]
    }

    pub(super) fn object(&self, object: ObjectId) -> &Object {
        &self.objects[object as usize]
    }

    pub(super) fn object_mut(&mut self, object: ObjectId) -> &mut Object {
        &mut self.objects[object as usize]
    }

    /// Whether `object` is a kernel object and not one of the four words.
    pub(super) fn is_object(object: ObjectId) -> bool {
        object >= FIRST_OBJECT
    }

    /// Kernel objects, by ascending slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ObjectId, &Object)> {
        (0u32..)
            .zip(&self.objects)
            .skip(FIRST_OBJECT as usize)
            .filter(|(_, object)| object.phase != Phase::Free)
    }

    /// What a route to `object` leads to, once what is in flight is done.
    pub(super) fn content(&self, object: ObjectId) -> SetId {
        let object = self.object(object);
        if object.moving == NO_SET {
            object.set
        } else {
            object.moving
        }
    }

    /// A new object, absent from the kernel, to hold `set`. `None` if all ids are used.
    pub(super) fn add_object(&mut self, kind: Kind, set: SetId) -> Option<ObjectId> {
        let id = self.fresh_id()?;
        let object = self.insert_object(id, kind, Phase::Absent, set);
        if self.sets[set as usize].object == 0 {
            self.sets[set as usize].object = object;
        }
        Some(object)
    }

    /// An object found in the kernel.
    pub(super) fn adopt_object(&mut self, id: u32, kind: Kind) -> ObjectId {
        self.insert_object(id, kind, Phase::Present, NO_SET)
    }

    fn insert_object(&mut self, id: u32, kind: Kind, phase: Phase, set: SetId) -> ObjectId {
        let fresh = Object {
            id,
            kind,
            phase,
            set: NO_SET,
            moving: NO_SET,
            routes: 0,
            groups: 0,
            members: SmallVec::new(),
            incoming: SmallVec::new(),
            fixed: false,
            label: NO_BACKUP,
        };
        let object = match self.free_objects.pop() {
            Some(object) => {
                self.objects[object as usize] = fresh;
                object
            }
            None => {
                self.objects.push(fresh);
                u32::try_from(self.objects.len() - 1).expect("there are 2^24 ids")
            }
        };
        self.by_id.insert(id, object);
        self.set_content(object, set);
        object
    }

    /// Notes what an object holds.
    pub(super) fn set_content(&mut self, object: ObjectId, set: SetId) {
        if set != self.object(object).set {
            self.clear_label(object);
        }
        if set != NO_SET {
            self.hold_set(set);
        }
        let old = std::mem::replace(&mut self.object_mut(object).set, set);
        if old != set && old != NO_SET && self.sets[old as usize].object == object {
            self.sets[old as usize].object = 0;
        }
        self.unhold_set(old);
    }

    pub(super) fn set_members(&mut self, object: ObjectId, members: SmallVec<[ObjectId; 4]>) {
        for &member in &members {
            self.object_mut(member).groups += 1;
        }
        let old = std::mem::replace(&mut self.object_mut(object).members, members);
        self.drop_members(&old);
    }

    fn drop_members(&mut self, members: &[ObjectId]) {
        for &member in members {
            let object = self.object_mut(member);
            object.groups = object.groups.saturating_sub(1);
            if object.groups == 0 {
                self.idle.push(member);
            }
        }
    }

    /// The object is being rewritten in place to hold `to`. Old members stay in use until it is acknowledged.
    pub(super) fn begin_move(
        &mut self,
        object: ObjectId,
        to: SetId,
        members: SmallVec<[ObjectId; 4]>,
    ) {
        self.clear_label(object);
        self.hold_set(to);
        for &member in &members {
            self.object_mut(member).groups += 1;
        }
        self.object_mut(object).incoming = members;
        let from = self.object(object).set;
        if self.sets[from as usize].object == object {
            self.sets[from as usize].object = 0;
        }
        if self.sets[to as usize].object == 0 && self.suits(object, to) {
            self.sets[to as usize].object = object;
        }
        self.object_mut(object).moving = to;
    }

    /// The rewriting was done, or refused.
    pub(super) fn finish_move(&mut self, object: ObjectId, done: bool) {
        let to = std::mem::replace(&mut self.object_mut(object).moving, NO_SET);
        let incoming = std::mem::take(&mut self.object_mut(object).incoming);
        if done {
            let old = std::mem::replace(&mut self.object_mut(object).members, incoming);
            self.drop_members(&old);
            self.set_content(object, to);
            // The object that held the same before may serve nobody now.
            self.idle.push(self.sets[to as usize].object);
        } else {
            self.drop_members(&incoming);
            if self.sets[to as usize].object == object {
                self.sets[to as usize].object = 0;
            }
            let from = self.object(object).set;
            if from != NO_SET && self.sets[from as usize].object == 0 && self.suits(object, from) {
                self.sets[from as usize].object = object;
            }
        }
        self.unhold_set(to);
    }

    /// Whether new routes to `set` may use an object of this kind.
    fn suits(&self, object: ObjectId, set: SetId) -> bool {
        (self.set(set).hops.len() == 1) == (self.object(object).kind == Kind::Single)
    }

    /// Says what an object becomes when its hop dies.
    pub(super) fn set_label(&mut self, at: ObjectId, label: BackupId) {
        self.clear_label(at);
        let set = self.object(at).set;
        if set == NO_SET {
            return;
        }
        let serves = self.sets[set as usize].object;
        if label != NO_BACKUP {
            self.backups.retain(label);
            self.object_mut(at).label = label;
            self.labelled.insert((set, label), at);
            if serves == at {
                self.sets[set as usize].object = 0;
            } else {
                self.idle.push(serves);
            }
        } else if serves == 0 && self.suits(at, set) {
            self.sets[set as usize].object = at;
        }
    }

    /// An object with a backup that leads to `set`, with routes on it.
    pub(super) fn labelled_to(&self, set: SetId) -> Option<ObjectId> {
        if self.set(set).held == 0 {
            return None;
        }
        let leads = |object: &Object| {
            object.set == set
                && object.label != NO_BACKUP
                && object.routes > 0
                && object.phase == Phase::Present
                && object.moving == NO_SET
        };
        self.iter()
            .find(|(_, object)| leads(object))
            .map(|(at, _)| at)
    }

    fn clear_label(&mut self, at: ObjectId) {
        let object = self.object_mut(at);
        let label = std::mem::replace(&mut object.label, NO_BACKUP);
        if label == NO_BACKUP {
            return;
        }
        let key = (object.set, label);
        if self.labelled.get(&key) == Some(&at) {
            self.labelled.remove(&key);
        }
        self.backups.release(label);
    }

    /// Another kernel id for an object that is not in the kernel, because somebody else uses the old one.
    pub(super) fn renumber(&mut self, object: ObjectId) {
        let old = self.object(object).id;
        self.by_id.remove(&old);
        self.taken.insert(old);
        if let Some(id) = self.fresh_id() {
            self.object_mut(object).id = id;
            self.by_id.insert(id, object);
        }
    }

    pub(super) fn free_object(&mut self, object: ObjectId) {
        self.set_members(object, SmallVec::new());
        self.set_content(object, NO_SET);
        let freed = self.object_mut(object);
        freed.phase = Phase::Free;
        let id = freed.id;
        if self.by_id.get(&id) == Some(&object) {
            self.by_id.remove(&id);
        }
        self.free_objects.push(object);
    }

    /// Whether anything uses the object or is about to.
    pub(super) fn is_needed(&self, id: ObjectId) -> bool {
        let object = self.object(id);
        let set = self.set(object.set);
        object.routes > 0
            || object.groups > 0
            || (object.set != NO_SET && set.object == id && set.wanted > 0)
    }

    /// If new routes would use this object though no route does, while routes use another with the same content: that one
    /// serves from now on.
    pub(super) fn hand_over(&mut self, id: ObjectId) {
        let object = self.object(id);
        let set = self.set(object.set);
        if object.set == NO_SET || object.routes > 0 || set.object != id || set.held < 2 {
            return;
        }
        if self.object(id).label != NO_BACKUP {
            return;
        }
        let other = self.iter().find(|(at, other)| {
            *at != id
                && other.set == object.set
                && other.routes > 0
                && other.phase == Phase::Present
                && other.moving == NO_SET
                && self.suits(*at, object.set)
        });
        if let (Some((at, other)), set) = (other, object.set) {
            let serves = other.label == NO_BACKUP;
            self.sets[set as usize].object = if serves { at } else { 0 };
        }
    }

    /// Chooses the object new routes to a set use, where there is none: the lowest present one of the right kind.
    pub(super) fn choose_objects(&mut self) {
        let mut present: Vec<(u32, ObjectId)> = self
            .iter()
            .filter(|(_, object)| {
                object.phase == Phase::Present && object.set != NO_SET && object.label == NO_BACKUP
            })
            .map(|(at, object)| (object.id, at))
            .collect();
        present.sort_unstable();
        for (_, at) in present {
            let set = self.object(at).set;
            let chosen = self.set(set).object;
            if self.suits(at, set) && (chosen == 0 || self.object(chosen).phase != Phase::Present) {
                if chosen != 0 {
                    self.idle.push(chosen);
                }
                self.sets[set as usize].object = at;
            }
        }
    }

    fn fresh_id(&mut self) -> Option<u32> {
        let range = mark::NEXTHOP_LAST - mark::NEXTHOP_FIRST + 1;
        for _ in 0..range {
            let id = self.next_id;
            self.next_id = if id == mark::NEXTHOP_LAST {
                mark::NEXTHOP_FIRST
            } else {
                id + 1
            };
            if !self.by_id.contains_key(&id) && !self.taken.contains(&id) {
                return Some(id);
            }
        }
        None
    }
}
