//! Another service proxy: seen, taken over from with connections open, and removed to the last of its rules. kube-proxy's
//! are restated here, in each of the ways it writes them.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dunlin_kernel::others::{Means, Remains, service_proxy};
use dunlin_net::Afi;
use dunlin_net::service::Protocol;
use support::services::*;
use support::world::*;
use support::*;

/// How another proxy writes its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nft,
    Iptables,
    Legacy,
}

impl Mode {
    /// The program that takes rules in for a family, or lists them with `-save`.
    fn program(self, afi: Afi, what: &str) -> String {
        match (self, afi) {
            (Mode::Nft, _) => "nft".to_owned(),
            (Mode::Iptables, Afi::Ipv4) => format!("iptables-nft-{what}"),
            (Mode::Iptables, Afi::Ipv6) => format!("ip6tables-nft-{what}"),
            (Mode::Legacy, Afi::Ipv4) => format!("iptables-legacy-{what}"),
            (Mode::Legacy, Afi::Ipv6) => format!("ip6tables-legacy-{what}"),
        }
    }

    /// Writes what kube-proxy would.
    fn install(self, afi: Afi) {
        let addrs = addrs(afi);
        let target = |pod: &str| at(pod, 8080).to_string();
        let (family, kind, pods) = match afi {
            Afi::Ipv4 => ("ip", "ipv4_addr", "10.244.0.0/16"),
            Afi::Ipv6 => ("ip6", "ipv6_addr", "fd00::/16"),
        };
        let text = match self {
            Mode::Nft => include_str!("take_over/nf_tables.nft"),
            Mode::Iptables | Mode::Legacy => include_str!("take_over/iptables.txt"),
        };
        // Longer words before those that they contain.
        let text = [
            ("TARGET_POD", &*target(addrs.pods[0])),
            ("TARGET_FAR", &target(addrs.far)),
            ("ADDRTYPE", kind),
            ("FAMILY", family),
            (" SERVICE ", &format!(" {} ", addrs.service)),
            (" PODS ", &format!(" {pods} ")),
            (" POD ", &format!(" {} ", addrs.pods[0])),
            (" FAR ", &format!(" {} ", addrs.far)),
        ]
        .iter()
        .fold(text.to_owned(), |text, (word, with)| {
            text.replace(word, with)
        });
        match self {
            Mode::Nft => feed("nft -f -", &text),
            Mode::Iptables | Mode::Legacy => feed(&self.program(afi, "restore"), &text),
        }
    }

    /// What is there of chains that begin with `KUBE-`, and of tables.
    fn left(self, afi: Afi) -> Vec<String> {
        let text = match self {
            Mode::Nft => run("nft list tables"),
            Mode::Iptables | Mode::Legacy => run(&self.program(afi, "save")),
        };
        let lines = text
            .lines()
            .filter(|line| !line.contains("dunlin_services"));
        let rules = lines.filter(|line| [':', '-', 't'].iter().any(|sign| line.starts_with(*sign)));
        let ours = |line: &&str| {
            line.contains("KUBE-") || line.contains("STRANGER") || line.contains("kube-proxy")
        };
        rules
            .filter(ours)
            .map(|line| line.split(" [").next().unwrap_or(line).to_owned())
            .collect()
    }
}

/// What is kubelet's and a stranger's.
const OTHERS: [&str; 8] = [
    ":KUBE-FIREWALL -",
    "-A INPUT -j KUBE-FIREWALL",
    "-A OUTPUT -j KUBE-FIREWALL",
    ":KUBE-KUBELET-CANARY -",
    ":KUBE-KUBELET-CANARY -",
    ":KUBE-KUBELET-CANARY -",
    ":STRANGER -",
    "-A PREROUTING -j STRANGER",
];

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

const PACE: Duration = Duration::from_millis(3);

/// One more question of the same flow. A datagram may get lost anywhere, as where two new flows of the same moment would get
/// the same port: then it is asked again, as any client does. A flow that is broken has no answer ever.
fn ask_on(client: &mut Client) -> Answer {
    match client {
        Client::Tcp(_) => client.ask(),
        Client::Udp(_) => {
            let mut tries = (0..10).map(|_| client.ask_within(DEADLINE / 10));
            let answer = tries.find_map(Result::ok);
            answer.expect("an answer to one of ten datagrams")
        }
    }
}

/// Connections and flows that ask again and again, and how many have been answered.
struct Stream<'a> {
    from: From<'a>,
    protocol: Protocol,
    afi: Afi,
    answered: AtomicUsize,
}

