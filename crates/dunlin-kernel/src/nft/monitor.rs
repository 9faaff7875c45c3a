use super::{GENMSG_LEN, INET, SUBSYSTEM, TABLE_NAME};
use crate::Error;
use crate::netlink::{Message, Received, Socket};

const NFNLGRP_NFTABLES: u32 = 7;

/// Hears whether somebody else changed our table.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    own_port: u32,
    table: Vec<u8>,
}

impl Monitor {
    /// Opens the socket. `own_port`: the port of the [`super::Nft`] whose changes are not told.
    pub fn open(own_port: u32, table: &str) -> Result<Monitor, Error> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.join(NFNLGRP_NFTABLES)?;
        let mut table = table.as_bytes().to_vec();
        table.push(0);
        Ok(Monitor {
            socket,
            own_port,
            table,
        })
    }

    /// The socket, for `poll`.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes what has been heard, without waiting. Tells whether our table may have changed.
    pub fn drain(&mut self) -> Result<bool, Error> {
        let mut changed = false;
        loop {
            match self.socket.receive(false)? {
                Received::Nothing => return Ok(changed),
                Received::Overrun => changed = true,
                Received::Messages(mut messages) => {
                    let (own_port, table) = (self.own_port, &self.table);
                    changed |= messages.any(|message| concerns(&message, own_port, table));
                }
            }
        }
    }
}

fn concerns(message: &Message<'_>, own_port: u32, table: &[u8]) -> bool {
    message.kind >> 8 == SUBSYSTEM
        && message.port != own_port
        && message.body.first() == Some(&INET)
        && message.attrs(GENMSG_LEN).get(TABLE_NAME) == Some(table)
}
