//! Two ends on a virtual clock and a virtual network that loses, delays, reorders and doubles; ends that restart, and clocks
//! that run apart and jump.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use dunlin_bfd::{
    CONTROL_LEN, Cause, Datagram, Hops, Output, Role, Seeds, SessionConfig, SessionId,
    SessionSnapshot, Sessions, State, StateChange,
};
use dunlin_net::{Chance, Instant};

const ID: SessionId = SessionId(1);
const SEEDS: u64 = 100;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn addr(end: usize) -> IpAddr {
    [10, 0, 0, end as u8 + 1].into()
}

struct End {
    table: Sessions,
    config: SessionConfig,
    /// Its clock: so far ahead, and so many millionths too fast.
    ahead: Duration,
    fast: u64,
    changes: Vec<(Instant, StateChange)>,
}

impl End {
    fn clock(&self, now: Instant) -> Instant {
        now + self.ahead + (now - Instant::ZERO) / 1_000_000 * self.fast as u32
    }

    /// When its clock shows `at`, or a little later.
    fn world_time(&self, at: Instant) -> Instant {
        let shown = at.as_micros().saturating_sub(self.ahead.as_micros() as u64);
        Instant::from_micros(shown - shown * self.fast / (1_000_000 + self.fast) + 2)
    }
}

#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Thousandths.
    loss: u64,
    doubled: u64,
    /// The most that a packet is under way.
    delay: Duration,
    /// Whether packets overtake each other.
    reorders: bool,
    /// Which direction is cut: toward this end.
    cut: [bool; 2],
}

const CALM: Weather = Weather {
    loss: 0,
    doubled: 0,
    delay: Duration::from_micros(200),
    reorders: false,
    cut: [false; 2],
};

/// When it lands, a number to keep the order, at which end, and the packet.
type Flying = (Instant, u64, usize, [u8; CONTROL_LEN]);

struct World {
    ends: [End; 2],
    now: Instant,
    chance: Chance,
    weather: Weather,
    flying: BinaryHeap<Reverse<Flying>>,
    sent: u64,
    /// When the last packet lands at each end.
    lands: [Instant; 2],
}

impl World {
    fn new(seed: u64, configs: [SessionConfig; 2]) -> World {
        let mut chance = Chance::new(seed);
        let ends = configs.map(|config| End {
            table: Sessions::new(Seeds::default(), 1),
            config,
            ahead: Duration::from_micros(chance.draw() % 1_000_000_000),
            fast: chance.draw() % 200,
            changes: Vec::new(),
        });
        let mut world = World {
            ends,
            now: Instant::ZERO,
            chance,
            weather: CALM,
            flying: BinaryHeap::new(),
            sent: 0,
            lands: [Instant::ZERO; 2],
        };
        world.start(0);
        world.start(1);
        world
    }

    /// An end begins anew and knows nothing of before.
    fn start(&mut self, end: usize) {
        let seeds = Seeds {
            discriminators: [self.chance.draw(), self.chance.draw()],
            chance: self.chance.draw(),
        };
        self.ends[end].table = Sessions::new(seeds, 1);
        self.configure(end, |_| {});
    }

    fn configure(&mut self, end: usize, change: impl FnOnce(&mut SessionConfig)) {
        let now = self.now;
        let one = &mut self.ends[end];
        change(&mut one.config);
        let set = one.table.set(one.clock(now), ID, one.config.clone());
        assert_eq!(set, Ok(()));
        self.collect(end);
    }

