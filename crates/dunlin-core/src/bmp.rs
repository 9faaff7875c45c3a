//! The monitoring stations (BMP, RFC 7854 and 9069): what each is told, at its own pace.
//!
//! A station has a [watch](dunlin_bgp::rib::Rib::watch) on the RIB and credit for octets on the way to it. While it has credit,
//! it is told what changed; while it has none, what changed stays a mark in a set. So a slow station costs neither time nor
//! memory that grows; one that is too far behind is cut off, and told everything anew when it is back.

mod feed;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use dunlin_bgp::bmp::{
    PeerDown, StationCommand, StationEvent, StationId, TerminationReason, termination,
};
use dunlin_bgp::rib::{Watch, WatchId};
use dunlin_intent::BmpStation;
use dunlin_net::{Afi, Instant, PeerId};

use crate::core::{Action, Core};
use crate::peers::Peers;
use crate::routes::Routing;
use feed::Feed;

/// Octets encoded at a time.
const CHUNK: usize = 64 * 1024;

/// All stations: at most [`dunlin_intent::BMP_STATIONS`].
#[derive(Debug, Default)]
pub(crate) struct Bmp {
    stations: Vec<Station>,
    /// Names are not used again, so that no late word of one station is taken for one of another.
    next: u32,
}

/// A station and how it stands.
#[derive(Debug)]
pub(crate) struct Station {
    id: StationId,
    pub(crate) wanted: BmpStation,
    link: Option<Link>,
    /// Since when it is connected, or not.
    pub(crate) since: Instant,
    /// Why it is not connected, or was not before.
    pub(crate) error: Option<String>,
    /// Connections made.
    pub(crate) connects: u64,
    /// Times it was cut off for being too far behind.
    pub(crate) overruns: u64,
    /// Octets that have gone to it.
    pub(crate) sent: u64,
}

/// A connection to a station.
#[derive(Debug)]
struct Link {
    conn: u32,
    /// The wall clock when it came up, which was at `since`.
    wall: Duration,
    /// Octets of the sends on the way, oldest first; at most [`StationCommand::SENDS`].
    on_the_way: VecDeque<usize>,
    waiting: usize,
    /// Once it is known who we are.
    feed: Option<Feed>,
    statistics_at: Option<Instant>,
}

impl Link {
    fn has_credit(&self) -> bool {
        self.waiting < StationCommand::CREDIT && self.on_the_way.len() < StationCommand::SENDS
    }

    fn on_written(&mut self, octets: usize) {
        let mut left = octets;
        self.waiting = self.waiting.saturating_sub(octets);
        while let Some(first) = self.on_the_way.front_mut() {
            if *first > left {
                *first -= left;
                return;
            }
            left -= *first;
            self.on_the_way.pop_front();
        }
    }
}

impl Station {
    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.wanted.address, self.wanted.port)
    }

    /// Octets on the way.
    pub(crate) fn queued(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.waiting)
    }

    /// Its watch on the RIB, once it has one.
    pub(crate) fn watch(&self) -> Option<WatchId> {
        let feed = self.link.as_ref()?.feed.as_ref()?;
        Some(feed.watch())
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Ends what is told on the connection that is; the station connects again.
    fn cut(&mut self, now: Instant, why: String) {
        self.link = None;
        self.since = now;
        self.error = Some(why);
    }

    fn feed(&mut self) -> Option<&mut Feed> {
        self.link.as_mut()?.feed.as_mut()
    }

    /// Tells what there is to tell as far as the credit goes.
    fn settle(
        &mut self,
        now: Instant,
        name: &str,
        routing: &mut Routing,
        peers: &Peers,
    ) -> Result<Vec<StationCommand>, feed::Overrun> {
        let mut commands = Vec::new();
        let (since, interval) = (self.since, self.wanted.statistics_secs);
        let Some(link) = self.link.as_mut().filter(|link| link.has_credit()) else {
            return Ok(commands);
        };
        let watch = Watch {
            adj_rib_in: self.wanted.adj_rib_in,
            loc_rib: self.wanted.loc_rib,
        };
        let mut feed = match link.feed.take() {
            Some(feed) => feed,
            None => Feed::begin(watch, name, routing, peers),
        };
        if link.statistics_at.is_some_and(|at| at <= now) {
            feed.report_statistics();
            link.statistics_at = Some(now + Duration::from_secs(interval.into()));
        }
        let wall = link.wall + now.since(since);
        let mut outcome = Ok(());
        while link.has_credit() {
            let mut bytes = Vec::new();
            outcome = feed.tell(wall, routing, peers, &mut bytes);
            if bytes.is_empty() || outcome.is_err() {
                break;
            }
            link.waiting += bytes.len();
            link.on_the_way.push_back(bytes.len());
            self.sent += bytes.len() as u64;
            commands.push(StationCommand::Send {
                station: self.id,
                conn: link.conn,
                bytes,
            });
        }
        link.feed = Some(feed);
        outcome.map(|()| commands)
    }
}

