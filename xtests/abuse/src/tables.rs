//! Who changes the service proxy's tables: every nf_tables event of a namespace, without the agent's own code.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use dunlin_lab::netns::Netns;
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};

use crate::services::{Delivered, Service, Tables};
use crate::{PATIENCE, wait_for};

/// `NFNLGRP_NFTABLES`, as a bit.
const GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES`.
const NF_TABLES: u8 = 10;
const NEW_ELEMENTS: u8 = 12;
const DELETED_ELEMENTS: u8 = 14;
/// Room for events while nobody reads, in bytes.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Hears every change of the service proxy's tables in a namespace, whoever makes it.
#[derive(Debug)]
pub struct TableWatch {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl TableWatch {
    /// Begins to listen.
    ///
    /// # Panics
    /// If the socket cannot be opened.
    pub fn open(netns: &Netns) -> TableWatch {
        let socket = netns.run(|| {
            let flags = SocketFlags::CLOEXEC;
            let protocol = Some(NETFILTER);
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
            sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
            Ok(socket)
        });
        TableWatch {
            socket: socket.expect("a netlink socket"),
            buffer: vec![0; 64 << 10],
        }
    }

    /// What has changed since the last call: how many messages of which kind; waits for nothing.
    ///
    /// # Panics
    /// If events were lost: what was seen would be no proof.
    pub fn changes(&mut self) -> BTreeMap<&'static str, usize> {
        let mut changes = BTreeMap::new();
        loop {
            let flags = RecvFlags::DONTWAIT;
            match recv(&self.socket, self.buffer.as_mut_slice(), flags) {
                Ok((_, len)) => count(&self.buffer[..len], &mut changes),
                Err(Errno::AGAIN) => return changes,
                Err(Errno::INTR) => {}
                Err(error) => panic!("nf_tables events were lost: {error}"),
            }
        }
    }
}

fn count(mut data: &[u8], changes: &mut BTreeMap<&'static str, usize>) {
    let table = b"dunlin_services\0";
    while let Some(header) = data.first_chunk::<16>() {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = data.get(16..len) else {
            return;
        };
        // The least octet of the type; the other is the subsystem.
        let [kind, subsystem] = u16::from_ne_bytes([header[4], header[5]]).to_le_bytes();
        let ours = body.windows(table.len()).any(|window| window == table);
        if subsystem == NF_TABLES && ours {
            let name = match kind {
                NEW_ELEMENTS => "elements added",
                DELETED_ELEMENTS => "elements deleted",
                _ => "tables, sets, chains or rules",
            };
            *changes.entry(name).or_default() += 1;
        }
        data = data.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

/// Waits until nobody has changed the tables for a while and the agent has nothing to do: a change takes it milliseconds.
#[track_caller]
pub fn await_calm(watch: &mut TableWatch) {
    watch.changes();
    wait_for("the tables are left alone", PATIENCE, || {
        thread::sleep(Duration::from_millis(300));
        let changes = watch.changes();
        if changes.is_empty() {
            Ok(())
        } else {
            Err(format!("{changes:?}"))
        }
    });
}

/// An agent that has begun anew adds a Service that is new, and changes nothing else: by then it has gone through all.
///
/// # Panics
/// If it changes more.
#[track_caller]
pub fn changes_nothing_but_adds_one(bed: &Delivered, watch: &mut TableWatch, before: &Tables) {
    // One without endpoints: what has some may be seen before them.
    bed.put(&Service::new(250, &[]));
    let keys = [
        ("ip refused", "10.96.0.250 . tcp . 80"),
        ("ip6 refused", "fd96::fa . tcp . 80"),
    ];
    wait_for("a new service is refused", PATIENCE, || {
        let tables = bed.tables()?;
        let has = keys.iter().all(|(set, key)| tables[*set].contains(*key));
        has.then_some(()).ok_or(format!("{tables:?}"))
    });
    let changes = watch.changes();
    let kinds: Vec<&str> = changes.keys().copied().collect();
    assert_eq!(kinds, ["elements added"], "{changes:?}");
    // Two elements in each family, at most a message for each.
    assert!(changes["elements added"] <= 4, "{changes:?}");
    let mut after = bed.tables().expect("tables");
    for elements in after.values_mut() {
        elements.retain(|e| !e.starts_with("10.96.0.250 ") && !e.starts_with("fd96::fa "));
    }
    assert_eq!(after, *before);
}
