//! BGP messages: bytes → frame → parsed → judged, and values → bytes.

mod notification;

pub use notification::Notification;
