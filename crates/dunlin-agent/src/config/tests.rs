use super::{AgentConfig, ClusterSource, LogFormat, validate_node_name};

#[test]
fn node_names_are_what_the_api_server_takes() {
    for name in ["n1", "node-1.example.org", "10-0-0-1", &"a".repeat(63)] {
        assert!(validate_node_name(name).is_ok(), "{name}");
    }
    for name in [
        "",
        "N1",
        "n_1",
        "-n",
        "n-",
        "a..b",
        "n1/",
        "knöt",
        &"a".repeat(64),
        &"a.".repeat(127),
    ] {
        assert!(validate_node_name(name).is_err(), "{name}");
    }
}

#[test]
fn a_cluster_source_is_kube_or_a_directory() {
    assert_eq!("kube".parse(), Ok(ClusterSource::Kube));
    assert_eq!("dir:/a:b".parse(), Ok(ClusterSource::Dir("/a:b".into())));
    for wrong in ["", "dir:", "dir", "kube:x", "/a"] {
        assert!(wrong.parse::<ClusterSource>().is_err(), "{wrong}");
    }
}

#[test]
fn what_this_version_cannot_do_is_refused_by_name() {
    let config = AgentConfig {
        node_name: "n1".into(),
        cluster: ClusterSource::Dir(std::env::temp_dir()),
        kube: Default::default(),
        socket: "/s".into(),
        metrics_addr: None,
        cni_conf_dir: "/c".into(),
        protocol_names: "/p".into(),
        state_dir: "/d".into(),
        service_proxy: Default::default(),
        proxy_options: Default::default(),
        log: "info".into(),
        log_format: LogFormat::Text,
    };
    assert!(config.validate().is_ok());
    let refused = |config: AgentConfig| config.validate().unwrap_err().to_string();
    let kube = AgentConfig {
        cluster: ClusterSource::Kube,
        ..config.clone()
    };
    assert!(kube.validate().is_ok());
    let missing = refused(AgentConfig {
        cluster: ClusterSource::Dir("/nonexistent/manifests".into()),
        ..config
    });
    assert!(
        missing.starts_with("--cluster dir:/nonexistent/manifests: no such directory"),
        "{missing}"
    );
}
