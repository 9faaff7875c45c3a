//! Connections to monitoring stations.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use dunlin_bgp::bmp::{StationCommand, StationEvent, StationId};
use dunlin_speaker::{Clock, StationsHandle};

const PATIENCE: Duration = Duration::from_secs(60);
const FIRST: StationId = StationId(1);
const SECOND: StationId = StationId(2);

fn spawn() -> (StationsHandle, Receiver<StationEvent>) {
    let (sender, events) = mpsc::channel();
    let sink = move |event| drop(sender.send(event));
    let handle = StationsHandle::spawn(Clock::start(), sink).unwrap();
    (handle, events)
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn set(handle: &StationsHandle, station: StationId, addr: SocketAddr) {
    handle.command(StationCommand::Set { station, addr });
}

fn send(handle: &StationsHandle, station: StationId, conn: u32, bytes: Vec<u8>) {
    handle.command(StationCommand::Send {
        station,
        conn,
        bytes,
    });
}

fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connected(events: &Receiver<StationEvent>, of: StationId) -> u32 {
    match events.recv_timeout(PATIENCE).expect("an event") {
        StationEvent::Connected {
            station,
            conn,
            wall,
        } if station == of => {
            assert!(wall > Duration::from_secs(1_600_000_000), "{wall:?}");
            conn
        }
        other => panic!("{of:?} is connected: {other:?}"),
    }
}

fn lost(events: &Receiver<StationEvent>, of: StationId) -> String {
    match events.recv_timeout(PATIENCE).expect("an event") {
        StationEvent::Lost { station, why } if station == of => why,
        other => panic!("{of:?} is lost: {other:?}"),
    }
}

/// Until so many octets are written.
fn written(events: &Receiver<StationEvent>, of: StationId, octets: usize) {
    let mut sum = 0;
    while sum < octets {
        match events.recv_timeout(PATIENCE).expect("an event") {
            StationEvent::Written {
                station, octets, ..
            } if station == of => sum += octets,
            other => panic!("{of:?} has read: {other:?}"),
        }
    }
    assert_eq!(sum, octets);
}

#[test]
fn a_station_reads_what_it_is_told_and_the_last_words() {
    let (handle, events) = spawn();
    let (listener, addr) = listen();
    set(&handle, FIRST, addr);
    let mut station = accept(&listener);
    let conn = connected(&events, FIRST);
    // What it says is of no use, and does no harm.
    station.write_all(b"hello?").unwrap();
    send(&handle, FIRST, conn, b"one".to_vec());
    written(&events, FIRST, 3);
    send(&handle, FIRST, conn + 1, b"for another connection".to_vec());
    send(&handle, FIRST, conn, b"two".to_vec());
    written(&events, FIRST, 3);
    // Nor does what it says at the very end.
    station.write_all(b"goodbye?").unwrap();
    handle.shutdown(b"end".to_vec()).unwrap();
    let mut heard = String::new();
    station.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "onetwoend");
}

#[test]
fn a_station_that_is_away_is_tried_again() {
    let (handle, events) = spawn();
    let (listener, addr) = listen();
    drop(listener);
    set(&handle, FIRST, addr);
    let why = lost(&events, FIRST);
    assert!(why.contains("refused"), "{why}");
    let listener = TcpListener::bind(addr).unwrap();
    let station = accept(&listener);
    // It may have been tried in vain once more before.
    let first = loop {
        match events.recv_timeout(PATIENCE).expect("an event") {
            StationEvent::Connected { conn, .. } => break conn,
            StationEvent::Lost { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    drop(station);
    let why = lost(&events, FIRST);
    assert!(why.contains("closed") || why.contains("reset"), "{why}");
    let mut station = accept(&listener);
    let second = connected(&events, FIRST);
    assert_ne!(first, second, "another connection");
    send(&handle, FIRST, second, b"again".to_vec());
    let mut heard = [0; 5];
    station.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"again");
    handle.command(StationCommand::Remove {
        station: FIRST,
        last: b"bye".to_vec(),
    });
    let mut heard = String::new();
    station.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "bye");
}

#[test]
fn one_that_does_not_read_holds_nobody_up_and_can_be_cut_off() {
    let (handle, events) = spawn();
    let (deaf, deaf_addr) = listen();
    let (other, other_addr) = listen();
    set(&handle, FIRST, deaf_addr);
    let mut deaf_station = accept(&deaf);
    let conn = connected(&events, FIRST);
    // More than the sockets of both ends hold.
    let octets = 64 << 20;
    send(&handle, FIRST, conn, vec![7; octets]);
    set(&handle, SECOND, other_addr);
    let mut station = accept(&other);
    let mut taken = 0;
    let second = loop {
        match events.recv_timeout(PATIENCE).expect("an event") {
            StationEvent::Connected {
                station: SECOND,
                conn,
                ..
            } => break conn,
            StationEvent::Written {
                station: FIRST,
                octets,
                ..
            } => taken += octets,
            other => panic!("{other:?}"),
        }
    };
    assert!(taken < octets, "it does not read");
    send(&handle, SECOND, second, b"heard".to_vec());
    let mut heard = [0; 5];
    station.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"heard");
    handle.command(StationCommand::Reset {
        station: FIRST,
        conn,
    });
    let mut rest = Vec::new();
    // Cut off: an end, or a reset for what was not read.
    let _ = deaf_station.read_to_end(&mut rest);
    assert!(rest.len() < octets);
    handle.shutdown(Vec::new()).unwrap();
}
