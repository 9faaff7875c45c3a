use super::{DONE, ERROR, HEADER_LEN};

/// A received message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
    /// `nlmsg_pid`: the port whose request caused it; 0 for the kernel's own doing.
    pub port: u32,
    /// All behind the header.
    pub body: &'a [u8],
}

/// The messages of a received buffer. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// From what one receive gave.
    pub fn new(buf: &'a [u8]) -> Messages<'a> {
        Messages(buf)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = usize::try_from(ne_u32(self.0)?).ok()?;
        let whole = self.0.get(..len)?;
        let message = Message {
            kind: ne_u16(whole.get(4..)?)?,
            flags: ne_u16(whole.get(6..)?)?,
            seq: ne_u32(whole.get(8..)?)?,
            port: ne_u32(whole.get(12..)?)?,
            body: whole.get(HEADER_LEN..)?,
        };
        self.0 = self
            .0
            .get(len.checked_next_multiple_of(4)?..)
            .unwrap_or_default();
        Some(message)
    }
}

/// The kernel's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The positive error number.
    pub errno: i32,
    /// The kernel's own words, if it gave any.
    pub message: Option<Box<str>>,
}

const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

impl<'a> Message<'a> {
    /// The attributes behind the family's fixed part of `fixed` octets.
    pub fn attrs(&self, fixed: usize) -> Attrs<'a> {
        Attrs::new(
            self.body
                .get(fixed.next_multiple_of(4)..)
                .unwrap_or_default(),
        )
    }

    /// The end of a dump.
    pub fn is_done(&self) -> bool {
        self.kind == DONE
    }

    /// What the end of a dump or an answer says: `Ok` for success, and `None` if the message is neither.
    pub fn answer(&self) -> Option<Result<(), Refusal>> {
        if self.kind != ERROR && self.kind != DONE {
            return None;
        }
        // The end of a dump may be without a code.
        let code = ne_u32(self.body).map_or(0, u32::cast_signed);
        if code == 0 {
            return Some(Ok(()));
        }
        // The refused message follows: its header alone, or all of it.
        let request = match self.kind {
            ERROR if self.flags & CAPPED != 0 => HEADER_LEN,
            ERROR => self
                .body
                .get(4..)
                .and_then(ne_u32)
                .map_or(0, |len| len as usize),
            _ => 0,
        };
        let message = (self.flags & ACK_TLVS != 0)
            .then(|| self.attrs(request.saturating_add(4)).get(NLMSGERR_ATTR_MSG))
            .flatten()
            .and_then(|text| std::str::from_utf8(text).ok())
            .map(|text| Box::from(text.trim_end_matches('\0')));
        Some(Err(Refusal {
            errno: code.saturating_neg(),
            message,
        }))
    }
}

/// Attributes: kind (without flags) and value. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Attrs<'a>(&'a [u8]);

impl<'a> Attrs<'a> {
    /// From the octets of a message behind its fixed part, or of a nest.
    pub fn new(buf: &'a [u8]) -> Attrs<'a> {
        Attrs(buf)
    }

    /// The value of the first attribute of a kind.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone()
            .find(|(other, _)| *other == kind)
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = usize::from(ne_u16(self.0)?);
        let kind = ne_u16(self.0.get(2..)?)? & 0x3FFF;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The number at the start of `buf`, in the machine's order.
pub fn ne_u16(buf: &[u8]) -> Option<u16> {
    buf.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// The number at the start of `buf`, in the machine's order.
pub fn ne_u32(buf: &[u8]) -> Option<u32> {
    buf.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The number at the start of `buf`, in network order.
pub fn be_u32(buf: &[u8]) -> Option<u32> {
    buf.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
