//! One peer: both its connections, collision, timers as deadlines, graceful restart.
