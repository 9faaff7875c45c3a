//! TCP as the hosts see it: ordered bytes, delays, cuts that only silence, ends that go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use dunlin_bgp::session::ConnId;
use dunlin_net::PeerId;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) peer: PeerId,
    pub(crate) conn: ConnId,
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Bytes(Bytes),
    Fin,
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Who dialled, who accepted.
    pub(crate) ends: [End; 2],
    /// Whether each end still has its socket.
    pub(crate) open: [bool; 2],
    /// What a cut holds back, toward each end.
    pub(crate) held: [VecDeque<Segment>; 2],
}

/// All connections, and which pairs of hosts cannot hear each other.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) pipes: BTreeMap<u64, Pipe>,
    by_end: BTreeMap<(usize, PeerId, ConnId), u64>,
    cuts: BTreeSet<(usize, usize)>,
    next: u64,
}

impl Net {
    pub(crate) fn connect(&mut self, dialler: End, acceptor: End) -> u64 {
        let id = self.next;
        self.next += 1;
        for end in [dialler, acceptor] {
            self.by_end.insert((end.host, end.peer, end.conn), id);
        }
        let pipe = Pipe {
            ends: [dialler, acceptor],
            open: [true, true],
            held: Default::default(),
        };
        self.pipes.insert(id, pipe);
        id
    }

    /// The pipe of a connection, and which end of it this is.
    pub(crate) fn find(&self, host: usize, peer: PeerId, conn: ConnId) -> Option<(u64, usize)> {
        let id = *self.by_end.get(&(host, peer, conn))?;
        let pipe = self.pipes.get(&id)?;
        let side = pipe
            .ends
            .iter()
            .position(|end| (end.host, end.peer, end.conn) == (host, peer, conn))?;
        Some((id, side))
    }

    /// An end gives up its socket. The pipe goes with its second end.
    pub(crate) fn close_end(&mut self, id: u64, side: usize) {
        let Some(pipe) = self.pipes.get_mut(&id) else {
            return;
        };
        pipe.open[side] = false;
        let end = pipe.ends[side];
        self.by_end.remove(&(end.host, end.peer, end.conn));
        if pipe.open == [false, false] {
            self.pipes.remove(&id);
        }
    }

    pub(crate) fn of_host(&self, host: usize) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        for (id, pipe) in &self.pipes {
            for side in 0..2 {
                if pipe.ends[side].host == host && pipe.open[side] {
                    found.push((*id, side));
                }
            }
        }
        found
    }

    pub(crate) fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.cuts.insert(pair);
        } else {
            self.cuts.remove(&pair);
        }
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }
}
