//! Packets that prove a path: echo, traceroute and TCP, built in so that a lab needs no other programs.

pub mod icmp;
pub mod pinger;
pub mod tcp;
