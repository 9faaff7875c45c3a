//! The one world of all tests.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use dunlin_e2e::agent;
use dunlin_e2e::world::World;

static WORLD: Mutex<Option<World>> = Mutex::new(None);

/// Runs a test in the world, which is made for the first one. What a failed test left is not what the next expects, so
/// that one gets a new world.
pub(crate) fn with(program: PathBuf, test: fn(&mut World)) {
    let mut world = WORLD.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
        WORLD.clear_poison();
        let mut world = poisoned.into_inner();
        *world = None;
        world
    });
    test(world.get_or_insert_with(|| World::new(program, agent::dunlin())));
}

/// Takes the world down.
pub(crate) fn end() {
    drop(WORLD.lock().unwrap_or_else(PoisonError::into_inner).take());
}
