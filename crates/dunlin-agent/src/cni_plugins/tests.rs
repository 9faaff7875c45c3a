use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Outcome, PLUGINS, install, remove};
use crate::fake_engine::Dir;

struct Place {
    _dir: Dir,
    from: PathBuf,
    to: PathBuf,
    state: PathBuf,
}

fn place(name: &str) -> Place {
    let dir = Dir::new(&format!("cni-plugins-{name}"));
    let path = |name: &str| dir.0.join(name);
    let (from, to, state) = (path("image"), path("bin"), path("state"));
    fs::create_dir_all(&from).unwrap();
    for plugin in PLUGINS {
        fs::write(from.join(plugin), format!("{plugin} 1")).unwrap();
    }
    Place {
        _dir: dir,
        from,
        to,
        state,
    }
}

impl Place {
    fn install(&self) -> Vec<Outcome> {
        let outcomes = install(&self.from, &self.to, &self.state).unwrap();
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.to)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn plugins_are_installed_once_and_replaced_by_an_upgrade() {
    let place = place("upgrade");
    assert_eq!(place.install(), [Outcome::Installed; 5]);
    assert_eq!(place.install(), [Outcome::Unchanged; 5]);
    let mode = fs::metadata(place.to.join("ptp"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
    fs::write(place.from.join("ptp"), "ptp 2").unwrap();
    assert_eq!(place.install()[0], Outcome::Replaced);
    assert_eq!(fs::read_to_string(place.to.join("ptp")).unwrap(), "ptp 2");
    assert_eq!(
        place.install(),
        [Outcome::Unchanged; 5],
        "also remembered after a replacement"
    );
    assert_eq!(
        place.names().len(),
        5,
        "nothing half written is left: {:?}",
        place.names()
    );
}

#[test]
fn plugins_of_others_are_left_alone_by_installation_and_removal() {
    let place = place("foreign");
    fs::create_dir_all(&place.to).unwrap();
    fs::write(place.to.join("portmap"), "a distribution's").unwrap();
    std::os::unix::fs::symlink("cni", place.to.join("bandwidth")).unwrap();
    assert_eq!(
        place.install(),
        [
            Outcome::Installed,
            Outcome::Installed,
            Outcome::Foreign,
            Outcome::Foreign,
            Outcome::Installed
        ]
    );
    // Somebody replaces one of ours by the same content: it is theirs now.
    fs::remove_file(place.to.join("ptp")).unwrap();
    fs::write(place.to.join("ptp"), "ptp 1").unwrap();
    let mut removed = remove(&place.to, &place.state).unwrap();
    removed.sort();
    assert_eq!(removed, ["host-local", "loopback"]);
    assert_eq!(place.names(), ["bandwidth", "portmap", "ptp"]);
    assert!(remove(&place.to, &place.state).unwrap().is_empty());
}

#[test]
fn a_directory_that_lacks_plugins_is_named_with_them() {
    let place = place("lacking");
    fs::remove_file(place.from.join("portmap")).unwrap();
    let error = install(&place.from, &place.to, &place.state).unwrap_err();
    assert!(error.to_string().contains("lacks portmap"), "{error}");
    assert!(!place.to.exists(), "nothing was begun");
}
