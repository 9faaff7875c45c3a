//! Sockets around the BGP session machines: dial, accept, MD5, TTL, timers.
