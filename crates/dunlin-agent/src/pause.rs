//! Doing nothing until asked to end.

use anyhow::{Context, Result};

use crate::run::Signals;

/// Waits for SIGTERM or SIGINT. The first process of a container has no default action for them.
///
/// # Errors
/// If signals cannot be taken.
pub fn pause() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        Signals::new()?.next().await;
        Ok(())
    })
}
