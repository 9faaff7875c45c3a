use std::fmt;

/// A NOTIFICATION message (RFC 4271 4.5): why a side closes the connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Notification {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// Data that the code calls for: the offending bytes, a shutdown text (RFC 9003), …
    pub data: Vec<u8>,
}

impl Notification {
    /// A NOTIFICATION without data.
    pub fn new(code: u8, subcode: u8) -> Notification {
        Notification {
            code,
            subcode,
            data: Vec::new(),
        }
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Notification({}/{}, {} octets)",
            self.code,
            self.subcode,
            self.data.len()
        )
    }
}
