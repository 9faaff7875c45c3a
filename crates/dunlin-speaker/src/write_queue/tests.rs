use std::io;

use bytes::Bytes;
use dunlin_bgp::wire::{KEEPALIVE, Limits, Notification, frame};
use proptest::prelude::*;

use super::*;

/// Takes so many octets at a time, and then would block.
struct Stingy {
    room: usize,
    took: Vec<u8>,
}

impl Write for &mut Stingy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.took.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.write(&all)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whole messages: so many KEEPALIVEs.
fn messages(count: usize) -> Bytes {
    KEEPALIVE.repeat(count).into()
}

proptest! {
    #[test]
    fn whatever_the_portions_all_octets_are_written_in_order_and_credited_once(
        chunks in prop::collection::vec((1..9_usize, any::<bool>()), 0..200),
        rooms in prop::collection::vec(1..500_usize, 1..20),
    ) {
        let mut queue = WriteQueue::default();
        let mut expected = Vec::new();
        let mut credit = 0;
        for (number, (count, credited)) in chunks.iter().enumerate() {
            let bytes: Bytes = vec![number as u8; *count].into();
            expected.extend_from_slice(&bytes);
            credit += if *credited { *count } else { 0 };
            queue.push(bytes, *credited);
        }
        let mut writer = Stingy { room: 0, took: Vec::new() };
        let mut total = Flushed::default();
        for room in rooms.iter().cycle().take(2000) {
            if queue.is_empty() {
                break;
            }
            writer.room = *room;
            let flushed = queue.flush(&mut writer).unwrap();
            total.bytes += flushed.bytes;
            total.credited += flushed.credited;
            prop_assert_eq!(queue.len(), expected.len() - total.bytes);
        }
        prop_assert_eq!(writer.took, expected.clone());
        prop_assert_eq!(total, Flushed { bytes: expected.len(), credited: credit });
    }

    #[test]
    fn last_words_come_after_a_whole_message_wherever_writing_stopped(written in 0..400_usize) {
        let mut queue = WriteQueue::default();
        queue.push(messages(7), true);
        queue.push(messages(3), false);
        queue.push(messages(9), true);
        let mut writer = Stingy { room: written, took: Vec::new() };
        queue.flush(&mut writer).unwrap();
        let mut last = Vec::new();
        Notification::new(6, 2).encode(&mut last);
        queue.finish_with(last.clone());
        writer.room = usize::MAX;
        let flushed = queue.flush(&mut writer).unwrap();
        prop_assert_eq!(flushed.credited, 0, "nobody waits for credit any more");
        let mut rest = writer.took.as_slice();
        let mut whole = 0;
        while let Some(message) = frame(rest, Limits::default()).unwrap() {
            rest = &rest[message.wire_len()..];
            whole += 1;
        }
        prop_assert!(rest.is_empty());
        prop_assert!(writer.took.ends_with(&last));
        let begun = written.min(19 * KEEPALIVE.len()).div_ceil(KEEPALIVE.len());
        prop_assert_eq!(whole, begun + 1, "no message that had not begun");
    }
}

#[test]
fn a_writer_that_takes_nothing_is_an_error_and_not_a_loop() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Ok(0)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut queue = WriteQueue::default();
    queue.push(messages(1), false);
    assert!(queue.flush(Full).is_err());
}
