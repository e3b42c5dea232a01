//! Fixtures for tests of the Site.

use std::path::Path;

use zerottl_config as config;
use zerottl_core::model::Model;

/// Appendix A's example, but for its records file, with more lines at the end.
///
/// # Panics
/// If that is no valid configuration.
pub fn appendix_a(more: &str) -> Model {
    let text = include_str!("../../../examples/appendix-a.toml");
    let text: String = text.lines().filter(|line| !line.starts_with("records")).flat_map(|line| [line, "\n"]).collect();
    let loaded = config::parse("test", &format!("{text}{more}"), Path::new(""));
    loaded.unwrap_or_else(|error| panic!("{}", error.render(false))).model
}
