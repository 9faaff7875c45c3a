//! The sources of facts: the manifest directory and the Kubernetes API tell the very same, and an API server that does
//! everything wrong costs nothing but time.

mod api;
mod conformance;
mod objects;
mod outage;
mod state;
mod world;
