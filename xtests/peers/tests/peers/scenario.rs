//! What a scenario's `scenario.yaml` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dunlin_net::Afi;
use ipnet::IpNet;
use serde::Deserialize;

use crate::daemon::Kind;

/// One scenario: a daemon's part, and what happens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Scenario {
    /// What it proves.
    #[serde(rename = "about")]
    _about: String,
    /// What the daemon is.
    pub(crate) speaker: Speaker,
    /// Daemons that cannot do what this is about, and what they lack.
    #[serde(default)]
    pub(crate) without: BTreeMap<Kind, String>,
    /// More speakers on the link.
    #[serde(default)]
    pub(crate) others: Vec<Other>,
    /// The Node objects there are at the beginning: 1 is the agent's, 2 has the daemon's addresses.
    #[serde(default = "only_ours")]
    pub(crate) nodes: Vec<u16>,
    /// What happens, in order.
    pub(crate) steps: Vec<Entry>,
    /// Where its files are.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

fn only_ours() -> Vec<u16> {
    vec![1]
}

/// A speaker beside the daemon, always BIRD. It runs from `start: others` on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Other {
    /// Its addresses are those of the node of this number.
    pub(crate) number: u16,
    /// Its AS.
    pub(crate) asn: u32,
    /// Whom it speaks with.
    pub(crate) to: Who,
    /// What it announces.
    pub(crate) announce: Vec<IpNet>,
}

/// What the daemon is configured to be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Speaker {
    /// Its AS.
    pub(crate) asn: u32,
    /// The AS it expects of the agent.
    #[serde(default = "node_asn")]
    pub(crate) peer_asn: u32,
    /// Its hold time, in seconds.
    #[serde(default = "hold_secs")]
    pub(crate) hold_secs: u16,
    /// Its restart time for graceful restart, in seconds; without it, it only helps others.
    pub(crate) graceful_restart_secs: Option<u16>,
    /// How long routes may stay beyond that, in seconds (RFC 9494).
    pub(crate) long_lived_secs: Option<u32>,
    /// It does not speak four-octet AS numbers (RFC 6793).
    #[serde(default)]
    pub(crate) two_octet: bool,
    /// The family that the session runs over.
    #[serde(default = "ipv4")]
    pub(crate) over: Afi,
    /// The session runs over the link alone, between link-local addresses: fe80::1 of the agent and fe80::2. The daemon sends
    /// router advertisements.
    #[serde(default)]
    pub(crate) unnumbered: bool,
    /// Its router id, where it is not its IPv4 address.
    pub(crate) router_id: Option<Ipv4Addr>,
    /// IPv4 prefixes have its IPv6 address as next hop (RFC 8950).
    #[serde(default)]
    pub(crate) extended_next_hop: bool,
    /// It marks what it tells anew (RFC 7313); BIRD, FRR and ExaBGP always say that they do.
    #[serde(default)]
    pub(crate) enhanced_refresh: bool,
    /// The TCP MD5 password.
    pub(crate) password: Option<String>,
    /// It sends with TTL 255 and takes nothing less (RFC 5082).
    #[serde(default)]
    pub(crate) ttl_security: bool,
    /// What it is to the agent (RFC 9234): `provider`, `customer`, `peer`.
    pub(crate) role: Option<String>,
    /// It watches the agent by BFD, three packets each so many milliseconds.
    pub(crate) bfd_millis: Option<u32>,
    /// It waits to be called.
    #[serde(default)]
    pub(crate) passive: bool,
    /// It is a route reflector (RFC 4456), and all it speaks with are its clients.
    #[serde(default)]
    pub(crate) reflects: bool,
    /// It sends the agent several paths of a prefix (RFC 7911).
    #[serde(default)]
    pub(crate) sends_paths: bool,
    /// It takes several paths of a prefix from the agent.
    #[serde(default)]
    pub(crate) takes_paths: bool,
    /// What it announces from the beginning.
    #[serde(default)]
    pub(crate) announce: Vec<Announce>,
    /// Those who speak with it beside the agent.
    #[serde(skip)]
    pub(crate) others: Vec<Other>,
}

fn node_asn() -> u32 {
    dunlin_lab::plan::NODE_ASN
}

fn ipv4() -> Afi {
    Afi::Ipv4
}

fn hold_secs() -> u16 {
    90
}

/// A route that the daemon originates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Announce {
    /// The prefix.
    pub(crate) prefix: IpNet,
    /// Its next hop, where it is not the daemon.
    pub(crate) next_hop: Option<IpAddr>,
    /// An AS put before the path.
    pub(crate) prepend: Option<u32>,
    /// The AS of Only to Customer (RFC 9234); BIRD and ExaBGP alone can be told to add it.
    pub(crate) only_to_customer: Option<u32>,
    /// Communities (two numbers) and large communities (three).
    #[serde(default)]
    pub(crate) communities: Vec<String>,
    /// MULTI_EXIT_DISC.
    pub(crate) med: Option<u32>,
}