    fn collect(&mut self, end: usize) {
        while let Some(output) = self.ends[end].table.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.peer, addr(1 - end));
                    self.fly(1 - end, transmit.octets);
                }
                Output::Changed(change) => self.ends[end].changes.push((self.now, change)),
                Output::Closed(_) => {}
            }
        }
    }

    fn fly(&mut self, to: usize, octets: [u8; CONTROL_LEN]) {
        let mut copies = 1;
        if self.chance.draw() % 1000 < self.weather.loss {
            copies -= 1;
        }
        if self.chance.draw() % 1000 < self.weather.doubled {
            copies += 1;
        }
        for _ in 0..copies {
            let delay = self.chance.draw() % (self.weather.delay.as_micros() as u64);
            self.sent += 1;
            let mut at = self.now + Duration::from_micros(delay);
            if !self.weather.reorders {
                at = at.max(self.lands[to]);
            }
            self.lands[to] = at;
            self.flying.push(Reverse((at, self.sent, to, octets)));
        }
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let landing = self.flying.peek().map(|Reverse((at, ..))| (*at, 2));
            let deadline = |end: usize| {
                let one = &self.ends[end];
                Some((one.world_time(one.table.next_deadline()?), end))
            };
            let next = [landing, deadline(0), deadline(1)]
                .into_iter()
                .flatten()
                .min();
            let Some((at, what)) = next.filter(|(at, _)| *at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            if what == 2 {
                self.land();
            } else {
                let one = &mut self.ends[what];
                let clock = one.clock(self.now);
                one.table.on_deadline(clock);
                self.collect(what);
            }
        }
        self.now = until;
    }

    fn land(&mut self) {
        let Some(Reverse((_, _, to, octets))) = self.flying.pop() else {
            return;
        };
        if self.weather.cut[to] {
            return;
        }
        let datagram = Datagram {
            hops: Hops::Single,
            from: addr(1 - to),
            to: addr(to),
            interface: 1,
            ttl: 255,
            payload: &octets,
        };
        let one = &mut self.ends[to];
        let clock = one.clock(self.now);
        // One that was sent to the session of before a restart has no place any more.
        let _ = one.table.receive(clock, &datagram);
        self.collect(to);
    }

    fn snapshot(&self, end: usize) -> SessionSnapshot {
        self.ends[end].table.snapshot(ID).expect("it is there")
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|end| self.snapshot(end).state)
    }

    fn forget(&mut self) {
        for end in &mut self.ends {
            end.changes.clear();
        }
    }

    /// Up on both sides, and fast.
    fn assert_settled(&self, seed: u64) {
        assert_eq!(self.states(), [State::Up; 2], "seed {seed}");
        for end in [0, 1] {
            let (here, there) = (self.snapshot(end), self.snapshot(1 - end));
            let agreed = here.config.desired_min_tx.max(there.config.required_min_rx);
            assert_eq!(here.transmit_interval, agreed, "seed {seed}");
            let detection = agreed * u32::from(here.config.detect_mult);
            assert_eq!(there.detection_time, Some(detection), "seed {seed}");
            assert!(!here.polling, "seed {seed}");
        }
    }
}

fn configs(chance: &mut Chance) -> [SessionConfig; 2] {
    let passive = chance.draw() % 3;
    [0_usize, 1].map(|end| {
        let mut config = SessionConfig::single_hop(addr(1 - end));
        config.desired_min_tx = ms(10 + chance.draw() % 100);
        config.required_min_rx = ms(10 + chance.draw() % 100);
        config.detect_mult = 2 + (chance.draw() % 4) as u8;
        if passive == end as u64 {
            config.role = Role::Passive;
        }
        config
    })
}

fn worlds() -> impl Iterator<Item = (u64, World)> {
    (0..SEEDS).map(|seed| {
        let mut chance = Chance::new(seed ^ 0xbfd);
        (seed, World::new(seed, configs(&mut chance)))
    })
}

#[test]
fn a_calm_link_comes_up_within_two_seconds_and_stays_up() {
    for (seed, mut world) in worlds() {
        world.run(ms(2500));
        world.assert_settled(seed);
        world.forget();
        world.run(Duration::from_secs(60));
        world.assert_settled(seed);
        for end in &world.ends {
            assert!(end.changes.is_empty(), "seed {seed}: {:?}", end.changes);
        }
    }
}

#[test]
fn a_cut_in_one_or_both_directions_is_noticed_in_time_and_heals() {
    for (seed, mut world) in worlds() {
        world.run(ms(4000));
        for cut in [[true, false], [false, true], [true, true]] {
            let begun = world.now;
            let detection = [0, 1].map(|end| world.snapshot(end).detection_time.expect("heard"));
            world.weather.cut = cut;
            world.forget();
            world.run(Duration::from_secs(10));
            for end in [0, 1] {
                let (at, change) = world.ends[end].changes[0];
                let slack = ms(2);
                let other_is_passive = world.ends[1 - end].config.role == Role::Passive;
                let most = match (cut[end], other_is_passive) {
                    (true, _) => detection[end],
                    // The other end notices and says so, or falls silent.
                    (false, false) => detection[1 - end],
                    (false, true) => detection[1 - end] + detection[end],
                };
                assert!(at - begun <= most + slack, "seed {seed}: {:?}", at - begun);
                assert!(change.cause.is_failure(), "seed {seed}: {change:?}");
                assert_ne!(world.states(), [State::Up; 2]);
            }
            world.weather.cut = [false; 2];
            world.run(ms(4500));
            world.assert_settled(seed);
        }
    }
}

