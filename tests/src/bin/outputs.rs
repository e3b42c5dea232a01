//! Writes docs/outputs.md: `cargo xtask docs` calls it.

use std::{fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let file = file.ok_or_else(|| io::Error::other("usage: outputs FILE"))?;
    fs::write(file, tests::outputs::page()?)
}
