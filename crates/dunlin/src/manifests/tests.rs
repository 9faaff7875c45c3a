use clap::Parser;
use serde_json::{Value, json};

use super::{ManifestOptions, TEMPLATES, data, run, split_image, template};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: ManifestOptions,
}

fn options(args: &[&str]) -> ManifestOptions {
    Line::parse_from([&["manifests"], args].concat()).options
}

fn printed(args: &[&str]) -> String {
    let mut out = Vec::new();
    assert!(run(&options(args), &mut out).unwrap());
    String::from_utf8(out).unwrap()
}

fn objects(args: &[&str]) -> Vec<Value> {
    serde_saphyr::from_multiple(&printed(args)).unwrap()
}

fn object(objects: &[Value], kind: &str, name: &str) -> Value {
    let found = |o: &&Value| o["kind"] == kind && o["metadata"]["name"] == name;
    objects.iter().find(found).unwrap().clone()
}

#[test]
fn the_checked_in_manifest_is_what_is_printed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/dunlin.yaml");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == printed(&[]),
        "deploy/dunlin.yaml is not what `dunlin manifests` prints: write it anew with script/generate.sh"
    );
}

#[test]
fn the_agent_has_three_capabilities_and_writes_only_where_it_must() {
    let objects = objects(&[]);
    let daemonset = object(&objects, "DaemonSet", "dunlin");
    let pod = &daemonset["spec"]["template"]["spec"];
    let agent = &pod["containers"][0];
    assert_eq!(
        agent["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SYS_NICE"] },
        })
    );
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    for key in ["hostPID", "hostIPC"] {
        assert_eq!(pod[key], Value::Null, "{key}");
    }
    let mounts: Vec<&str> = agent["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(
        mounts,
        [
            "/run/dunlin",
            "/var/lib/dunlin",
            "/etc/cni/net.d",
            "/host/proc/sys/net",
            "/etc/iproute2/rt_protos.d"
        ]
    );
    assert!(!printed(&[]).contains("privileged"));
}

#[test]
fn no_role_may_write_what_it_only_reads_or_delete_anything() {
    for role in objects(&[]) {
        let kind = role["kind"].as_str().unwrap();
        if !kind.ends_with("Role") {
            continue;
        }
        for rule in role["rules"].as_array().unwrap() {
            let text = rule.to_string();
            for word in ["\"*\"", "delete", "impersonate", "escalate", "bind"] {
                assert!(!text.contains(word), "{text}");
            }
            assert!(
                kind == "Role" || !text.contains("secrets"),
                "Secrets of one namespace alone: {text}"
            );
        }
    }
}

#[test]
fn what_is_asked_for_is_in_it() {
    let objects = objects(&[
        "--namespace=net",
        "--image=registry.example.org:5000/infra/dunlin:9",
        "--api-server=192.0.2.1:6443",
        "--api-server=[2001:db8::1]:6443",
        "--metrics-addr=[::]:9999",
        "--secret=tor",
        "--cni-bin-dir=/var/lib/rancher/k3s/data/cni",
        "--max-unavailable=3",
        "--agent-arg=--service-proxy=off",
    ]);
    let daemonset = object(&objects, "DaemonSet", "dunlin");
    assert_eq!(daemonset["metadata"]["namespace"], "net");
    assert_eq!(
        daemonset["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"],
        3
    );
    let pod = &daemonset["spec"]["template"]["spec"];
    let agent = &pod["containers"][0];
    assert_eq!(agent["image"], "registry.example.org:5000/infra/dunlin:9");
    assert_eq!(
        agent["args"],
        json!([
            "agent",
            "--metrics-addr=[::]:9999",
            "--log=info",
            "--log-format=text",
            "--api-server=192.0.2.1:6443",
            "--api-server=[2001:db8::1]:6443",
            "--service-proxy=off",
        ])
    );
    assert_eq!(agent["livenessProbe"]["httpGet"]["host"], "127.0.0.1");
    assert_eq!(agent["livenessProbe"]["httpGet"]["port"], 9999);
    let volumes = pod["volumes"].as_array().unwrap();
    let bin = volumes.iter().find(|v| v["name"] == "cni-bin").unwrap();
    assert_eq!(bin["hostPath"]["path"], "/var/lib/rancher/k3s/data/cni");
    let secrets = object(&objects, "Role", "dunlin-secrets");
    assert_eq!(secrets["metadata"]["namespace"], "kube-system");
    assert_eq!(secrets["rules"][0]["resourceNames"], json!(["tor"]));
    let binding = object(&objects, "ClusterRoleBinding", "dunlin");
    assert_eq!(binding["subjects"][0]["namespace"], "net");
}

