use super::HEADER_LEN;

/// What a message starts with. The length is filled in, the port is the kernel's to know.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
}

/// Messages, one behind the other, ready to send.
#[derive(Debug, Default)]
pub struct MessageBuf {
    buf: Vec<u8>,
    overflow: bool,
}

impl MessageBuf {
    /// Empty.
    pub fn new() -> MessageBuf {
        MessageBuf::default()
    }

    /// Appends a message: its family's fixed part, then attributes.
    pub fn message(
        &mut self,
        header: Header,
        fixed: &[u8],
        attrs: impl FnOnce(&mut AttrWriter<'_>),
    ) {
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; 4]);
        self.buf.extend_from_slice(&header.kind.to_ne_bytes());
        self.buf.extend_from_slice(&header.flags.to_ne_bytes());
        self.buf.extend_from_slice(&header.seq.to_ne_bytes());
        self.buf.extend_from_slice(&[0; 4]);
        self.buf.extend_from_slice(fixed);
        pad(&mut self.buf);
        attrs(&mut AttrWriter {
            buf: &mut self.buf,
            overflow: &mut self.overflow,
        });
        let len = self.buf.len() - start;
        match (u32::try_from(len), self.buf.get_mut(start..start + 4)) {
            (Ok(len), Some(place)) => place.copy_from_slice(&len.to_ne_bytes()),
            _ => self.overflow = true,
        }
    }

    /// Sets flags of the message that starts at `offset`.
    pub fn add_flags(&mut self, offset: usize, flags: u16) {
        if let Some(place) = self.buf.get_mut(offset + 6..offset + 8) {
            let old = u16::from_ne_bytes([place[0], place[1]]);
            place.copy_from_slice(&(old | flags).to_ne_bytes());
        }
    }

    /// The octets so far; `None` if an attribute or message is longer than its length field can say.
    pub fn bytes(&self) -> Option<&[u8]> {
        (!self.overflow).then_some(&self.buf)
    }

    /// How many octets so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Forgets the messages and keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.overflow = false;
    }
}

/// Writes the attributes of a message or of a nest.
#[derive(Debug)]
pub struct AttrWriter<'a> {
    buf: &'a mut Vec<u8>,
    overflow: &'a mut bool,
}

const NESTED: u16 = 0x8000;
const ATTR_HEADER_LEN: usize = 4;

impl AttrWriter<'_> {
    /// Any value.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.attr(kind, |writer| writer.buf.extend_from_slice(value));
    }

    /// Attributes as they were received.
    pub fn put_raw(&mut self, attrs: &[u8]) {
        self.buf.extend_from_slice(attrs);
        pad(self.buf);
    }

    /// A number in the machine's order, as rtnetlink has them.
    pub fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// A number in network order, as nf_tables has them.
    pub fn put_be32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A number in network order.
    pub fn put_be64(&mut self, kind: u16, value: u64) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A string and its terminating zero.
    pub fn put_str(&mut self, kind: u16, value: &str) {
        self.attr(kind, |writer| {
            writer.buf.extend_from_slice(value.as_bytes());
            writer.buf.push(0);
        });
    }

    /// Attributes inside an attribute.
    pub fn nest(&mut self, kind: u16, attrs: impl FnOnce(&mut AttrWriter<'_>)) {
        self.attr(kind | NESTED, attrs);
    }

    /// How many octets the whole buffer holds.
    pub fn position(&self) -> usize {
        self.buf.len()
    }

    fn attr(&mut self, kind: u16, value: impl FnOnce(&mut AttrWriter<'_>)) {
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; 2]);
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        value(&mut AttrWriter {
            buf: self.buf,
            overflow: self.overflow,
        });
        let len = self.buf.len() - start;
        debug_assert!(len >= ATTR_HEADER_LEN);
        match (u16::try_from(len), self.buf.get_mut(start..start + 2)) {
            (Ok(len), Some(place)) => place.copy_from_slice(&len.to_ne_bytes()),
            _ => *self.overflow = true,
        }
        pad(self.buf);
    }
}

/// Messages and attributes start at multiples of four. The header has such a length, so padding by the buffer's length is
/// padding by the message's.
fn pad(buf: &mut Vec<u8>) {
    const { assert!(HEADER_LEN.is_multiple_of(4)) };
    buf.resize(buf.len().next_multiple_of(4), 0);
}