impl Announce {
    /// Nothing but a prefix.
    pub(crate) fn plain(prefix: IpNet) -> Announce {
        Announce {
            prefix,
            ..Announce::default()
        }
    }

    /// Its communities, and its large communities.
    pub(crate) fn communities(&self) -> [Vec<&str>; 2] {
        [2, 3].map(|numbers| {
            let all = self.communities.iter().map(String::as_str);
            all.filter(|text| text.split(':').count() == numbers)
                .collect()
        })
    }

    /// Whether it says more than its prefix.
    pub(crate) fn is_special(&self) -> bool {
        *self != Announce::plain(self.prefix)
    }
}

/// A step, and the daemons that leave it out.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    /// Daemons that cannot do it.
    #[serde(default)]
    pub(crate) unless: Vec<Kind>,
    /// What is done or expected.
    #[serde(flatten)]
    pub(crate) step: Step,
}

/// Who is started or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Who {
    /// `dunlin agent`.
    Agent,
    /// The daemon.
    Daemon,
}

/// One step. An expectation waits until it holds, up to a deadline.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Step {
    /// Starts it, anew if it was ended.
    Start(Who),
    /// Starts all other speakers.
    StartOthers(()),
    /// Ends the other speaker of this number by SIGKILL.
    KillOther(u16),
    /// Ends it by SIGKILL.
    Kill(Who),
    /// Ends it by SIGTERM.
    Terminate(Who),
    /// SIGSTOP.
    Pause(Who),
    /// SIGCONT.
    Resume(Who),
    /// Gives the agent a file of the folder; `OLD: NEW` puts the file NEW in OLD's place.
    Apply(String),
    /// Puts one file in the place of another, so that objects change rather than go and come.
    Replace {
        /// The name under which the agent sees it.
        file: String,
        /// The file of the folder.
        with: String,
    },
    /// Takes the file away again.
    Remove(String),
    /// Adds a Node object.
    AddNode(u16),
    /// Removes a Node object.
    RemoveNode(u16),
    /// Gives this node's Node object so many more IPv4 pod subnets.
    ManyPodSubnets(u32),
    /// The daemon announces more.
    Announce(Vec<Announce>),
    /// The daemon announces so many prefixes of 26 bits of 100.64.0.0/10 more.
    AnnounceMany(u32),
    /// The daemon withdraws these.
    Withdraw(Vec<IpNet>),
    /// The daemon, which does not run, will no longer announce these.
    Forget(Vec<IpNet>),
    /// The daemon withdraws all it announces.
    WithdrawAll,
    /// The daemon asks for everything anew (RFC 2918).
    Refresh,
    /// The daemon has another TCP MD5 password from here on.
    Password(String),
    /// The daemon tells everything anew by itself.
    TellAgain(()),
    /// Since `watch`, one side told everything of both families anew between marks (RFC 7313).
    Marked(Who),
    /// The daemon ends the session for good, with these words (RFC 9003).
    Shutdown(String),
    /// From here on no packet of one reaches the other, and nobody is told.
    Cut(()),
    /// They reach each other again.
    Mend(()),
    /// All forwarding routes are gone from the node's kernel, so many milliseconds at most after the cut. `watch` comes first.
    GoneWithinMillis(u64),
    /// A monitoring station (BMP) begins to listen at the daemon's IPv4 address.
    StartStation(()),
    /// It ends, and its connection with it.
    EndStation(()),
    /// What the station has been told on its last connection.
    Monitored(Monitored),
    /// What `dunlin mrt` writes.
    Dumped(Dumped),
    /// The session as the agent sees it.
    Session(Session),
    /// Whether the daemon's BFD session is up.
    DaemonBfd(bool),
    /// Established, End-of-RIB received for every family and sent.
    Settled,
    /// Exactly these prefixes of the agent are in the daemon's table.
    Told(BTreeMap<IpNet, Told>),
    /// So many of the agent's prefixes are.
    ToldCount(usize),
    /// Exactly these forwarding routes are in the node's kernel under our protocol, with these gateways.
    Installed(BTreeMap<IpNet, Gateways>),
    /// So many are.
    InstalledCount(usize),
    /// The daemon's route is known to the agent with this AS path.
    Learned(BTreeMap<IpNet, String>),
    /// The daemon's route is known to the agent with exactly these communities of both kinds, and this MED.
    Attributes(BTreeMap<IpNet, Attributes>),
    /// The daemon's route is known, not used, for a reason with these words.
    Kept(BTreeMap<IpNet, String>),
    /// The daemon's route is known to the agent with this AS in Only to Customer, or without it.
    OnlyToCustomer(BTreeMap<IpNet, Option<u32>>),
    /// `dunlin explain` says all these words of the daemon.
    Explained(Vec<String>),
    /// A problem with these words is shown by `dunlin status`.
    Problem(String),
    /// From here on events count.
    Watch,
    /// Since `watch`, none of these happened.
    Never(Vec<Happening>),
    /// Since `watch`, the agent sent a NOTIFICATION of this code and subcode.
    Notified(u8, u8),
    /// Since `watch`, all these prefixes came over the wire from the agent.
    Sent(Vec<IpNet>),
}

