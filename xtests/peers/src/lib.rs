//! Holds only tests: the agent against real BGP daemons, one folder a scenario. See `scenarios/README.md`.
#![forbid(unsafe_code)]
