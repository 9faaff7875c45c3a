//! Many sessions under one roof: whose packet it is, and whose deadline is next.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;

use dunlin_net::{Chance, Deadlines, Instant};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::config::PathKey;
use crate::event::{Output, Transmit};
use crate::session::{Action, Session};
use crate::{
    ConfigError, ControlPacket, Discriminator, DropReason, Drops, Hops, SessionConfig, SessionId,
    SessionSnapshot,
};

/// Seeds of a process. The names of sessions are made of them: take them from the system's random numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// For discriminators: a key, so that one that was seen tells nothing of others.
    pub discriminators: [u64; 2],
    /// For jitter.
    pub chance: u64,
}

/// A datagram that came to one of the ports.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// To which port.
    pub hops: Hops,
    /// From whom.
    pub from: IpAddr,
    /// To which of our addresses.
    pub to: IpAddr,
    /// By which interface, its index.
    pub interface: u32,
    /// The TTL or hop limit it came with.
    pub ttl: u8,
    /// The payload.
    pub payload: &'a [u8],
}

struct Hosted {
    session: Session,
    path: PathKey,
    /// What is in the heap for it.
    scheduled: Option<Instant>,
    /// Whether its owner wants it no more.
    leaving: bool,
}

/// Hosts sessions: a pure machine, as told in the crate's documentation.
///
/// Bounds: as many sessions as `limit`, and as many again that say farewell for a detection time; a packet costs one lookup,
/// or four if its sender does not know our discriminator; outputs are to be polled after each call and never outlive it by
/// more than that call made.
pub struct Sessions {
    seeds: Seeds,
    limit: usize,
    sessions: HashMap<Discriminator, Hosted, FixedState>,
    by_id: HashMap<SessionId, Discriminator, FixedState>,
    by_path: HashMap<PathKey, Discriminator, FixedState>,
    named: u64,
    deadlines: Deadlines<Discriminator>,
    outputs: VecDeque<Output>,
    /// The latest time that was said: time that goes back stands still.
    now: Instant,
    dropped: Drops,
}