#[test]
fn a_service_proxy_needs_the_api_servers_own_addresses() {
    let mut out = Vec::new();
    let refused = run(&options(&["--service-proxy=on"]), &mut out);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("--api-server"), "{error}");
    assert!(run(&options(&["--service-proxy=off"]), &mut out).is_ok());
    let objects = objects(&["--service-proxy=take-over", "--api-server=192.0.2.1:6443"]);
    let daemonset = object(&objects, "DaemonSet", "dunlin");
    let args = &daemonset["spec"]["template"]["spec"]["containers"][0]["args"];
    let args: Vec<&str> = args
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        args[4..],
        ["--api-server=192.0.2.1:6443", "--service-proxy=take-over"]
    );
}

#[test]
fn cleanup_is_a_daemonset_that_waits_for_the_agent_to_be_gone() {
    let objects = objects(&["--cleanup"]);
    assert_eq!(objects.len(), 1);
    let pod = &objects[0]["spec"]["template"]["spec"];
    assert_eq!(pod["initContainers"][0]["args"][0], "cleanup");
    let args = pod["initContainers"][0]["args"].to_string();
    assert!(!args.contains("--force"), "{args}");
    assert_eq!(pod["containers"][0]["args"], json!(["pause"]));
}

#[test]
fn a_value_that_would_break_out_of_its_quotes_is_refused() {
    let mut out = Vec::new();
    for bad in ["a\"b", "a\\b", "a\nb"] {
        let bad = format!("--namespace={bad}");
        assert!(run(&options(&[&bad]), &mut out).is_err(), "{bad:?}");
    }
    assert!(run(&options(&["--max-unavailable=none"]), &mut out).is_err());
}

#[test]
fn an_image_is_a_repository_and_a_tag() {
    for (image, expected) in [
        ("dunlin:1", Some(("dunlin", "1"))),
        (
            "r.example.org:5000/a/b:1.2",
            Some(("r.example.org:5000/a/b", "1.2")),
        ),
        ("r.example.org:5000/a/b", None),
        ("dunlin", None),
        ("a/b:1@sha256:ab", Some(("a/b", "1@sha256:ab"))),
        ("a/b@sha256:ab", None),
    ] {
        assert_eq!(split_image(image).ok(), expected, "{image}");
    }
}

#[test]
fn the_charts_version_is_the_programs() {
    let chart = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/helm/dunlin/Chart.yaml"
    );
    let chart: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart).unwrap()).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let data = data(&options(&[])).unwrap();
    assert_eq!(data["Values"]["image"]["tag"], env!("CARGO_PKG_VERSION"));
}

/// Helm's engine is Go's text/template: it has to make of the chart what our own renderer does.
#[test]
#[allow(clippy::print_stdout)]
fn the_real_template_engine_renders_the_same() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/render.go");
    let go = ["go", "/usr/local/go/bin/go"]
        .into_iter()
        .find(|go| Command::new(go).arg("version").output().is_ok());
    let Some(go) = go else {
        println!("skipped: no Go to render the Helm chart with");
        return;
    };
    let data = data(&options(&[
        "--secret=a",
        "--secret=b",
        "--api-server=192.0.2.1:6443",
        "--agent-arg=--x",
    ]))
    .unwrap();
    for template in TEMPLATES {
        let ours = template::render(template, &data).unwrap();
        let mut child = Command::new(go)
            .args(["run", program])
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=mod")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = json!({ "template": template, "data": data }).to_string();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), ours);
    }
}
