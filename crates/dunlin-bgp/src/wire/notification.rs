use std::fmt;

use super::Fault;
use super::frame::{self, MessageType};

/// NOTIFICATION error codes (RFC 4271 4.5, RFC 7313).
pub mod code {
    /// Message Header Error.
    pub const HEADER: u8 = 1;
    /// OPEN Message Error.
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error.
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired.
    pub const HOLD_TIMER: u8 = 4;
    /// Finite State Machine Error.
    pub const FSM: u8 = 5;
    /// Cease.
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error (RFC 7313).
    pub const ROUTE_REFRESH: u8 = 7;
}

/// Subcodes of [`code::HEADER`] (RFC 4271 6.1).
pub mod header {
    /// Connection Not Synchronized.
    pub const NOT_SYNCHRONIZED: u8 = 1;
    /// Bad Message Length; the data is the Length field.
    pub const BAD_LENGTH: u8 = 2;
    /// Bad Message Type; the data is the Type field.
    pub const BAD_TYPE: u8 = 3;
}

/// Subcodes of [`code::OPEN`] (RFC 4271 6.2, RFC 5492, RFC 9234).
pub mod open_message {
    /// Unspecific.
    pub const UNSPECIFIC: u8 = 0;
    /// Unsupported Version Number; the data is the version we speak, two octets.
    pub const UNSUPPORTED_VERSION: u8 = 1;
    /// Bad Peer AS.
    pub const BAD_PEER_AS: u8 = 2;
    /// Bad BGP Identifier.
    pub const BAD_BGP_ID: u8 = 3;
    /// Unsupported Optional Parameter.
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    /// Unacceptable Hold Time.
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// Unsupported Capability (RFC 5492); the data is the capabilities missed.
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
    /// Role Mismatch (RFC 9234).
    pub const ROLE_MISMATCH: u8 = 11;
}

/// Subcodes of [`code::UPDATE`] (RFC 4271 6.3).
pub mod update_message {
    /// Malformed Attribute List.
    pub const MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    /// Unrecognized Well-known Attribute; the data is the attribute.
    pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    /// Missing Well-known Attribute; the data is its type.
    pub const MISSING_WELL_KNOWN: u8 = 3;
    /// Attribute Flags Error; the data is the attribute.
    pub const ATTRIBUTE_FLAGS: u8 = 4;
    /// Attribute Length Error; the data is the attribute.
    pub const ATTRIBUTE_LENGTH: u8 = 5;
    /// Invalid ORIGIN Attribute; the data is the attribute.
    pub const INVALID_ORIGIN: u8 = 6;
    /// Invalid NEXT_HOP Attribute; the data is the attribute.
    pub const INVALID_NEXT_HOP: u8 = 8;
    /// Optional Attribute Error; the data is the attribute.
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    /// Invalid Network Field.
    pub const INVALID_NETWORK: u8 = 10;
    /// Malformed AS_PATH.
    pub const MALFORMED_AS_PATH: u8 = 11;
}

/// Subcodes of [`code::FSM`]: in which state a message was unexpected (RFC 6608). The data is its type, one octet.
pub mod fsm {
    /// In a state the others do not name.
    pub const UNSPECIFIED: u8 = 0;
    /// In OpenSent.
    pub const OPEN_SENT: u8 = 1;
    /// In OpenConfirm.
    pub const OPEN_CONFIRM: u8 = 2;
    /// In Established.
    pub const ESTABLISHED: u8 = 3;
}

/// Subcodes of [`code::CEASE`] (RFC 4486, RFC 8538, RFC 9384).
pub mod cease {
    /// Maximum Number of Prefixes Reached.
    pub const MAX_PREFIXES: u8 = 1;
    /// Administrative Shutdown; the data may be a text (RFC 9003).
    pub const ADMIN_SHUTDOWN: u8 = 2;
    /// Peer De-configured.
    pub const PEER_DECONFIGURED: u8 = 3;
    /// Administrative Reset; the data may be a text (RFC 9003).
    pub const ADMIN_RESET: u8 = 4;
    /// Connection Rejected.
    pub const CONNECTION_REJECTED: u8 = 5;
    /// Other Configuration Change.
    pub const CONFIG_CHANGE: u8 = 6;
    /// Connection Collision Resolution.
    pub const COLLISION: u8 = 7;
    /// Out of Resources.
    pub const OUT_OF_RESOURCES: u8 = 8;
    /// Hard Reset (RFC 8538); the data is the inner code, subcode and data.
    pub const HARD_RESET: u8 = 9;
    /// BFD Down (RFC 9384).
    pub const BFD_DOWN: u8 = 10;
}

