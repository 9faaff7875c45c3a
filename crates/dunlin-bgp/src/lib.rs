//! BGP-4 as pure machines: wire, session, policy, RIB.
