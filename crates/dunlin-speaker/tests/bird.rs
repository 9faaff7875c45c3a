//! A speaker with BIRD, each in a network namespace of its own with a link between them.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program};
use std::time::{Duration, Instant};

use dunlin_bgp::attrs::{AttrBuilder, Attrs, Origin};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::session::{
    Command, DownReason, FsmState, GracefulRestart, Negotiated, Password, PeerConfig, Remote,
    RemoteAsn, Seeds, SessionEvent, Stop, TransportError,
};
use dunlin_bgp::wire::{ExportEncoding, Outgoing, UpdateWriter, encode_attrs};
use dunlin_net::{Afi, Asn, Family, PeerId, RouterId, V4, V6};
use dunlin_speaker::{Clock, InboxSink, Lane, Speaker, SpeakerConfig, inbox};
use support::netns::*;
use support::*;

const BIRD: &str = "/usr/sbin/bird";
const OURS: &str = "10.9.0.1";
const THEIRS: &str = "10.9.0.2";

/// BIRD at the other end of a link.
struct Bird {
    dir: PathBuf,
    there: Netns,
    daemon: Child,
}

impl Bird {
    /// `options` go into BIRD's `protocol bgp`.
    fn start(name: &str, options: &str) -> Bird {
        let dir = std::env::temp_dir().join(format!("dunlin-bird-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let conf = format!(
            "router id {THEIRS};
            log stderr all;
            protocol device {{ scan time 1; }}
            protocol static four {{ ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; }}
            protocol static six {{ ipv6; route 2001:db8:77::/48 blackhole; }}
            protocol bgp dunlin {{
              local {THEIRS} as 65002;
              neighbor {OURS} as 65001;
              hold time 3; keepalive time 1; connect retry time 1; connect delay time 1;
              error wait time 1, 2; startup hold time 3;
              ipv4 {{ import all; export where source = RTS_STATIC; }};
              ipv6 {{ import all; export where source = RTS_STATIC; next hop address fd09::2; }};
              {options}
            }}"
        );
        std::fs::write(dir.join("bird.conf"), conf).expect("a file");
        let there = Netns::beside();
        run(&format!("ip addr add {OURS}/24 dev ours"));
        run("ip -6 addr add fd09::1/64 dev ours nodad");
        there.run(&format!("ip addr add {THEIRS}/24 dev theirs"));
        there.run("ip -6 addr add fd09::2/64 dev theirs nodad");
        let daemon = Bird::daemon(&dir, &there, &[]);
        let bird = Bird { dir, there, daemon };
        bird.wait_ready();
        bird
    }

    fn daemon(dir: &Path, there: &Netns, more: &[&str]) -> Child {
        let log = std::fs::File::create(dir.join("log")).expect("a file");
        there
            .command(BIRD)
            .arg("-f")
            .arg("-c")
            .arg(dir.join("bird.conf"))
            .arg("-s")
            .arg(dir.join("ctl"))
            .args(more)
            .stderr(log)
            .spawn()
            .expect("BIRD runs")
    }

    fn wait_ready(&self) {
        eventually("BIRD answers", || {
            let mut status = Program::new("birdc");
            status
                .arg("-s")
                .arg(self.dir.join("ctl"))
                .arg("show status");
            status.output().is_ok_and(|output| output.status.success())
        });
    }

    fn ask(&self, what: &str) -> String {
        run(&format!(
            "birdc -s {} {what}",
            self.dir.join("ctl").display()
        ))
    }

    fn signal(&self, signal: i32) {
        // `nsenter` replaces itself by BIRD: it is our child.
        let pid = i32::try_from(self.daemon.id()).expect("a pid");
        // SAFETY: no memory is touched.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Dies and comes back, as for a graceful restart.
    fn restart(&mut self) {
        self.daemon.kill().expect("it dies");
        self.daemon.wait().expect("it is dead");
        self.daemon = Bird::daemon(&self.dir, &self.there, &["-R"]);
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A speaker on the usual port of this namespace.
fn node() -> Node {
    let inbox = inbox();
    let config = SpeakerConfig::new(179, Seeds::default(), Clock::start());
    let lane = Lane { capacity: 4 << 20 };
    let sink = |_| InboxSink::new(&inbox, lane, |event| event);
    let handle = Speaker::spawn(&config, sink).expect("it starts");
    Node {
        handle,
        inbox,
        addr: SocketAddr::new(ip(OURS), 179),
        seen: Vec::new(),
    }
}

fn config() -> PeerConfig {
    let remote = Remote::Address(SocketAddr::new(ip(THEIRS), 179));
    let id = RouterId(OURS.parse().expect("an address"));
    let mut config = PeerConfig::new("bird", remote, Asn(65001), id);
    config.remote_asn = RemoteAsn::Exact(Asn(65002));
    config
}

fn graceful() -> PeerConfig {
    let mut config = config();
    config.graceful_restart = Some(GracefulRestart::default());
    config
}

/// Waits until the session is up, and tells BIRD two routes.
fn up_and_announce(node: &mut Node) -> std::sync::Arc<Negotiated> {
    let (conn, negotiated) = node.wait("Up", |event| match event {
        SessionEvent::Up {
            conn, negotiated, ..
        } => Some((*conn, negotiated.clone())),
        _ => None,
    });
    let mut bytes = Vec::new();
    announce::<V4>("10.244.7.0/24", OURS, &negotiated, &mut bytes);
    announce::<V6>("fd00:10:244::/64", "fd09::1", &negotiated, &mut bytes);
    for afi in Afi::ALL {
        UpdateWriter::end_of_rib(afi, &mut bytes);
    }
    node.handle.command(Command::Send {
        peer: PeerId(1),
        conn,
        bytes: bytes.into(),
        messages: 4,
    });
    negotiated
}

fn announce<F: Family>(net: &str, next_hop: &str, agreed: &Negotiated, out: &mut Vec<u8>) {
    let encoding = ExportEncoding {
        peer_type: PeerType::External,
        local_asn: agreed.local_asn,
        prepend_local_asn: true,
        four_octet_as: agreed.four_octet_as,
        extended_message: agreed.extended_message,
        add_path: agreed.sends_paths(),
        extended_next_hop: false,
    };
    let canonical = AttrBuilder::originated(Origin::Igp).build();
    let next_hop = NextHop::new(ip(next_hop));
    let mut attrs = Vec::new();
    let route = Outgoing {
        attrs: Attrs::new(&canonical),
        next_hop,
        keep_med: false,
        reflection: None,
    };
    encode_attrs::<F>(&route, &encoding, &mut attrs);
    let net = F::from_net(net.parse().expect("a prefix"));
    UpdateWriter::new(&encoding)
        .announce::<F>(&attrs, &next_hop, net, out)
        .expect("it fits");
}

/// Waits until End-of-RIB of both families has come; gives what came before.
fn wait_table(node: &mut Node) -> Vec<String> {
    let mut nets = Vec::new();
    let mut ends = 0;
    while ends < 2 {
        node.wait("routes", |event| match event {
            SessionEvent::Routes { batch, .. } => {
                ends += ends_in(batch);
                nets.extend(batch.nlri.v4.iter().map(ToString::to_string));
                nets.extend(batch.nlri.v6.iter().map(ToString::to_string));
                Some(())
            }
            _ => None,
        });
    }
    nets.sort();
    nets
}

fn ends_in(batch: &RouteBatch) -> usize {
    let ends = |item: &&BatchItem| matches!(item, BatchItem::EndOfRib(_));
    batch.items.iter().filter(ends).count()
}

fn has_ours(bird: &Bird) -> bool {
    let routes = bird.ask("show route protocol dunlin");
    routes.contains("10.244.7.0/24") && routes.contains("fd00:10:244::/64")
}

#[test]
fn routes_of_both_families_go_both_ways_and_end_with_the_session() {
    in_netns(&[BIRD], || {
        let bird = Bird::start("both", "graceful restart on;");
        let mut node = node();
        node.set(1, graceful());
        let negotiated = up_and_announce(&mut node);
        assert!(negotiated.four_octet_as && negotiated.route_refresh);
        let table = wait_table(&mut node);
        assert_eq!(
            table,
            ["192.0.2.0/24", "198.51.100.0/24", "2001:db8:77::/48"]
        );
        eventually("BIRD has our routes", || has_ours(&bird));
        // BIRD asks for everything again, and so do we.
        bird.ask("reload in dunlin");
        node.wait("a refresh", |event| match event {
            SessionEvent::RefreshRequested { afi, .. } => Some(*afi),
            _ => None,
        });
        node.handle.command(Command::RemovePeer { peer: PeerId(1) });
        eventually("BIRD drops our routes", || !has_ours(&bird));
        let error = bird.ask("show protocols all dunlin");
        assert!(error.contains("Peer de-configured"), "{error}");
    });
}

#[test]
fn a_two_octet_session_carries_the_same_routes() {
    in_netns(&[BIRD], || {
        let bird = Bird::start("as2", "enable as4 off;");
        let mut node = node();
        node.set(1, config());
        assert!(!up_and_announce(&mut node).four_octet_as);
        assert_eq!(wait_routes(&mut node, 3).len(), 3);
        eventually("BIRD has our routes", || has_ours(&bird));
    });
}

/// Waits for so many prefixes.
fn wait_routes(node: &mut Node, count: usize) -> Vec<String> {
    let mut nets = Vec::new();
    while nets.len() < count {
        node.wait("routes", |event| match event {
            SessionEvent::Routes { batch, .. } => {
                nets.extend(batch.nlri.v4.iter().map(ToString::to_string));
                nets.extend(batch.nlri.v6.iter().map(ToString::to_string));
                Some(())
            }
            _ => None,
        });
    }
    nets
}

#[test]
fn a_hung_bird_is_dropped_at_the_hold_time_and_back_when_it_wakes() {
    in_netns(&[BIRD], || {
        let bird = Bird::start("hang", "graceful restart on;");
        let mut node = node();
        node.set(1, graceful());
        up_and_announce(&mut node);
        bird.signal(libc::SIGSTOP);
        let begun = Instant::now();
        let (reason, stale) = node.wait("Down", |event| match event {
            SessionEvent::Down { reason, stale, .. } => Some((reason.clone(), *stale)),
            _ => None,
        });
        assert_eq!(reason, DownReason::HoldTimerExpired { hold_time_secs: 3 });
        assert_eq!(stale, None, "silence withdraws at once");
        assert!(begun.elapsed() < Duration::from_secs(10));
        bird.signal(libc::SIGCONT);
        node.wait_up(1);
    });
}

#[test]
fn our_restart_keeps_our_routes_in_bird_and_its_restart_is_told_as_one() {
    in_netns(&[BIRD], || {
        let mut bird = Bird::start("restart", "graceful restart on; graceful restart time 30;");
        let mut before = node();
        before.set(1, graceful());
        up_and_announce(&mut before);
        eventually("BIRD has our routes", || has_ours(&bird));
        before
            .handle
            .shutdown(&Stop::GracefulRestart)
            .expect("it stops");
        eventually("BIRD sees us gone", || {
            !bird.ask("show protocols dunlin").contains("Established")
        });
        assert!(has_ours(&bird), "the routes are kept while we are away");

        let mut after = node();
        let mut restarted = graceful();
        if let Some(restart) = &mut restarted.graceful_restart {
            restart.restarting = true;
            restart.forwarding.v4 = true;
            restart.forwarding.v6 = true;
        }
        after.set(1, restarted);
        up_and_announce(&mut after);
        wait_table(&mut after);
        assert!(has_ours(&bird));
        let state = bird.ask("show protocols all dunlin");
        assert!(
            state.contains("Session:") && state.contains("Established"),
            "{state}"
        );

        bird.restart();
        let (reason, stale) = after.wait("Down", |event| match event {
            SessionEvent::Down { reason, stale, .. } => Some((reason.clone(), *stale)),
            _ => None,
        });
        assert!(matches!(reason, DownReason::Transport(_)), "{reason}");
        let stale = stale.expect("its routes are kept");
        assert!(stale.families.v4 && stale.families.v6);
        assert_eq!(stale.restart_time_secs, 30);
        let negotiated = up_and_announce(&mut after);
        let restart = negotiated.graceful_restart.expect("graceful restart");
        assert!(restart.restarting, "BIRD says that it has restarted");
    });
}

#[test]
fn bird_and_we_agree_on_a_password_or_not_at_all() {
    in_netns(&[BIRD], || {
        let bird = Bird::start("password", "password \"correct horse\";");
        let mut node = node();
        node.set(1, config());
        let reason = node.wait("a reason", |event| match event {
            SessionEvent::State { reason, .. } => reason.clone(),
            _ => None,
        });
        assert_eq!(reason, DownReason::Transport(TransportError::TimedOut));
        assert!(!bird.ask("show protocols dunlin").contains("Established"));
        let mut signed = config();
        signed.transport.password = Password::new(b"correct horse");
        node.set(1, signed);
        node.wait_up(1);
    });
}

#[test]
fn a_wrong_as_is_told_to_both_operators() {
    in_netns(&[BIRD], || {
        let bird = Bird::start("as", "");
        let mut node = node();
        let mut wrong = config();
        wrong.remote_asn = RemoteAsn::Exact(Asn(65099));
        node.set(1, wrong);
        let reason = node.wait("the reason", |event| match event {
            SessionEvent::State {
                reason: Some(reason @ DownReason::BadPeerAs { .. }),
                ..
            } => Some(reason.clone()),
            _ => None,
        });
        let text = reason.to_string();
        assert!(text.contains("65002") && text.contains("65099"), "{text}");
        eventually("BIRD has been told", || {
            bird.ask("show protocols dunlin").contains("Bad peer AS")
        });
        assert_ne!(node.state(1), FsmState::Established);
    });
}