#[test]
fn loss_reordering_and_doubles_never_wedge_it() {
    for (seed, mut world) in worlds() {
        for loss in [50, 300, 700] {
            world.weather = Weather {
                loss,
                doubled: 100,
                delay: ms(80),
                reorders: true,
                cut: [false; 2],
            };
            world.run(Duration::from_secs(20));
            world.weather = CALM;
            world.run(ms(5000));
            world.assert_settled(seed);
        }
    }
}

#[test]
fn light_loss_is_survived() {
    for (seed, mut world) in worlds() {
        for end in [0, 1] {
            world.configure(end, |config| config.detect_mult = 8);
        }
        world.run(ms(4000));
        world.weather.loss = 20;
        world.forget();
        world.run(Duration::from_secs(60));
        for end in &world.ends {
            assert!(end.changes.is_empty(), "seed {seed}: {:?}", end.changes);
        }
    }
}

#[test]
fn a_restart_is_told_from_a_failure() {
    for (seed, mut world) in worlds() {
        world.run(ms(4000));
        world.forget();
        // It may be the passive end, which says nothing of itself: then its silence tells.
        world.start(0);
        world.run(ms(5000));
        world.assert_settled(seed);
        let passive = world.ends[0].config.role == Role::Passive;
        let (_, change) = world.ends[1].changes[0];
        let expected = if passive && change.cause == Cause::DetectionTimeExpired {
            Cause::DetectionTimeExpired
        } else {
            Cause::RemoteRestarted
        };
        assert_eq!(change.cause, expected, "seed {seed}");
        assert!(passive || world.snapshot(1).stats.failures == 0);
    }
}

#[test]
fn switching_off_and_leaving_are_no_failure_even_if_packets_are_lost() {
    for (seed, mut world) in worlds() {
        world.run(ms(4000));
        for end in [0, 1] {
            world.forget();
            world.configure(end, |config| config.enabled = false);
            world.run(ms(3000));
            assert_eq!(world.states()[end], State::AdminDown);
            let (_, change) = world.ends[1 - end].changes[0];
            assert_eq!(change.cause, Cause::RemoteAdminDown, "seed {seed}");
            world.configure(end, |config| config.enabled = true);
            world.run(ms(5000));
            world.assert_settled(seed);
        }
        world.forget();
        let clock = world.ends[0].clock(world.now);
        world.ends[0].table.remove_all(clock);
        world.collect(0);
        world.run(ms(1000));
        assert!(world.ends[0].table.is_empty(), "seed {seed}");
        let (_, change) = world.ends[1].changes[0];
        assert_eq!(change.cause, Cause::RemoteAdminDown, "seed {seed}");
        assert_eq!(world.snapshot(1).stats.failures, 0, "seed {seed}");
    }
}

#[test]
fn intervals_change_under_way_without_a_flap() {
    for (seed, mut world) in worlds() {
        world.run(ms(4000));
        world.forget();
        world.weather.delay = ms(2);
        for round in 0..30_usize {
            let mut drawn = || ms(10 + world.chance.draw() % 300);
            let (tx, rx) = (drawn(), drawn());
            let mult = 3 + (world.chance.draw() % 4) as u8;
            world.configure(round % 2, |config| {
                config.desired_min_tx = tx;
                config.required_min_rx = rx;
                config.detect_mult = mult;
            });
            let span = ms(world.chance.draw() % 3000);
            world.run(span);
        }
        world.run(Duration::from_secs(30));
        world.assert_settled(seed);
        for end in &world.ends {
            assert!(end.changes.is_empty(), "seed {seed}: {:?}", end.changes);
        }
    }
}

#[test]
fn a_clock_that_jumps_costs_at_most_one_flap() {
    for (seed, mut world) in worlds() {
        world.run(ms(4000));
        world.forget();
        let jump = ms(1 + world.chance.draw() % 100_000);
        world.ends[0].ahead += jump;
        world.run(ms(5000));
        world.assert_settled(seed);
        assert!(world.snapshot(0).stats.failures <= 1, "seed {seed}");
        // Back: the machine's time stands still, and nothing is the worse for it but the wait.
        world.ends[0].ahead -= jump.min(ms(50));
        world.run(ms(5000));
        world.assert_settled(seed);
    }
}
