//! BGP-4 (RFC 4271) as pure machines.
//!
//! * [`wire`]: bytes → frame → parsed → judged (RFC 7606), and values → bytes.
//! * [`attrs`]: path attributes in one canonical encoding, the key by which they are interned.
//! * [`batch`]: what sessions hand to the RIB.
//! * [`bmp`]: messages to monitoring stations (RFC 7854, RFC 9069).
//! * [`mrt`]: tables as dumps (RFC 6396).
//! * [`session`]: one peer: both its connections, collision, timers as deadlines, graceful restart.
//! * [`discovery`]: who is at the other end of a link, by router advertisements: for peers without an address.
//! * [`policy`]: filters, attribute edits, reasons of rejection.
//! * [`rib`]: Adj-RIB-In, decision process, Loc-RIB, Adj-RIB-Out, update packing.
//!
//! Nothing here opens a socket or reads a clock: machines are fed `(now, input)` and give back actions.
#![forbid(unsafe_code)]

pub mod attrs;
pub mod batch;
pub mod bmp;
pub mod discovery;
pub mod mrt;
pub mod policy;
pub mod rib;
pub mod session;
pub mod wire;
