use std::fmt;

use dunlin_api::{BmpStation, Status};

use super::encode::{Labels, Out};

impl Out<'_> {
    /// One series a station, of which there are few.
    pub(super) fn bmp(&mut self, status: &Status) -> fmt::Result {
        let stations: Vec<(String, &BmpStation)> = status
            .bmp
            .iter()
            .map(|station| (station.address.to_string(), station))
            .collect();
        let each = |value: fn(&BmpStation) -> u64| {
            stations.iter().map(move |(address, station)| {
                let labels: Labels<'_> = vec![("station", address.as_str())];
                (labels, value(station))
            })
        };
        self.gauges(
            "dunlin_bmp_station_up",
            "Whether the connection to a BMP station stands",
            each(|station| u64::from(station.connected)),
        )?;
        self.counters(
            "dunlin_bmp_connects",
            "Connections made to a BMP station",
            each(|station| station.connects),
        )?;
        self.counters(
            "dunlin_bmp_overruns",
            "Times a BMP station was cut off because it did not keep up",
            each(|station| station.overruns),
        )?;
        self.counters(
            "dunlin_bmp_sent_bytes",
            "Octets given to a BMP station",
            each(|station| station.sent_bytes),
        )?;
        self.gauges(
            "dunlin_bmp_queued_bytes",
            "Octets on the way to a BMP station",
            each(|station| station.queued_bytes),
        )?;
        self.gauges(
            "dunlin_bmp_behind_prefixes",
            "Prefixes, about, that wait until a BMP station has read what is on the way",
            each(|station| station.behind),
        )
    }
}
