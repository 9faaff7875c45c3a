use http::Uri;

use super::absolute;

fn at(server: &str, path: &str) -> String {
    let server: Uri = server.parse().expect("a URL");
    absolute(&server, &path.parse().expect("a path"))
        .expect("a URL")
        .to_string()
}

#[test]
fn requests_go_below_the_servers_path() {
    assert_eq!(
        at("https://192.0.2.1:6443", "/api/v1/nodes?limit=1"),
        "https://192.0.2.1:6443/api/v1/nodes?limit=1"
    );
    assert_eq!(
        at("https://rancher.example.com/k8s/c1/", "/version"),
        "https://rancher.example.com/k8s/c1/version"
    );
}
