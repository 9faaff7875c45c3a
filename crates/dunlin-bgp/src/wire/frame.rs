use super::{Fault, code, header};

/// The octets of a message header (RFC 4271 4.1): marker, length, type.
pub const HEADER_LEN: usize = 19;

/// The marker: sixteen octets of ones.
const MARKER_LEN: usize = 16;

/// The longest message without RFC 8654.
const MAX_LEN: usize = 4096;

/// So long a ROUTE-REFRESH still fits the NOTIFICATION that gives it back.
const MAX_REFRESH_LEN: usize = MAX_LEN - HEADER_LEN - 2;

/// A whole KEEPALIVE message.
pub const KEEPALIVE: [u8; HEADER_LEN] = {
    let mut message = [0xff; HEADER_LEN];
    message[16] = 0;
    message[17] = HEADER_LEN as u8;
    message[18] = MessageType::Keepalive as u8;
    message
};

/// The type of a message (RFC 4271 4.1, RFC 2918).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// OPEN.
    Open = 1,
    /// UPDATE.
    Update = 2,
    /// NOTIFICATION.
    Notification = 3,
    /// KEEPALIVE.
    Keepalive = 4,
    /// ROUTE-REFRESH.
    RouteRefresh = 5,
}

impl MessageType {
    fn from_octet(octet: u8) -> Option<MessageType> {
        Some(match octet {
            1 => MessageType::Open,
            2 => MessageType::Update,
            3 => MessageType::Notification,
            4 => MessageType::Keepalive,
            5 => MessageType::RouteRefresh,
            _ => return None,
        })
    }

    /// The lengths, header included, that a message of this type may have.
    fn allows(self, len: usize, limits: Limits) -> bool {
        let max = limits.max_len();
        match self {
            MessageType::Open => (29..=MAX_LEN).contains(&len),
            MessageType::Update => (23..=max).contains(&len),
            MessageType::Notification => (21..=max).contains(&len),
            MessageType::Keepalive => len == HEADER_LEN,
            MessageType::RouteRefresh if limits.enhanced_refresh => {
                (HEADER_LEN..=MAX_REFRESH_LEN).contains(&len)
            }
            MessageType::RouteRefresh => len == 23,
        }
    }
}

/// What a session accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Messages up to 65,535 octets: we advertised RFC 8654 and the peer did too. Never for OPEN and KEEPALIVE.
    pub extended_message: bool,
    /// ROUTE-REFRESHes of other lengths than theirs, whose error is not one of the header (RFC 7313 5).
    pub enhanced_refresh: bool,
}

impl Limits {
    /// The longest message, header included.
    pub fn max_len(self) -> usize {
        if self.extended_message {
            usize::from(u16::MAX)
        } else {
            MAX_LEN
        }
    }
}

/// One whole message in a receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: MessageType,
    /// What follows the header.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// The octets the message takes in the buffer, header included.
    pub fn wire_len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// The whole message.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.wire_len());
        let start = begin(self.kind, &mut message);
        message.extend_from_slice(self.body);
        finish(start, &mut message);
        message
    }
}

/// The message that `buf` begins with, or `None` while it is not there completely. A wrong header is a fault as soon
/// as the octets that show it are there (RFC 4271 6.1).
#[inline]
pub fn frame(buf: &[u8], limits: Limits) -> Result<Option<Frame<'_>>, Fault> {
    let synchronized = match buf.first_chunk::<MARKER_LEN>() {
        Some(marker) => *marker == [0xff; MARKER_LEN],
        None => buf.iter().all(|octet| *octet == 0xff),
    };
    if !synchronized {
        return Err(Fault::new(
            code::HEADER,
            header::NOT_SYNCHRONIZED,
            "the marker is not all ones",
        ));
    }
    let Some(&[high, low]) = buf.get(16..18) else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len < HEADER_LEN || len > limits.max_len() {
        return Err(bad_length([high, low]));
    }
    let Some(&octet) = buf.get(18) else {
        return Ok(None);
    };
    let Some(kind) = MessageType::from_octet(octet) else {
        return Err(Fault::with_data(
            code::HEADER,
            header::BAD_TYPE,
            &[octet],
            "unknown message type",
        ));
    };
    if !kind.allows(len, limits) {
        return Err(bad_length([high, low]));
    }
    Ok(buf.get(HEADER_LEN..len).map(|body| Frame { kind, body }))
}

fn bad_length(field: [u8; 2]) -> Fault {
    Fault::with_data(
        code::HEADER,
        header::BAD_LENGTH,
        &field,
        "the message length is not one its type may have",
    )
}

/// The fault of a body too short for its type. Only for callers that did not cut the body with [`frame`].
pub(super) fn short_body(body: &[u8]) -> Fault {
    let len = u16::try_from(HEADER_LEN + body.len()).unwrap_or(u16::MAX);
    bad_length(len.to_be_bytes())
}

/// Appends a header with a length still to be set by [`finish`]; returns where the message starts.
pub(super) fn begin(kind: MessageType, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&KEEPALIVE);
    out[start + 18] = kind as u8;
    start
}

/// Sets the length of the message that starts at `start` and ends at the buffer's end.
pub(super) fn finish(start: usize, out: &mut [u8]) {
    let len = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    out[start + 16..start + 18].copy_from_slice(&len.to_be_bytes());
}
