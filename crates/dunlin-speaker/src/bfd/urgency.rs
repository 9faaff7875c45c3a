//! How urgently the system runs the thread.

use std::io;

/// The thread's work is short, and doing it late ends sessions: where the system allows it (CAP_SYS_NICE), it runs before
/// all that is not urgent, also when its own group of processes has little claim to the processor. A flood of datagrams is
/// no reason for that: while there is one, the thread is a high-priority thread like others.
pub(super) struct Urgency {
    allowed: bool,
    urgent: bool,
}

impl Urgency {
    /// For the calling thread, from now on.
    pub(super) fn begin() -> Urgency {
        // SAFETY: no memory is touched; 0 is the calling thread.
        let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
        if set != 0 {
            note(&io::Error::last_os_error());
        }
        let mut urgency = Urgency {
            allowed: true,
            urgent: false,
        };
        urgency.set(true);
        urgency
    }

    /// Urgent from now on, or no longer.
    pub(super) fn set(&mut self, urgent: bool) {
        if !self.allowed || urgent == self.urgent {
            return;
        }
        let policy = if urgent {
            libc::SCHED_RR
        } else {
            libc::SCHED_OTHER
        };
        // SAFETY: all zeros is a value of this plain C structure.
        let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
        param.sched_priority = i32::from(urgent);
        // SAFETY: the kernel reads `param`, which lives through the call; 0 is the calling thread.
        let set = unsafe {
            libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const param)
        };
        if set == 0 {
            self.urgent = urgent;
        } else {
            self.allowed = false;
            note(&io::Error::last_os_error());
        }
    }
}

fn note(error: &io::Error) {
    tracing::debug!(%error, "the BFD thread is not as urgent as it should be");
}
