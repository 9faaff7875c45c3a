//! Monitoring stations.

use super::{Faults, port_fault};
use crate::fact::{BmpStationFact, MonitoredTable};
use crate::intent::{BMP_STATIONS, BmpStation};

/// The TCP port of stations, as registered.
const PORT: u16 = 11019;

/// How often a station is told how many routes there are, in seconds.
const STATISTICS_SECS: u16 = 60;

/// More often is no use to anybody.
const MIN_STATISTICS_SECS: u16 = 5;

/// Fills in defaults. A station that is refused is a problem, and left out.
pub(super) fn stations(facts: &[BmpStationFact], faults: &mut Faults) -> Vec<BmpStation> {
    let mut stations: Vec<BmpStation> = Vec::new();
    if facts.len() > BMP_STATIONS {
        let message = format!("at most {BMP_STATIONS} stations: the first are told, no others");
        faults.invalid("spec.bmp", message);
    }
    for (at, fact) in facts.iter().take(BMP_STATIONS).enumerate() {
        let field = |name: &str| format!("spec.bmp[{at}].{name}");
        // Without one, it is malformed, which is told already.
        let Some(address) = fact.address else {
            continue;
        };
        let port = fact.port.unwrap_or(PORT);
        let statistics_secs = fact.statistics_secs.unwrap_or(STATISTICS_SECS);
        let unspecified = address.is_unspecified().then(|| {
            format!("{address} is nobody's address: give that of the machine the station runs on")
        });
        let too_often = matches!(statistics_secs, 1..MIN_STATISTICS_SECS).then(|| {
            format!(
                "{statistics_secs} is too short: give 0 (never) or at least {MIN_STATISTICS_SECS}"
            )
        });
        let twice = stations
            .iter()
            .any(|other| (other.address, other.port) == (address, port))
            .then(|| format!("{address} port {port} is named twice: remove one"));
        if faults.check(field("address"), unspecified)
            && faults.check(field("port"), port_fault(port))
            && faults.check(field("statisticsSeconds"), too_often)
            && faults.check(field("address"), twice)
        {
            let tells = |table| fact.monitor.is_empty() || fact.monitor.contains(&table);
            stations.push(BmpStation {
                address,
                port,
                adj_rib_in: tells(MonitoredTable::AdjRibIn),
                loc_rib: tells(MonitoredTable::LocRib),
                statistics_secs,
            });
        }
    }
    stations
}
