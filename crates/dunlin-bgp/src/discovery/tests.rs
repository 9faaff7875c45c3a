use super::*;

const LINK: u32 = 7;

fn addr(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn from(from: Ipv6Addr, payload: &[u8]) -> Datagram<'_> {
    Datagram {
        from,
        interface: LINK,
        hop_limit: 255,
        payload,
    }
}

/// The machine with a clock that stops at each deadline on the way.
struct World {
    discovery: Discovery,
    now: Instant,
    sent: Vec<(Instant, Ipv6Addr)>,
    told: Vec<Neighbour>,
    /// Routers that answer solicitations a moment later.
    alive: Vec<Ipv6Addr>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            discovery: Discovery::new(1),
            now: at(0),
            sent: Vec::new(),
            told: Vec::new(),
            alive: Vec::new(),
        };
        world.discovery.watch(world.now, LINK, addr(1));
        world.drain();
        world
    }

    fn drain(&mut self) {
        let mut solicited = false;
        while let Some(output) = self.discovery.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    assert_eq!((transmit.interface, transmit.from), (LINK, addr(1)));
                    solicited |= transmit.to == ALL_ROUTERS;
                    self.sent.push((self.now, transmit.to));
                }
                Output::Changed(neighbour) => self.told.push(neighbour),
            }
        }
        if solicited {
            for router in self.alive.clone() {
                self.hear(router).expect("taken");
            }
        }
    }

    fn hear(&mut self, router: Ipv6Addr) -> Result<(), DropReason> {
        let octets = advertisement();
        let taken = self.discovery.receive(self.now, &from(router, &octets));
        self.drain();
        taken
    }

    fn run_to(&mut self, end: Instant) {
        while let Some(next) = self.discovery.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.discovery.on_deadline(self.now);
            assert!(
                self.discovery
                    .next_deadline()
                    .is_none_or(|then| then > self.now)
            );
            self.drain();
        }
        self.now = end;
    }

    fn neighbour(&self) -> Option<Ipv6Addr> {
        self.told.last().and_then(|told| told.address)
    }

    fn times(&self, to: Ipv6Addr) -> Vec<Instant> {
        let sent = self.sent.iter().filter(|(_, group)| *group == to);
        sent.map(|(at, _)| *at).collect()
    }
}

#[test]
fn what_is_watched_is_solicited_and_told_of_us_at_once_and_not_too_often() {
    let mut world = World::new();
    assert_eq!(world.times(ALL_ROUTERS), [at(0)]);
    assert_eq!(world.times(ALL_NODES), [at(0)]);
    world.run_to(at(600_000));
    let asked = world.times(ALL_ROUTERS);
    let pauses: Vec<u64> = asked
        .windows(2)
        .map(|w| w[1].since(w[0]).as_secs())
        .collect();
    assert_eq!(&pauses[..6], [4, 8, 16, 32, 60, 60]);
    let told = world.times(ALL_NODES);
    assert!(told.windows(2).all(|w| w[1].since(w[0]) >= ADVERTISE_LEAST));
    assert!(told.windows(2).all(|w| w[1].since(w[0]) <= ADVERTISE_MOST));
    assert_eq!(told[3], at(9000));
    // Solicitations from others are answered soon, and a flood of them not more often.
    let before = world.times(ALL_NODES).len();
    for _ in 0..1000 {
        let octets = solicitation();
        let asked = from(Ipv6Addr::UNSPECIFIED, &octets);
        world.discovery.receive(world.now, &asked).expect("taken");
    }
    let end = world.now + Duration::from_secs(4);
    world.run_to(end);
    let answered = world.times(ALL_NODES).len() - before;
    assert!((1..=2).contains(&answered), "{answered}");
}

#[test]
fn the_first_router_is_the_neighbour_and_hears_of_us_at_once() {
    let mut world = World::new();
    world.run_to(at(100_000));
    let before = world.times(ALL_NODES).len();
    assert_eq!(world.hear(addr(2)), Ok(()));
    assert_eq!(world.neighbour(), Some(addr(2)));
    let end = world.now + ADVERTISE_LEAST + ANSWER_DELAY;
    world.run_to(end);
    assert!(world.times(ALL_NODES).len() > before);
    // It may fall silent: whether it lives is not for us to say.
    let asked = world.times(ALL_ROUTERS).len();
    world.run_to(at(10_000_000));
    assert_eq!(world.neighbour(), Some(addr(2)));
    assert_eq!(world.times(ALL_ROUTERS).len(), asked);
}

#[test]
fn a_second_router_changes_nothing_while_the_first_answers() {
    let mut world = World::new();
    world.alive = vec![addr(2)];
    world.hear(addr(2)).expect("taken");
    world.run_to(at(20_000));
    world.hear(addr(3)).expect("taken");
    assert_eq!(world.told.last().unwrap().others, [addr(3)]);
    world.run_to(at(60_000));
    assert_eq!(world.neighbour(), Some(addr(2)));
    // And it is forgotten when it was not heard for long.
    world.run_to(at(1_000_000));
    assert!(world.told.last().unwrap().others.is_empty());
}

#[test]
fn a_neighbour_that_does_not_answer_while_another_is_there_was_replaced() {
    let mut world = World::new();
    world.hear(addr(2)).expect("taken");
    world.run_to(at(20_000));
    world.alive = vec![addr(3)];
    let asked = world.times(ALL_ROUTERS).len();
    world.hear(addr(3)).expect("taken");
    assert_eq!(world.neighbour(), Some(addr(2)), "it may yet answer");
    world.run_to(at(28_999));
    assert_eq!(world.neighbour(), Some(addr(2)));
    assert_eq!(world.times(ALL_ROUTERS).len() - asked, 2);
    world.run_to(at(29_000));
    assert_eq!(world.neighbour(), Some(addr(3)));
    assert!(world.told.last().unwrap().others.is_empty());
}

