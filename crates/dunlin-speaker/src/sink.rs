use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_bgp::session::SessionEvent;

/// Takes the events of one I/O thread, in order. It must not block: the thread also writes and keeps time.
pub trait EventSink: Send + 'static {
    /// Takes an event, or gives it back if there is no room. After giving one back, `waker` must be woken when there is
    /// room again; until then the thread reads nothing from its peers.
    fn try_send(&mut self, event: SessionEvent, waker: &Waker) -> Result<(), SessionEvent>;
}

impl<F> EventSink for F
where
    F: FnMut(SessionEvent, &Waker) -> Result<(), SessionEvent> + Send + 'static,
{
    fn try_send(&mut self, event: SessionEvent, waker: &Waker) -> Result<(), SessionEvent> {
        self(event, waker)
    }
}

/// Wakes an I/O thread. Waking one that is awake already costs nothing.
#[derive(Clone)]
pub struct Waker {
    waker: Arc<mio::Waker>,
    woken: Arc<AtomicBool>,
}

impl Waker {
    pub(crate) fn new(waker: mio::Waker) -> Waker {
        Waker {
            waker: Arc::new(waker),
            woken: Arc::default(),
        }
    }

    /// Wakes the thread.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "an I/O thread cannot be woken");
        }
    }

    /// The thread is awake and will look at everything after this call.
    pub(crate) fn awake(&self) {
        // A swap, so that what was put in before a `wake` that found the flag set is seen from here on.
        self.woken.swap(false, Ordering::AcqRel);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
