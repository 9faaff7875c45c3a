//! OPEN, NOTIFICATION, ROUTE-REFRESH, KEEPALIVE: what is written reads back the same.

mod wire_support;

use dunlin_bgp::wire::{
    AddPathFamily, AddPathMode, AfiSafi, Capability, ExtendedNextHopFamily, GracefulRestart,
    KEEPALIVE, Limits, LlgrFamily, MessageType, Notification, Open, RefreshSubtype, RestartFamily,
    RouteRefresh, cease, code, frame, open_message,
};
use dunlin_net::{Afi, Asn, PerFamily, RouterId};
use proptest::collection::vec;
use proptest::prelude::*;

/// The body of the one message in `bytes`.
#[track_caller]
fn body(bytes: &[u8], kind: MessageType) -> &[u8] {
    let message = frame(bytes, Limits::default())
        .expect("the header is right")
        .expect("the message is whole");
    assert_eq!(message.kind, kind);
    assert_eq!(message.wire_len(), bytes.len());
    message.body
}

fn family() -> impl Strategy<Value = AfiSafi> {
    prop_oneof![
        Just(AfiSafi::unicast(Afi::Ipv4)),
        Just(AfiSafi::unicast(Afi::Ipv6)),
        (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| AfiSafi { afi, safi }),
    ]
}

fn graceful_restart() -> impl Strategy<Value = GracefulRestart> {
    let families = vec((family(), any::<bool>()), 0..8);
    (any::<bool>(), any::<bool>(), 0..4096_u16, families).prop_map(
        |(restarting, notification, restart_time_secs, families)| GracefulRestart {
            restarting,
            notification,
            restart_time_secs,
            families: families
                .into_iter()
                .map(|(family, forwarding)| RestartFamily { family, forwarding })
                .collect(),
        },
    )
}

