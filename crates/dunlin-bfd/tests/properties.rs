//! Whatever packets come and however time passes, the promises of a session hold.

use std::net::IpAddr;
use std::time::Duration;

use dunlin_bfd::{
    Cause, ControlPacket, Datagram, Diagnostic, DropReason, Hops, Output, Role, Seeds,
    SessionConfig, SessionId, Sessions, State, StateChange,
};
use dunlin_net::Instant;
use proptest::prelude::*;

const ID: SessionId = SessionId(1);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const SECOND: u32 = 1_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// A packet; whether it knows our discriminator, and whether it comes from near.
    Packet(ControlPacket, bool, bool),
    Octets(Vec<u8>),
    /// Microseconds, with all deadlines on time.
    Pass(u64),
    /// Microseconds in which nobody looked at deadlines.
    Jump(u64),
    Configure(u16, u16, u8, bool),
}

fn packet() -> impl Strategy<Value = ControlPacket> {
    let state = prop::sample::select(State::ALL.to_vec());
    let interval = || {
        prop_oneof![
            Just(0_u32),
            Just(1),
            Just(50_000),
            10_000..2_000_000_u32,
            Just(u32::MAX)
        ]
    };
    let bits = any::<[bool; 5]>();
    let numbers = (0..32_u8, 1..6_u8, 1..4_u32);
    (state, bits, numbers, interval(), interval()).prop_map(
        |(
            state,
            [poll, is_final, c, a, demand],
            (diagnostic, detect_mult, discriminator),
            tx,
            rx,
        )| {
            ControlPacket {
                diagnostic: Diagnostic::from_bits(diagnostic),
                state,
                poll,
                is_final,
                control_plane_independent: c,
                authenticated: a && c,
                demand: demand && poll,
                detect_mult,
                my_discriminator: discriminator,
                your_discriminator: 0,
                desired_min_tx_micros: tx,
                required_min_rx_micros: rx,
                required_min_echo_rx_micros: 0,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (packet(), prop::bool::weighted(0.8), prop::bool::weighted(0.95))
            .prop_map(|(packet, known, near)| Step::Packet(packet, known, near)),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Octets),
        6 => (0..400_000_u64).prop_map(Step::Pass),
        1 => (0..20_000_000_u64).prop_map(Step::Pass),
        1 => (0..10_000_000_000_u64).prop_map(Step::Jump),
        1 => (10..2000_u16, 10..2000_u16, 1..5_u8, prop::bool::weighted(0.8))
            .prop_map(|(tx, rx, mult, enabled)| Step::Configure(tx, rx, mult, enabled)),
    ]
}

/// A session, with what an observer beside it knows.
struct World {
    table: Sessions,
    now: Instant,
    config: SessionConfig,
    state: State,
    /// The last packet that was taken, and when.
    heard: Option<(Instant, ControlPacket)>,
    /// What the peer last said it can take, dropped or not: AdminDown listens to that.
    remote_min_rx: Duration,
    /// The largest interval that can be in force, and the least: a poll may not have ended.
    rx_seen: (Duration, Duration),
    /// The last packet that was no answer.
    last_sent: Option<Instant>,
    changed_since_sent: bool,
    /// Out of turn, since the start.
    extra: u64,
    started: Instant,
}

impl World {
    fn new(config: SessionConfig) -> World {
        let seeds = Seeds {
            discriminators: [5, 6],
            chance: 9,
        };
        let started = Instant::from_micros(1_000_000);
        let mut world = World {
            table: Sessions::new(seeds, 4),
            now: started,
            state: State::Down,
            heard: None,
            remote_min_rx: Duration::from_micros(1),
            rx_seen: (config.required_min_rx, config.required_min_rx),
            last_sent: None,
            changed_since_sent: false,
            extra: 0,
            started,
            config,
        };
        world.configure();
        world
    }

    fn configure(&mut self) {
        let rx = self.config.required_min_rx;
        self.rx_seen = (self.rx_seen.0.max(rx), self.rx_seen.1.min(rx));
        let set = self.table.set(self.now, ID, self.config.clone());
        assert_eq!(set, Ok(()));
        self.look(None);
    }

    fn name(&self) -> u32 {
        let snapshot = self.table.snapshot(ID).expect("it is there");
        snapshot.local_discriminator.0.get()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Packet(mut packet, known, near) => {
                if known {
                    packet.your_discriminator = self.name();
                }
                let mut octets = packet.encode().to_vec();
                if packet.authenticated {
                    octets[1] |= 0x04;
                    octets[3] = 26;
                    octets.extend([1, 2]);
                }
                self.receive(&octets, near, packet);
            }
            Step::Octets(octets) => {
                if let Ok(packet) = ControlPacket::decode(&octets) {
                    self.receive(&octets, true, packet);
                } else {
                    let datagram = self.datagram(&octets, true);
                    assert!(self.table.receive(self.now, &datagram).is_err());
                    self.look(None);
                }
            }
            Step::Pass(micros) => self.pass(Duration::from_micros(micros)),
            Step::Jump(micros) => {
                self.now = self.now + Duration::from_micros(micros);
                self.table.on_deadline(self.now);
                self.look(None);
            }
            Step::Configure(tx, rx, mult, enabled) => {
                self.config.desired_min_tx = Duration::from_millis(tx.into());
                self.config.required_min_rx = Duration::from_millis(rx.into());
                self.config.detect_mult = mult;
                self.config.enabled = enabled;
                self.configure();
            }
        }
        self.judge();
    }

    fn datagram<'a>(&self, payload: &'a [u8], near: bool) -> Datagram<'a> {
        Datagram {
            hops: Hops::Single,
            from: PEER,
            to: [192, 0, 2, 2].into(),
            interface: 1,
            ttl: if near { 255 } else { 254 },
            payload,
        }
    }

    fn receive(&mut self, octets: &[u8], near: bool, packet: ControlPacket) {
        let datagram = self.datagram(octets, near);
        let before = self.table.snapshot(ID).expect("there");
        let taken = self.table.receive(self.now, &datagram);
        match taken {
            Ok(_) => {
                assert!(near && !packet.authenticated);
                self.heard = Some((self.now, packet));
            }
            Err(DropReason::AdminDown) => {}
            Err(_) => {
                let after = self.table.snapshot(ID).expect("there");
                assert_eq!(before.state, after.state, "what is dropped changes nothing");
                assert_eq!(before.remote_discriminator, after.remote_discriminator);
                assert_eq!(before.transmit_interval, after.transmit_interval);
            }
        }
        if matches!(taken, Ok(_) | Err(DropReason::AdminDown)) {
            self.remote_min_rx = Duration::from_micros(packet.required_min_rx_micros.into());
        }
        self.look(taken.is_ok().then_some(packet));
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.table.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.table.on_deadline(self.now);
            self.look(None);
            let next = self.table.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "it does not spin");
            self.judge();
        }
        self.now = end;
    }

    /// Looks at what was done, which was for this packet, if it was for one.
    fn look(&mut self, cause: Option<ControlPacket>) {
        let snapshot = self.table.snapshot(ID).expect("there");
        if snapshot.detection_time.is_none() {
            // The contact is lost, and with it what the peer asked for.
            self.remote_min_rx = Duration::from_micros(1);
        }
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Changed(change) => self.changed(change, cause),
                Output::Transmit(transmit) => {
                    let sent = ControlPacket::decode(&transmit.octets).expect("a good packet");
                    self.sent(sent);
                }
                Output::Closed(_) => panic!("it was not removed"),
            }
        }
    }

    fn changed(&mut self, change: StateChange, packet: Option<ControlPacket>) {
        assert_eq!(change.from, self.state);
        self.state = change.to;
        self.changed_since_sent = true;
        if change.to == State::Up {
            let packet = packet.expect("only a packet brings it up");
            assert_eq!(packet.your_discriminator, self.name(), "the peer hears us");
            assert!(matches!(packet.state, State::Init | State::Up));
        }
        if change.cause == Cause::DetectionTimeExpired {
            let (at, last) = self.heard.expect("it was heard before");
            let least = self.detection(self.rx_seen.1, &last);
            assert!(self.now - at >= least, "not too early");
        }
    }

    fn detection(&self, rx: Duration, last: &ControlPacket) -> Duration {
        let desired = Duration::from_micros(last.desired_min_tx_micros.into());
        rx.max(desired) * u32::from(last.detect_mult)
    }

    fn sent(&mut self, packet: ControlPacket) {
        assert!(!(packet.poll && packet.is_final));
        assert_eq!(packet.state, self.state);
        assert_eq!(packet.my_discriminator, self.name());
        if packet.state != State::Up {
            assert!(packet.desired_min_tx_micros >= SECOND, "slow while not up");
        }
        if packet.is_final {
            self.extra += 1;
            return;
        }
        if self.changed_since_sent {
            self.extra += 1;
        } else if let Some(at) = self.last_sent {
            let least = self.remote_min_rx * 749 / 1000;
            assert!(
                self.now - at >= least,
                "never faster than the peer can take"
            );
        }
        self.changed_since_sent = false;
        self.last_sent = Some(self.now);
    }

    fn judge(&self) {
        let snapshot = self.table.snapshot(ID).expect("there");
        assert_eq!(snapshot.state, self.state);
        if let (State::Init | State::Up, Some((at, last))) = (self.state, self.heard) {
            let most = self.detection(self.rx_seen.0, &last);
            let due = self
                .table
                .next_deadline()
                .is_some_and(|next| next <= self.now);
            assert!(self.now - at <= most || due, "in time");
        }
        // Out of turn, no more than eight and then one each 10 ms.
        let allowed = 9 + (self.now - self.started).as_millis() as u64 / 10;
        assert!(self.extra <= allowed, "{} of {allowed}", self.extra);
        assert_eq!(self.table.len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold(
        passive: bool,
        multiplier in 1..4_u8,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut config = SessionConfig::single_hop(PEER);
        config.detect_mult = multiplier;
        config.desired_min_tx = Duration::from_millis(50);
        config.required_min_rx = Duration::from_millis(50);
        config.role = if passive { Role::Passive } else { Role::Active };
        let mut world = World::new(config);
        for step in steps {
            world.step(step);
        }
        // However it was led astray, a good peer brings it up again.
        world.config.enabled = true;
        world.configure();
        for state in [State::AdminDown, State::Down, State::Init, State::Up] {
            let mut packet = ControlPacket {
                diagnostic: Diagnostic::NONE,
                state,
                poll: true,
                is_final: false,
                control_plane_independent: false,
                authenticated: false,
                demand: false,
                detect_mult: 3,
                my_discriminator: 99,
                your_discriminator: 0,
                desired_min_tx_micros: SECOND,
                required_min_rx_micros: SECOND,
                required_min_echo_rx_micros: 0,
            };
            packet.your_discriminator = world.name();
            world.receive(&packet.encode(), true, packet);
        }
        prop_assert_eq!(world.state, State::Up);
    }

    #[test]
    fn octets_never_panic_and_what_is_decoded_encodes_to_the_same(
        octets in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut octets = octets;
        if let Some(first) = octets.first_mut() {
            *first = *first & 0x1f | 0x20;
        }
        if let Some(length) = octets.get_mut(3) {
            *length = 24 + (*length & 3);
        }
        if let Ok(packet) = ControlPacket::decode(&octets) && !packet.authenticated {
            let again = packet.encode();
            prop_assert_eq!(ControlPacket::decode(&again), Ok(packet));
        }
    }
}
