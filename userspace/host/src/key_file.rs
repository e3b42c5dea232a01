//! Files that hold a key.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Bytes of a key file, at least and at most.
pub const KEY_LEN: std::ops::RangeInclusive<usize> = 16..=4096;

/// The reason why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key file {} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is too short or too long.
    #[error("the key file {} must have {} to {} bytes", .0.display(), KEY_LEN.start(), KEY_LEN.end())]
    Length(PathBuf),
}

/// Reads a key file's bytes, all of them: a last line's end, too.
pub fn read_key(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    let mut key = Vec::new();
    let read = File::open(path).and_then(|file| file.take(*KEY_LEN.end() as u64 + 1).read_to_end(&mut key));
    match read {
        Err(error) => Err(KeyFileError::Unreadable(path.to_owned(), error)),
        Ok(_) if !KEY_LEN.contains(&key.len()) => Err(KeyFileError::Length(path.to_owned())),
        Ok(_) => Ok(key),
    }
}
