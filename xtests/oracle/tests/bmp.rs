//! What we write to monitoring stations, netgauze and bgpkit read.

#[path = "../../../crates/dunlin-bgp/tests/wire_support/mod.rs"]
mod wire_support;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bgpkit_parser::models::BgpMessage as KitBgp;
use bgpkit_parser::parser::bmp::messages::{BmpMessage as KitMessage, BmpMessageBody};
use bgpkit_parser::parser::bmp::parse_bmp_msg;
use bytes::Bytes;
use dunlin_bgp::attrs::Attrs;
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::bmp::{
    self, PeerDown, PeerHeader, PeerUp, Routes, Table, TerminationReason, end_of_rib,
};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::wire::{Capability, Limits, Notification, Open, cease, code};
use dunlin_net::{Afi, Asn, Ipv4Net, Ipv6Net, PerFamily, RouterId, V4, V6};
use netgauze_bmp_pkt::BmpMessage;
use netgauze_bmp_pkt::wire::deserializer::BmpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::collection::vec;
use proptest::prelude::*;
use wire_support::strategies::{asn, reflected, router_id, v4_prefix, v6_prefix};
use wire_support::*;

/// The octets of a Route Monitoring message before its UPDATE.
const BEFORE_UPDATE: usize = 6 + 42;

/// Whole messages.
fn split(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let [_, a, b, c, d, ..] = *stream {
        let (message, rest) = stream.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        messages.push(message);
        stream = rest;
    }
    assert!(stream.is_empty());
    messages
}

/// Reads every message of a stream with both; gives back bgpkit's reading.
#[track_caller]
fn read(stream: &[u8]) -> Vec<KitMessage> {
    let mut ctx = BmpParsingContext::default();
    let mut read = Vec::new();
    for message in split(stream) {
        let theirs = BmpMessage::parse(&mut SliceReader::new(message), &mut ctx)
            .unwrap_or_else(|error| panic!("netgauze: {error}: {message:x?}"));
        assert_eq!(theirs.len(), message.len(), "netgauze reads all of it");
        let mut bytes = Bytes::copy_from_slice(message);
        let theirs = parse_bmp_msg(&mut bytes)
            .unwrap_or_else(|error| panic!("bgpkit: {error:?}: {message:x?}"));
        read.push(theirs);
    }
    read
}

fn header(addr: IpAddr, asn: Asn, router_id: RouterId, at: Option<Duration>) -> PeerHeader {
    PeerHeader {
        table: Table::AdjRibIn,
        addr,
        asn,
        router_id,
        at,
    }
}

fn check_header(theirs: &KitMessage, ours: &PeerHeader) {
    let header = theirs.per_peer_header.as_ref().expect("it is of a peer");
    assert_eq!(header.peer_asn.to_u32(), ours.asn.0);
    assert_eq!(header.peer_bgp_id, ours.router_id.0);
    if ours.table == Table::AdjRibIn {
        assert_eq!(header.peer_ip, ours.addr);
    }
    let at = ours.at.unwrap_or_default();
    assert!((header.timestamp - at.as_secs_f64()).abs() < 1e-3);
}

fn prefixes(messages: &[KitMessage]) -> (Vec<String>, Vec<String>) {
    let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
    for message in messages {
        let BmpMessageBody::RouteMonitoring(route) = &message.message_body else {
            panic!("{message:?}");
        };
        let KitBgp::Update(update) = &route.bgp_message else {
            panic!("{route:?}");
        };
        let text = |prefix: &bgpkit_parser::models::NetworkPrefix| prefix.prefix.to_string();
        announced.extend(update.announced_prefixes.iter().map(text));
        withdrawn.extend(update.withdrawn_prefixes.iter().map(text));
        for attr in &update.attributes {
            use bgpkit_parser::models::AttributeValue;
            match attr {
                AttributeValue::MpReachNlri(nlri) => {
                    announced.extend(nlri.prefixes.iter().map(text));
                }
                AttributeValue::MpUnreachNlri(nlri) => {
                    withdrawn.extend(nlri.prefixes.iter().map(text));
                }
                _ => {}
            }
        }
    }
    (announced, withdrawn)
}

fn texts(v4: &[Ipv4Net], v6: &[Ipv6Net]) -> Vec<String> {
    let v4 = v4.iter().map(ToString::to_string);
    v4.chain(v6.iter().map(ToString::to_string)).collect()
}

/// As netgauze lets them pass.
fn id() -> impl Strategy<Value = RouterId> {
    router_id().prop_filter("unicast", |id| {
        !id.0.is_multicast() && !id.0.is_broadcast() && id.0.octets()[0] < 240
    })
}

fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(IpAddr::from),
        any::<[u16; 7]>()
            .prop_map(|[a, b, c, d, e, f, g]| { IpAddr::from([0x2001, a, b, c, d, e, f, g]) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn routes(
        attrs in reflected(),
        // bgpkit takes a default route among others for a path identifier.
        v4 in vec(v4_prefix().prop_filter("default", |net| net.prefix_len() > 0), 1..2000),
        v6 in vec(v6_prefix().prop_filter("default", |net| net.prefix_len() > 0), 1..100),
        addr in addr(),
        asn in asn(),
        id in id(),
        at in proptest::option::of((0..4_000_000_000_u64, 0..1_000_000_u32)),
        internal: bool,
    ) {
        let at = at.map(|(secs, micros)| Duration::new(secs, micros * 1000));
        let peer = header(addr, asn, id, at);
        let peer_type = if internal { PeerType::Internal } else { PeerType::External };
        let mut out = Vec::new();
        let mut routes = Routes::default();
        let told = Attrs::new(&attrs);
        routes.announce::<V4>(&peer, peer_type, told, next_hop_v4(), (&v4, &[]), &mut out).unwrap();
        routes.announce::<V6>(&peer, peer_type, told, next_hop_v6(true), (&v6, &[]), &mut out).unwrap();
        let read_back = read(&out);
        prop_assert_eq!(prefixes(&read_back).0, texts(&v4, &v6));
        read_back.iter().for_each(|message| check_header(message, &peer));
        // What they carry says what the route says, and no more than that.
        let ctx = if internal { wire_support::internal() } else { wire_support::external() };
        let mut updates = Vec::new();
        for message in split(&out) {
            updates.extend_from_slice(&message[BEFORE_UPDATE..]);
        }
        let ours = decode_stream(&ctx, &updates, Limits { extended_message: false, ..Limits::default() });
        prop_assert_eq!(ours.len(), v4.len() + v6.len());

        out.clear();
        routes.withdraw::<V4>(&peer, (&v4, &[]), &mut out);
        routes.withdraw::<V6>(&peer, (&v6, &[]), &mut out);
        prop_assert_eq!(prefixes(&read(&out)).1, texts(&v4, &v6));
    }

    #[test]
    fn sessions(
        addr in addr(),
        local in addr(),
        asn in asn(),
        id in id(),
        ports: (u16, u16),
        restart_time_secs in 0..4096_u16,
    ) {
        let peer = header(addr, asn, id, None);
        let mut open = Open::new(asn, 90, id);
        open.capabilities = vec![Capability::RouteRefresh, Capability::FourOctetAs(asn)];
        let mut sent = Vec::new();
        open.encode(&mut sent);
        open.hold_time_secs = restart_time_secs.max(3);
        let mut received = Vec::new();
        open.encode(&mut received);
        let up = PeerUp {
            local: SocketAddr::new(local, ports.0),
            remote: SocketAddr::new(addr, ports.1),
            sent: &sent,
            received: &received,
        };
        let mut out = Vec::new();
        bmp::peer_up(&peer, &up, &mut out);
        let theirs = read(&out).remove(0);
        check_header(&theirs, &peer);
        let BmpMessageBody::PeerUpNotification(theirs) = theirs.message_body else {
            panic!("{theirs:?}");
        };
        prop_assert_eq!((theirs.local_port, theirs.remote_port), ports);
        let (KitBgp::Open(sent), KitBgp::Open(received)) = (theirs.sent_open, theirs.received_open)
        else {
            panic!("both are OPENs");
        };
        prop_assert_eq!(sent.hold_time, 90);
        prop_assert_eq!(received.hold_time, restart_time_secs.max(3));
    }
}

#[test]
fn all_that_is_not_of_routes() {
    let peer = header(
        [192, 0, 2, 7].into(),
        Asn(65_007),
        RouterId([192, 0, 2, 7].into()),
        None,
    );
    let loc_rib = PeerHeader::loc_rib(Asn(4_200_000_000), RouterId([192, 0, 2, 1].into()));
    let shutdown = Notification::cease_with_text(cease::ADMIN_SHUTDOWN, "back soon");
    let mut out = Vec::new();
    bmp::initiation("n1", "Dunlin 0.1.0", &mut out);
    bmp::loc_rib_up(&loc_rib, &mut out);
    for down in [
        PeerDown::Local(shutdown.clone()),
        PeerDown::LocalSilent(2),
        PeerDown::Remote(Notification::new(code::HOLD_TIMER, 0)),
        PeerDown::RemoteSilent,
        PeerDown::Unmonitored,
    ] {
        down.encode(&peer, &mut out);
    }
    PeerDown::RemoteSilent.encode(&loc_rib, &mut out);
    for peer in [&peer, &loc_rib] {
        bmp::statistics(peer, PerFamily { v4: 7, v6: 8 }, &mut out);
        for afi in Afi::ALL {
            end_of_rib(peer, afi, &mut out);
        }
    }
    bmp::termination(TerminationReason::AdministrativelyClosed, &mut out);
    let theirs = read(&out);
    let kinds: Vec<u8> = split(&out).iter().map(|message| message[5]).collect();
    assert_eq!(kinds, [4, 3, 2, 2, 2, 2, 2, 2, 1, 0, 0, 1, 0, 0, 5]);
    for message in &theirs {
        if let BmpMessageBody::RouteMonitoring(route) = &message.message_body {
            assert!(route.is_end_of_rib());
        }
    }
    let reasons: Vec<u8> = theirs
        .iter()
        .filter_map(|message| match &message.message_body {
            BmpMessageBody::PeerDownNotification(down) => Some(down.reason as u8),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_ipv4_route_by_an_ipv6_next_hop_and_one_of_our_own() {
    let loc_rib = PeerHeader::loc_rib(Asn(64_512), RouterId([192, 0, 2, 1].into()));
    let attrs = base_canonical();
    let nets = [net("198.51.100.0/24")].map(|net| match net {
        dunlin_net::IpNet::V4(net) => net,
        dunlin_net::IpNet::V6(_) => unreachable!("it is IPv4"),
    });
    let mut out = Vec::new();
    for next_hop in ["2001:db8::1", "0.0.0.0"] {
        let next_hop = NextHop::new(next_hop.parse().unwrap());
        let told = Attrs::new(&attrs);
        Routes::default()
            .announce::<V4>(
                &loc_rib,
                PeerType::External,
                told,
                next_hop,
                (&nets, &[]),
                &mut out,
            )
            .unwrap();
    }
    assert_eq!(
        prefixes(&read(&out)).0,
        ["198.51.100.0/24", "198.51.100.0/24"]
    );
}

fn base_canonical() -> Vec<u8> {
    use dunlin_bgp::attrs::{AttrBuilder, Origin};
    AttrBuilder::originated(Origin::Igp).build()
}
