//! The service proxy: what becomes of connections to service addresses, as elements of constant nf_tables maps.

mod element;

pub use element::{Batch, BatchDone, Element, Forget, Found, FrontendSet, MAX_EXPONENT, Op};
