//! What all tests share.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use dunlin_e2e::control::ControlPlane;
use dunlin_e2e::kubectl::Kubectl;
use dunlin_e2e::network::{CONTROL, Network};

/// A network and a control plane in it.
pub(crate) struct World {
    // Dropped first: its processes hold a namespace.
    pub(crate) plane: ControlPlane,
    #[expect(dead_code, reason = "holds the namespaces")]
    pub(crate) network: Network,
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

impl World {
    fn new(program: PathBuf) -> World {
        let network = Network::new();
        let plane = ControlPlane::start(program, network.netns(CONTROL));
        World { plane, network }
    }

    pub(crate) fn kubectl(&self) -> Kubectl {
        self.plane.kubectl()
    }
}

/// Runs a test in the world, which is made for the first one. What a failed test left is not what the next expects, so
/// that one gets a new world.
pub(crate) fn with(program: PathBuf, test: fn(&mut World)) {
    let mut world = WORLD.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
        WORLD.clear_poison();
        let mut world = poisoned.into_inner();
        *world = None;
        world
    });
    test(world.get_or_insert_with(|| World::new(program)));
}

/// Takes the world down.
pub(crate) fn end() {
    drop(WORLD.lock().unwrap_or_else(PoisonError::into_inner).take());
}
