use super::*;

#[test]
fn base64_is_read_as_kubernetes_writes_it() {
    for (text, want) in [
        ("", &b""[..]),
        ("Zg==", b"f"),
        ("Zm8=", b"fo"),
        ("Zm9v", b"foo"),
        ("Zm9vYmFy", b"foobar"),
        ("Zm9v\nYmFy\n", b"foobar"),
        ("//79/A==", &[0xff, 0xfe, 0xfd, 0xfc]),
    ] {
        assert_eq!(decode_base64(text).as_deref(), Some(want), "{text}");
    }
    for text in ["Z", "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9!", "Zm9v=Zm9"] {
        assert_eq!(decode_base64(text), None, "{text}");
    }
}
