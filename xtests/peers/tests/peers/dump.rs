//! What `dunlin mrt` writes, as bgpkit reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bgpkit_parser::models::{MrtMessage, PeerIndexTable, TableDumpV2Message};
use bgpkit_parser::parser::mrt::mrt_record::parse_mrt_record;
use ipnet::IpNet;

use crate::agent::Agent;
use crate::scenario::Dumped;

/// Whose paths of which prefixes, with their AS paths.
type Paths = BTreeMap<(IpAddr, IpNet), String>;

pub(crate) fn check(agent: &Agent, peer: IpAddr, wanted: &Dumped) -> Result<()> {
    let learned = read(&agent.dunlin(&["mrt", "-"])?)?;
    let meant: Paths = (wanted.learned.iter())
        .map(|(prefix, path)| ((peer, *prefix), path.clone()))
        .collect();
    ensure!(learned == meant, "dumped of Adj-RIB-In: {learned:?}");
    let file = agent.directory().join("loc-rib.mrt");
    let name = file.to_str().context("a name")?;
    let said = agent.dunlin(&["mrt", "--table", "loc-rib", name])?;
    ensure!(said.is_empty(), "{said:?}");
    let used = read(&fs::read(&file)?)?;
    let prefixes: BTreeSet<IpNet> = used.keys().map(|(_, prefix)| *prefix).collect();
    ensure!(prefixes == wanted.used, "dumped of the Loc-RIB: {used:?}");
    Ok(())
}

fn read(mut dump: &[u8]) -> Result<Paths> {
    let mut peers: Option<PeerIndexTable> = None;
    let mut paths = Paths::new();
    while !dump.is_empty() {
        let record = parse_mrt_record(&mut dump).map_err(|error| anyhow!("{}", error.error))?;
        let MrtMessage::TableDumpV2Message(message) = record.message else {
            bail!("{record:?}");
        };
        match message {
            TableDumpV2Message::PeerIndexTable(table) => {
                ensure!(peers.is_none(), "a second table of peers");
                peers = Some(table);
            }
            TableDumpV2Message::RibAfi(entries) => {
                let peers = peers.as_ref().context("no table of peers before")?;
                for entry in &entries.rib_entries {
                    let peer = peers.get_peer_by_id(&entry.peer_index);
                    let peer = peer.context("a peer that is not in the table")?;
                    let path = entry.attributes.as_path();
                    let path = path.map_or_else(String::new, ToString::to_string);
                    let key = (peer.peer_ip, entries.prefix.prefix);
                    ensure!(paths.insert(key, path).is_none(), "{key:?} twice");
                }
            }
            other => bail!("{other:?}"),
        }
    }
    Ok(paths)
}