impl Stream<'_> {
    /// Each question is a new connection; one without an answer fails the test.
    fn run(&self, stop: &AtomicBool) {
        let addrs = addrs(self.afi);
        let by = [addrs.pods[0], addrs.far].map(|pod| at(pod, 8080));
        while !stop.load(Ordering::Relaxed) {
            let to = at(addrs.service, 80);
            let mut client = Client::open(self.from, self.protocol, None, to).unwrap();
            let answer = ask_on(&mut client);
            assert!(by.contains(&answer.by), "{answer:?}");
            self.answered.fetch_add(1, Ordering::Relaxed);
            // Often enough to meet any gap, and others have the machine too.
            std::thread::sleep(PACE);
        }
    }
}

/// Waits until each stream has had so many answers more.
fn await_answers(streams: &[Stream<'_>], more: usize) {
    let count = |stream: &Stream<'_>| stream.answered.load(Ordering::Relaxed);
    let wanted: Vec<usize> = streams.iter().map(|stream| count(stream) + more).collect();
    let begun = Instant::now();
    for (stream, wanted) in streams.iter().zip(wanted) {
        while count(stream) < wanted {
            assert!(begun.elapsed() < 2 * DEADLINE, "a stream stands still");
            std::thread::sleep(PACE);
        }
    }
}

/// Ends the streams also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Our elements for what the other proxy delivers.
fn ours() -> Vec<dunlin_dataplane::proxy::Element> {
    let of = |afi: Afi, protocol| {
        let addrs = addrs(afi);
        let endpoints = [addrs.pods[0], addrs.far].map(|pod| at(pod, 8080));
        Balanced::new(frontend(addrs.service, protocol, 80), &endpoints).elements()
    };
    let protocols = [Protocol::Tcp, Protocol::Udp];
    let all = Afi::ALL
        .into_iter()
        .flat_map(|afi| protocols.map(|protocol| of(afi, protocol)));
    all.flatten().collect()
}

fn take_over(mode: Mode) {
    let world = World::new();
    let places = [
        From::Node,
        From::Space(&world.outside),
        From::Space(&world.neighbour),
    ];
    let protocols = [Protocol::Tcp, Protocol::Udp];
    for afi in Afi::ALL {
        for protocol in protocols {
            serve(
                From::Space(&world.pod),
                protocol,
                at(addrs(afi).pods[0], 8080),
            );
            serve(From::Space(&world.far), protocol, at(addrs(afi).far, 8080));
        }
        mode.install(afi);
    }
    assert!(service_proxy().unwrap().is_some());
    let all = || {
        places
            .iter()
            .flat_map(|from| protocols.map(|protocol| (*from, protocol)))
    };
    // Connections that live through it all, to both endpoints.
    let mut old = Vec::new();
    for afi in Afi::ALL {
        for (from, protocol) in all() {
            for _ in 0..4 {
                let mut client =
                    Client::open(from, protocol, None, at(addrs(afi).service, 80)).unwrap();
                let answer = ask_on(&mut client);
                old.push((client, answer));
            }
        }
    }
    let streams: Vec<Stream<'_>> = Afi::ALL
        .into_iter()
        .flat_map(|afi| all().map(move |(from, protocol)| (afi, from, protocol)))
        .map(|(afi, from, protocol)| Stream {
            from,
            protocol,
            afi,
            answered: AtomicUsize::new(0),
        })
        .collect();
    let stop = AtomicBool::new(false);
    let mut still = || {
        for (client, first) in &mut old {
            assert_eq!(ask_on(client), *first);
        }
    };
    std::thread::scope(|scope| {
        let _ended = Stop(&stop);
        for stream in &streams {
            scope.spawn(|| stream.run(&stop));
        }
        await_answers(&streams, 3);
        let _tables = tables(&ours());
        await_answers(&streams, 3);
        still();
        let remains = Remains::find(Means::Programs).unwrap();
        assert_eq!((remains.kept(), remains.beyond()), Default::default());
        let done = remains.remove();
        assert_eq!(done.problems, Vec::<String>::new());
        assert_eq!(done.removed, remains.describe());
        await_answers(&streams, 5);
        still();
    });
    assert_eq!(service_proxy().unwrap(), None);
    assert!(Remains::find(Means::Programs).unwrap().is_empty());
    for afi in Afi::ALL {
        let expected = match mode {
            Mode::Nft => Vec::new(),
            Mode::Iptables | Mode::Legacy => OTHERS.map(str::to_owned).to_vec(),
        };
        assert_eq!(sorted(mode.left(afi)), sorted(expected), "{afi:?}");
    }
}

#[test]
fn from_nf_tables_no_connection_is_lost() {
    in_netns(|| take_over(Mode::Nft));
}

#[test]
fn from_iptables_no_connection_is_lost() {
    in_netns(|| take_over(Mode::Iptables));
}

#[test]
fn from_the_older_iptables_no_connection_is_lost() {
    in_netns(|| take_over(Mode::Legacy));
}

/// What is programmed later comes first at a hook.
#[test]
fn new_connections_go_by_ours_while_both_are_there() {
    for mode in [Mode::Nft, Mode::Iptables, Mode::Legacy] {
        in_netns(move || {
            let world = World::new();
            let mut elements = Vec::new();
            for afi in Afi::ALL {
                let addrs = addrs(afi);
                // Where the other proxy does not send.
                let own = at(addrs.pods[1], 8080);
                serve(From::Space(&world.neighbour), Protocol::Tcp, own);
                let service = frontend(addrs.service, Protocol::Tcp, 80);
                elements.extend(Balanced::new(service, &[own]).elements());
                mode.install(afi);
            }
            let _tables = tables(&elements);
            for afi in Afi::ALL {
                let addrs = addrs(afi);
                for from in [
                    From::Node,
                    From::Space(&world.outside),
                    From::Space(&world.pod),
                ] {
                    for _ in 0..10 {
                        let by = ask(from, Protocol::Tcp, at(addrs.service, 80)).by;
                        assert_eq!(by, at(addrs.pods[1], 8080), "{mode:?}");
                    }
                }
            }
        });
    }
}

#[test]
fn another_service_proxy_is_seen_wherever_it_is() {
    in_netns(|| {
        let seen = || service_proxy().expect("nf_tables");
        assert_eq!(seen(), None);
        for (line, undo, what) in [
            (
                "iptables-nft -t nat -N KUBE-SERVICES",
                "iptables-nft -t nat -X KUBE-SERVICES",
                "ip nat",
            ),
            (
                "nft add table ip6 kube-proxy",
                "nft delete table ip6 kube-proxy",
                "ip6 kube-proxy",
            ),
            (
                "ip6tables-legacy -t nat -N KUBE-SERVICES",
                "ip6tables-legacy -t nat -X KUBE-SERVICES",
                "ip6tables-legacy",
            ),
            (
                "ip link add kube-ipvs0 type veth peer name other0",
                "ip link delete kube-ipvs0",
                "kube-ipvs0",
            ),
        ] {
            run(line);
            let found = seen().unwrap_or_default();
            assert!(found.contains(what), "{line}: {found}");
            run(undo);
            assert_eq!(seen(), None, "{undo}");
        }
        // Looking at the older tables does not make them.
        assert!(!run("cat /proc/thread-self/net/ip_tables_names").contains("nat"));
    });
}

#[test]
fn what_only_another_program_can_remove_is_told() {
    in_netns(|| {
        Mode::Legacy.install(Afi::Ipv4);
        let remains = Remains::find(Means::Netlink).unwrap();
        assert_eq!(remains.describe(), Vec::<String>::new());
        assert!(!remains.is_empty());
        let left = remains.beyond();
        assert!(
            left.len() == 1 && left[0].contains("iptables-legacy"),
            "{left:?}"
        );
        assert_eq!(remains.remove().problems, left);
    });
}

#[test]
fn an_interface_of_ipvs_goes_with_its_addresses() {
    in_netns(|| {
        run("ip link add kube-ipvs0 type veth peer name other0");
        run("ip addr add 10.96.0.1/32 dev kube-ipvs0");
        let done = Remains::find(Means::Programs).unwrap().remove();
        assert_eq!(
            done.removed,
            ["the interface kube-ipvs0 with its addresses"]
        );
        assert!(!attempt("ip link show kube-ipvs0").0);
        assert!(Remains::find(Means::Programs).unwrap().is_empty());
    });
}

#[test]
fn thousands_of_chains_go() {
    in_netns(|| {
        const SERVICES: usize = 2_600;
        let mut text = String::from("*nat\n:KUBE-SERVICES - [0:0]\n");
        for n in 0..SERVICES {
            text += &format!(":KUBE-SVC-{n} - [0:0]\n:KUBE-SEP-{n} - [0:0]\n");
        }
        text += "-A PREROUTING -j KUBE-SERVICES\n";
        for n in 0..SERVICES {
            text += &format!(
                "-A KUBE-SERVICES -d 10.{}.{}.1/32 -j KUBE-SVC-{n}\n",
                96 + n / 256,
                n % 256
            );
            text += &format!("-A KUBE-SVC-{n} -j KUBE-SEP-{n}\n-A KUBE-SEP-{n} -j ACCEPT\n");
        }
        text += "COMMIT\n";
        feed("iptables-nft-restore", &text);
        let remains = Remains::find(Means::Netlink).unwrap();
        assert_eq!(
            remains.describe(),
            [
                "5201 chains of iptables and 1 rule that leads there, in the table nat of ip in nf_tables"
            ]
        );
        assert_eq!(remains.remove().problems, Vec::<String>::new());
        assert!(Remains::find(Means::Netlink).unwrap().is_empty());
        assert!(!run("iptables-nft-save").contains("KUBE-"));
    });
}
