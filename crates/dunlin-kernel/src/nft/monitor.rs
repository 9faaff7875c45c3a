use super::{GENMSG_LEN, SUBSYSTEM, TABLE_NAME, Table};
use crate::Error;
use crate::netlink::{Filter, Message, Received, Socket};

const NFNLGRP_NFTABLES: u32 = 7;

/// Hears whether somebody else changed tables of ours. The kernel filters out our own changes, so that a large one of ours
/// neither wakes us nor overruns the socket.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    table: Table,
    /// With its zero.
    name: Vec<u8>,
    own_port: u32,
}

impl Monitor {
    /// Opens the socket. Watches no table yet.
    pub fn open() -> Result<Monitor, Error> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.attach(&filter(&[]))?;
        socket.join(NFNLGRP_NFTABLES)?;
        Ok(Monitor {
            socket,
            watched: Vec::new(),
        })
    }

    /// Watches a table. `own_port`: the port of the [`super::Nft`] whose changes are not told, of whatever table.
    pub fn watch(&mut self, table: Table, own_port: u32) -> Result<(), Error> {
        let mut name = table.name.as_bytes().to_vec();
        name.push(0);
        self.watched.push(Watched {
            table,
            name,
            own_port,
        });
        let ports: Vec<u32> = self
            .watched
            .iter()
            .map(|watched| watched.own_port)
            .collect();
        self.socket.attach(&filter(&ports))
    }

    /// Hears nothing from now on. While nobody listens the kernel makes no notifications, which are a third of the work of
    /// adding elements, filtered out or not.
    pub fn pause(&self) -> Result<(), Error> {
        self.socket.leave(NFNLGRP_NFTABLES)
    }

    /// Hears again. What happened meanwhile was missed.
    pub fn resume(&self) -> Result<(), Error> {
        self.socket.join(NFNLGRP_NFTABLES)
    }

    /// The socket, for `poll`.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes what has been heard, without waiting. Tells each table that may have changed, each at least once.
    pub fn drain(&mut self, mut changed: impl FnMut(Table)) -> Result<(), Error> {
        loop {
            match self.socket.receive(false)? {
                Received::Nothing => return Ok(()),
                Received::Overrun => self
                    .watched
                    .iter()
                    .for_each(|watched| changed(watched.table)),
                Received::Messages(messages) => {
                    for message in messages {
                        if let Some(table) = concerned(&self.watched, &message) {
                            changed(table);
                        }
                    }
                }
            }
        }
    }
}

fn concerned(watched: &[Watched], message: &Message<'_>) -> Option<Table> {
    // What was heard before the filter knew the port.
    let own = watched.iter().any(|one| one.own_port == message.port);
    if message.kind >> 8 != SUBSYSTEM || own {
        return None;
    }
    let family = *message.body.first()?;
    let name = message.attrs(GENMSG_LEN).get(TABLE_NAME)?;
    let ours = |one: &&Watched| one.table.family as u8 == family && one.name == name;
    watched.iter().find(ours).map(|one| one.table)
}

/// Lets all through but what these ports cause. A datagram has messages of one port.
fn filter(ports: &[u32]) -> Filter {
    /// Of `nlmsg_pid` in the header.
    const PORT: u32 = 12;
    let mut filter = Filter::new();
    let own = filter.label();
    filter.load32(PORT);
    for port in ports {
        filter.jump_if(u32::from_be_bytes(port.to_ne_bytes()), own);
    }
    filter.end(true);
    filter.place(own);
    filter.end(false);
    filter
}
