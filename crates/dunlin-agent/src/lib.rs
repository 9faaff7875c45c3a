//! The node agent: wires the adapters around the core, supervises, serves the admin API.
#![forbid(unsafe_code)]

pub mod engine_handle;