impl Sessions {
    /// No sessions yet, and never more than `limit`.
    pub fn new(seeds: Seeds, limit: usize) -> Sessions {
        let hasher = FixedState::with_seed(seeds.chance);
        Sessions {
            seeds,
            limit,
            sessions: HashMap::with_hasher(hasher.clone()),
            by_id: HashMap::with_hasher(hasher.clone()),
            by_path: HashMap::with_hasher(hasher),
            named: 0,
            deadlines: Deadlines::default(),
            outputs: VecDeque::new(),
            now: Instant::ZERO,
            dropped: Drops::default(),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Sessions::on_deadline`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// How many sessions there are, those that say farewell included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// All packets dropped, by reason; those of sessions that are gone and of no session included.
    pub fn dropped(&self) -> &Drops {
        &self.dropped
    }

    /// All sessions but those that say farewell, by id.
    pub fn snapshots(&self) -> Vec<SessionSnapshot> {
        let wanted = self.sessions.values().filter(|hosted| !hosted.leaving);
        let mut all: Vec<SessionSnapshot> = wanted.map(|h| h.session.snapshot()).collect();
        all.sort_unstable_by_key(|snapshot| snapshot.session);
        all
    }

    /// One session as it is now.
    pub fn snapshot(&self, id: SessionId) -> Option<SessionSnapshot> {
        let hosted = self.sessions.get(self.by_id.get(&id)?)?;
        Some(hosted.session.snapshot())
    }

    /// Makes a session this: a new one begins, one that is there changes without going down. If its peer, interface, local
    /// address or encapsulation is another, the old one ends as in [`Sessions::remove`] and a new one begins.
    ///
    /// # Errors
    /// If the configuration makes no sense, or collides with another session; then nothing has changed.
    pub fn set(
        &mut self,
        now: Instant,
        id: SessionId,
        config: SessionConfig,
    ) -> Result<(), ConfigError> {
        let now = self.at(now);
        config.check()?;
        let path = config.path();
        let here = self.by_id.get(&id).copied();
        if let Some(name) = here
            && let Some(hosted) = self.sessions.get_mut(&name)
            && hosted.path == path
        {
            hosted.session.configure(now, config);
            self.collect(name);
            return Ok(());
        }
        if let Some(name) = self.by_path.get(&path).copied() {
            match self.sessions.get(&name) {
                Some(owner) if !owner.leaving => {
                    let owner = owner.session.id();
                    return Err(ConfigError::PathTaken { owner });
                }
                // It makes room for its successor, which speaks for the path from here on.
                _ => self.close(name),
            }
        }
        if here.is_none() && self.by_id.len() >= self.limit {
            return Err(ConfigError::TooMany(self.limit));
        }
        self.remove(now, id);
        let name = self.name();
        let chance = Chance::new(self.keyed(1, u64::from(name.0.get())) ^ self.seeds.chance);
        self.by_id.insert(id, name);
        self.by_path.insert(path, name);
        let hosted = Hosted {
            session: Session::new(now, id, name, config, chance),
            path,
            scheduled: None,
            leaving: false,
        };
        self.sessions.insert(name, hosted);
        self.collect(name);
        Ok(())
    }

    /// Ends a session: the peer is told AdminDown for a detection time, which goes on after this call.
    pub fn remove(&mut self, now: Instant, id: SessionId) {
        let now = self.at(now);
        let Some(name) = self.by_id.remove(&id) else {
            return;
        };
        let crowded = self.sessions.len() - self.by_id.len() > self.limit;
        if let Some(hosted) = self.sessions.get_mut(&name) {
            hosted.leaving = true;
            hosted.session.leave(now);
            self.collect(name);
        }
        if crowded {
            self.close(name);
        }
    }

    /// Ends all sessions so. All is said when [`Sessions::is_empty`].
    pub fn remove_all(&mut self, now: Instant) {
        let mut ids: Vec<SessionId> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.remove(now, id);
        }
    }

    /// A datagram came. Whose it is, is given back.
    ///
    /// # Errors
    /// Why it was dropped, which is counted here and at its session, if it has one.
    pub fn receive(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
    ) -> Result<SessionId, DropReason> {
        let now = self.at(now);
        let taken = self.take(now, datagram);
        if let Err(reason) = taken {
            self.dropped.count(reason);
        }
        taken
    }

    fn take(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<SessionId, DropReason> {
        let packet = ControlPacket::decode(datagram.payload)?;
        let path = PathKey {
            hops: datagram.hops,
            peer: datagram.from.to_canonical(),
            interface: Some(datagram.interface),
            local: Some(datagram.to.to_canonical()),
        };
        let name = match NonZeroU32::new(packet.your_discriminator) {
            Some(name) => Discriminator(name),
            None => {
                let mut candidates = path.candidates().into_iter();
                let found = candidates.find_map(|path| self.by_path.get(&path).copied());
                found.ok_or(DropReason::UnknownPeer)?
            }
        };
        let hosted = self.sessions.get_mut(&name);
        let hosted = hosted.ok_or(DropReason::UnknownDiscriminator)?;
        if !hosted.path.admits(&path) {
            return Err(hosted.session.drop_packet(DropReason::WrongPath));
        }
        if datagram.ttl < hosted.session.config().least_ttl() {
            return Err(hosted.session.drop_packet(DropReason::Ttl));
        }
        let taken = hosted.session.receive(now, &packet);
        let id = hosted.session.id();
        self.collect(name);
        taken.map(|()| id)
    }

    /// Deadlines may have passed.
    pub fn on_deadline(&mut self, now: Instant) {
        let now = self.at(now);
        while let Some((at, name)) = self.deadlines.pop_due(now) {
            let Some(hosted) = self.sessions.get_mut(&name) else {
                continue;
            };
            if hosted.scheduled != Some(at) {
                continue;
            }
            hosted.scheduled = None;
            hosted.session.on_deadline(now);
            self.collect(name);
        }
    }

    /// Takes the actions of a session and looks at its deadline.
    fn collect(&mut self, name: Discriminator) {
        let Some(hosted) = self.sessions.get_mut(&name) else {
            return;
        };
        let PathKey {
            hops,
            peer,
            interface,
            local,
        } = hosted.path;
        for action in hosted.session.take_actions() {
            self.outputs.push_back(match action {
                Action::Send(packet) => Output::Transmit(Transmit {
                    session: name,
                    peer,
                    local,
                    interface,
                    hops,
                    octets: packet.encode(),
                }),
                Action::Changed(change) => Output::Changed(change),
            });
        }
        if hosted.session.is_gone() {
            self.close(name);
            return;
        }
        let deadline = hosted.session.next_deadline();
        hosted.scheduled = self.deadlines.schedule(name, hosted.scheduled, deadline);
        if self.deadlines.is_overgrown(self.sessions.len()) {
            let scheduled = self.sessions.iter();
            let scheduled = scheduled.filter_map(|(name, hosted)| Some((hosted.scheduled?, *name)));
            self.deadlines.rebuild(scheduled);
        }
    }

    fn close(&mut self, name: Discriminator) {
        let Some(hosted) = self.sessions.remove(&name) else {
            return;
        };
        if let Entry::Occupied(entry) = self.by_path.entry(hosted.path)
            && *entry.get() == name
        {
            entry.remove();
        }
        self.outputs.push_back(Output::Closed(name));
    }

    /// A discriminator that no session has.
    fn name(&mut self) -> Discriminator {
        loop {
            self.named += 1;
            let number = self.keyed(0, self.named) as u32; // its lower half
            if let Some(number) = NonZeroU32::new(number)
                && !self.sessions.contains_key(&Discriminator(number))
            {
                return Discriminator(number);
            }
        }
    }

    fn keyed(&self, purpose: u8, number: u64) -> u64 {
        // SipHash, whose outputs tell nothing of its key; its key here is what it is fed first.
        let mut hasher = DefaultHasher::new();
        (self.seeds.discriminators, purpose, number).hash(&mut hasher);
        hasher.finish()
    }

    fn at(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }
}

#[cfg(test)]
mod tests;
