use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::bail;
use dunlin_api::{CniState, CniStatus};
use tokio::sync::watch;

use super::keep;
use crate::engine_handle::{EngineState, PodNetwork};

fn state(cidr: &str) -> EngineState {
    EngineState {
        pod_network: Some(PodNetwork {
            pod_cidrs: vec![cidr.parse().unwrap()],
            mtu: 1500,
        }),
        ..EngineState::default()
    }
}

async fn until(status: &mut watch::Receiver<CniStatus>, wanted: CniState) -> CniStatus {
    let seen = status.wait_for(|status| status.state == wanted);
    let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
    seen.expect("in time").expect("kept").clone()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_the_node_is_ready_and_each_change_is() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = watch::channel(EngineState::default());
    let (status_in, mut status) = watch::channel(CniStatus::default());
    let log = Arc::clone(&written);
    let keeper = tokio::spawn(keep(told, status_in, move |network| {
        log.lock().unwrap().push(network.pod_cidrs[0].to_string());
        Ok("/etc/cni/net.d/10-dunlin.conflist".into())
    }));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(written.lock().unwrap().is_empty());
    assert_eq!(status.borrow().state, CniState::Waiting);

    tell.send_replace(state("10.1.0.0/24"));
    let now = until(&mut status, CniState::Written).await;
    assert_eq!(
        now.path.as_deref(),
        Some("/etc/cni/net.d/10-dunlin.conflist")
    );
    tell.send_replace(state("10.2.0.0/24"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*written.lock().unwrap(), ["10.1.0.0/24", "10.2.0.0/24"]);

    drop(tell);
    keeper.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_tried_again() {
    let (_tell, told) = watch::channel(state("10.1.0.0/24"));
    let (status_in, mut status) = watch::channel(CniStatus::default());
    let mut tries = 0;
    let tries = Mutex::new(&mut tries);
    let keeper = keep(told, status_in, |_| {
        let mut tries = tries.lock().unwrap();
        **tries += 1;
        if **tries < 3 {
            bail!("no space left on device");
        }
        Ok("/x".into())
    });
    let watcher = async {
        let failed = until(&mut status, CniState::Failed).await;
        assert_eq!(failed.error.as_deref(), Some("no space left on device"));
        let written = until(&mut status, CniState::Written).await;
        assert_eq!(written.error, None);
    };
    tokio::select! { () = keeper => panic!("the keeper ended"), () = watcher => {} }
}
