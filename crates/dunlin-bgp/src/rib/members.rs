//! Peers that join and leave export groups, what they can take, and what they are told anew.

use dunlin_net::{Afi, PeerId, PerFamily, V4, V6};

use super::group::{Group, GroupId, GroupKey, Member, Out, UNTOLD, set_of};
use super::refresh::Retelling;
use super::source::SourceId;
use super::table::{NetId, RibFamily};
use super::{Rib, Store};

impl Rib {
    /// Puts a peer into the export group of `key`. `source` is what the peer is as a source: its routes are not told
    /// back to it. `credit`: octets it can take before [`Rib::on_credit`] says more. It is told everything, then
    /// End-of-RIB. A peer that is in a group leaves that one first: its session is another.
    pub fn join(
        &mut self,
        peer: PeerId,
        source: Option<SourceId>,
        key: &GroupKey,
        credit: usize,
    ) -> GroupId {
        self.leave(peer);
        let credit = i64::try_from(credit).unwrap_or(i64::MAX);
        let (id, made) = self.groups.join(peer, source, key, credit);
        if made && let Some(group) = self.groups.get_mut(id) {
            for net in self.tables.v4.ids_from(0).filter(|_| key.families.v4) {
                group.out.v4.dirty.insert(net);
            }
            for net in self.tables.v6.ids_from(0).filter(|_| key.families.v6) {
                group.out.v6.dirty.insert(net);
            }
        }
        id
    }

    /// As [`Rib::join`], for a peer in a group whose session goes on: what it was told there and is told no longer is
    /// withdrawn, after all that it is told now. It should have been [told all](Rib::is_told_all) of the old group.
    pub fn change_group(
        &mut self,
        peer: PeerId,
        source: Option<SourceId>,
        key: &GroupKey,
        credit: usize,
    ) {
        let before = self.told_to(peer, key);
        self.join(peer, source, key, credit);
        self.remember::<V4>(peer, before.v4);
        self.remember::<V6>(peer, before.v6);
    }

    /// What a peer was told and would have to be told to forget in a group of this key: prefixes, with path identifiers
    /// where it is told several paths.
    fn told_to(&self, peer: PeerId, key: &GroupKey) -> PerFamily<Vec<(NetId, Option<u32>)>> {
        let mut told = PerFamily::default();
        let group = self.groups.of(peer);
        let Some((group, member)) = group.and_then(|group| Some((group, group.member(peer)?)))
        else {
            return told;
        };
        for afi in Afi::ALL {
            let several = |key: &GroupKey| *key.encoding.add_path.get(afi);
            if !*key.families.get(afi) || several(key) != several(&group.key) {
                continue;
            }
            let out = group.out.get(afi);
            let lag = member.lag.as_ref().map(|lag| lag.get(afi));
            let knows = |id: u32, with: u32| {
                let sees = || member.source != Some(self.store.attrs.get(set_of(with)).source);
                match lag.filter(|lag| lag.holds(id)) {
                    Some(lag) => lag.was_told(id),
                    None => with != UNTOLD && sees(),
                }
            };
            let ids = (0..out.ids.len()).filter(|&id| knows(id, out.get(id)));
            let of = |id| match &out.paths {
                None => (id, None),
                Some(paths) => (paths.net(id), Some(paths.path_id(id))),
            };
            *told.get_mut(afi) = ids.map(of).collect();
        }
        told
    }

    /// A peer that has come to its group was told these in another one.
    fn remember<F: RibFamily>(&mut self, peer: PeerId, told: Vec<(NetId, Option<u32>)>) {
        let table = F::table(&self.tables);
        let Some(group) = self.groups.of_mut(peer).filter(|_| !told.is_empty()) else {
            return;
        };
        let out = group.out.get_mut(F::AFI);
        let live = told.into_iter().filter(|(net, _)| table.is_live(*net));
        let entry = |(net, path_id)| match (&mut out.paths, path_id) {
            (Some(paths), Some(path_id)) => {
                let known = paths.of(net).find(|(_, of)| *of == path_id);
                known.map_or_else(|| paths.add(net, path_id), |(id, _)| id)
            }
            _ => net,
        };
        let ids: Vec<u32> = live.map(entry).collect();
        if let Some(member) = group.member_mut(peer) {
            let lag = member.lag().get_mut(F::AFI);
            ids.into_iter().for_each(|id| lag.told_before(id));
        }
        group.membership_changed();
    }

