//! Connections to services that the kernel has counted, if it was asked to (`--service-counters on`).

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_api::{Answer, Frontend, FrontendOwner, Query};
use dunlin_dataplane::KernelError;
use dunlin_kernel::nft::proxy::ProxyTables;

use crate::engine_handle::EngineHandle;

/// The most frontends that have a series, and that the kernel is asked of: its time to list them grows by the square.
pub(crate) const FRONTENDS_MAX: u32 = 5_000;

/// How long the core may take to name them.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Of each frontend of a service that is known, in order.
    pub frontends: Vec<(FrontendOwner, u64)>,
    /// There are more than [`FRONTENDS_MAX`], or the kernel does not let us read: nothing is told.
    pub missing: bool,
}

/// Reads the kernel's counters: none where there are too many, or it does not let us.
pub(crate) async fn read() -> Option<BTreeMap<Frontend, u64>> {
    let counted = tokio::task::spawn_blocking(|| {
        let mut tables = ProxyTables::open()?;
        tables.connections(FRONTENDS_MAX)
    });
    match counted.await {
        Ok(Ok(counted)) => {
            let counted = counted?.into_iter();
            Some(counted.map(|(at, n)| (at.into(), n)).collect())
        }
        Ok(Err(error)) => {
            let error = KernelError::from(&error);
            tracing::debug!(%error, "cannot read how many connections were counted");
            None
        }
        Err(_) => None,
    }
}

/// The same with the services' names.
pub(crate) async fn named(engine: &EngineHandle) -> Counted {
    let missing = Counted {
        missing: true,
        ..Counted::default()
    };
    let Some(counted) = read().await else {
        return missing;
    };
    if counted.len() > FRONTENDS_MAX as usize {
        return missing;
    }
    let asked = Query::Frontends(counted.keys().cloned().collect());
    let Ok(Answer::Frontends(owners)) = engine.ask(asked, NAMES_TIMEOUT).await else {
        return missing;
    };
    let frontends = owners.into_iter().filter_map(|owner| {
        let n = counted.get(&owner.frontend)?;
        owner.service.is_some().then_some((owner, *n))
    });
    Counted {
        frontends: frontends.collect(),
        missing: false,
    }
}

/// Adds what was counted to an answer about services.
pub(crate) async fn complete(answer: Answer) -> Answer {
    let Answer::Services(mut view) = answer else {
        return answer;
    };
    if view.items.iter().any(|service| service.frontends.is_some())
        && let Some(counted) = read().await
    {
        let frontends = view.items.iter_mut().flat_map(|s| s.frontends.iter_mut());
        for frontend in frontends.flatten() {
            frontend.connections = counted.get(&frontend.frontend).copied();
        }
    }
    Answer::Services(view)
}
