//! Everything told again, and heard again: what a peer asks for (RFC 2918), between marks where both know them (RFC 7313).

use std::sync::Arc;

use dunlin_net::{Afi, PeerId, PerFamily};
use smallvec::SmallVec;

use super::Rib;
use super::attrset::AttrTable;
use super::group::{Group, Member, set_of};
use super::lag::Lag;
use super::output::Output;
use super::source::SourceId;
use super::table::NetId;
use crate::wire::{AfiSafi, RefreshSubtype, RouteRefresh};

/// How far one member is with being told everything of a family again, between marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Retelling {
    /// It is not being told again.
    #[default]
    None,
    /// The first mark is owed. It comes after End-of-RIB (RFC 7313 4).
    Owed,
    /// The first mark was sent; the second is owed once all that followed was.
    Begun,
}

impl Rib {
    /// Tells a peer everything of a family again: it asked for that (RFC 2918). With `marks` it hears where that begins and
    /// where it ends (RFC 7313); asked for once more before the end, it begins again under the same mark.
    pub fn refresh(&mut self, peer: PeerId, afi: Afi, marks: bool) {
        let Some(group) = self.groups.of_mut(peer) else {
            return;
        };
        if !group.key.families.get(afi) {
            return;
        }
        let Some(member) = group.member_mut(peer) else {
            return;
        };
        let retelling = member.retelling.get_mut(afi);
        if marks && *retelling != Retelling::Begun {
            *retelling = Retelling::Owed;
        } else {
            group.tell_again(&self.store.attrs, peer, afi);
        }
        group.membership_changed();
    }

    /// The source tells everything of a family again (RFC 7313 4): what it does not tell before
    /// [`sweep_stale`](Rib::sweep_stale) is stale. All of it counts towards the limit until then.
    pub fn begin_refresh(&mut self, source: SourceId, afi: Afi) {
        if let Some(slot) = self.store.sources.find_mut(source) {
            slot.begin_refresh(afi);
        }
    }

    /// The first marks that are due, and what follows them.
    pub(super) fn begin_retelling(&mut self, group: &mut Group) {
        if group.retelling == 0 {
            return;
        }
        for afi in Afi::ALL {
            let due = |m: &Member| {
                *m.retelling.get(afi) == Retelling::Owed
                    && !*m.end_of_rib.get(afi)
                    && !m.is_blocked()
            };
            let due = group.peers_that(due);
            for &peer in &due {
                self.mark(group, peer, afi, RefreshSubtype::Begin, Retelling::Begun);
                group.tell_again(&self.store.attrs, peer, afi);
            }
            if !due.is_empty() {
                group.membership_changed();
            }
        }
    }

    /// The second marks, of those who have been told all.
    pub(super) fn end_retelling(&mut self, group: &mut Group) {
        if group.retelling == 0 {
            return;
        }
        for afi in Afi::ALL {
            if !group.out.get(afi).is_quiet() {
                continue;
            }
            let told = |lag: &PerFamily<Lag>| lag.get(afi).is_over();
            let due = |m: &Member| {
                *m.retelling.get(afi) == Retelling::Begun && m.lag.as_deref().is_none_or(told)
            };
            let due = group.peers_that(due);
            for &peer in &due {
                self.mark(group, peer, afi, RefreshSubtype::End, Retelling::None);
            }
            if !due.is_empty() {
                group.membership_changed();
            }
        }
    }

    fn mark(
        &mut self,
        group: &mut Group,
        peer: PeerId,
        afi: Afi,
        subtype: RefreshSubtype,
        then: Retelling,
    ) {
        let mut bytes = Vec::new();
        let family = AfiSafi::unicast(afi);
        RouteRefresh { family, subtype }.encode(&mut bytes);
        if let Some(member) = group.member_mut(peer) {
            member.credit -= bytes.len() as i64;
            *member.retelling.get_mut(afi) = then;
        }
        self.groups.outbox.push_back(Output {
            bytes: bytes.into(),
            to: Arc::from([peer]),
            except: SmallVec::new(),
        });
    }
}

impl Group {
    /// The member is behind with all of a family that it was told.
    fn tell_again(&mut self, attrs: &AttrTable, peer: PeerId, afi: Afi) {
        let out = self.out.get(afi);
        let told: Vec<(NetId, u32)> = out.iter().collect();
        let Some(member) = self.member_mut(peer) else {
            return;
        };
        let own = member.source;
        let lag = member.lag().get_mut(afi);
        for (id, out) in told {
            let source = attrs.get(set_of(out)).source;
            if own != Some(source) {
                lag.changed(id, true);
            }
        }
    }

    fn peers_that(&self, due: impl Fn(&Member) -> bool) -> Vec<PeerId> {
        let due = self.members.iter().filter(|member| due(member));
        due.map(|member| member.peer).collect()
    }
}
