use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn figures(local_endpoints: u32, delivered: bool) -> HealthPort {
    HealthPort {
        service: "shop/web".into(),
        local_endpoints,
        delivered,
    }
}

/// What is answered once it begins with a status; the port may not be served yet.
async fn ask(port: u16, status: &str) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
            if stream.write_all(request).await.is_ok() {
                let _ = stream.read_to_string(&mut text).await;
            }
        }
        if text.starts_with(&format!("HTTP/1.1 {status}")) {
            return text;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}: {text:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn free_port() -> u16 {
    let listener = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).await;
    listener.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_port_follows_its_endpoints_and_goes_with_its_service() {
    let port = free_port().await;
    let (sender, receiver) = watch::channel(EngineState::default());
    let keeper = tokio::spawn(keep(receiver));
    let tell = |ports: &[(u16, HealthPort)]| {
        let ports: BTreeMap<_, _> = ports.iter().cloned().collect();
        sender.send_modify(|state| state.health_ports = Arc::new(ports));
    };
    tell(&[(port, figures(2, true))]);
    let said = ask(port, "200").await;
    assert!(
        said.contains("x-load-balancing-endpoint-weight: 2"),
        "{said}"
    );
    assert!(
        said.contains(r#""name":"web""#) && said.contains(r#""localEndpoints":2"#),
        "{said}"
    );
    tell(&[(port, figures(0, true))]);
    ask(port, "503").await;
    tell(&[(port, figures(2, false))]);
    let said = ask(port, "503").await;
    assert!(said.contains(r#""serviceProxyHealthy":false"#), "{said}");
    tell(&[]);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "it is still served");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(sender);
    keeper.await.unwrap();
}

#[tokio::test]
async fn a_port_that_somebody_has_is_taken_when_it_is_free() {
    let port = free_port().await;
    let taken = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .await
        .unwrap();
    let ports = BTreeMap::from([(port, figures(1, true))]);
    let state = EngineState {
        health_ports: Arc::new(ports),
        ..EngineState::default()
    };
    let (sender, receiver) = watch::channel(state);
    tokio::spawn(keep(receiver));
    tokio::task::yield_now().await;
    drop(taken);
    ask(port, "200").await;
    drop(sender);
}
