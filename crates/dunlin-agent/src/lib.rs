//! The node agent: wires the adapters around the core, supervises, serves the admin API.
