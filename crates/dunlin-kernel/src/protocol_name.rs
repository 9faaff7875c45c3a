//! The name of our route protocol, for people who type `ip route show proto dunlin`.

use std::fs;
use std::io;
use std::path::Path;

use dunlin_dataplane::mark;

/// Where iproute2 looks.
pub const DEFAULT_DIR: &str = "/etc/iproute2/rt_protos.d";
const FILE: &str = "dunlin.conf";

fn content() -> String {
    format!("{} {}\n", mark::ROUTE_PROTOCOL, mark::ROUTE_PROTOCOL_NAME)
}

/// Writes the file into `dir`, which is made if need be. Tells whether it was not there before. Nothing depends on it: a
/// caller reports an error and goes on.
pub fn write(dir: &Path) -> io::Result<bool> {
    let path = dir.join(FILE);
    if fs::read_to_string(&path).is_ok_and(|found| found == content()) {
        return Ok(false);
    }
    fs::create_dir_all(dir)?;
    let new = dir.join(".dunlin.conf.new");
    fs::write(&new, content())?;
    fs::rename(&new, &path)?;
    Ok(true)
}

/// Removes the file if it is as we write it. Tells whether it was.
pub fn remove(dir: &Path) -> io::Result<bool> {
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(found) if found == content() => fs::remove_file(&path).map(|()| true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_and_goes_and_an_edited_one_stays() {
        let root = std::env::temp_dir().join(format!("dunlin-protos-{}", std::process::id()));
        let dir = root.join("rt_protos.d");
        assert!(write(&dir).unwrap());
        assert!(!write(&dir).unwrap());
        assert_eq!(fs::read_to_string(dir.join(FILE)).unwrap(), "68 dunlin\n");
        assert!(remove(&dir).unwrap());
        assert!(!remove(&dir).unwrap());
        fs::write(dir.join(FILE), "68 somebody\n").unwrap();
        assert!(!remove(&dir).unwrap());
        fs::remove_dir_all(root).unwrap();
    }
}