#[test]
fn a_flood_of_routers_is_bounded_in_what_is_kept_told_and_sent() {
    let mut world = World::new();
    world.alive = vec![addr(2)];
    world.hear(addr(2)).expect("taken");
    world.run_to(at(20_000));
    for last in 0..10_000 {
        let taken = world.hear(addr(100 + last));
        assert_eq!(taken.is_ok(), usize::from(last) < OTHERS);
    }
    world.run_to(at(49_000));
    assert_eq!(world.neighbour(), Some(addr(2)));
    assert_eq!(world.told.len(), 1 + OTHERS);
    let asked = world.times(ALL_ROUTERS);
    assert!(asked.windows(2).all(|w| w[1].since(w[0]) >= SOLICIT_FIRST));
    assert_eq!(
        world.discovery.counts().dropped[&DropReason::TooMany],
        10_000 - 8
    );
}

#[test]
fn a_link_that_comes_back_keeps_its_neighbour_and_one_no_longer_watched_is_silent() {
    let mut world = World::new();
    world.hear(addr(2)).expect("taken");
    world.run_to(at(100_000));
    let (asked, told) = (world.times(ALL_ROUTERS).len(), world.times(ALL_NODES).len());
    world.discovery.watch(world.now, LINK, addr(1));
    world.drain();
    world.run_to(at(103_000));
    assert_eq!(world.times(ALL_ROUTERS).len(), asked + 1);
    assert!(world.times(ALL_NODES).len() > told);
    assert_eq!(world.told.len(), 1);
    world.discovery.unwatch(LINK);
    assert_eq!(world.hear(addr(2)), Err(DropReason::Interface));
    assert_eq!(world.discovery.next_deadline(), None);
    assert!(world.discovery.is_empty());
}

#[test]
fn messages_are_checked_as_the_rfc_says() {
    let advertised = advertisement();
    let solicited = solicitation();
    let parsed = |from: Ipv6Addr, hop_limit, payload: &[u8]| {
        parse(&Datagram {
            from,
            interface: LINK,
            hop_limit,
            payload,
        })
    };
    let with = |start: &[u8], more: &[u8]| [start, more].concat();
    let link_layer = [1, 1, 2, 0, 0, 0, 0, 9];
    let global: Ipv6Addr = "2001:db8::1".parse().unwrap();
    assert_eq!(
        parsed(addr(2), 255, &advertised),
        Ok(Message::Advertisement)
    );
    assert_eq!(
        parsed(addr(2), 255, &with(&advertised, &link_layer)),
        Ok(Message::Advertisement)
    );
    assert_eq!(parsed(addr(2), 254, &advertised), Err(DropReason::HopLimit));
    assert_eq!(parsed(global, 255, &advertised), Err(DropReason::Source));
    assert_eq!(
        parsed(Ipv6Addr::UNSPECIFIED, 255, &advertised),
        Err(DropReason::Source)
    );
    assert_eq!(
        parsed(addr(2), 255, &advertised[..15]),
        Err(DropReason::Length)
    );
    assert_eq!(parsed(addr(2), 255, &[134]), Err(DropReason::Length));
    assert_eq!(
        parsed(addr(2), 255, &with(&[134, 1], &[0; 14])),
        Err(DropReason::Code)
    );
    assert_eq!(
        parsed(addr(2), 255, &with(&[136, 0], &[0; 22])),
        Err(DropReason::Type)
    );
    for bad in [
        &[1, 0, 0, 0, 0, 0, 0, 0][..],
        &[1, 2, 0, 0, 0, 0, 0, 0],
        &[1],
    ] {
        assert_eq!(
            parsed(addr(2), 255, &with(&advertised, bad)),
            Err(DropReason::Option)
        );
        assert_eq!(
            parsed(addr(2), 255, &with(&solicited, bad)),
            Err(DropReason::Option)
        );
    }
    assert_eq!(parsed(global, 255, &solicited), Ok(Message::Solicitation));
    assert_eq!(
        parsed(Ipv6Addr::UNSPECIFIED, 255, &solicited),
        Ok(Message::Solicitation)
    );
    let named = with(&solicited, &link_layer);
    assert_eq!(parsed(addr(2), 255, &named), Ok(Message::Solicitation));
    assert_eq!(
        parsed(Ipv6Addr::UNSPECIFIED, 255, &named),
        Err(DropReason::Option)
    );
    assert_eq!(
        parsed(addr(2), 255, &solicited[..7]),
        Err(DropReason::Length)
    );
    assert_eq!(parsed(ALL_NODES, 255, &solicited), Err(DropReason::Source));
}

#[test]
fn our_advertisement_makes_no_default_router_of_us() {
    let octets = advertisement();
    assert_eq!(octets.len(), 16);
    assert_eq!(octets[6..8], [0, 0], "router lifetime");
    assert_eq!((octets[0], solicitation()[0]), (134, 133));
}

#[test]
fn what_we_send_comes_back_to_nobody() {
    let mut world = World::new();
    assert_eq!(world.hear(addr(1)), Err(DropReason::Own));
    assert_eq!(world.neighbour(), None);
}
