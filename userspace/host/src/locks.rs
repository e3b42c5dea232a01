//! The process that holds a lock on a folder.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use rustix::fs::{major, minor};

/// The process that holds the folder's lock, by /proc/locks.
#[must_use]
pub fn owner(folder: &Path) -> Option<i32> {
    let meta = fs::metadata(folder).ok()?;
    let file = format!("{:02x}:{:02x}:{}", major(meta.dev()), minor(meta.dev()), meta.ino());
    holder(&fs::read_to_string("/proc/locks").ok()?, &file)
}

/// Finds the process that has a lock by flock on a file, given as device and inode, in lines such as
/// `1: FLOCK ADVISORY WRITE 1234 00:1f:5678 0 EOF`. The whole of it counts: inodes of another file system bear the same
/// numbers, and whoever is found may be killed.
fn holder(locks: &str, file: &str) -> Option<i32> {
    let pid = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file);
        words.get(4).filter(|_| is_it)?.parse().ok().filter(|pid| *pid > 0)
    };
    locks.lines().find_map(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_of_the_same_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1f:5678 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 08:01:5678 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 00:1f:15678 0 EOF\n3: -> FLOCK  ADVISORY  WRITE 10 00:1f:5678 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 11 00:1f:5678 0 EOF\n";
        assert_eq!(holder(locks, "00:1f:5678"), Some(11));
        assert_eq!(holder(locks, "08:01:5678"), Some(8));
        assert_eq!(holder(locks, "00:1e:5678"), None);
        assert_eq!(holder("4: FLOCK  ADVISORY  WRITE -1 00:1f:5678 0 EOF", "00:1f:5678"), None, "of another namespace");
    }
}
