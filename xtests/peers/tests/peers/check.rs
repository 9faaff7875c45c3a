//! Expectations: asked again until they hold, or a deadline has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dunlin_lab::routes::{PROTOCOL_DUNLIN, installed_by};
use dunlin_net::Afi;
use ipnet::IpNet;

use crate::bed::Bed;
use crate::dump;
use crate::scenario::{Attributes, Gateways, Session, Step, Told, Who};

/// A machine that also compiles is slow, and OpenBGPD takes nobody in for up to a minute and more after failures in a row; what
/// fails here fails for another reason.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a daemon is asked that cannot tell by itself.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A route as the daemon has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The next hop.
    pub(crate) next_hop: Option<IpAddr>,
    /// The next hops of all paths.
    pub(crate) next_hops: BTreeSet<IpAddr>,
    /// The path, numbers with spaces between.
    pub(crate) as_path: String,
    /// Those of all paths.
    pub(crate) as_paths: BTreeSet<String>,
    /// Communities and large communities.
    pub(crate) communities: BTreeSet<String>,
    /// MULTI_EXIT_DISC.
    pub(crate) med: Option<u32>,
    /// LOCAL_PREF.
    pub(crate) local_pref: Option<u32>,
    /// Only to Customer.
    pub(crate) only_to_customer: Option<u32>,
}

/// The agent's routes in a daemon.
pub(crate) type Table = BTreeMap<IpNet, Seen>;

/// Asks until the answer is right; the last wrong answer is the error.
pub(crate) fn until_ok(mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("after {} s", PATIENCE.as_secs())));
            }
            Err(_) => thread::sleep(ASK_AGAIN),
        }
    }
}

impl Bed {
    /// Waits until an expectation holds.
    pub(crate) fn expect(&self, step: &Step) -> Result<()> {
        until_ok(|| match step {
            Step::Session(wanted) => self.session(wanted),
            Step::Settled => self.settled(),
            Step::Monitored(wanted) => {
                let station = self
                    .station
                    .as_ref()
                    .context("`startStation` comes first")?;
                station.check(self.daemon.address(), wanted)
            }
            Step::DaemonBfd(wanted) => {
                let is = self.daemon.is_bfd_up()?;
                ensure!(is == *wanted, "the daemon's BFD session is up: {is}");
                Ok(())
            }
            Step::Dumped(wanted) => dump::check(&self.agent, self.daemon.address(), wanted),
            Step::Told(wanted) => told(&self.daemon.table()?, wanted),
            Step::ToldCount(wanted) => {
                let count = self.daemon.count()?;
                ensure!(count == *wanted, "the daemon has {count} of our routes");
                Ok(())
            }
            Step::Installed(wanted) => self.installed(wanted),
            Step::InstalledCount(wanted) => {
                let count = installed_by(&self.node, PROTOCOL_DUNLIN)?.len();
                ensure!(count == *wanted, "{count} are installed");
                Ok(())
            }
            Step::Learned(wanted) => self.learned(wanted),
            Step::Attributes(wanted) => self.attributes(wanted),
            Step::Kept(wanted) => self.kept(wanted),
            Step::Explained(wanted) => {
                let said = self.agent.explained(self.daemon.address())?;
                let missing = wanted.iter().find(|words| !said.contains(words.as_str()));
                ensure!(missing.is_none(), "{missing:?} is not said: {said}");
                Ok(())
            }
            Step::OnlyToCustomer(wanted) => self.only_to_customer(wanted),
            Step::Marked(who) => self.marked(*who),
            Step::Problem(words) => {
                let problems = self.agent.status()?.problems;
                let said = |text: &str| text.contains(words.as_str());
                let found = problems
                    .iter()
                    .any(|problem| said(&problem.message) || said(&problem.reason));
                ensure!(found, "{problems:?}");
                Ok(())
            }
            Step::Sent(wanted) => {
                let heard = self.wire.heard();
                let missing: Vec<_> = wanted
                    .iter()
                    .filter(|prefix| !heard.announced.contains(prefix))
                    .collect();
                ensure!(missing.is_empty(), "not sent: {missing:?}");
                Ok(())
            }
            Step::Notified(code, subcode) => {
                let all = self.wire.heard().notifications;
                let found = all.contains(&(*code, *subcode));
                ensure!(found, "NOTIFICATIONs sent: {all:?}");
                Ok(())
            }
            other => bail!("{other:?} is no expectation"),
        })
    }

