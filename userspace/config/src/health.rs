//! `[health]`: the file by which any program states the health of Sites.

use std::path::PathBuf;

use toml::Spanned;

use super::{raw, report::Reporter, values::Reader};

/// The path of the file. It is not looked at: the agent watches for it, and says if it is not there.
pub(super) fn file(report: &mut Reporter, raw: Option<&Spanned<raw::Health>>) -> Option<PathBuf> {
    let raw = raw?;
    let base_dir = report.base_dir().to_owned();
    let mut reader = Reader { report, section: "[health]".into(), header: raw.span() };
    let Some(file) = &raw.get_ref().file else {
        reader.missing("file", "\"/run/zerottl/health\"");
        return None;
    };
    if file.get_ref().is_empty() || file.get_ref().contains('\0') {
        reader.error(file.span(), "`file` is not a path").help("give a file, such as \"/run/zerottl/health\"");
    }
    Some(base_dir.join(file.get_ref()))
}
