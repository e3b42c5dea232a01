//! The memory and descriptors that a process has.

use std::{fs, io, thread, time::Duration};

/// Looks, of which the least counts: what is open for a moment alone is not kept.
const LOOKS: usize = 8;
const BETWEEN: Duration = Duration::from_millis(15);

/// Memory and descriptors of a process at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Anonymous memory in use, KiB.
    pub memory: u64,
    /// Open descriptors, sockets and BPF objects among them.
    pub descriptors: u64,
}

impl Usage {
    /// Looks at a process a few times and returns the least.
    pub fn read(pid: u32) -> io::Result<Self> {
        let mut least = Self::once(pid)?;
        for _ in 1..LOOKS {
            thread::sleep(BETWEEN);
            let now = Self::once(pid)?;
            least = Self { memory: least.memory.min(now.memory), descriptors: least.descriptors.min(now.descriptors) };
        }
        Ok(least)
    }

    fn once(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let memory =
            status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse().ok());
        let memory = memory.ok_or_else(|| io::Error::other(format!("process {pid} has no memory")))?;
        Ok(Self { memory, descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64 })
    }

    /// Whether a process has kept no more than this over what it had before: descriptors none.
    #[must_use]
    pub fn is_flat_since(self, before: Self, memory: u64) -> bool {
        self.memory <= before.memory + memory && self.descriptors <= before.descriptors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_seen() {
        let pid = std::process::id();
        let before = Usage::read(pid).expect("this process");
        let kept: Vec<_> = (0..64).map(|_| fs::File::open("/dev/null").expect("open")).collect();
        let memory = vec![1_u8; 64 << 20];
        let after = Usage::read(pid).expect("this process");
        assert!(
            after.descriptors > before.descriptors + 32 && after.memory > before.memory + (32 << 10),
            "{before:?} {after:?}"
        );
        assert!(!after.is_flat_since(before, 0) && before.is_flat_since(after, 0));
        drop((kept, memory));
    }
}