/// The gateways of a route.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Gateways {
    /// One.
    One(IpAddr),
    /// These, in any order.
    These(BTreeSet<IpAddr>),
}

impl Gateways {
    pub(crate) fn are(&self, hops: &[IpAddr]) -> bool {
        match self {
            Gateways::One(hop) => hops == [*hop],
            Gateways::These(all) => {
                hops.len() == all.len() && hops.iter().all(|hop| all.contains(hop))
            }
        }
    }
}

/// What a step may say never happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Happening {
    /// A route of ours was deleted from the node's kernel.
    KernelDelete,
    /// The agent withdrew a prefix.
    Withdrawal,
    /// The agent sends a NOTIFICATION, other than to end one of two connections that collide.
    Notification,
    /// The daemon's own kernel lost a route that it learned (only BIRD and FRR install any).
    PeerKernelDelete,
}

/// What a route was learned with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Attributes {
    /// Communities and large communities.
    pub(crate) communities: BTreeSet<String>,
    /// MULTI_EXIT_DISC.
    pub(crate) med: Option<u32>,
}

/// What is expected of the session; what is not given may be anything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Session {
    /// The state: `Established`, …; `down` is any other.
    pub(crate) state: Option<String>,
    /// Names of capabilities in use.
    #[serde(default)]
    pub(crate) capabilities: Vec<String>,
    /// Names of capabilities not in use.
    #[serde(default)]
    pub(crate) lacks: Vec<String>,
    /// Words of the last error.
    pub(crate) error: Option<String>,
    /// Prefixes received, over all families.
    pub(crate) received: Option<u64>,
    /// Of those, accepted.
    pub(crate) accepted: Option<u64>,
    /// How often it went down.
    pub(crate) flaps: Option<u64>,
    /// Whether its routes are stale.
    pub(crate) stale: Option<bool>,
    /// Whether they are long-lived stale.
    pub(crate) long_lived: Option<bool>,
    /// `node`, `external`, `range`.
    pub(crate) kind: Option<String>,
    /// Hold time in use, seconds.
    pub(crate) hold_secs: Option<u16>,
    /// The state of the BFD session beside it.
    pub(crate) bfd: Option<String>,
}

/// What a monitoring station has been told; what is not given may be anything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Monitored {
    /// Exactly these prefixes came from the daemon, before any filter, with these AS paths.
    pub(crate) learned: Option<BTreeMap<IpNet, String>>,
    /// Exactly these prefixes are in the Loc-RIB.
    pub(crate) used: Option<BTreeSet<IpNet>>,
    /// End-of-RIB came for every family of both.
    #[serde(default)]
    pub(crate) complete: bool,
    /// The last statistics of both agree with what was told.
    #[serde(default)]
    pub(crate) counted: bool,
    /// The daemon's session has ended.
    pub(crate) down: Option<MonitoredDown>,
    /// Termination was the last message.
    #[serde(default)]
    pub(crate) terminated: bool,
}

/// What is in MRT dumps of both tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Dumped {
    /// Exactly these prefixes came from the daemon, before any filter, with these AS paths.
    pub(crate) learned: BTreeMap<IpNet, String>,
    /// Exactly these prefixes are in the Loc-RIB.
    pub(crate) used: BTreeSet<IpNet>,
}

/// A Peer Down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MonitoredDown {
    /// Its reason.
    pub(crate) reason: u8,
    /// What stands in the NOTIFICATION that follows.
    #[serde(default)]
    pub(crate) words: String,
}

/// A prefix as the daemon sees it; what is not given may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Told {
    /// The next hop.
    pub(crate) next_hop: Option<IpAddr>,
    /// The next hops of all paths, where several are told.
    pub(crate) next_hops: Option<BTreeSet<IpAddr>>,
    /// The path, numbers with spaces between.
    pub(crate) as_path: Option<String>,
    /// Those of all paths, where several are told.
    pub(crate) as_paths: Option<BTreeSet<String>>,
    /// All communities and large communities.
    pub(crate) communities: Option<Vec<String>>,
    /// MULTI_EXIT_DISC.
    pub(crate) med: Option<u32>,
    /// LOCAL_PREF.
    pub(crate) local_pref: Option<u32>,
    /// The AS of Only to Customer (RFC 9234); 0 is none.
    pub(crate) only_to_customer: Option<u32>,
}

impl Scenario {
    /// Reads the folder.
    pub(crate) fn read(folder: &Path) -> Result<Scenario> {
        let path = folder.join("scenario.yaml");
        let what = || format!("in {}", path.display());
        let text = fs::read_to_string(&path).with_context(what)?;
        let value: serde_json::Value = serde_saphyr::from_str(&text).with_context(what)?;
        let mut scenario: Scenario = serde_json::from_value(value).with_context(what)?;
        let others = scenario.others.iter();
        let of_daemon = others.filter(|other| other.to == Who::Daemon);
        scenario.speaker.others = of_daemon.cloned().collect();
        folder.clone_into(&mut scenario.folder);
        Ok(scenario)
    }
}
