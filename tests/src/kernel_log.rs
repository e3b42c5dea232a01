//! The kernel's own log, and what in it says that a kernel is not well.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
};

/// Words of lines that nothing in a lab may bring about.
const WORDS: [&str; 9] =
    ["BUG", "WARNING:", "Oops", "Call Trace", "general protection", "rcu: INFO", "bpf", "xdp", "refcount"];

/// The log from a moment on.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// Begins now. Needs root.
    pub fn from_now() -> io::Result<Self> {
        let nonblocking = libc::O_NONBLOCK;
        let mut file = File::options().read(true).custom_flags(nonblocking).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file })
    }

    /// Returns the lines since then that say that something is wrong.
    pub fn troubles(&mut self) -> io::Result<Vec<String>> {
        let mut buffer = [0; 8192];
        let mut troubles = Vec::new();
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(troubles),
                Ok(length) => troubles.extend(trouble(&String::from_utf8_lossy(&buffer[..length]))),
                // Lines that were overwritten before they were read.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                    troubles.push("lines are missing".to_owned());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(troubles),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The text of a record, if it is trouble: `6,1234,5678,-;text`.
fn trouble(record: &str) -> Option<String> {
    let text = record.split_once(';')?.1.lines().next()?;
    WORDS.iter().any(|word| text.contains(word)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_from_news() {
        for (record, expected) in [
            ("6,1,2,-;br0: port 2(front0) entered disabled state\n", None),
            (
                "4,1,2,-;WARNING: CPU: 0 PID: 1 at net/core/dev.c:1\n SUBSYSTEM=net\n",
                Some("WARNING: CPU: 0 PID: 1 at net/core/dev.c:1"),
            ),
            ("3,1,2,-;BUG: kernel NULL pointer dereference\n", Some("BUG: kernel NULL pointer dereference")),
            ("no record", None),
        ] {
            assert_eq!(trouble(record).as_deref(), expected, "{record}");
        }
    }
}
