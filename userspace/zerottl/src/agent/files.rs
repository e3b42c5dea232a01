//! The configuration's files, watched.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Metadata that tells one state of a file from another, through symbolic links; none where it cannot be read.
type State = Option<(u64, u64, i64, i64, u64)>;

/// Files that are looked at from time to time. By looking and not by events: a file may be renamed over, or be reached by a
/// link that is exchanged, and its folder may be a network's.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    /// As they were when the configuration was read.
    known: Vec<State>,
    /// As they were when looked at last.
    seen: Vec<State>,
}

impl Files {
    /// As they are now.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let known = states(&paths);
        Self { paths, seen: known.clone(), known }
    }

    /// Whether they have changed, and then stayed for one look, so that nothing half-written is read. Said once for each
    /// change.
    pub fn changed(&mut self) -> bool {
        let now = states(&self.paths);
        let is_new = now != self.known && now == self.seen;
        if is_new {
            self.known.clone_from(&now);
        }
        self.seen = now;
        is_new
    }
}

fn states(files: &[PathBuf]) -> Vec<State> {
    files.iter().map(|file| state(file)).collect()
}

fn state(file: &Path) -> State {
    let meta = fs::metadata(file).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_it_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, two, other] = ["one", "two", "other"].map(|name| folder.path().join(name));
        fs::write(&one, "1").expect("written");
        let mut files = Files::new(vec![one.clone(), two.clone()]);
        assert!(!files.changed() && !files.changed(), "nothing has changed");
        fs::write(&one, "12").expect("written");
        assert!(!files.changed(), "it may go on");
        fs::write(&one, "123").expect("written");
        assert!(!files.changed(), "it did go on");
        assert!(files.changed() && !files.changed(), "told, and told once");
        fs::write(&two, "1").expect("written");
        assert!(!files.changed() && files.changed(), "one that was not there");
        fs::write(&other, "123").expect("written");
        fs::rename(&other, &one).expect("renamed");
        assert!(!files.changed() && files.changed(), "another of the same length and name");
        fs::remove_file(&one).expect("removed");
        assert!(!files.changed() && files.changed(), "one that has gone");
    }
}