    fn session(&self, wanted: &Session) -> Result<()> {
        let is = self.agent.neighbor(self.daemon.address())?;
        let state = match wanted.state.as_deref() {
            None => true,
            Some("down") => is.state != "Established",
            Some(state) => is.state == state,
        };
        let has = |name: &String| is.capabilities.contains(name);
        let all = wanted.capabilities.iter().all(has) && !wanted.lacks.iter().any(has);
        let error = is.last_error.as_deref().unwrap_or_default();
        let error_right = wanted
            .error
            .as_ref()
            .is_none_or(|words| error.contains(words.as_str()));
        let sum = |count: fn(&dunlin_api::FamilyCounts) -> u64| -> u64 {
            is.routes.iter().map(count).sum()
        };
        let counts: (u64, u64) = (sum(|c| c.received), sum(|c| c.accepted));
        ensure!(
            state
                && all
                && error_right
                && wanted.received.is_none_or(|n| n == counts.0)
                && wanted.accepted.is_none_or(|n| n == counts.1)
                && wanted.flaps.is_none_or(|n| n == is.flaps)
                && wanted.stale.is_none_or(|stale| stale == is.stale)
                && wanted
                    .long_lived
                    .is_none_or(|long| long == is.long_lived_stale)
                && wanted
                    .hold_secs
                    .is_none_or(|secs| secs == is.hold_time_secs)
                && wanted
                    .bfd
                    .as_ref()
                    .is_none_or(|state| { is.bfd.as_ref().is_some_and(|bfd| bfd.state == *state) })
                && wanted.kind.as_ref().is_none_or(|kind| *kind == is.kind),
            "{is:?}"
        );
        Ok(())
    }

    fn settled(&self) -> Result<()> {
        ensure!(self.daemon.is_up()?, "the daemon says the session is down");
        let is = self.agent.neighbor(self.daemon.address())?;
        let families = is.families.len() as u64;
        // Whoever does not speak of graceful restart need not send End-of-RIB.
        let restarts = (is.capabilities.iter()).any(|name| name.starts_with("graceful-restart"));
        ensure!(
            is.state == "Established"
                && families > 0
                && is.counters.updates_sent >= families
                && (!restarts || is.routes.iter().all(|family| family.end_of_rib_received)),
            "{is:?}"
        );
        Ok(())
    }

    fn installed(&self, wanted: &BTreeMap<IpNet, Gateways>) -> Result<()> {
        let routes = installed_by(&self.node, PROTOCOL_DUNLIN)?;
        let is: BTreeMap<IpNet, Vec<IpAddr>> = routes
            .into_iter()
            .map(|route| (route.prefix, route.gateways))
            .collect();
        let equal = is.len() == wanted.len()
            && wanted
                .iter()
                .all(|(prefix, gateways)| is.get(prefix).is_some_and(|hops| gateways.are(hops)));
        ensure!(equal, "installed: {is:?}");
        Ok(())
    }

    fn learned(&self, wanted: &BTreeMap<IpNet, String>) -> Result<()> {
        let routes = self.agent.routes()?;
        for (prefix, as_path) in wanted {
            let route = routes.iter().find(|route| route.prefix == *prefix);
            let route = route.with_context(|| format!("{prefix} is not known"))?;
            let found = route.paths.iter().any(|path| path.as_path == *as_path);
            ensure!(found, "{:?}", route.paths);
        }
        Ok(())
    }

