//! Who is at the other end of a link: the neighbour of an unnumbered peer, found by router advertisements (RFC 4861).
//!
//! On each interface that is watched we solicit and advertise, and the first router that advertises itself is the neighbour.
//! It stays the neighbour though it falls silent: whether it lives is for BGP to say. Only when another router is heard is it
//! doubted: both are solicited, and a neighbour that does not answer while the other is there has been replaced. One that
//! answers stays, and the other is told as one too many.
//!
//! A pure machine: say what happened, poll outputs until there are none, come back at the deadline.
//!
//! Bounds: as many links as are watched; 8 other routers a link, the first that are heard; an output a link and cause. One
//! advertisement is sent in 3 s and one solicitation in 4 s, however much is heard.

mod packet;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use dunlin_net::{Chance, Instant};

pub use packet::{
    Datagram, DropReason, HOP_LIMIT, Message, advertisement, kind, parse, solicitation,
};

/// All routers of the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// All nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// MAX_RTR_ADVERTISEMENTS and more: the first advertisements come one after the other.
const FIRST_ADVERTISEMENTS: u8 = 4;
/// MIN_DELAY_BETWEEN_RAS.
const ADVERTISE_LEAST: Duration = Duration::from_secs(3);
/// MaxRtrAdvInterval; the least is half of it.
const ADVERTISE_MOST: Duration = Duration::from_secs(10);
/// MAX_RA_DELAY_TIME.
const ANSWER_DELAY: Duration = Duration::from_millis(500);
/// RTR_SOLICITATION_INTERVAL; it doubles while nobody answers (RFC 7559 2).
const SOLICIT_FIRST: Duration = Duration::from_secs(4);
const SOLICIT_MOST: Duration = Duration::from_secs(60);

/// How long a neighbour that is doubted has to advertise itself: two solicitations, and more than the 3.5 s that a router may
/// take for an answer.
const DOUBT: Duration = Duration::from_secs(9);
/// A neighbour heard so lately is not doubted.
const FRESH: Duration = Duration::from_secs(3);
/// The least time between two doubts.
const DOUBT_PAUSE: Duration = Duration::from_secs(30);
/// How long another router is remembered: longer than routers are silent by default (600 s).
const OTHER_KEPT: Duration = Duration::from_secs(900);
/// Other routers remembered of a link.
const OTHERS: usize = 8;

/// What the machine wants, or has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an ICMPv6 message with hop limit 255.
    Transmit(Transmit),
    /// The neighbour of a link, or who else is there, is another than told.
    Changed(Neighbour),
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// By which interface.
    pub interface: u32,
    /// From our link-local address there.
    pub from: Ipv6Addr,
    /// To which group of the link.
    pub to: Ipv6Addr,
    /// The message.
    pub octets: Vec<u8>,
}

/// What is known of the other end of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// The link.
    pub interface: u32,
    /// The router at the other end, once one was heard.
    pub address: Option<Ipv6Addr>,
    /// Other routers on the link, at most 8, in order.
    pub others: Vec<Ipv6Addr>,
}

/// What was dropped and what was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken.
    pub taken: u64,
    /// Messages dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
}

#[derive(Debug)]
struct Link {
    local: Ipv6Addr,
    /// The neighbour and when it was heard last.
    current: Option<(Ipv6Addr, Instant)>,
    others: BTreeMap<Ipv6Addr, Instant>,
    told: Neighbour,
    advertise_at: Instant,
    advertised: Option<Instant>,
    first_advertisements: u8,
    solicit_at: Option<Instant>,
    solicited: Option<Instant>,
    pause: Duration,
    /// Until when the neighbour has to answer.
    doubt: Option<Instant>,
    doubt_from: Instant,
}

/// All links with unnumbered peers.
#[derive(Debug)]
pub struct Discovery {
    chance: Chance,
    links: BTreeMap<u32, Link>,
    outputs: VecDeque<Output>,
    counts: Counts,
}

