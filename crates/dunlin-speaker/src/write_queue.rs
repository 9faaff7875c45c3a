//! Bytes that wait to be written on one connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::Bytes;

struct Chunk {
    /// Whole messages, so a chunk begins at the beginning of one.
    bytes: Bytes,
    /// Whether the core gets credit back for it.
    credited: bool,
}

/// Bytes that wait to be written, in shared chunks of whole messages; the first may be written in part.
#[derive(Default)]
pub(crate) struct WriteQueue {
    chunks: VecDeque<Chunk>,
    /// How much of the first chunk is written.
    written: usize,
    len: usize,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Octets written.
    pub(crate) bytes: usize,
    /// Of those, octets for which the core gets credit back.
    pub(crate) credited: usize,
}

/// No more slices than this go into one system call.
const MAX_SLICES: usize = 64;

impl WriteQueue {
    pub(crate) fn push(&mut self, bytes: Bytes, credited: bool) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(Chunk { bytes, credited });
        }
    }

    /// Octets that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes until there is nothing left or the writer would block; the latter is no error.
    pub(crate) fn flush(&mut self, mut writer: impl Write) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                let skip = if count == 0 { self.written } else { 0 };
                *slice = IoSlice::new(chunk.bytes.get(skip..).unwrap_or_default());
                count += 1;
            }
            match writer.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => self.advance(wrote, &mut flushed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.is_empty() {
            self.chunks.shrink_to(8);
        }
        Ok(flushed)
    }

    fn advance(&mut self, wrote: usize, flushed: &mut Flushed) {
        let mut left = wrote.min(self.len);
        self.len -= left;
        flushed.bytes += left;
        while let Some(chunk) = self.chunks.front() {
            let rest = chunk.bytes.len() - self.written;
            let taken = rest.min(left);
            if chunk.credited {
                flushed.credited += taken;
            }
            left -= taken;
            if taken < rest {
                self.written += taken;
                return;
            }
            self.written = 0;
            self.chunks.pop_front();
            if left == 0 {
                return;
            }
        }
    }

    /// Drops what is not begun, but finishes the message that is written in part; then these last bytes.
    pub(crate) fn finish_with(&mut self, last: Vec<u8>) {
        let begun = self.chunks.pop_front().filter(|_| self.written > 0);
        self.chunks.clear();
        self.len = 0;
        if let Some(begun) = begun {
            let end = message_end(&begun.bytes, self.written);
            let rest = begun.bytes.slice(self.written.min(end)..end);
            self.written = 0;
            self.push(rest, false);
        }
        self.push(last.into(), false);
    }
}

/// Where the message ends in which the octet before `written` lies.
fn message_end(bytes: &[u8], written: usize) -> usize {
    let mut end = 0;
    while end < written {
        match bytes.get(end + 16..end + 18) {
            Some(&[high, low]) if (high, low) != (0, 0) => {
                end += usize::from(u16::from_be_bytes([high, low]));
            }
            _ => return bytes.len(),
        }
    }
    end.min(bytes.len())
}

#[cfg(test)]
mod tests;
