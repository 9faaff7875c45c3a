//! Other service proxies: what they have in the kernel, and taking it away.
//!
//! kube-proxy keeps tables of its own (nf_tables mode), chains in the tables that `iptables` shares (iptables mode, by
//! nf_tables or by the older kernel interface), or virtual servers and an interface (IPVS mode), as does kube-router. What
//! is not theirs, as the chains of kubelet and of network policies, stays.

mod chains;
mod ipvs;
mod legacy;
mod tools;

use dunlin_net::Afi;

use crate::Error;
use crate::nft::{Family, Nft, Table, Transaction};
use chains::Plan;
pub(crate) use chains::{Chain, Id, Rule, Rules};
use ipvs::Ipvs;

/// The chain that kube-proxy and its like begin with under iptables.
const FIRST_CHAIN: &str = "KUBE-SERVICES";
/// kube-proxy's table in nf_tables mode.
const TABLE: &str = "kube-proxy";
/// The tables of iptables that service proxies have chains in.
const IPTABLES: [&str; 3] = ["nat", "filter", "mangle"];
/// So many messages a transaction: beyond, the kernel would be busy with one for long.
const MESSAGES: usize = 5_000;

fn family(afi: Afi) -> (Family, &'static str) {
    match afi {
        Afi::Ipv4 => (Family::Ip, "ip"),
        Afi::Ipv6 => (Family::Ip6, "ip6"),
    }
}

/// What another service proxy translates with, if there is one: where it is, for people. Cheap: looks by name.
pub fn service_proxy() -> Result<Option<String>, Error> {
    let mut nft = Nft::open()?;
    for afi in Afi::ALL {
        let (family, name) = family(afi);
        let table = |name| Table { family, name };
        if nft.has_table(table(TABLE))? {
            return Ok(Some(format!("the nf_tables table {name} {TABLE}")));
        }
        if nft.has_chain(table("nat"), FIRST_CHAIN)? {
            return Ok(Some(format!(
                "the chain {FIRST_CHAIN} of the table {name} nat"
            )));
        }
        if legacy::has_chain(afi, "nat", FIRST_CHAIN)? {
            let program = legacy::program(afi);
            return Ok(Some(format!(
                "the chain {FIRST_CHAIN} of the table nat of {program}"
            )));
        }
    }
    Ok(ipvs::link()?.map(|link| format!("the interface {}", link.name)))
}

/// Whose rules `iptables` keeps where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    /// In nf_tables.
    Nft,
    /// By the kernel's older interface.
    Legacy,
}

/// What `iptables` of one family and backend has of another proxy.
#[derive(Debug)]
struct Iptables {
    afi: Afi,
    backend: Backend,
    plans: Vec<Plan>,
}

impl Iptables {
    fn describe(&self) -> String {
        let count = |of: fn(&Plan) -> usize| self.plans.iter().map(of).sum::<usize>();
        let (chains, rules) = (count(|p| p.chains.len()), count(|p| p.rules.len()));
        let tables: Vec<&str> = self.plans.iter().map(|plan| plan.table).collect();
        let place = match self.backend {
            Backend::Nft => format!("of {} in nf_tables", family(self.afi).1),
            Backend::Legacy => format!("of {}", legacy::program(self.afi)),
        };
        let s = |n| if n == 1 { "" } else { "s" };
        format!(
            "{chains} chain{} of iptables and {rules} rule{} that lead{} there, in the table{} {} {place}",
            s(chains),
            s(rules),
            if rules == 1 { "s" } else { "" },
            s(tables.len()),
            tables.join(", "),
        )
    }
}

/// What another service proxy has in the kernel, or left there.
#[derive(Debug, Default)]
pub struct Remains {
    tables: Vec<(Afi, Table)>,
    iptables: Vec<Iptables>,
    ipvs: Ipvs,
    /// What could not be looked at, and why.
    unseen: Vec<String>,
}

/// How a removal went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// What is gone, in words.
    pub removed: Vec<String>,
    /// What has a name of theirs and is in use by somebody else, in words.
    pub kept: Vec<String>,
    /// What is left, and why.
    pub problems: Vec<String>,
}

/// Which means there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Our own netlink sockets only: nothing is executed, and what only other programs can take away is told.
    Netlink,
    /// Also `iptables-legacy`, `ipvsadm` and `ipset`, where there is something of theirs.
    Programs,
}

