//! Speaks BGP with one peer: announces a prefix of the session's own family and prints what happens, until the input ends.
//!
//! `hello LOCAL_AS ROUTER_ID PEER_AS PEER_ADDRESS[:PORT] [LISTEN_PORT]`
#![allow(clippy::print_stdout, reason = "an example")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin};
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::session::{
    Command, GracefulRestart, Negotiated, PeerConfig, Remote, RemoteAsn, Seeds, SessionEvent, Stop,
};
use dunlin_bgp::wire::{ExportEncoding, Outgoing, UpdateWriter, encode_attrs};
use dunlin_net::{Afi, Asn, Family, PeerId, RouterId, V4, V6};
use dunlin_speaker::{Clock, InboxSink, Lane, Speaker, SpeakerConfig, inbox};

enum Happening {
    Session(SessionEvent),
    InputEnded,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [local_asn, router_id, peer_asn, peer, rest @ ..] = args.as_slice() else {
        return Err("hello LOCAL_AS ROUTER_ID PEER_AS PEER_ADDRESS[:PORT] [LISTEN_PORT]".into());
    };
    let remote: SocketAddr = match peer.parse::<IpAddr>() {
        Ok(addr) => SocketAddr::new(addr, 179),
        Err(_) => peer.parse()?,
    };
    let mut config = PeerConfig::new(
        peer,
        Remote::Address(remote),
        Asn(local_asn.parse()?),
        RouterId(router_id.parse()?),
    );
    config.remote_asn = RemoteAsn::Exact(Asn(peer_asn.parse()?));
    config.graceful_restart = Some(GracefulRestart::default());

    let port = rest.first().map_or(Ok(179), |port| port.parse())?;
    let events = inbox();
    let lane = Lane { capacity: 4 << 20 };
    let speaker = SpeakerConfig::new(port, Seeds::default(), Clock::start());
    let mut speaker = Speaker::spawn(&speaker, |_| {
        InboxSink::new(&events, lane, Happening::Session)
    })?;
    let ended = events.sender(Lane { capacity: 1 });
    std::thread::spawn(move || {
        std::io::stdin().lines().for_each(drop);
        ended.send(1, Happening::InputEnded)
    });
    let peer = PeerId(1);
    let config = Arc::new(config);
    speaker.command(Command::SetPeer { peer, config });
    let mut batch = Vec::new();
    loop {
        events.receive(&mut batch, None::<Duration>);
        for happening in batch.drain(..) {
            let Happening::Session(event) = happening else {
                speaker.shutdown(&Stop::GracefulRestart)?;
                return Ok(());
            };
            println!("{event:?}");
            if let SessionEvent::Up {
                peer,
                conn,
                negotiated,
            } = event
            {
                let (bytes, messages) = our_routes(&negotiated);
                speaker.command(Command::Send {
                    peer,
                    conn,
                    bytes: bytes.into(),
                    messages,
                });
            }
        }
    }
}

/// One prefix of the family that the session runs over, and End-of-RIB of both.
fn our_routes(negotiated: &Negotiated) -> (Vec<u8>, u32) {
    let encoding = ExportEncoding {
        peer_type: negotiated.peer_type,
        local_asn: negotiated.local_asn,
        prepend_local_asn: negotiated.peer_type == PeerType::External,
        four_octet_as: negotiated.four_octet_as,
        extended_message: negotiated.extended_message,
        add_path: negotiated.sends_paths(),
        extended_next_hop: false,
    };
    let mut bytes = Vec::new();
    let mut messages = 0;
    let over = Afi::of(negotiated.local.ip());
    if negotiated.families.v4 && over == Afi::Ipv4 {
        let net = "10.244.7.0/24".parse().ok().and_then(V4::from_net);
        messages += announce::<V4>(negotiated.local.ip(), net, &encoding, &mut bytes);
    }
    if negotiated.families.v6 && over == Afi::Ipv6 {
        let net = "fd00:10:244:7::/64".parse().ok().and_then(V6::from_net);
        messages += announce::<V6>(negotiated.local.ip(), net, &encoding, &mut bytes);
    }
    for afi in Afi::ALL {
        if *negotiated.families.get(afi) {
            UpdateWriter::end_of_rib(afi, &mut bytes);
            messages += 1;
        }
    }
    (bytes, messages)
}

fn announce<F: Family>(
    next_hop: IpAddr,
    net: Option<F::Net>,
    encoding: &ExportEncoding,
    out: &mut Vec<u8>,
) -> u32 {
    let canonical = AttrBuilder::originated(Origin::Igp).build();
    let next_hop = NextHop::new(next_hop);
    let route = Outgoing {
        attrs: Attrs::new(&canonical),
        next_hop,
        keep_med: false,
        reflection: None,
    };
    let mut attrs = Vec::new();
    encode_attrs::<F>(&route, encoding, &mut attrs);
    let writer = UpdateWriter::new(encoding);
    let written = writer.announce::<F>(&attrs, &next_hop, net, out);
    written.map_or(0, |messages| messages as u32)
}