    fn attributes(&self, wanted: &BTreeMap<IpNet, Attributes>) -> Result<()> {
        let routes = self.agent.routes()?;
        for (prefix, attributes) in wanted {
            let route = routes.iter().find(|route| route.prefix == *prefix);
            let route = route.with_context(|| format!("{prefix} is not known"))?;
            let found = route.paths.iter().any(|path| {
                let communities: BTreeSet<String> = path.communities.iter().cloned().collect();
                communities == attributes.communities && path.med == attributes.med
            });
            ensure!(found, "{:?}", route.paths);
        }
        Ok(())
    }

    fn only_to_customer(&self, wanted: &BTreeMap<IpNet, Option<u32>>) -> Result<()> {
        let routes = self.agent.routes()?;
        for (prefix, mark) in wanted {
            let route = routes.iter().find(|route| route.prefix == *prefix);
            let route = route.with_context(|| format!("{prefix} is not known"))?;
            let found = !route.paths.is_empty()
                && (route.paths.iter()).all(|path| path.only_to_customer == *mark);
            ensure!(found, "{:?}", route.paths);
        }
        Ok(())
    }

    fn marked(&self, who: Who) -> Result<()> {
        let heard = self.wire.heard();
        let all = match who {
            Who::Agent => &heard.refreshes,
            Who::Daemon => &heard.refreshes_of_peer,
        };
        for afi in Afi::ALL {
            let number = if afi == Afi::Ipv4 { 1 } else { 2 };
            let of_family = all.iter().filter(|(family, _)| *family == number);
            let marks: Vec<u8> = of_family
                .map(|(_, kind)| *kind)
                .filter(|k| *k > 0)
                .collect();
            ensure!(marks == [1, 2], "{who:?} sent {all:?}");
        }
        Ok(())
    }

    fn kept(&self, wanted: &BTreeMap<IpNet, String>) -> Result<()> {
        let routes = self.agent.routes()?;
        for (prefix, words) in wanted {
            let route = routes.iter().find(|route| route.prefix == *prefix);
            let route = route.with_context(|| format!("{prefix} is not known"))?;
            let found = route.paths.iter().any(|path| {
                let reason = path.reason.as_deref().unwrap_or_default();
                !path.best && path.address.is_some() && reason.contains(words.as_str())
            });
            ensure!(found, "{:?}", route.paths);
        }
        Ok(())
    }
}

fn told(table: &Table, wanted: &BTreeMap<IpNet, Told>) -> Result<()> {
    let equal = table.len() == wanted.len()
        && wanted
            .iter()
            .all(|(prefix, told)| table.get(prefix).is_some_and(|seen| told.fits(seen)));
    let shown: BTreeMap<_, _> = table.iter().take(10).collect();
    ensure!(equal, "the daemon has {shown:?}");
    Ok(())
}

impl Told {
    fn fits(&self, seen: &Seen) -> bool {
        let communities = self
            .communities
            .as_ref()
            .map(|all| all.iter().cloned().collect::<BTreeSet<_>>());
        self.next_hop.is_none_or(|hop| seen.next_hop == Some(hop))
            && self
                .next_hops
                .as_ref()
                .is_none_or(|hops| *hops == seen.next_hops)
            && self
                .as_path
                .as_ref()
                .is_none_or(|path| *path == seen.as_path)
            && self
                .as_paths
                .as_ref()
                .is_none_or(|paths| *paths == seen.as_paths)
            && communities.is_none_or(|all| all == seen.communities)
            && self.med.is_none_or(|med| seen.med == Some(med))
            && self
                .local_pref
                .is_none_or(|pref| seen.local_pref == Some(pref))
            && self
                .only_to_customer
                .is_none_or(|mark| seen.only_to_customer.unwrap_or(0) == mark)
    }
}
