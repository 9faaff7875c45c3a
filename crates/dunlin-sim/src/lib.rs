//! Virtual clock, network and kernel: whole clusters from a seed.
