//! Files that `[web]` names: they are the Site's, whose machine need not be this one.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{raw, values::Reader};
use zerottl_host::key_file::read_key;

/// A key file. Where it is on this machine, it is looked at.
pub(super) fn key_file(reader: &mut Reader<'_>, raw: &raw::Text) -> Option<PathBuf> {
    let path = file(reader, "key", raw)?;
    if let (Some(text), Ok(true)) = (raw, path.try_exists())
        && File::open(&path).is_ok()
        && let Err(why) = read_key(&path)
    {
        reader.warn(text.span(), why.to_string()).help("`zerottl site` does not start so");
    }
    Some(path)
}

/// A path on the Site's machine, which need not be this one: it is not looked at.
pub(super) fn file(reader: &mut Reader<'_>, key: &str, raw: &raw::Text) -> Option<PathBuf> {
    let text = raw.as_ref()?;
    if text.get_ref().is_empty() || text.get_ref().contains('\0') {
        reader
            .error(text.span(), format!("`{key}` is not a path"))
            .help("give one on the Site's machine; a relative path starts where this file is");
        return None;
    }
    Some(reader.report.base_dir().join(text.get_ref()))
}

/// A file on the Site's machine. Where it is on this machine and can be opened, it is read as `zerottl site` does, and watched.
pub(super) fn looked_at<T, E: std::error::Error>(
    reader: &mut Reader<'_>,
    key: &str,
    raw: &raw::Text,
    read: impl FnOnce(&Path) -> Result<T, E>,
) -> Option<PathBuf> {
    let path = file(reader, key, raw)?;
    if let (Some(text), Ok(_)) = (raw, File::open(&path)) {
        reader.report.files.push(path.clone());
        if let Err(why) = read(&path) {
            reader
                .warn(text.span(), format!("`{key}` file {}: {why}", path.display()))
                .help("`zerottl site` does not start so");
        }
    }
    Some(path)
}
