use dunlin_api::{BmpStation, Status};

use crate::args::Color;
use crate::output::Style;

/// The lines of stations.
fn shown(station: BmpStation) -> String {
    let status = Status {
        bmp: vec![station],
        ..Status::default()
    };
    let text = super::status(&status, Style::new(Color::Never, false));
    let line = text.lines().find(|line| line.starts_with("BMP"));
    line.unwrap_or_default().to_owned()
}

#[test]
fn a_station_is_shown_with_what_waits_for_it_and_what_went_wrong() {
    let mut station = BmpStation {
        address: "192.0.2.9:11019".parse().unwrap(),
        connected: true,
        since_secs: 7200,
        connects: 1,
        overruns: 0,
        sent_bytes: 48213,
        queued_bytes: 0,
        behind: 0,
        last_error: None,
    };
    assert_eq!(
        shown(station.clone()),
        "BMP         station 192.0.2.9:11019 connected for 2h00m, 48213 octets sent"
    );
    station.queued_bytes = 1_048_600;
    station.behind = 12_000;
    station.overruns = 2;
    station.last_error = Some("it read nothing for 90 s".into());
    assert_eq!(
        shown(station.clone()),
        "BMP         station 192.0.2.9:11019 connected for 2h00m, 48213 octets sent, 1048600 on the way, 12000 \
         prefixes wait; before: it read nothing for 90 s; cut off as too slow 2 times"
    );
    station.connected = false;
    station.overruns = 0;
    station.last_error = Some("Connection refused (os error 111)".into());
    assert_eq!(
        shown(station),
        "BMP         station 192.0.2.9:11019 not connected for 2h00m: Connection refused (os error 111)"
    );
}
