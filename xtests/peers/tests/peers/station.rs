//! A monitoring station (BMP, RFC 7854 and 9069) beside the daemon: what the agent tells it, as bgpkit reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bgpkit_parser::models::{AttributeValue, BgpMessage, BgpUpdateMessage};
use bgpkit_parser::parser::bmp::messages::{
    BmpMessage, BmpMessageBody, BmpPeerType, InitiationTlvType, StatType, StatsData,
};
use bgpkit_parser::parser::bmp::parse_bmp_msg;
use dunlin_lab::netns::Netns;
use dunlin_net::Afi;
use ipnet::IpNet;

use crate::scenario::Monitored;

/// Where stations listen.
const PORT: u16 = 11019;

/// More is no message of ours.
const LONGEST: usize = 1 << 20;

/// Whose table: a peer's, or (`None`) the Loc-RIB.
type Of = Option<IpAddr>;

/// A table as it was told.
#[derive(Debug, Default)]
struct Table {
    /// Prefixes and their AS paths.
    routes: BTreeMap<IpNet, String>,
    ends: BTreeSet<Afi>,
    /// What the last statistics say: routes in all.
    counted: Option<u64>,
}

/// What was heard on the last connection.
#[derive(Debug, Default)]
struct Heard {
    name: Option<String>,
    tables: BTreeMap<Of, Table>,
    /// Peer Downs: whose, the reason, and what follows it.
    downs: Vec<(Of, u8, Vec<u8>)>,
    terminated: bool,
    /// What no router may say.
    wrong: Option<String>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    stream: Mutex<Option<TcpStream>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It listens until it is dropped; then its connection ends too, and further ones are refused.
pub(crate) struct Station {
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Station {
    pub(crate) fn listen(netns: &Netns) -> Result<Station> {
        let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
        let listener = netns.run(|| Ok(TcpListener::bind(at)?));
        let listener = Arc::new(listener.context("the station cannot listen")?);
        let shared = Arc::<Shared>::default();
        let (ours, theirs) = (Arc::clone(&listener), Arc::clone(&shared));
        let thread = thread::spawn(move || {
            // One after the other: a router has one connection.
            while let Ok((stream, _)) = ours.accept() {
                if let Err(error) = serve(stream, &theirs) {
                    locked(&theirs.heard)
                        .wrong
                        .get_or_insert(format!("{error:#}"));
                }
            }
        });
        Ok(Station {
            listener,
            shared,
            thread: Some(thread),
        })
    }

    /// Compares what it has been told with what it should have been told of the peer at this address.
    pub(crate) fn check(&self, peer: IpAddr, wanted: &Monitored) -> Result<()> {
        let heard = locked(&self.shared.heard);
        if let Some(wrong) = &heard.wrong {
            bail!("the station was told what is wrong: {wrong}");
        }
        heard
            .check(peer, wanted)
            .with_context(|| format!("the station was told {heard:?}"))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        // Wakes `accept`, for good.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(stream) = locked(&self.shared.stream).take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads until the end.
fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    *locked(&shared.stream) = Some(stream.try_clone()?);
    {
        let mut heard = locked(&shared.heard);
        let wrong = heard.wrong.take();
        *heard = Heard {
            wrong,
            ..Heard::default()
        };
    }
    loop {
        let mut message = vec![0; 6];
        if stream.read_exact(&mut message).is_err() {
            return Ok(());
        }
        let [version, a, b, c, d, _] = message[..] else {
            bail!("a short header");
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let sound = version == 3 && (6..LONGEST).contains(&len);
        ensure!(sound, "a message of version {version}, {len} octets");
        message.resize(len, 0);
        if stream.read_exact(&mut message[6..]).is_err() {
            return Ok(());
        }
        let parsed = parse_bmp_msg(&mut message.clone().into());
        let parsed = parsed.map_err(|error| anyhow!("{error:?} in {message:x?}"))?;
        locked(&shared.heard).hear(parsed)?;
    }
}

impl Heard {
    fn hear(&mut self, message: BmpMessage) -> Result<()> {
        let of = (message.per_peer_header).map(|header| match header.peer_type {
            BmpPeerType::LocalRib => None,
            _ => Some(header.peer_ip),
        });
        if let BmpMessageBody::InitiationMessage(said) = message.message_body {
            ensure!(self.name.is_none(), "a second Initiation");
            let named = |kind| said.tlvs.iter().find(|tlv| tlv.info_type == kind);
            let description = named(InitiationTlvType::SysDescr).context("no sysDescr")?;
            ensure!(
                description.info.starts_with("Dunlin "),
                "{}",
                description.info
            );
            let name = named(InitiationTlvType::SysName).context("no sysName")?;
            self.name = Some(name.info.clone());
            return Ok(());
        }
        ensure!(self.name.is_some(), "no Initiation before {message:?}");
        ensure!(!self.terminated, "after Termination {message:?}");
        if let BmpMessageBody::TerminationMessage(_) = message.message_body {
            self.terminated = true;
            return Ok(());
        }
        let of = of.with_context(|| format!("of no peer: {:?}", message.message_body))?;
        if let BmpMessageBody::PeerUpNotification(up) = message.message_body {
            let opens = [&up.sent_open, &up.received_open];
            let both = opens.iter().all(|open| matches!(open, BgpMessage::Open(_)));
            ensure!(both, "{up:?}");
            let before = self.tables.insert(of, Table::default());
            ensure!(before.is_none(), "{of:?} came up twice");
            return Ok(());
        }
        let table = self.tables.get_mut(&of);
        let table = table.with_context(|| format!("no Peer Up of {of:?} before"))?;
        match message.message_body {
            BmpMessageBody::RouteMonitoring(route) => match route.bgp_message {
                BgpMessage::Update(update) => table.hear(&update),
                other => bail!("no UPDATE: {other:?}"),
            },
            BmpMessageBody::StatsReport(report) => {
                let kind = match of {
                    Some(_) => StatType::RoutesInAdjRibsIn,
                    None => StatType::RoutesInLocRib,
                };
                let all = report.counters.iter().find(|one| one.stat_type == kind);
                match all.map(|one| &one.stat_data) {
                    Some(StatsData::Gauge(count)) => table.counted = Some(*count),
                    other => bail!("{kind:?} is {other:?}"),
                }
            }
            BmpMessageBody::PeerDownNotification(down) => {
                self.tables.remove(&of);
                let reason = down.reason.into();
                self.downs.push((of, reason, down.data.unwrap_or_default()));
            }
            other => bail!("nothing of ours: {other:?}"),
        }
        Ok(())
    }

    fn check(&self, peer: IpAddr, wanted: &Monitored) -> Result<()> {
        ensure!(
            self.name.as_deref() == Some("n1"),
            "its name is {:?}",
            self.name
        );
        ensure!(self.terminated == wanted.terminated, "Termination");
        let paths = |of: Of| self.tables.get(&of).map(|table| &table.routes);
        if let Some(wanted) = &wanted.learned {
            ensure!(paths(Some(peer)) == Some(wanted), "learned");
        }
        if let Some(wanted) = &wanted.used {
            let used = paths(None).map(|routes| routes.keys().copied().collect());
            ensure!(used.as_ref() == Some(wanted), "used");
        }
        let both = [Some(peer), None].map(|of| self.tables.get(&of));
        if wanted.complete {
            let all = |table: &Table| Afi::ALL.iter().all(|afi| table.ends.contains(afi));
            ensure!(both.iter().all(|one| one.is_some_and(all)), "End-of-RIB");
        }
        if wanted.counted {
            let right = |table: &Table| table.counted == Some(table.routes.len() as u64);
            ensure!(both.iter().all(|one| one.is_some_and(right)), "statistics");
        }
        if let Some(wanted) = &wanted.down {
            ensure!(!self.tables.contains_key(&Some(peer)), "the peer is up");
            let last = self.downs.iter().rfind(|down| down.0 == Some(peer));
            let (_, reason, data) = last.context("no Peer Down")?;
            let said = String::from_utf8_lossy(data);
            ensure!(
                *reason == wanted.reason && said.contains(&wanted.words),
                "Peer Down"
            );
        }
        Ok(())
    }
}

impl Table {
    fn hear(&mut self, update: &BgpUpdateMessage) {
        let (mut told, mut gone) = (Vec::new(), Vec::new());
        told.extend(update.announced_prefixes.iter().map(|one| one.prefix));
        gone.extend(update.withdrawn_prefixes.iter().map(|one| one.prefix));
        let mut as_path = String::new();
        let mut family = Afi::Ipv4;
        for attribute in &update.attributes {
            match attribute {
                AttributeValue::MpReachNlri(reach) => {
                    told.extend(reach.prefixes.iter().map(|one| one.prefix));
                }
                AttributeValue::MpUnreachNlri(unreach) => {
                    family = Afi::Ipv6;
                    gone.extend(unreach.prefixes.iter().map(|one| one.prefix));
                }
                AttributeValue::AsPath(path) => as_path = path.to_string(),
                _ => {}
            }
        }
        if told.is_empty() && gone.is_empty() {
            self.ends.insert(family);
        }
        for prefix in gone {
            self.routes.remove(&prefix);
        }
        for prefix in told {
            self.routes.insert(prefix, as_path.clone());
        }
    }
}
