//! The program of the applications, built when it is needed.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use ::tests::scratch;

use crate::error::BenchError;

/// Builds the program, into the checkout's target; `quick` is without optimization.
pub(super) fn build(quick: bool) -> Result<PathBuf, BenchError> {
    let root = scratch::root();
    let target = root.join("target/session-peers");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked", "--quiet"]).current_dir(root.join("benches/peers/sessions"));
    command.args((!quick).then_some("--release")).env("CARGO_TARGET_DIR", &target);
    // What is quick is built for a test.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").stdin(Stdio::null());
    let status = command.status()?;
    if !status.success() {
        return Err(format!("benches/peers/sessions is not built: {status}").into());
    }
    Ok(target.join(if quick { "debug" } else { "release" }).join("session-peers"))
}
