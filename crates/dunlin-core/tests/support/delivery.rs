//! The kernel's part of the service proxy.

use std::net::SocketAddr;

use dunlin_dataplane::proxy::{self, Element, Found, Op};
use dunlin_dataplane::{KernelError, KernelEvent};
use dunlin_net::service::View;

use super::Bench;

impl Bench {
    pub(super) fn read_proxy(&mut self) {
        let there = !self.elements.is_empty();
        let found = Found {
            elements: self.elements.iter().copied().collect(),
            intact: there,
            present: there,
            flows: Vec::new(),
        };
        self.kernel(KernelEvent::ProxyFound(Ok(found)));
    }

    /// The kernel does a batch of the service proxy, or refuses it.
    pub(super) fn submit_proxy(&mut self, batch: proxy::Batch, result: Result<(), KernelError>) {
        if result.is_ok() {
            if batch.rebuild {
                self.elements.clear();
            }
            for op in batch.ops {
                match op {
                    Op::Add(element) => assert!(self.elements.insert(element), "{element:?}"),
                    Op::Remove(element) => assert!(self.elements.remove(&element), "{element:?}"),
                }
            }
        }
        self.kernel(KernelEvent::ProxyDone(proxy::BatchDone {
            number: batch.number,
            result,
            unsure: false,
            forgotten: Ok(()),
        }));
    }

    /// What waited is done, or refused.
    pub(crate) fn let_proxy_go(&mut self, result: &Result<(), KernelError>) {
        while let Some(waiting) = self.proxy_waits.take().filter(|all| !all.is_empty()) {
            self.proxy_waits = Some(Vec::new());
            for batch in waiting {
                self.submit_proxy(batch, result.clone());
            }
            self.settle();
            if result.is_err() {
                break;
            }
        }
    }

    /// The endpoints that a frontend's slots name for a view.
    pub(crate) fn slots(&self, at: &str, from: View) -> Vec<SocketAddr> {
        let at: SocketAddr = at.parse().unwrap();
        let of = |element: &Element| match element {
            Element::Slot {
                view, frontend, to, ..
            } if *view == from && (frontend.addr, frontend.port) == (at.ip(), at.port()) => {
                Some(*to)
            }
            _ => None,
        };
        self.elements.iter().filter_map(of).collect()
    }
}