fn capability() -> impl Strategy<Value = Capability> {
    let mode = prop_oneof![
        Just(AddPathMode::Receive),
        Just(AddPathMode::Send),
        Just(AddPathMode::Both)
    ];
    let unknown = any::<u8>().prop_filter("a known code", |code| {
        ![1, 2, 5, 6, 9, 64, 65, 69, 70, 71].contains(code)
    });
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        any::<u8>().prop_map(Capability::Role),
        graceful_restart().prop_map(Capability::GracefulRestart),
        vec((family(), any::<u16>()), 0..6).prop_map(|families| {
            let families = families.into_iter();
            Capability::ExtendedNextHop(
                families
                    .map(|(nlri, next_hop_afi)| ExtendedNextHopFamily { nlri, next_hop_afi })
                    .collect(),
            )
        }),
        vec((family(), mode), 0..6).prop_map(|families| {
            let families = families.into_iter();
            Capability::AddPath(
                families
                    .map(|(family, mode)| AddPathFamily { family, mode })
                    .collect(),
            )
        }),
        vec((family(), any::<bool>(), 0..1_u32 << 24), 0..6).prop_map(|families| {
            let families = families.into_iter();
            Capability::LongLivedGracefulRestart(
                families
                    .map(|(family, forwarding, stale_time_secs)| LlgrFamily {
                        family,
                        forwarding,
                        stale_time_secs,
                    })
                    .collect(),
            )
        }),
        (unknown, vec(any::<u8>(), 0..256))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

fn hold_time() -> impl Strategy<Value = u16> {
    any::<u16>().prop_filter("unacceptable", |secs| !matches!(secs, 1 | 2))
}

prop_compose! {
    fn open()(
        asn in prop_oneof![1..=65_535_u32, 1..=u32::MAX],
        hold_time_secs in hold_time(),
        router_id in 1..=u32::MAX,
        mut capabilities in vec(capability(), 0..14),
        at in any::<prop::sample::Index>(),
        four_octet in any::<bool>(),
    ) -> Open {
        let asn = Asn(asn);
        if four_octet || !asn.is_two_octet() {
            let at = at.index(capabilities.len() + 1);
            capabilities.insert(at, Capability::FourOctetAs(asn));
        }
        Open { capabilities, ..Open::new(asn, hold_time_secs, RouterId(router_id.into())) }
    }
}

proptest! {
    #[test]
    fn an_open_reads_back_in_either_format(open in open()) {
        let mut out = Vec::new();
        open.encode(&mut out);
        prop_assert_eq!(Open::parse(body(&out, MessageType::Open)), Ok(open));
    }

    #[test]
    fn a_notification_reads_back(code: u8, subcode: u8, data in vec(any::<u8>(), 0..4076)) {
        let notification = Notification { code, subcode, data };
        let mut out = Vec::new();
        notification.encode(&mut out);
        prop_assert_eq!(
            Notification::parse(body(&out, MessageType::Notification)),
            Ok(notification)
        );
    }

    #[test]
    fn a_notification_can_always_be_shown(code in 0..9_u8, subcode in 0..13_u8, data in vec(any::<u8>(), 0..300)) {
        let notification = Notification { code, subcode, data };
        prop_assert!(!notification.to_string().is_empty());
        prop_assert!(!notification.to_string().contains(char::is_control));
    }

    #[test]
    fn a_shutdown_text_reads_back_cut_between_characters(text in "\\PC{0,300}") {
        let notification = Notification::cease_with_text(cease::ADMIN_SHUTDOWN, &text);
        let read = notification.shutdown_text().unwrap_or_default();
        prop_assert!(text.starts_with(&read), "{read:?}");
        prop_assert!(read.len() <= 255);
        prop_assert!(read.len() == text.len() || read.len() > 255 - 4);
    }

    #[test]
    fn a_hard_reset_gives_back_what_it_wraps(code: u8, subcode: u8, data in vec(any::<u8>(), 0..5000)) {
        let inner = Notification::with_data(code, subcode, &data);
        let outer = Notification::hard_reset(&inner);
        let mut out = Vec::new();
        outer.encode(&mut out);
        prop_assert!(out.len() <= 4096);
        let read = Notification::parse(body(&out, MessageType::Notification)).unwrap();
        prop_assert!(read.is_hard_reset());
        let read = read.inner().unwrap();
        prop_assert_eq!((read.code, read.subcode), (code, subcode));
        prop_assert!(inner.data.starts_with(&read.data));
        prop_assert!(read.data.len() >= inner.data.len().min(4073));
    }

    #[test]
    fn a_route_refresh_reads_back(afi: u16, safi: u8, subtype: u8) {
        let refresh = RouteRefresh::parse(&[(afi >> 8) as u8, afi as u8, subtype, safi], true).unwrap();
        prop_assert_eq!(refresh.family, AfiSafi { afi, safi });
        let mut out = Vec::new();
        refresh.encode(&mut out);
        prop_assert_eq!(RouteRefresh::parse(body(&out, MessageType::RouteRefresh), false), Ok(refresh));
    }
}

#[test]
fn capabilities_that_do_not_fit_a_message_are_left_out_whole() {
    let mut open = Open::new(Asn(65_001), 90, RouterId([192, 0, 2, 1].into()));
    for code in 100..120 {
        let value = vec![code; 250];
        open.capabilities.push(Capability::Unknown { code, value });
    }
    let mut out = Vec::new();
    open.encode(&mut out);
    assert!(out.len() <= 4096);
    let read = Open::parse(body(&out, MessageType::Open)).expect("it is good");
    assert_eq!(
        read.capabilities,
        open.capabilities[..read.capabilities.len()]
    );
    assert_eq!(read.capabilities.len(), (4096 - 35) / 252);
}

#[test]
fn an_open_says_what_was_offered() {
    let mut open = Open::new(Asn(65_001), 90, RouterId([192, 0, 2, 1].into()));
    assert_eq!(
        open.families(),
        PerFamily {
            v4: true,
            v6: false
        }
    );
    let v6 = AfiSafi::unicast(Afi::Ipv6);
    open.capabilities.push(Capability::Multiprotocol(v6));
    assert_eq!(
        open.families(),
        PerFamily {
            v4: false,
            v6: true
        }
    );
    open.capabilities
        .push(Capability::ExtendedNextHop(vec![ExtendedNextHopFamily {
            nlri: AfiSafi::unicast(Afi::Ipv4),
            next_hop_afi: 2,
        }]));
    assert!(open.extended_next_hop(Afi::Ipv4));
    assert!(!open.extended_next_hop(Afi::Ipv6));
    for restart_time_secs in [1, 2] {
        let restart = GracefulRestart {
            restart_time_secs,
            ..Default::default()
        };
        open.capabilities.push(Capability::GracefulRestart(restart));
    }
    assert_eq!(
        open.graceful_restart().map(|it| it.restart_time_secs),
        Some(2)
    );
    assert!(!open.offers(&Capability::RouteRefresh));
}

#[test]
fn add_path_with_an_unknown_mode_is_as_good_as_not_understood() {
    let body = [
        4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1, 12, 2, 10, 69, 8, 0, 1, 1, 4, 0, 2, 1, 3,
    ];
    let open = Open::parse(&body).expect("it is good");
    let value = vec![0, 1, 1, 4, 0, 2, 1, 3];
    assert_eq!(open.capabilities, [Capability::Unknown { code: 69, value }]);
    assert_eq!(open.add_path(AfiSafi::unicast(Afi::Ipv6)), None);
}

#[test]
fn a_keepalive_is_nineteen_octets() {
    assert_eq!(body(&KEEPALIVE, MessageType::Keepalive), []);
    assert_eq!(KEEPALIVE[16..], [0, 19, 4]);
}

#[test]
fn refresh_subtypes_are_those_of_rfc_7313() {
    let subtype = |octet| RouteRefresh::parse(&[0, 1, octet, 1], true).map(|it| it.subtype);
    assert_eq!(subtype(0), Ok(RefreshSubtype::Request));
    assert_eq!(subtype(1), Ok(RefreshSubtype::Begin));
    assert_eq!(subtype(2), Ok(RefreshSubtype::End));
    assert_eq!(subtype(3), Ok(RefreshSubtype::Unknown(3)));
}

#[test]
fn notifications_are_shown_in_words() {
    let shown = |notification: Notification| notification.to_string();
    assert_eq!(
        shown(Notification::new(code::HOLD_TIMER, 0)),
        "Hold Timer Expired"
    );
    assert_eq!(
        shown(Notification::new(code::OPEN, open_message::BAD_PEER_AS)),
        "OPEN Message Error/Bad Peer AS"
    );
    assert_eq!(
        shown(Notification::new(code::UPDATE, 77)),
        "UPDATE Message Error/subcode 77"
    );
    assert_eq!(shown(Notification::new(99, 0)), "code 99");
    assert_eq!(
        shown(Notification::cease_with_text(
            cease::ADMIN_SHUTDOWN,
            "back at 12:00"
        )),
        "Cease/Administrative Shutdown \"back at 12:00\""
    );
    assert_eq!(
        shown(Notification::hard_reset(&Notification::new(
            code::HOLD_TIMER,
            0
        ))),
        "Cease/Hard Reset (Hold Timer Expired)"
    );
}

#[test]
fn a_shutdown_text_from_outside_is_made_safe_to_show() {
    let text = |data: &[u8]| {
        Notification::with_data(code::CEASE, cease::ADMIN_RESET, data).shutdown_text()
    };
    assert_eq!(text(&[]), None);
    assert_eq!(text(&[0]), None);
    assert_eq!(text(&[5, b'a']), None, "the length overruns the data");
    assert_eq!(text(&[1, b'a', b'b']).as_deref(), Some("a"));
    assert_eq!(text(&[3, b'a', 0xff, b'b']).as_deref(), Some("a\u{fffd}b"));
    assert_eq!(text(b"\x04\x1b[2J").as_deref(), Some("\u{fffd}[2J"));
    let other = Notification::with_data(code::CEASE, cease::COLLISION, &[1, b'a']);
    assert_eq!(other.shutdown_text(), None);
}