impl Discovery {
    /// Watches nothing yet. The seed is for jitter.
    pub fn new(seed: u64) -> Discovery {
        Discovery {
            chance: Chance::new(seed),
            links: BTreeMap::new(),
            outputs: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// The next thing to do or to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Discovery::on_deadline`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.links.values().map(Link::next_deadline).min()
    }

    /// What was taken and dropped so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Watches a link, on which this is our link-local address; one that is watched already makes itself known anew, and
    /// keeps its neighbour.
    pub fn watch(&mut self, now: Instant, interface: u32, local: Ipv6Addr) {
        let link = self
            .links
            .entry(interface)
            .or_insert_with(|| Link::new(now, interface, local));
        link.local = local;
        link.begin(now);
        self.on_deadline(now);
    }

    /// Watches a link no longer. Nothing more is told of it.
    pub fn unwatch(&mut self, interface: u32) {
        self.links.remove(&interface);
    }

    /// A message was heard.
    ///
    /// # Errors
    /// Why it is not taken, which is counted.
    pub fn receive(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<(), DropReason> {
        let taken = self.take(now, datagram);
        match taken {
            Ok(()) => self.counts.taken += 1,
            Err(reason) => *self.counts.dropped.entry(reason).or_default() += 1,
        }
        taken
    }

    fn take(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<(), DropReason> {
        let link = self.links.get_mut(&datagram.interface);
        let link = link.ok_or(DropReason::Interface)?;
        let message = parse(datagram)?;
        if datagram.from == link.local {
            return Err(DropReason::Own);
        }
        let delay = self.chance.shortened(ANSWER_DELAY, 0..=1000);
        match message {
            Message::Solicitation => link.answer(now, delay),
            Message::Advertisement => link.heard(now, datagram.from, delay)?,
        }
        link.tell(&mut self.outputs);
        Ok(())
    }

    /// A deadline may have passed.
    pub fn on_deadline(&mut self, now: Instant) {
        for (interface, link) in &mut self.links {
            if link.next_deadline() > now {
                continue;
            }
            // First, since a new neighbour is to hear of us at once.
            link.on_doubt_over(now);
            let (interface, from) = (*interface, link.local);
            let transmit = |to, octets| {
                Output::Transmit(Transmit {
                    interface,
                    from,
                    to,
                    octets,
                })
            };
            if link.advertise_at <= now {
                self.outputs.push_back(transmit(ALL_NODES, advertisement()));
                link.advertised = Some(now);
                link.first_advertisements = link.first_advertisements.saturating_sub(1);
                link.advertise_at = now
                    + match link.first_advertisements {
                        0 => self.chance.shortened(ADVERTISE_MOST, 0..=500),
                        _ => ADVERTISE_LEAST,
                    };
            }
            if link.solicit_at.is_some_and(|at| at <= now) {
                self.outputs
                    .push_back(transmit(ALL_ROUTERS, solicitation()));
                link.on_solicited(now);
            }
            link.others.retain(|_, heard| *heard + OTHER_KEPT > now);
            link.tell(&mut self.outputs);
        }
    }
}

impl Link {
    fn new(now: Instant, interface: u32, local: Ipv6Addr) -> Link {
        Link {
            local,
            current: None,
            others: BTreeMap::new(),
            told: Neighbour {
                interface,
                ..Neighbour::default()
            },
            advertise_at: now,
            advertised: None,
            first_advertisements: FIRST_ADVERTISEMENTS,
            solicit_at: None,
            solicited: None,
            pause: SOLICIT_FIRST,
            doubt: None,
            doubt_from: now,
        }
    }

    /// Makes us known and asks who is there.
    fn begin(&mut self, now: Instant) {
        self.first_advertisements = FIRST_ADVERTISEMENTS;
        self.pause = SOLICIT_FIRST;
        self.answer(now, Duration::ZERO);
        self.solicit(now);
    }

    fn next_deadline(&self) -> Instant {
        let forgotten = self.others.values().map(|heard| *heard + OTHER_KEPT).min();
        [self.solicit_at, self.doubt, forgotten]
            .into_iter()
            .flatten()
            .fold(self.advertise_at, Instant::min)
    }

    /// Advertises soon, but not too often.
    fn answer(&mut self, now: Instant, delay: Duration) {
        let allowed = self.advertised.map_or(now, |last| last + ADVERTISE_LEAST);
        self.advertise_at = self.advertise_at.min(allowed.max(now + delay));
    }

    fn solicit(&mut self, now: Instant) {
        let allowed = self.solicited.map_or(now, |last| last + SOLICIT_FIRST);
        self.solicit_at = Some(allowed.max(now));
    }

    fn on_solicited(&mut self, now: Instant) {
        self.solicited = Some(now);
        self.solicit_at = match (self.current, self.doubt) {
            (None, _) => {
                let at = now + self.pause;
                self.pause = (self.pause * 2).min(SOLICIT_MOST);
                Some(at)
            }
            // Once more, if there is time for an answer.
            (Some(_), Some(until)) => {
                let in_time = |at: &Instant| *at + ADVERTISE_LEAST + ANSWER_DELAY <= until;
                Some(now + SOLICIT_FIRST).filter(in_time)
            }
            (Some(_), None) => None,
        };
    }

    fn heard(&mut self, now: Instant, from: Ipv6Addr, delay: Duration) -> Result<(), DropReason> {
        match &mut self.current {
            None => self.take_up(now, from, delay),
            Some((address, heard)) if *address == from => {
                *heard = now;
                self.doubt = None;
            }
            Some((_, heard)) => {
                let silent = *heard + FRESH <= now;
                if self.others.len() >= OTHERS && !self.others.contains_key(&from) {
                    return Err(DropReason::TooMany);
                }
                self.others.insert(from, now);
                if silent && self.doubt.is_none() && self.doubt_from <= now {
                    self.doubt = Some(now + DOUBT);
                    self.doubt_from = now + DOUBT_PAUSE;
                    self.solicit(now);
                }
            }
        }
        Ok(())
    }

    /// This one is the neighbour from now on, and should know us at once.
    fn take_up(&mut self, now: Instant, address: Ipv6Addr, delay: Duration) {
        self.current = Some((address, now));
        self.others.remove(&address);
        self.doubt = None;
        self.solicit_at = None;
        self.first_advertisements = self.first_advertisements.max(2);
        self.answer(now, delay);
    }

    /// A neighbour that did not answer in time makes room for whoever was heard last.
    fn on_doubt_over(&mut self, now: Instant) {
        if self.doubt.is_none_or(|at| at > now) {
            return;
        }
        self.doubt = None;
        let latest = self.others.iter().max_by_key(|(_, heard)| **heard);
        if let Some((address, _)) = latest {
            let address = *address;
            self.take_up(now, address, Duration::ZERO);
        }
    }

    fn tell(&mut self, outputs: &mut VecDeque<Output>) {
        let now = Neighbour {
            interface: self.told.interface,
            address: self.current.map(|(address, _)| address),
            others: self.others.keys().copied().collect(),
        };
        if self.told != now {
            self.told = now.clone();
            outputs.push_back(Output::Changed(now));
        }
    }
}

#[cfg(test)]
mod tests;
