use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// Answers one request.
fn answering(body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 256];
        let _ = stream.read(&mut request);
        let _ = write!(
            stream,
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}"
        );
    });
    addr
}

#[test]
fn the_body_of_an_answer_is_read_and_silence_is_none() {
    assert_eq!(
        get(answering("iptables"), "/proxyMode").as_deref(),
        Some("iptables")
    );
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = nobody.local_addr().unwrap();
    drop(nobody);
    assert_eq!(get(addr, "/proxyMode"), None);
}
