//! The state file: one line that says what it is, then JSON.
//!
//! ```text
//! zerottl-state 1 <length of what follows, bytes> <its CRC-32, hexadecimal>
//! {"written":{…},"memory":{…}}
//! ```
//!
//! It is written beside itself, synced, and renamed over the old one, and then the folder is synced: after a crash at any
//! moment there is the old file or the new one. Whatever else is found is not used.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use zerottl_core::saved_state::SavedState;

use super::stamp::ClockStamp;

/// The file's name in the state directory.
pub const NAME: &str = "state.json";
const NEW: &str = "state.json.new";
const MAGIC: &str = "zerottl-state";
/// Goes up when older agents could not make sense of the file.
const VERSION: u32 = 1;
/// Bytes, at most: some 100,000 Sites.
const LEN_MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Content {
    written: ClockStamp,
    memory: SavedState,
}

/// Why there is nothing to be recalled.
#[derive(Debug, thiserror::Error)]
pub enum NoState {
    /// There is no file: a first start.
    #[error("there is none")]
    None,
    /// It cannot be read.
    #[error(transparent)]
    Io(io::Error),
    /// It is something else.
    #[error("it is no state file")]
    NotOne,
    /// Another version of the agent has written it.
    #[error("it is of version {0}, and this agent reads {VERSION}")]
    Version(String),
    /// Its end is missing.
    #[error("it is cut short")]
    Short,
    /// It has been changed.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is whole, and not understood all the same.
    #[error(transparent)]
    Content(serde_json::Error),
}

/// The file's bytes.
///
/// # Panics
/// Never: text keys and numbers make JSON.
#[must_use]
pub fn encode(written: ClockStamp, memory: SavedState) -> Vec<u8> {
    let body = serde_json::to_string(&Content { written, memory }).expect("text keys and numbers make JSON");
    format!("{MAGIC} {VERSION} {} {:08x}\n{body}", body.len(), crc32fast::hash(body.as_bytes())).into_bytes()
}

/// Decodes the bytes, and works out how old the state is at `now`; none where that cannot be known.
pub fn decode(bytes: &[u8], now: &ClockStamp) -> Result<(SavedState, Option<Duration>), NoState> {
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Err(NoState::NotOne) };
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 1..]);
    let words: Vec<&str> = head.split(' ').collect();
    let [MAGIC, version, length, sum] = words[..] else { return Err(NoState::NotOne) };
    if version.parse() != Ok(VERSION) {
        return Err(NoState::Version(version.to_owned()));
    }
    if length.parse() != Ok(body.len()) {
        return Err(NoState::Short);
    }
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(body)) {
        return Err(NoState::Checksum);
    }
    let content: Content = serde_json::from_slice(body).map_err(NoState::Content)?;
    Ok((content.memory, content.written.age(now)))
}

/// Decodes the bytes of the file in a state directory, and works out how old the state is; or says why there is none.
pub(crate) fn read_from(bytes: io::Result<Vec<u8>>) -> Result<(SavedState, Option<Duration>), NoState> {
    match bytes {
        Ok(bytes) => decode(&bytes, &ClockStamp::now()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NoState::None),
        Err(error) => Err(NoState::Io(error)),
    }
}

/// The bytes of the file in a state directory.
pub fn bytes(directory: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(directory.join(NAME))?.take(LEN_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces the file; makes the directory, but not those above it, where there is none.
pub fn write(directory: &Path, memory: SavedState) -> io::Result<()> {
    replace(directory, &encode(ClockStamp::now(), memory))
}

/// Replaces the file as [`write()`] does, with these bytes.
pub fn replace(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    make_directory(directory)?;
    let new = directory.join(NEW);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(NAME))?;
    fs::File::open(directory)?.sync_all()
}

/// Makes the directory, but not those above it, where there is none.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerottl_core::{
        saved_state::{SavedHealth, SavedOverride, SavedSite},
        status::AdminState,
    };

    fn memory() -> SavedState {
        let order = SavedOverride {
            what: AdminState::Drain,
            by: "alice (127.0.0.1)".into(),
            reason: Some("disks".into()),
            age_ms: 5,
            at_wall_ms: 6,
            left_ms: Some(7),
            forced: false,
        };
        let address = "192.0.2.10".parse().expect("valid");
        let site = SavedSite {
            health: [(address, SavedHealth { up: false, age_ms: 3 })].into(),
            word: Some(order),
            ..SavedSite::default()
        };
        SavedState { sites: [("boston".to_owned(), site)].into() }
    }

    fn stamp(boot_ms: u64) -> ClockStamp {
        ClockStamp { boot_id: "a".into(), boot_ms, wall_ms: 0 }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        assert!(matches!(read_from(bytes(&state)), Err(NoState::None)));
        write(&state, memory()).expect("written");
        write(&state, memory()).expect("written again");
        let (read, age) = read_from(bytes(&state)).expect("read");
        assert_eq!(read, memory());
        assert!(age.is_some_and(|age| age < Duration::from_secs(10)), "{age:?}");
        let left: Vec<_> = fs::read_dir(&state).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, [NAME], "nothing else is left there");
    }

    /// Cut at any byte, or with any byte changed, it is refused rather than half believed, and nothing panics.
    #[test]
    fn torn_or_changed_files_are_not_believed() {
        let bytes = encode(stamp(1_000), memory());
        let (same, age) = decode(&bytes, &stamp(3_500)).expect("whole");
        assert_eq!((same, age), (memory(), Some(Duration::from_millis(2_500))));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], &stamp(3_500)).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&changed, &stamp(3_500)).is_err(), "changed at {at}");
        }
        let other = String::from_utf8(bytes).expect("text").replacen("state 1 ", "state 2 ", 1);
        let refused = decode(other.as_bytes(), &stamp(3_500)).expect_err("another version").to_string();
        assert_eq!(refused, "it is of version 2, and this agent reads 1");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        assert!(write(&file, memory()).is_err());
        assert!(write(&folder.path().join("no/such/folder"), memory()).is_err());
        assert!(matches!(read_from(bytes(&file)), Err(NoState::Io(_))));
    }
}
