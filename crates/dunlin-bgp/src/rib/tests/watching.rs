//! Whatever happens, however rarely and however little a watch asks: in the end it knows what is in the tables.

use std::collections::BTreeMap;

use dunlin_net::{Afi, IpNet, V4, V6};
use proptest::prelude::*;

use super::harness::{FIRST_V6, Harness, NETS, info, net};
use super::operations::{Op, op};
use super::world::*;
use crate::batch::{NextHop, RouteBatch};
use crate::rib::{Rib, RibFamily, Seen, SourceId, Watch, WatchId, Watched};

/// What one who watches knows.
type Known = BTreeMap<(Option<SourceId>, Option<u32>, IpNet), (Vec<u8>, NextHop)>;

struct Watcher {
    id: WatchId,
    watch: Watch,
    known: Known,
}

impl Watcher {
    fn begin(rib: &mut Rib, watch: Watch) -> Watcher {
        Watcher {
            id: rib.watch(watch),
            watch,
            known: Known::new(),
        }
    }

    /// Asks once in each family; stops when told of `most` groups. Whether it has been told all.
    fn poll(&mut self, rib: &mut Rib, limit: usize, most: usize) -> bool {
        let v4 = self.poll_of::<V4>(rib, limit, most);
        let v6 = self.poll_of::<V6>(rib, limit, most);
        if v4 == Watched::Overrun || v6 == Watched::Overrun {
            rib.unwatch(self.id);
            *self = Watcher::begin(rib, self.watch);
            return false;
        }
        (v4, v6) == (Watched::All, Watched::All)
    }

    fn poll_of<F: RibFamily>(&mut self, rib: &mut Rib, limit: usize, most: usize) -> Watched {
        let mut left = most;
        rib.poll_watch::<F>(self.id, limit, |seen: Seen<'_, F>| {
            assert!(seen.path_ids.is_empty() || seen.path_ids.len() == seen.nets.len());
            for (at, &net) in seen.nets.iter().enumerate() {
                let key = (seen.of, seen.path_ids.get(at).copied(), net.into());
                match seen.route {
                    Some(route) => {
                        let says = (route.attrs.as_bytes().to_vec(), route.next_hop);
                        self.known.insert(key, says);
                    }
                    None => drop(self.known.remove(&key)),
                }
            }
            left = left.saturating_sub(1);
            left > 0
        })
    }

    /// The end of a session withdraws what it told.
    fn on_down(&mut self, source: SourceId) {
        self.known.retain(|(of, ..), _| *of != Some(source));
    }

    fn expected(&self, harness: &Harness) -> Known {
        let mut expected = Known::new();
        if self.watch.adj_rib_in {
            let routes = harness.naive.routes.iter();
            let learned = routes.filter(|(key, route)| key.1 != harness.local && !route.stale);
            expected.extend(learned.map(|(&(net, source, id), route)| {
                (
                    (Some(source), id, net),
                    (route.bytes.clone(), route.next_hop),
                )
            }));
        }
        if self.watch.loc_rib {
            for number in 0..NETS {
                let best = match afi_of(number, FIRST_V6) {
                    Afi::Ipv4 => best::<V4>(&harness.rib, V4::test_net(number)),
                    Afi::Ipv6 => best::<V6>(&harness.rib, V6::test_net(number)),
                };
                expected.extend(best.map(|says| ((None, None, net(number)), says)));
            }
        }
        expected
    }
}

fn best<F: RibFamily>(rib: &Rib, net: F::Net) -> Option<(Vec<u8>, NextHop)> {
    let view = rib.lookup::<F>(net)?;
    let path = view.paths.into_iter().find(|path| path.best)?;
    let next_hop = match (path.info.is_local(), F::AFI) {
        (false, _) => path.next_hop,
        (true, Afi::Ipv4) => NextHop::new("0.0.0.0".parse().unwrap()),
        (true, Afi::Ipv6) => NextHop::new("::".parse().unwrap()),
    };
    Some((path.used.unwrap().as_bytes().to_vec(), next_hop))
}