impl Bmp {
    pub(crate) fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// When statistics are due next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let links = self.stations.iter().filter_map(|s| s.link.as_ref());
        // Without credit they wait for it.
        let able = links.filter(|link| link.feed.is_some() && link.has_credit());
        able.filter_map(|link| link.statistics_at).min()
    }

    fn feeds(&mut self) -> impl Iterator<Item = &mut Feed> {
        self.stations.iter_mut().filter_map(Station::feed)
    }

    pub(crate) fn on_up(&mut self, peer: PeerId) {
        self.feeds().for_each(|feed| feed.on_up(peer));
    }

    pub(crate) fn on_down(&mut self, peer: PeerId, why: &PeerDown) {
        self.feeds().for_each(|feed| feed.on_down(peer, why));
    }

    pub(crate) fn on_end_of_rib(&mut self, peer: PeerId, afi: Afi) {
        self.feeds().for_each(|feed| feed.on_end_of_rib(peer, afi));
    }
}

impl Core {
    /// The configuration may name other stations now.
    pub(crate) fn configure_stations(&mut self, now: Instant, wanted: &[BmpStation]) {
        let mut kept = Vec::new();
        for station in std::mem::take(&mut self.bmp.stations) {
            if wanted.contains(&station.wanted) {
                kept.push(station);
                continue;
            }
            self.unwatch(&station);
            let mut last = Vec::new();
            termination(TerminationReason::AdministrativelyClosed, &mut last);
            let station = station.id;
            self.station_command(StationCommand::Remove { station, last });
        }
        for wanted in wanted {
            if kept.iter().any(|station| station.wanted == *wanted) {
                continue;
            }
            let id = StationId(self.bmp.next);
            self.bmp.next = self.bmp.next.wrapping_add(1);
            let station = Station {
                id,
                wanted: wanted.clone(),
                link: None,
                since: now,
                error: None,
                connects: 0,
                overruns: 0,
                sent: 0,
            };
            self.station_command(StationCommand::Set {
                station: id,
                addr: station.addr(),
            });
            kept.push(station);
        }
        self.bmp.stations = kept;
    }

    fn station_command(&mut self, command: StationCommand) {
        self.actions.push_back(Action::Station(command));
    }

    fn unwatch(&mut self, station: &Station) {
        if let (Some(watch), Some(routing)) = (station.watch(), &mut self.routing) {
            routing.rib.unwatch(watch);
        }
    }

    /// Where a station is, and why it is not connected, if it is not.
    pub fn station(&self, id: StationId) -> Option<(SocketAddr, Option<&str>)> {
        let station = self.bmp.stations.iter().find(|s| s.id == id)?;
        let down = (!station.is_connected()).then_some(station.error.as_deref());
        Some((station.addr(), down.flatten()))
    }

    /// From the connections to stations.
    pub(crate) fn on_station(&mut self, now: Instant, event: StationEvent) {
        let (StationEvent::Connected { station: id, .. }
        | StationEvent::Written { station: id, .. }
        | StationEvent::Lost { station: id, .. }) = &event;
        let Some(at) = self.bmp.stations.iter().position(|s| s.id == *id) else {
            return;
        };
        let mut station = self.bmp.stations.remove(at);
        match event {
            StationEvent::Connected { conn, wall, .. } => {
                self.unwatch(&station);
                let interval = station.wanted.statistics_secs;
                station.since = now;
                station.connects += 1;
                station.link = Some(Link {
                    conn,
                    wall,
                    on_the_way: VecDeque::new(),
                    waiting: 0,
                    feed: None,
                    statistics_at: (interval > 0)
                        .then(|| now + Duration::from_secs(interval.into())),
                });
            }
            StationEvent::Written { conn, octets, .. } => {
                if let Some(link) = station.link.as_mut().filter(|link| link.conn == conn) {
                    link.on_written(octets);
                }
            }
            StationEvent::Lost { why, .. } => {
                self.unwatch(&station);
                if station.is_connected() {
                    station.since = now;
                }
                station.link = None;
                station.error = Some(why);
            }
        }
        self.bmp.stations.insert(at, station);
    }

    /// Who we are has changed: all is told anew on new connections.
    pub(crate) fn restart_stations(&mut self, now: Instant) {
        for at in 0..self.bmp.stations.len() {
            self.cut_station(now, at, "our router id or AS number has changed".into());
        }
    }

    fn cut_station(&mut self, now: Instant, at: usize, why: String) {
        let Some(station) = self.bmp.stations.get_mut(at) else {
            return;
        };
        let Some(link) = &station.link else { return };
        let reset = StationCommand::Reset {
            station: station.id,
            conn: link.conn,
        };
        station.cut(now, why);
        self.station_command(reset);
    }

    /// Tells stations what there is to tell.
    pub(crate) fn settle_stations(&mut self, now: Instant) {
        for at in 0..self.bmp.stations.len() {
            let (Some(station), Some(routing)) = (self.bmp.stations.get_mut(at), &mut self.routing)
            else {
                return;
            };
            let name = &self.config.node_name;
            match station.settle(now, name, routing, &self.peers) {
                Ok(commands) => self
                    .actions
                    .extend(commands.into_iter().map(Action::Station)),
                Err(feed::Overrun) => {
                    station.overruns += 1;
                    if let Some(feed) = station.feed() {
                        let watch = feed.watch();
                        routing.rib.unwatch(watch);
                    }
                    let why = "it did not keep up and is told everything anew";
                    self.cut_station(now, at, why.into());
                }
            }
        }
    }
}
