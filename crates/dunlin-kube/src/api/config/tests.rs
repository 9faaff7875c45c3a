use super::ApiServer;

fn read(text: &str) -> Result<String, String> {
    text.parse::<ApiServer>().map(|server| server.to_string())
}

#[test]
fn servers_are_written_as_addresses_or_urls() {
    for (text, url) in [
        ("192.0.2.1", "https://192.0.2.1:6443"),
        ("192.0.2.1:443", "https://192.0.2.1:443"),
        ("2001:db8::1", "https://[2001:db8::1]:6443"),
        ("[2001:db8::1]", "https://[2001:db8::1]:6443"),
        ("[2001:db8::1]:7443", "https://[2001:db8::1]:7443"),
        ("api.example.com", "https://api.example.com:6443"),
        ("https://api.example.com", "https://api.example.com"),
        (
            "https://192.0.2.1:6443/k8s/c1",
            "https://192.0.2.1:6443/k8s/c1",
        ),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("http://[::1]:8001", "http://[::1]:8001"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(url), "{text}");
    }
}

#[test]
fn a_token_is_not_sent_in_the_clear() {
    for text in ["", "http://192.0.2.1:8080", "ftp://192.0.2.1", "a b", "://"] {
        let error = read(text).expect_err(text);
        assert!(error.contains("https URL"), "{text}: {error}");
    }
}

#[test]
fn only_addresses_can_be_protected() {
    let address = |text: &str| text.parse::<ApiServer>().expect(text).address();
    assert_eq!(address("[2001:db8::1]:6443"), "2001:db8::1".parse().ok());
    assert_eq!(address("192.0.2.1"), "192.0.2.1".parse().ok());
    assert_eq!(address("api.example.com"), None);
}
