//! Holds only tests: the codec against decoders that others wrote, in a crate of its own so that nobody else compiles
//! them.
#![forbid(unsafe_code)]
