//! TCP from namespace to namespace: an echo server, and a client that sends octets and checks that they return.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::netns::Netns;

const CHUNK: usize = 64 << 10;
/// No octet for this long means that the connection is dead.
const SILENCE: Duration = Duration::from_secs(5);

/// What a transfer showed.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// How long it took, the handshake included.
    pub took: Duration,
    /// The client's address as the server saw it.
    pub peer: IpAddr,
}

/// Sends `octets` octets from `client` to an echo server on `address` in `server` and reads them back.
///
/// # Errors
/// If the server cannot listen, the client cannot connect within `patience`, or what returns differs.
pub fn transfer(
    client: &Netns,
    server: &Netns,
    address: IpAddr,
    octets: usize,
    patience: Duration,
) -> Result<Transfer> {
    let listener = server.run(|| {
        TcpListener::bind((address, 0)).with_context(|| format!("cannot listen on {address}"))
    })?;
    let at = listener.local_addr().context("cannot name the listener")?;
    thread::scope(|scope| {
        let echo = scope.spawn(|| echo_once(&listener, patience));
        let sent = send_and_compare(client, at, octets, patience);
        let echoed = echo
            .join()
            .map_err(|_| anyhow!("the echo server panicked"))?;
        // The client's error says more; the server's follows from it.
        let took = sent?;
        let peer = echoed?;
        Ok(Transfer { took, peer })
    })
}

fn echo_once(listener: &TcpListener, patience: Duration) -> Result<IpAddr> {
    use std::os::fd::AsFd;
    if !super::icmp::wait_readable(listener.as_fd(), Instant::now() + patience) {
        bail!("nobody connected");
    }
    let (mut stream, peer) = listener.accept().context("cannot accept")?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let len = stream.read(&mut buffer).context("cannot read")?;
        if len == 0 {
            return Ok(peer.ip());
        }
        stream.write_all(&buffer[..len]).context("cannot write")?;
    }
}

fn send_and_compare(
    client: &Netns,
    at: SocketAddr,
    octets: usize,
    patience: Duration,
) -> Result<Duration> {
    let began = Instant::now();
    let stream = client.run(|| {
        TcpStream::connect_timeout(&at, patience)
            .with_context(|| format!("cannot connect from {} to {at}", client.name()))
    })?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<()> {
            let mut stream = &stream;
            let mut buffer = vec![0; CHUNK];
            let mut at = 0;
            while at < octets {
                let len = CHUNK.min(octets - at);
                fill(&mut buffer[..len], at);
                stream.write_all(&buffer[..len]).context("cannot send")?;
                at += len;
            }
            stream.shutdown(std::net::Shutdown::Write)?;
            Ok(())
        });
        let mut reader = &stream;
        let (mut buffer, mut wanted) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut at = 0;
        loop {
            let len = reader
                .read(&mut buffer)
                .with_context(|| format!("after {at} octets"))?;
            if len == 0 {
                break;
            }
            fill(&mut wanted[..len], at);
            if buffer[..len] != wanted[..len] {
                bail!("what came back differs near octet {at}");
            }
            at += len;
        }
        sender
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        if at != octets {
            bail!("{at} of {octets} octets came back");
        }
        Ok(began.elapsed())
    })
}

/// Octet `i` of the stream is a function of `i`, and the pattern's period is no power of two.
fn fill(buffer: &mut [u8], at: usize) {
    for (i, octet) in buffer.iter_mut().enumerate() {
        *octet = ((at + i) % 251).to_le_bytes()[0];
    }
}
