use super::*;
use std::os::unix::fs::PermissionsExt;

/// A directory of its own that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("dunlin-cni-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Dir(path)
    }

    fn names(&self) -> Vec<String> {
        fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ONE: &str = r#"{"name": "dunlin", "n": 1}"#;
const TWO: &str = r#"{"name": "dunlin", "n": 2}"#;

#[test]
fn the_file_is_written_once_replaced_when_it_differs_and_removed() {
    let dir = Dir::new("write");
    assert_eq!(write(&dir.0, ONE).unwrap(), Outcome::Changed);
    let path = dir.0.join(FILE_NAME);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&path);
    assert_eq!(write(&dir.0, ONE).unwrap(), Outcome::Unchanged);
    assert_eq!(inode(&path), before);
    assert_eq!(write(&dir.0, TWO).unwrap(), Outcome::Changed);
    assert_eq!(fs::read_to_string(&path).unwrap(), TWO);
    assert_ne!(inode(&path), before, "it is replaced, not written through");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert_eq!(dir.names(), [FILE_NAME]);
    assert_eq!(remove(&dir.0).unwrap(), Outcome::Changed);
    assert_eq!(remove(&dir.0).unwrap(), Outcome::Unchanged);
}

#[test]
fn a_foreign_file_is_left_alone() {
    let dir = Dir::new("foreign");
    let path = dir.0.join(FILE_NAME);
    for foreign in [
        r#"{"name": "calico"}"#,
        "",
        "not json",
        r#"{"plugins": [{"name": "dunlin"}]}"#,
    ] {
        fs::write(&path, foreign).unwrap();
        for outcome in [write(&dir.0, ONE), remove(&dir.0)] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, CniFileError::Foreign { .. }), "{error}");
            assert!(error.to_string().contains(FILE_NAME), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
}

#[test]
fn a_rest_of_a_crashed_attempt_is_replaced() {
    let dir = Dir::new("rest");
    fs::write(dir.0.join(format!(".{FILE_NAME}.new")), "half").unwrap();
    assert_eq!(write(&dir.0, ONE).unwrap(), Outcome::Changed);
    assert_eq!(dir.names(), [FILE_NAME]);
}

#[test]
fn a_missing_directory_is_an_error_that_names_it() {
    let error = write(Path::new("/nonexistent/net.d"), ONE).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/net.d"), "{error}");
    assert!(matches!(error, CniFileError::Io { .. }));
}
