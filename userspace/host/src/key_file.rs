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

/// The reason why a file gives no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Its first line is empty, too long or not text.
    #[error("its first line must have 1 to {max} bytes of UTF-8", max = KEY_LEN.end())]
    Line,
}

/// Reads the first line of a password file, without its end.
pub fn read_password(path: &Path) -> Result<String, PasswordFileError> {
    let mut bytes = Vec::new();
    // The line's end may be two bytes more.
    File::open(path)?.take(*KEY_LEN.end() as u64 + 2).read_to_end(&mut bytes)?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() > *KEY_LEN.end() {
        return Err(PasswordFileError::Line);
    }
    String::from_utf8(line.to_vec()).map_err(|_| PasswordFileError::Line)
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