/// Subcodes of [`code::ROUTE_REFRESH`] (RFC 7313 5).
pub mod refresh_message {
    /// Invalid Message Length; the data is the message.
    pub const INVALID_LENGTH: u8 = 1;
}

/// The longest shutdown text, in octets (RFC 9003 2).
const MAX_TEXT_LEN: usize = 255;

/// The longest data that fits a message of 4,096 octets. Longer data is cut.
const MAX_DATA_LEN: usize = 4096 - frame::HEADER_LEN - 2;

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

    /// A NOTIFICATION with data, cut to what fits a message.
    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Notification {
        Notification {
            code,
            subcode,
            data: data[..data.len().min(MAX_DATA_LEN)].to_vec(),
        }
    }

    /// Cease with an RFC 9003 text, for [`cease::ADMIN_SHUTDOWN`] and [`cease::ADMIN_RESET`]. A text above 255 octets
    /// is cut between characters; an empty one is left out.
    pub fn cease_with_text(subcode: u8, text: &str) -> Notification {
        let mut end = text.len().min(MAX_TEXT_LEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut data = Vec::with_capacity(1 + end);
        if end > 0 {
            data.push(end as u8); // at most 255
            data.extend_from_slice(&text.as_bytes()[..end]);
        }
        Notification {
            code: code::CEASE,
            subcode,
            data,
        }
    }

    /// Cease/Hard Reset around `inner` (RFC 8538 3.1): the session ends without graceful restart.
    pub fn hard_reset(inner: &Notification) -> Notification {
        let mut data = vec![inner.code, inner.subcode];
        data.extend_from_slice(&inner.data[..inner.data.len().min(MAX_DATA_LEN - 2)]);
        Notification {
            code: code::CEASE,
            subcode: cease::HARD_RESET,
            data,
        }
    }

    /// Whether it is a Hard Reset (RFC 8538).
    pub fn is_hard_reset(&self) -> bool {
        self.code == code::CEASE && self.subcode == cease::HARD_RESET
    }

    /// What a Hard Reset wraps; `None` for any other, and if the data is too short to hold it.
    pub fn inner(&self) -> Option<Notification> {
        match self.data.as_slice() {
            [code, subcode, data @ ..] if self.is_hard_reset() => Some(Notification {
                code: *code,
                subcode: *subcode,
                data: data.to_vec(),
            }),
            _ => None,
        }
    }

    /// The RFC 9003 text of an administrative shutdown or reset. Octets that are no UTF-8 and control characters are
    /// replaced, so it can be shown. `None` without a text or with a length that overruns the data.
    pub fn shutdown_text(&self) -> Option<String> {
        if self.code != code::CEASE
            || !matches!(self.subcode, cease::ADMIN_SHUTDOWN | cease::ADMIN_RESET)
        {
            return None;
        }
        let (&len, rest) = self.data.split_first()?;
        let text = rest
            .get(..usize::from(len))
            .filter(|text| !text.is_empty())?;
        Some(
            String::from_utf8_lossy(text)
                .chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect(),
        )
    }

    /// Reads the body of a NOTIFICATION.
    pub fn parse(body: &[u8]) -> Result<Notification, Fault> {
        match body {
            [code, subcode, data @ ..] => Ok(Notification {
                code: *code,
                subcode: *subcode,
                data: data.to_vec(),
            }),
            _ => Err(frame::short_body(body)),
        }
    }

    /// Appends the whole message; data that does not fit 4,096 octets is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = frame::begin(MessageType::Notification, out);
        out.extend_from_slice(&[self.code, self.subcode]);
        out.extend_from_slice(&self.data[..self.data.len().min(MAX_DATA_LEN)]);
        frame::finish(start, out);
    }

    /// The name of the code, if it is known.
    pub fn code_name(&self) -> Option<&'static str> {
        Some(match self.code {
            code::HEADER => "Message Header Error",
            code::OPEN => "OPEN Message Error",
            code::UPDATE => "UPDATE Message Error",
            code::HOLD_TIMER => "Hold Timer Expired",
            code::FSM => "Finite State Machine Error",
            code::CEASE => "Cease",
            code::ROUTE_REFRESH => "ROUTE-REFRESH Message Error",
            _ => return None,
        })
    }

    /// The name of the subcode, if it is known and says anything.
    pub fn subcode_name(&self) -> Option<&'static str> {
        match self.code {
            code::HEADER => header_name(self.subcode),
            code::OPEN => open_name(self.subcode),
            code::UPDATE => update_name(self.subcode),
            code::FSM => fsm_name(self.subcode),
            code::CEASE => cease_name(self.subcode),
            code::ROUTE_REFRESH if self.subcode == refresh_message::INVALID_LENGTH => {
                Some("Invalid Message Length")
            }
            _ => None,
        }
    }
}

