use std::time::{Duration, Instant};

use dunlin_dataplane::proxy::{Batch, BatchDone, Found};
use dunlin_dataplane::{KernelError, KernelEvent};
use dunlin_net::Afi;

use super::rules::Keeper;
use super::worker::Worker;
use crate::Error;
use crate::nft::Generation;
use crate::nft::proxy::{ProxyTables, shape};

/// Between two times that meddling is told.
const TELL_DELAY: Duration = Duration::from_millis(100);

/// A batch of so many operations is written while we do not listen: else each of them costs the kernel a notification, a
/// microsecond, and not to listen for a while costs some ten.
const UNHEARD: usize = 50;

/// The tables of the service proxy, and what is to be told of changes by others.
pub(super) struct Proxy {
    tables: ProxyTables,
    /// Since when somebody has changed them after they were last read.
    meddled: Option<Instant>,
    /// That has been told.
    told: bool,
    last_told: Option<Instant>,
}

impl Proxy {
    pub(super) fn on_meddling(&mut self) {
        self.tables.distrust();
        self.meddled.get_or_insert_with(Instant::now);
    }

    /// When there will be something to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        let meddled = self.meddled.filter(|_| !self.told)?;
        let again = self.last_told.map(|last| last + TELL_DELAY);
        Some(again.map_or(meddled, |again| again.max(meddled)))
    }

    /// What is known from now on is what is there.
    fn settle(&mut self) {
        (self.meddled, self.told) = (None, false);
    }
}

impl<S: FnMut(KernelEvent)> Worker<S> {
    pub(super) fn submit_proxy(&mut self, batch: &Batch) -> Result<(), Error> {
        let unheard = match batch.ops.len() >= UNHEARD {
            true => self.stop_hearing(),
            false => None,
        };
        let done = match self.open_proxy() {
            Ok(proxy) => {
                let done = proxy.tables.apply(batch);
                if batch.rebuild && done.result.is_ok() {
                    proxy.settle();
                }
                done
            }
            Err(error) => BatchDone {
                number: batch.number,
                result: Err(KernelError::from(&error)),
                unsure: false,
                forgotten: Ok(()),
            },
        };
        if let Some(since) = unheard {
            self.hear_again(since)?;
        }
        (self.sink)(KernelEvent::ProxyDone(done));
        Ok(())
    }

    /// Gives how often tables had changed before; none if listening goes on.
    fn stop_hearing(&mut self) -> Option<Generation> {
        let before = self.open_proxy().ok()?.tables.generation().ok()?;
        self.nft.as_ref()?.pause().ok()?;
        Some(before)
    }

    /// Whoever else changed something meanwhile may have changed tables of ours.
    fn hear_again(&mut self, since: Generation) -> Result<(), Error> {
        if let Some(nft) = &self.nft {
            nft.resume()?;
        }
        let Some(proxy) = &mut self.proxy else {
            return Ok(());
        };
        let now = proxy.tables.generation();
        if !now.is_ok_and(|now| now.is_undisturbed_since(since)) {
            proxy.on_meddling();
            self.table.as_mut().map(Keeper::on_meddling);
        }
        Ok(())
    }

    pub(super) fn read_proxy(&mut self) {
        self.find_proxy(|tables| tables.read());
    }

    pub(super) fn remove_proxy(&mut self) {
        self.find_proxy(|tables| tables.remove().map(|_| Found::default()));
    }

    fn find_proxy(&mut self, find: impl FnOnce(&mut ProxyTables) -> Result<Found, Error>) {
        self.hear_nft();
        let found = self.open_proxy().and_then(|proxy| {
            // What has been heard is found; what comes from now on may be missed.
            proxy.settle();
            find(&mut proxy.tables)
        });
        let found = found.map_err(|error| KernelError::from(&error));
        (self.sink)(KernelEvent::ProxyFound(found));
    }

    /// Tells once what others did, if it is time.
    pub(super) fn tell_meddling(&mut self) {
        let Some(proxy) = &mut self.proxy else {
            return;
        };
        let now = Instant::now();
        if proxy.due().is_some_and(|due| due <= now) {
            proxy.told = true;
            proxy.last_told = Some(now);
            (self.sink)(KernelEvent::ProxyMeddled);
        }
    }

    fn open_proxy(&mut self) -> Result<&mut Proxy, Error> {
        let proxy = match self.proxy.take() {
            Some(proxy) => proxy,
            None => {
                let tables = ProxyTables::open()?;
                self.watch_nft(Afi::ALL.map(shape::table), tables.port())?;
                Proxy {
                    tables,
                    meddled: None,
                    told: false,
                    last_told: None,
                }
            }
        };
        Ok(self.proxy.insert(proxy))
    }
}