#[derive(Debug, Clone)]
enum Step {
    Happens(Op),
    Begin {
        adj_rib_in: bool,
        loc_rib: bool,
    },
    End {
        which: usize,
    },
    Ask {
        which: usize,
        limit: usize,
        most: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => op().prop_map(Step::Happens),
        1 => any::<(bool, bool)>().prop_map(|(adj_rib_in, loc_rib)| Step::Begin { adj_rib_in, loc_rib }),
        1 => any::<usize>().prop_map(|which| Step::End { which }),
        6 => (any::<usize>(), 1..20usize, 1..5usize)
            .prop_map(|(which, limit, most)| Step::Ask { which, limit, most }),
    ]
}

fn run(steps: &[Step]) {
    let mut harness = Harness::new(false);
    let all = Watch {
        adj_rib_in: true,
        loc_rib: true,
    };
    let mut watchers = vec![Watcher::begin(&mut harness.rib, all)];
    for step in steps {
        match *step {
            Step::Happens(ref op) => {
                if let Op::Stale { source } | Op::Drop { source } | Op::Reregister { source } = *op
                {
                    let id = harness.ids[&source];
                    watchers.iter_mut().for_each(|w| w.on_down(id));
                }
                harness.run(op);
            }
            Step::Begin {
                adj_rib_in,
                loc_rib,
            } if watchers.len() < 4 => {
                let watch = Watch {
                    adj_rib_in,
                    loc_rib,
                };
                watchers.push(Watcher::begin(&mut harness.rib, watch));
            }
            Step::End { which } if which % watchers.len() > 0 => {
                let gone = watchers.remove(which % watchers.len());
                harness.rib.unwatch(gone.id);
            }
            Step::Ask { which, limit, most } => {
                let at = which % watchers.len();
                watchers[at].poll(&mut harness.rib, limit, most);
            }
            Step::Begin { .. } | Step::End { .. } => {}
        }
    }
    harness.settle();
    for watcher in &mut watchers {
        for round in 0.. {
            assert!(round < 1_000, "telling does not come to an end");
            if watcher.poll(&mut harness.rib, 7, 2) {
                break;
            }
        }
        let expected = watcher.expected(&harness);
        assert_eq!(watcher.known, expected);
        let counts = harness.rib.best_counts();
        let best = watcher.known.keys().filter(|(of, ..)| of.is_none()).count();
        if watcher.watch.loc_rib {
            assert_eq!(counts.v4 + counts.v6, best as u64);
        }
    }
    // Who still watches keeps nothing back.
    harness.empty();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whoever_watches_knows_in_the_end(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps);
    }
}

#[test]
fn nothing_is_told_twice_and_a_change_is_told_alone() {
    let mut rib = Rib::new(config());
    let facts = Facts::new();
    let sources = [1, 2].map(|number| rib.register(info(number)).unwrap());
    let tell = |rib: &mut Rib, source, nets: &[u8], variant| {
        let mut batch = RouteBatch::default();
        let nets: Vec<_> = nets.iter().map(|&number| V4::test_net(number)).collect();
        announce::<V4>(&mut batch, &attrs(variant), V4::test_hop(0), &nets);
        rib.apply(&facts, source, &batch);
    };
    for source in sources {
        tell(&mut rib, source, &[1, 2, 3], 0);
    }
    let watch = Watch {
        adj_rib_in: true,
        loc_rib: false,
    };
    let id = rib.watch(watch);
    let told = |rib: &mut Rib| {
        let mut told = Vec::new();
        let state = rib.poll_watch::<V4>(id, 100, |seen| {
            told.push((seen.of.unwrap(), seen.nets.len(), seen.route.is_some()));
            true
        });
        assert_eq!(state, Watched::All);
        told
    };
    assert_eq!(
        told(&mut rib),
        [(sources[0], 3, true), (sources[1], 3, true)],
        "equal attributes together"
    );
    assert_eq!(told(&mut rib), []);
    // The same again is nothing new.
    tell(&mut rib, sources[1], &[1, 2, 3], 0);
    assert_eq!(told(&mut rib), []);
    tell(&mut rib, sources[1], &[2], 1);
    assert_eq!(told(&mut rib), [(sources[1], 1, true)]);
    let mut batch = RouteBatch::default();
    withdraw::<V4>(&mut batch, &[V4::test_net(1), V4::test_net(3)]);
    rib.apply(&facts, sources[0], &batch);
    assert_eq!(told(&mut rib), [(sources[0], 2, false)]);
    // The end of a session is told by other means.
    rib.drop_source(sources[1]);
    while rib.poll_work(&facts, 100) {}
    assert_eq!(told(&mut rib), []);
}