fn header_name(subcode: u8) -> Option<&'static str> {
    Some(match subcode {
        header::NOT_SYNCHRONIZED => "Connection Not Synchronized",
        header::BAD_LENGTH => "Bad Message Length",
        header::BAD_TYPE => "Bad Message Type",
        _ => return None,
    })
}

fn open_name(subcode: u8) -> Option<&'static str> {
    Some(match subcode {
        open_message::UNSUPPORTED_VERSION => "Unsupported Version Number",
        open_message::BAD_PEER_AS => "Bad Peer AS",
        open_message::BAD_BGP_ID => "Bad BGP Identifier",
        open_message::UNSUPPORTED_PARAMETER => "Unsupported Optional Parameter",
        open_message::UNACCEPTABLE_HOLD_TIME => "Unacceptable Hold Time",
        open_message::UNSUPPORTED_CAPABILITY => "Unsupported Capability",
        open_message::ROLE_MISMATCH => "Role Mismatch",
        _ => return None,
    })
}

fn update_name(subcode: u8) -> Option<&'static str> {
    Some(match subcode {
        update_message::MALFORMED_ATTRIBUTE_LIST => "Malformed Attribute List",
        update_message::UNRECOGNIZED_WELL_KNOWN => "Unrecognized Well-known Attribute",
        update_message::MISSING_WELL_KNOWN => "Missing Well-known Attribute",
        update_message::ATTRIBUTE_FLAGS => "Attribute Flags Error",
        update_message::ATTRIBUTE_LENGTH => "Attribute Length Error",
        update_message::INVALID_ORIGIN => "Invalid ORIGIN Attribute",
        update_message::INVALID_NEXT_HOP => "Invalid NEXT_HOP Attribute",
        update_message::OPTIONAL_ATTRIBUTE => "Optional Attribute Error",
        update_message::INVALID_NETWORK => "Invalid Network Field",
        update_message::MALFORMED_AS_PATH => "Malformed AS_PATH",
        _ => return None,
    })
}

fn fsm_name(subcode: u8) -> Option<&'static str> {
    Some(match subcode {
        fsm::OPEN_SENT => "Unexpected Message in OpenSent State",
        fsm::OPEN_CONFIRM => "Unexpected Message in OpenConfirm State",
        fsm::ESTABLISHED => "Unexpected Message in Established State",
        _ => return None,
    })
}

fn cease_name(subcode: u8) -> Option<&'static str> {
    Some(match subcode {
        cease::MAX_PREFIXES => "Maximum Number of Prefixes Reached",
        cease::ADMIN_SHUTDOWN => "Administrative Shutdown",
        cease::PEER_DECONFIGURED => "Peer De-configured",
        cease::ADMIN_RESET => "Administrative Reset",
        cease::CONNECTION_REJECTED => "Connection Rejected",
        cease::CONFIG_CHANGE => "Other Configuration Change",
        cease::COLLISION => "Connection Collision Resolution",
        cease::OUT_OF_RESOURCES => "Out of Resources",
        cease::HARD_RESET => "Hard Reset",
        cease::BFD_DOWN => "BFD Down",
        _ => return None,
    })
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code_name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "code {}", self.code)?,
        }
        match self.subcode_name() {
            Some(name) => write!(f, "/{name}")?,
            None if self.subcode != 0 => write!(f, "/subcode {}", self.subcode)?,
            None => {}
        }
        if let Some(text) = self.shutdown_text() {
            write!(f, " {text:?}")?;
        }
        match self.data.as_slice() {
            // One level only: a Hard Reset inside a Hard Reset is shown by its name.
            [code, subcode, data @ ..] if self.is_hard_reset() => {
                let inner = Notification {
                    code: *code,
                    subcode: *subcode,
                    data: data.to_vec(),
                };
                if inner.is_hard_reset() {
                    f.write_str(" (Hard Reset)")
                } else {
                    write!(f, " ({inner})")
                }
            }
            _ => Ok(()),
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
