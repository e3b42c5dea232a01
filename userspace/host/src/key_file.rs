//! Files that hold a key.

use std::{fs::File, io::Read, path::Path};

/// Bytes of a key file, at least and at most.
pub const KEY_LEN: std::ops::RangeInclusive<usize> = 16..=4096;

/// A key file's bytes, all of them: a last line's end, too.
pub fn read_key(path: &Path) -> Result<Vec<u8>, String> {
    let mut key = Vec::new();
    let read = File::open(path).and_then(|file| file.take(*KEY_LEN.end() as u64 + 1).read_to_end(&mut key));
    match read {
        Err(error) => Err(format!("the key file {} cannot be read: {error}", path.display())),
        Ok(_) if !KEY_LEN.contains(&key.len()) => {
            let (least, most) = (KEY_LEN.start(), KEY_LEN.end());
            Err(format!("the key file {} must have {least} to {most} bytes", path.display()))
        }
        Ok(_) => Ok(key),
    }
}
