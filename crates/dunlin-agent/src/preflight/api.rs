use dunlin_kube::api::{Access, ApiConfig};

use super::Finding;

const CHECK: &str = "api";

/// Looks whether the Kubernetes API can be reached, and whether an agent may read there what it reads.
pub(super) fn check(config: &ApiConfig) -> Vec<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => judge(runtime.block_on(dunlin_kube::api::check(config))),
        Err(error) => vec![Finding::warn(CHECK, error.to_string(), "try again")],
    }
}

fn judge(access: Access) -> Vec<Finding> {
    let mut findings = Vec::new();
    match access.server {
        Ok(version) => findings.push(Finding::ok(
            CHECK,
            format!(
                "the API server answers, version {version}; {} resources can be read",
                access.readable
            ),
        )),
        Err(why) => findings.push(Finding::fail(
            CHECK,
            why,
            "an agent would go on with its last known state: see --kubeconfig and --api-server",
        )),
    }
    for problem in access.problems {
        findings.push(Finding::fail(
            CHECK,
            problem,
            "apply the manifests that `dunlin manifests` prints",
        ));
    }
    for missing in access.missing {
        findings.push(Finding::warn(
            CHECK,
            missing,
            "an agent works without it, and takes it up when it comes",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use dunlin_kube::api::Access;

    use super::judge;
    use crate::preflight::Level;

    #[test]
    fn what_is_missing_is_named() {
        let findings = judge(Access {
            server: Ok("1.33".into()),
            problems: vec!["we may not list services".into()],
            missing: vec!["bgppeers is not installed".into()],
            readable: 9,
        });
        let levels: Vec<Level> = findings.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Fail, Level::Warn]);
        assert!(findings[1].text.contains("services"));
    }
}
