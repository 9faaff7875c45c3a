//! The objects that hosts are told of, and when each hears.

use std::time::Duration;

use dunlin_intent::{Fact, Key, NodeFact};

use crate::places::{host_addr, subnet};
use crate::world::{Event, News, World};

impl World {
    /// The Node object of a host, as it is at first.
    pub(crate) fn node_fact(&self, number: u16) -> NodeFact {
        let node = NodeFact::new(format!("n{number}"))
            .with_internal_ip(host_addr(number))
            .with_pod_cidr(subnet(number));
        match number.checked_rem(self.config.zones) {
            Some(zone) => node.with_label("topology.kubernetes.io/zone", format!("z{zone}")),
            None => node,
        }
    }

    /// An object is there, or changed; all running hosts hear of it within some milliseconds.
    pub fn put(&mut self, fact: Fact) {
        self.objects.insert(fact.key(), fact.clone());
        self.tell(vec![fact], Vec::new());
    }

    /// The Node object of a host goes.
    pub fn remove_node(&mut self, host: usize) {
        let key = Key::Node(self.hosts[host].name.to_string());
        self.objects.remove(&key);
        self.tell(Vec::new(), vec![key]);
    }

    /// The Node object of a host comes back.
    pub fn restore_node(&mut self, host: usize) {
        let number = u16::try_from(host).unwrap_or_default();
        self.put(Fact::Node(self.node_fact(number)));
    }

    /// Changes the Node object of a host that has one.
    pub fn change_node(&mut self, host: usize, change: impl FnOnce(&mut NodeFact)) {
        let key = Key::Node(self.hosts[host].name.to_string());
        if let Some(Fact::Node(node)) = self.objects.get(&key) {
            let mut node = node.clone();
            change(&mut node);
            self.put(Fact::Node(node));
        }
    }

    /// A host hears of changes of objects no longer, or again, of all it has missed.
    pub fn set_deaf(&mut self, host: usize, deaf: bool) {
        if deaf {
            self.deaf.entry(host).or_default();
            return;
        }
        for news in self.deaf.remove(&host).into_iter().flatten() {
            self.tell_one(host, news);
        }
    }

    pub(crate) fn tell(&mut self, facts: Vec<Fact>, gone: Vec<Key>) {
        let news = News {
            facts: facts.into(),
            gone: gone.into(),
        };
        for host in 0..self.hosts.len() {
            if !self.hosts[host].is_running() || self.router() == Some(host) {
                continue;
            }
            match self.deaf.get_mut(&host) {
                Some(missed) => missed.push(news.clone()),
                None => self.tell_one(host, news.clone()),
            }
        }
    }

    fn tell_one(&mut self, host: usize, news: News) {
        let event = Event::Facts {
            host,
            news,
            synced: false,
        };
        self.schedule_facts(host, 20, event);
    }

    /// A source may be late, but tells what happened in the order in which it did.
    pub(crate) fn schedule_facts(&mut self, host: usize, millis: u64, event: Event) {
        let at = self.now + Duration::from_millis(1 + self.chance.below(millis));
        let last = self.heard.entry(host).or_default();
        *last = at.max(*last);
        let at = *last;
        self.schedule(at, event);
    }
}
