use crate::{Answer, Query, RouteFilter, Status};

#[test]
fn a_query_is_named_as_it_is_documented() {
    let query = Query::Routes(RouteFilter {
        prefix: Some("10.1.0.0/16".parse().unwrap()),
        ..RouteFilter::default()
    });
    let json = serde_json::to_value(&query).unwrap();
    assert_eq!(json["routes"]["prefix"], "10.1.0.0/16");
    assert_eq!(serde_json::from_value::<Query>(json).unwrap(), query);
    assert_eq!(serde_json::to_string(&Query::Status).unwrap(), "\"status\"");
}

#[test]
fn fields_a_newer_agent_leaves_out_are_read_as_their_defaults() {
    let answer: Answer = serde_json::from_str(r#"{"status":{"node":"n1","ready":true}}"#).unwrap();
    let Answer::Status(status) = answer else {
        panic!("not a status: {answer:?}");
    };
    let expected = Status {
        node: "n1".into(),
        ready: true,
        ..Status::default()
    };
    assert_eq!(*status, expected);
}

#[cfg(feature = "client")]
mod client {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::time::Duration;

    use crate::{Answer, Client, ClientError, Query};

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path =
                std::env::temp_dir().join(format!("dunlin-api-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Dir(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A server that reads one request's head and replies with `reply`; it holds the connection until the client leaves.
    fn serve(dir: &Dir, reply: &'static str) -> PathBuf {
        let path = dir.0.join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(reply.as_bytes());
            while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
        });
        path
    }

    #[test]
    fn an_answer_comes_back() {
        let dir = Dir::new("answer");
        let path = serve(
            &dir,
            "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"nodes\":[]}",
        );
        let answer = Client::new(path).ask_blocking(&Query::Nodes).unwrap();
        assert_eq!(answer, Answer::Nodes(Vec::new()));
    }

    #[test]
    fn a_missing_socket_is_told_with_what_to_do() {
        let error = Client::new("/nonexistent/agent.sock")
            .ask_blocking(&Query::Status)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot reach the agent at /nonexistent/agent.sock: no such socket: is `dunlin agent` running on this node? \
             (--socket names another place, or DUNLIN_SOCKET)"
        );
    }

    #[test]
    fn a_socket_nobody_listens_on_is_refused() {
        let dir = Dir::new("stale");
        let path = dir.0.join("agent.sock");
        drop(UnixListener::bind(&path).unwrap());
        let error = Client::new(&path).ask_blocking(&Query::Status).unwrap_err();
        let start = format!(
            "cannot reach the agent at {}: connection refused: is `dunlin agent` running",
            path.display()
        );
        assert!(error.to_string().starts_with(&start), "{error}");
    }

    #[test]
    fn what_the_agent_says_against_a_request_is_passed_on() {
        let dir = Dir::new("refused");
        let path = serve(
            &dir,
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 16\r\n\r\n{\"error\":\"busy\"}",
        );
        match Client::new(path).ask_blocking(&Query::Status) {
            Err(ClientError::Refused {
                status: 503,
                message,
                ..
            }) => assert_eq!(message, "busy"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_program_on_the_socket_is_named_as_such() {
        let dir = Dir::new("garbled");
        let path = serve(&dir, "220 mail.example ESMTP\r\n");
        let result = Client::new(path).ask_blocking(&Query::Status);
        assert!(
            matches!(result, Err(ClientError::Garbled { .. })),
            "{result:?}"
        );
    }

    #[test]
    fn silence_ends_with_the_timeout() {
        let dir = Dir::new("silent");
        let path = serve(&dir, "");
        let result = Client::new(path)
            .with_timeout(Duration::from_millis(50))
            .ask_blocking(&Query::Status);
        assert!(
            matches!(result, Err(ClientError::TimedOut { .. })),
            "{result:?}"
        );
    }
}
