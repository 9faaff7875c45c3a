use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Duration, Instant, Pace, Paced};

const INTERVAL: Duration = Pace::CALM.interval;
const TOGETHER: u32 = Pace::CALM.together;

/// Reads to the end: when each read came, and how many octets it brought.
async fn read_all(connection: impl tokio::io::AsyncRead + Unpin) -> Vec<(Instant, usize)> {
    let mut connection = Paced::new(connection, Some(Pace::CALM));
    let mut reads = Vec::new();
    let mut room = vec![0; 8192];
    loop {
        match connection.read(&mut room).await.expect("a read") {
            0 => return reads,
            octets => reads.push((Instant::now(), octets)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_now_and_then_waits_for_nothing() {
    let (mut api, connection) = duplex(1 << 20);
    let reading = tokio::spawn(read_all(connection));
    let mut written = Vec::new();
    // Many at once, and then as many a second as the pace has.
    for at in 0..5 * TOGETHER {
        let pause = if at < TOGETHER {
            Duration::from_millis(1)
        } else {
            INTERVAL
        };
        tokio::time::sleep(pause).await;
        api.write_all(b"an event").await.expect("written");
        written.push(Instant::now());
    }
    drop(api);
    let reads = reading.await.expect("an end");
    assert_eq!(reads.len(), written.len());
    for (read, written) in reads.iter().zip(&written) {
        assert_eq!(read.0, *written);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_all_the_time_is_taken_together_and_waits_an_interval_at_most() {
    let (mut api, connection) = duplex(1 << 20);
    let reading = tokio::spawn(read_all(connection));
    let mut written = Vec::new();
    // Ten in each interval.
    for _ in 0..1000 {
        tokio::time::sleep(INTERVAL / 10).await;
        api.write_all(&[7; 100]).await.expect("written");
        written.push(Instant::now());
    }
    drop(api);
    let reads = reading.await.expect("an end");
    let total: usize = reads.iter().map(|(_, octets)| octets).sum();
    assert_eq!(total, 100 * written.len(), "nothing is lost");
    let paced = 100 + TOGETHER as usize;
    assert!(reads.len() <= paced + 2, "{} reads", reads.len());
    // Whatever was written is read an interval later at most; a timer may be a millisecond late.
    let mut so_far = 0;
    for (at, octets) in reads {
        let oldest = written[so_far / 100];
        assert!(
            at - oldest <= INTERVAL + Duration::from_millis(1),
            "{:?}",
            at - oldest
        );
        so_far += octets;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lot_at_once_is_read_without_a_pause() {
    let (mut api, connection) = duplex(1 << 20);
    let begun = Instant::now();
    let reading = tokio::spawn(read_all(connection));
    api.write_all(&vec![7; 32 << 20]).await.expect("written");
    drop(api);
    reading.await.expect("an end");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
