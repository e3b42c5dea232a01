//! The operator's files.

use std::{io::Write, os::fd::AsRawFd, path::Path, sync::Arc};

use rustix::fs::{MemfdFlags, memfd_create};
use zerottl::{
    config::{self, Loaded},
    kernel::image::{Bank, Image},
    plan::Planner,
    status::Status,
};

/// A configuration with both roles; its records file is `RECORDS_FILE`.
pub(super) const FILE: &str = include_str!("../../../examples/appendix-a.toml");
/// Stands for the records file in [`FILE`].
const RECORDS_FILE: &str = "app.com.zone";
/// Records of every kind that the socket path treats in a way of its own.
pub(super) const RECORDS: &str = include_str!("app.com.zone");
/// A folder in which no file is found.
const NOWHERE: &str = "/nonexistent";
/// What a path must not begin with: reading a device or a pipe may never end, and says nothing about the parser.
const DEVICES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A configuration file. One that is taken has a plan, and fits into the kernel's maps or is refused by its size.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if names_devices(text) {
        return;
    }
    match config::parse("fuzz.toml", text, Path::new(NOWHERE)) {
        Err(error) => assert!(!format!("{error:?}").is_empty(), "no reason"),
        Ok(loaded) => {
            let planner = Planner::new(Arc::new(loaded.model));
            let plan = planner.plan(&Status::unknown(planner.model()), 1);
            if Image::new(&planner, &plan, &loaded.zones).is_ok() {
                Bank::default().lay_out(&plan);
            }
        }
    }
}

/// A records file of a valid configuration.
pub fn records(data: &[u8]) {
    if names_devices(&String::from_utf8_lossy(data)) {
        return;
    }
    if let Err(error) = with_records(data) {
        assert!(!format!("{error:?}").is_empty(), "no reason");
    }
}

fn names_devices(text: &str) -> bool {
    DEVICES.iter().any(|device| text.contains(device))
}

/// [`FILE`] with these records.
///
/// # Panics
/// If that is no valid configuration.
pub(super) fn valid(records: &[u8]) -> Loaded {
    with_records(records).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The records are a file without a name, which goes with its descriptor.
fn with_records(records: &[u8]) -> Result<Loaded, config::ConfigError> {
    let memory = memfd_create("records", MemfdFlags::CLOEXEC).expect("memory");
    let mut file = std::fs::File::from(memory);
    file.write_all(records).expect("memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    config::parse("fuzz.toml", &FILE.replace(RECORDS_FILE, &path), Path::new(NOWHERE))
}