    /// Takes a peer out of its group: its session is gone.
    pub fn leave(&mut self, peer: PeerId) {
        let Some(id) = self.groups.of_peer.remove(&peer) else {
            return;
        };
        let Some(slot) = self.groups.slots.get_mut(id.0 as usize) else {
            return;
        };
        let Some(group) = slot else { return };
        let Ok(at) = group.members.binary_search_by_key(&peer, |m| m.peer) else {
            return;
        };
        // What was encoded and not polled is not for a next session of the same peer.
        self.groups.outbox.retain_mut(|output| {
            if output.to.binary_search(&peer).is_ok() {
                output.to = output.members().filter(|&to| to != peer).collect();
            }
            !output.to.is_empty()
        });
        let member = group.members.remove(at);
        if let Some(source) = member.source {
            group.by_source.remove(&source);
        }
        group.membership_changed();
        let missed = member.lag.unwrap_or_default();
        let mut loose = PerFamily::<Vec<NetId>>::default();
        for afi in Afi::ALL {
            let ids = missed.get(afi).ids().collect();
            *loose.get_mut(afi) = group.let_go(afi, ids);
        }
        if group.members.is_empty()
            && let Some(group) = slot.take()
        {
            let held = self.store.release_group(&group);
            loose.v4.extend(held.0);
            loose.v6.extend(held.1);
            self.groups.count_several(&group.key, -1);
        }
        self.forget_unused::<V4>(loose.v4);
        self.forget_unused::<V6>(loose.v6);
    }

    pub(super) fn forget_unused<F: RibFamily>(&mut self, ids: Vec<NetId>) {
        let editor = self.editor::<F>();
        for id in ids {
            editor.groups.forget_if_unused(editor.table, id);
        }
    }

    /// The peer can take this many octets more.
    pub fn on_credit(&mut self, peer: PeerId, octets: usize) {
        let octets = i64::try_from(octets).unwrap_or(i64::MAX);
        if let Some(member) = self.groups.of_mut(peer).and_then(|g| g.member_mut(peer)) {
            member.credit = member.credit.saturating_add(octets);
        }
    }

    /// A source has another router id, which reflected routes name as ORIGINATOR_ID: whoever was told of them is told anew.
    pub(super) fn retell_source(&mut self, source: SourceId) {
        let attrs = &self.store.attrs;
        for group in self.groups.iter_mut() {
            let mut told = PerFamily::<Vec<NetId>>::default();
            for afi in Afi::ALL {
                let of_source = |&(_, out): &(NetId, u32)| attrs.get(set_of(out)).source == source;
                let out = group.out.get(afi).iter().filter(of_source);
                told.get_mut(afi).extend(out.map(|(id, _)| id));
            }
            if told.v4.is_empty() && told.v6.is_empty() {
                continue;
            }
            for member in group.members.iter_mut() {
                if member.source == Some(source) {
                    continue;
                }
                for afi in Afi::ALL {
                    let lag = member.lag().get_mut(afi);
                    told.get(afi).iter().for_each(|&id| lag.changed(id, true));
                }
            }
            group.membership_changed();
        }
    }

