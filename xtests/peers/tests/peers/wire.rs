//! What the agent really says: the TCP segments to and from port 179 on the node's link, put together and read here
//! once more, by code of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use dunlin_lab::netns::Netns;
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};

const BGP_PORT: u16 = 179;
const TCP: u8 = 6;
/// Room for what arrives while nobody reads, in bytes.
const RECEIVE_BUFFER: usize = 16 << 20;

/// What the agent said since [`Wire::reset`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Prefixes announced.
    pub(crate) announced: BTreeSet<IpNet>,
    /// Prefixes withdrawn.
    pub(crate) withdrawn: BTreeSet<IpNet>,
    /// Code and subcode of each NOTIFICATION.
    pub(crate) notifications: Vec<(u8, u8)>,
    /// Family and subtype of each ROUTE-REFRESH (RFC 7313).
    pub(crate) refreshes: Vec<(u16, u8)>,
    /// The same of the other side.
    pub(crate) refreshes_of_peer: Vec<(u16, u8)>,
}

/// One direction of one connection.
#[derive(Default)]
struct Flow {
    next: u32,
    /// What arrived before what stands before it.
    early: BTreeMap<u32, Vec<u8>>,
    octets: Vec<u8>,
}

/// Listens until it is dropped.
pub(crate) struct Wire {
    heard: Arc<Mutex<Heard>>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Begins to listen in `netns` to what `agent` sends.
    pub(crate) fn open(netns: &Netns, agent: [IpAddr; 3]) -> Result<Wire> {
        let mut socket = netns.run(|| {
            // All protocols, in network order; without link headers.
            let all = i32::from(0x0003_u16.to_be());
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(all)))
                .context("cannot open a packet socket")?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        })?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let done = Arc::new(AtomicBool::new(false));
        let (to, until) = (Arc::clone(&heard), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            let mut flows = BTreeMap::new();
            let mut buffer = vec![0; 128 << 10];
            while !until.load(Ordering::Relaxed) {
                if let Ok(len) = socket.read(&mut buffer) {
                    packet(&buffer[..len], agent, &mut flows, &to);
                }
            }
        });
        Ok(Wire {
            heard,
            done,
            thread: Some(thread),
        })
    }

    /// Forgets what was heard.
    pub(crate) fn reset(&self) {
        *lock(&self.heard) = Heard::default();
    }

    /// What was heard.
    pub(crate) fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn packet(
    data: &[u8],
    agent: [IpAddr; 3],
    flows: &mut BTreeMap<(u16, u16), Flow>,
    heard: &Mutex<Heard>,
) -> Option<()> {
    // Short packets are padded on the link: what counts is the length they give.
    let (head, total, protocol, source) = if data.first()? >> 4 == 4 {
        let source = <[u8; 4]>::try_from(data.get(12..16)?).ok()?;
        let head = usize::from(data[0] & 0x0f) * 4;
        (
            head,
            usize::from(u16_at(data, 2)?),
            data[9],
            IpAddr::from(source),
        )
    } else {
        let source = <[u8; 16]>::try_from(data.get(8..24)?).ok()?;
        (
            40,
            40 + usize::from(u16_at(data, 4)?),
            data[6],
            IpAddr::from(source),
        )
    };
    if protocol != TCP {
        return None;
    }
    let by_agent = agent.contains(&source);
    let tcp = data.get(head..total.max(head).min(data.len()))?;
    let ports = (u16_at(tcp, 0)?, u16_at(tcp, 2)?);
    if ports.0 != BGP_PORT && ports.1 != BGP_PORT {
        return None;
    }
    let sequence = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let payload = tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?;
    if tcp.get(13)? & 0x02 != 0 {
        let next = sequence.wrapping_add(1);
        flows.insert(
            ports,
            Flow {
                next,
                ..Flow::default()
            },
        );
        return None;
    }
    let flow = flows.get_mut(&ports)?;
    if !payload.is_empty() {
        flow.early.insert(sequence, payload.to_owned());
    }
    while let Some((sequence, payload)) = flow.early.pop_first() {
        // Behind, by less than half of all numbers, is what was seen already.
        let ahead = sequence.wrapping_sub(flow.next);
        if ahead > 0 && ahead < 1 << 31 {
            flow.early.insert(sequence, payload);
            break;
        }
        let seen = flow.next.wrapping_sub(sequence) as usize;
        if let Some(new) = payload.get(seen..) {
            flow.octets.extend_from_slice(new);
            flow.next = flow.next.wrapping_add(new.len() as u32);
        }
    }
    while let Some(len) = u16_at(&flow.octets, 16).map(usize::from) {
        if len < 19 || flow.octets.len() < len {
            break;
        }
        let message: Vec<u8> = flow.octets.drain(..len).collect();
        if by_agent {
            message_heard(&message, &mut lock(heard));
        } else {
            let refresh = refresh_heard(&message);
            lock(heard).refreshes_of_peer.extend(refresh);
        }
    }
    Some(())
}

fn message_heard(message: &[u8], heard: &mut Heard) -> Option<()> {
    let body = message.get(19..)?;
    match message[18] {
        2 => {
            let withdrawn = usize::from(u16_at(body, 0)?);
            prefixes(body.get(2..2 + withdrawn)?, false, &mut heard.withdrawn);
            let attributes = usize::from(u16_at(body, 2 + withdrawn)?);
            let begin = 4 + withdrawn;
            let rest = body.get(begin + attributes..)?;
            prefixes(rest, false, &mut heard.announced);
            each_attribute(body.get(begin..begin + attributes)?, heard);
        }
        3 => heard.notifications.push((*body.first()?, *body.get(1)?)),
        _ => heard.refreshes.extend(refresh_heard(message)),
    }
    Some(())
}

fn refresh_heard(message: &[u8]) -> Option<(u16, u8)> {
    (message[18] == 5).then_some((u16_at(message, 19)?, *message.get(21)?))
}

fn each_attribute(mut data: &[u8], heard: &mut Heard) -> Option<()> {
    while !data.is_empty() {
        let (flags, kind) = (data[0], *data.get(1)?);
        let (len, head) = if flags & 0x10 != 0 {
            (usize::from(u16_at(data, 2)?), 4)
        } else {
            (usize::from(*data.get(2)?), 3)
        };
        let value = data.get(head..head + len)?;
        match kind {
            // MP_REACH_NLRI: family, next hop with its length, a reserved octet.
            14 => {
                let hop = usize::from(*value.get(3)?);
                let ipv6 = u16_at(value, 0)? == 2;
                prefixes(value.get(5 + hop..)?, ipv6, &mut heard.announced);
            }
            15 => prefixes(
                value.get(3..)?,
                u16_at(value, 0)? == 2,
                &mut heard.withdrawn,
            ),
            _ => {}
        }
        data = data.get(head + len..)?;
    }
    Some(())
}

fn prefixes(mut data: &[u8], ipv6: bool, into: &mut BTreeSet<IpNet>) {
    while let Some(&bits) = data.first() {
        let octets = usize::from(bits).div_ceil(8);
        let Some(value) = data.get(1..=octets) else {
            return;
        };
        let mut whole = [0; 16];
        whole[..octets.min(16)].copy_from_slice(&value[..octets.min(16)]);
        let address: IpAddr = if ipv6 {
            Ipv6Addr::from(whole).into()
        } else {
            Ipv4Addr::new(whole[0], whole[1], whole[2], whole[3]).into()
        };
        into.extend(IpNet::new(address, bits));
        data = &data[1 + octets..];
    }
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}
