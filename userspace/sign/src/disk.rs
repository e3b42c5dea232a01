//! Files of the state directory, which a command that root runs writes for the agent's user.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::Path,
};

/// Makes a file that is not there yet, of the owner that its folder has.
pub(crate) fn create(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut to = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    hand_over(&to, file)?;
    to.write_all(text.as_bytes())?;
    to.sync_all()
}

/// Puts a file in the place of one, whole or not at all, of the owner that its folder has.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut to = File::create(&new)?;
    hand_over(&to, file)?;
    to.write_all(bytes)?;
    to.sync_all()?;
    fs::rename(&new, file)?;
    folder_of(file).and_then(File::open)?.sync_all()
}

fn hand_over(to: &File, file: &Path) -> io::Result<()> {
    let (folder, own) = (fs::metadata(folder_of(file)?)?, to.metadata()?);
    if (folder.uid(), folder.gid()) == (own.uid(), own.gid()) {
        return Ok(());
    }
    fchown(to, Some(folder.uid()), Some(folder.gid()))
}

pub(crate) fn folder_of(file: &Path) -> io::Result<&Path> {
    file.parent().ok_or(io::ErrorKind::InvalidInput.into())
}