    /// The export policy of a group, or facts it depends on, changed: all is looked at again.
    pub fn reexport(&mut self, group: GroupId) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        for id in self.tables.v4.ids_from(0).filter(|_| group.key.families.v4) {
            group.out.v4.dirty.insert(id);
        }
        for id in self.tables.v6.ids_from(0).filter(|_| group.key.families.v6) {
            group.out.v6.dirty.insert(id);
        }
    }

    /// Facts about these prefixes that export policies depend on changed.
    pub fn reexport_prefixes<F: RibFamily>(&mut self, nets: impl IntoIterator<Item = F::Net>) {
        let editor = self.editor::<F>();
        for net in nets {
            if let Some(id) = editor.table.find(net) {
                editor.groups.mark(F::AFI, id);
            }
        }
    }

    /// The restart gate: while held, announcements go at once; withdrawals, and End-of-RIB, wait. It is shut at the start
    /// or not at all: shutting it later does not call back what is on its way.
    pub fn set_gate(&mut self, hold_withdrawals: bool, hold_end_of_rib: bool) {
        self.groups.hold_end_of_rib = hold_end_of_rib;
        let opens = self.groups.hold_withdrawals && !hold_withdrawals;
        self.groups.hold_withdrawals = hold_withdrawals;
        if !opens {
            return;
        }
        for group in self.groups.iter_mut() {
            for afi in Afi::ALL {
                let out = group.out.get_mut(afi);
                for id in out.held.take().iter() {
                    out.dirty.insert(id);
                }
                for member in &mut group.members {
                    if let Some(lag) = &mut member.lag {
                        lag.get_mut(afi).release_held();
                    }
                }
            }
        }
    }

    /// The key of a group.
    pub fn group_key(&self, group: GroupId) -> Option<&GroupKey> {
        Some(&self.groups.get(group)?.key)
    }

    /// The group a peer is in.
    pub fn group_of(&self, peer: PeerId) -> Option<GroupId> {
        self.groups.of_peer.get(&peer).copied()
    }

    /// How many paths of a family a peer is told.
    pub fn advertised(&self, peer: PeerId, afi: Afi) -> u32 {
        let Some(group) = self.groups.of(peer) else {
            return 0;
        };
        let out = group.out.get(afi);
        let source = group.member(peer).and_then(|member| member.source);
        let own = source.and_then(|source| out.told_by_source.get(usize::from(source.0)));
        out.told - own.copied().unwrap_or(0)
    }

    /// Whether all that a peer is to be told of a family now was handed out, whatever waits for the restart gate.
    pub fn is_in_pace(&self, peer: PeerId, afi: Afi) -> bool {
        let Some(group) = self.groups.of(peer) else {
            return true;
        };
        let pace = |m: &Member| m.lag.is_none();
        group.out.get(afi).is_quiet() && group.member(peer).is_none_or(pace)
    }

    /// Whether a peer was told all there is to tell of a family, End-of-RIB included.
    pub fn is_told_all(&self, peer: PeerId, afi: Afi) -> bool {
        let Some(group) = self.groups.of(peer) else {
            return false;
        };
        let quiet = |out: &Out| out.is_quiet() && out.held.is_empty();
        let pace = |m: &Member| {
            let retold = *m.retelling.get(afi) == Retelling::None;
            m.lag.is_none() && !*m.end_of_rib.get(afi) && retold
        };
        quiet(group.out.get(afi)) && group.member(peer).is_some_and(pace)
    }
}

impl Store {
    /// Lets go of all that a group holds; the prefixes nobody may hold any more.
    fn release_group(&mut self, group: &Group) -> (Vec<NetId>, Vec<NetId>) {
        let mut release = |out: &Out| {
            for (_, told) in out.iter() {
                self.attrs.release(&mut self.hops, set_of(told));
            }
            for change in out.changes.iter().filter(|change| !change.withdrawn) {
                self.attrs.release(&mut self.hops, set_of(change.out));
            }
            let mut nets = match &out.paths {
                None => out.iter().map(|(id, _)| id).collect(),
                Some(paths) => paths.nets().collect::<Vec<NetId>>(),
            };
            nets.extend(out.dirty.iter().chain(out.held.iter()));
            nets
        };
        (release(&group.out.v4), release(&group.out.v6))
    }
}