impl Remains {
    /// Looks at this network namespace.
    ///
    /// # Errors
    /// If nf_tables cannot be read at all.
    pub fn find(means: Means) -> Result<Remains, Error> {
        let mut nft = Nft::open()?;
        let mut remains = Remains::default();
        for afi in Afi::ALL {
            let family = family(afi).0;
            let table = |name| Table { family, name };
            if nft.has_table(table(TABLE))? {
                remains.tables.push((afi, table(TABLE)));
            }
            let read = IPTABLES.map(|name| nft.rules_of(table(name)));
            let read: Result<Vec<Rules>, Error> = read.into_iter().collect();
            remains.take(afi, Backend::Nft, read?);
            match legacy::read(afi, means, &IPTABLES) {
                Ok(rules) => remains.take(afi, Backend::Legacy, rules),
                Err(why) => remains.unseen.push(why),
            }
        }
        remains.ipvs = Ipvs::find(means)?;
        Ok(remains)
    }

    fn take(&mut self, afi: Afi, backend: Backend, rules: Vec<Rules>) {
        let plans: Vec<Plan> = rules.into_iter().filter_map(chains::plan).collect();
        if !plans.is_empty() {
            self.iptables.push(Iptables {
                afi,
                backend,
                plans,
            });
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.describe().is_empty() && self.beyond().is_empty()
    }

    /// What there is, in words, a line each.
    pub fn describe(&self) -> Vec<String> {
        let tables = self.tables.iter();
        let tables =
            tables.map(|(afi, _)| format!("the nf_tables table {} {TABLE}", family(*afi).1));
        let iptables = self.iptables.iter().filter(|found| found.is_anything());
        tables
            .chain(iptables.map(Iptables::describe))
            .chain(self.ipvs.describe())
            .collect()
    }

    /// What stays since somebody else uses it, though it has a name of theirs; a line each.
    pub fn kept(&self) -> Vec<String> {
        let plans = self.iptables.iter().flat_map(|found| &found.plans);
        plans.flat_map(|plan| plan.kept.iter().cloned()).collect()
    }

    /// What cannot be looked at or removed from here, and why; a line each.
    pub fn beyond(&self) -> Vec<String> {
        let unseen = self.unseen.iter().cloned();
        unseen.chain(self.ipvs.left()).collect()
    }

    /// Takes it away. What it led to is cut off first, in one transaction a family: a new connection meets all of it or
    /// nothing. Goes on where something cannot be removed.
    pub fn remove(&self) -> Removed {
        let mut done = Removed {
            kept: self.kept(),
            problems: self.beyond(),
            ..Removed::default()
        };
        for (afi, table) in &self.tables {
            let what = format!("the nf_tables table {} {TABLE}", family(*afi).1);
            match crate::nft::delete_table(*table) {
                Ok(true) => done.removed.push(what),
                Ok(false) => {}
                Err(error) => done.problems.push(error.to_string()),
            }
        }
        for found in self.iptables.iter().filter(|found| found.is_anything()) {
            let result = match found.backend {
                Backend::Nft => found.remove_by_netlink().map_err(|error| error.to_string()),
                Backend::Legacy => legacy::remove(found.afi, &found.plans),
            };
            match result {
                Ok(()) => done.removed.push(found.describe()),
                Err(why) => done
                    .problems
                    .push(format!("{}: {why}: run this again", found.describe())),
            }
        }
        self.ipvs.remove(&mut done);
        done
    }
}

impl Iptables {
    fn is_anything(&self) -> bool {
        self.plans.iter().any(Plan::is_anything)
    }

    fn remove_by_netlink(&self) -> Result<(), Error> {
        let mut nft = Nft::open()?;
        let family = family(self.afi).0;
        let table = |plan: &Plan| Table {
            family,
            name: plan.table,
        };
        let mut cut = Transaction::new();
        for plan in &self.plans {
            for (chain, id) in &plan.rules {
                if let Id::Handle(handle) = id {
                    cut.delete_rule(table(plan), chain, *handle);
                }
            }
        }
        nft.commit(
            "taking the rules away that lead to another service proxy's",
            cut,
        )?;
        // Once nothing leads there, halves do no harm.
        let steps: [fn(&mut Transaction, Table, &str); 2] =
            [Transaction::flush_chain, Transaction::delete_chain];
        for step in steps {
            for plan in &self.plans {
                for some in plan.chains.chunks(MESSAGES) {
                    let mut transaction = Transaction::new();
                    for chain in some {
                        step(&mut transaction, table(plan), chain);
                    }
                    nft.commit("deleting another service proxy's chains", transaction)?;
                }
            }
        }
        Ok(())
    }
}
