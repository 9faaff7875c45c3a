use dunlin_api::{BmpStation, Problem};
use dunlin_net::Instant;

use super::age_secs;
use crate::bmp::Station;
use crate::core::Core;

/// A station may take so long to answer for the first time.
const COMES_UP_SECS: u64 = 10;

impl Core {
    pub(super) fn stations(&self, now: Instant) -> Vec<BmpStation> {
        let stations = self.bmp.stations().iter();
        stations
            .map(|station| BmpStation {
                address: station.addr(),
                connected: station.is_connected(),
                since_secs: age_secs(now, station.since),
                connects: station.connects,
                overruns: station.overruns,
                sent_bytes: station.sent,
                queued_bytes: station.queued() as u64,
                behind: self.behind(station) as u64,
                last_error: station.error.clone(),
            })
            .collect()
    }

    fn behind(&self, station: &Station) -> usize {
        let (watch, routing) = (station.watch(), self.routing.as_ref());
        let behind = watch.zip(routing).map(|(id, r)| r.rib.watch_behind(id));
        behind.unwrap_or(0)
    }

    pub(super) fn station_problems(&self, now: Instant, problems: &mut Vec<Problem>) {
        for station in self.bmp.stations() {
            if station.is_connected() || age_secs(now, station.since) < COMES_UP_SECS {
                continue;
            }
            let why = station.error.as_deref().unwrap_or("no answer yet");
            problems.push(Problem {
                object: "BGPConfiguration/default".into(),
                reason: "BMPStationDown".into(),
                message: format!(
                    "no connection to the BMP station {}: {why}; routing goes on, and it is tried again",
                    station.addr()
                ),
            });
        }
    }
}
