//! Versions of dependencies, and `deny.toml`'s list of those that are there twice.
//!
//! cargo-deny looks at more; this much holds where it is not installed.

use std::collections::{BTreeMap, BTreeSet};

/// Packages that no target of ours needs, so that their versions do not matter.
const OTHER_SYSTEMS: [&str; 2] = ["r-efi", "windows-sys"];
/// Versions that the lock file has for a feature that nothing turns on.
const NOT_BUILT: [(&str, &str); 1] = [("bit-vec", "0.9.1")];

/// The versions of each package of a lock file.
#[must_use]
pub fn locked(lock: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        let value = |key: &str| line.strip_prefix(key).map(|rest| rest.trim_matches('"'));
        if let Some(value) = value("name = ") {
            name = value;
        } else if let Some(version) = value("version = ").filter(|_| !name.is_empty()) {
            found.entry(name).or_default().insert(version);
        }
    }
    found
}

/// The packages that `deny.toml` lets be there in another version: name and version, and whether a reason is given.
#[must_use]
pub fn skipped(deny: &str) -> BTreeMap<(&str, &str), bool> {
    let list = deny.split("\nskip = [").nth(1).and_then(|rest| rest.split("\n]").next()).unwrap_or_default();
    let entries = list.lines().filter_map(|line| {
        let (_, rest) = line.split_once("crate = \"")?;
        let (package, rest) = rest.split_once('"')?;
        let has_reason = rest.split_once("reason = \"").is_some_and(|(_, reason)| !reason.starts_with('"'));
        Some((package.split_once('@')?, has_reason))
    });
    entries.collect()
}

/// Versions that are there twice and not listed, and entries that nothing needs.
#[must_use]
pub fn faults(lock: &str, deny: &str) -> Vec<String> {
    let (locked, skipped) = (locked(lock), skipped(deny));
    let mut faults = Vec::new();
    for (name, versions) in locked.iter().filter(|(name, _)| !OTHER_SYSTEMS.contains(name)) {
        let is_excused = |version: &str| {
            let package = (*name, version);
            skipped.contains_key(&package) || NOT_BUILT.contains(&package)
        };
        let left: Vec<&str> = versions.iter().filter(|version| !is_excused(version)).copied().collect();
        if left.len() > 1 {
            faults.push(format!("{name} is there in the versions {}, and deny.toml does not say why", left.join(", ")));
        }
    }
    for ((name, version), has_reason) in &skipped {
        if !locked.get(name).is_some_and(|versions| versions.len() > 1 && versions.contains(version)) {
            faults.push(format!("deny.toml lists {name}@{version}, of which there is no second version"));
        } else if !has_reason {
            faults.push(format!("deny.toml gives no reason for {name}@{version}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"a\"\n\
                        version = \"2.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\n\n[[package]]\n\
                        name = \"r-efi\"\nversion = \"5.0.0\"\n\n[[package]]\nname = \"r-efi\"\nversion = \"6.0.0\"\n";

    fn check(entries: &str, expected: &[&str]) {
        assert_eq!(faults(LOCK, &format!("[bans]\nskip = [\n{entries}\n]\n")), expected);
    }

    #[test]
    fn what_is_there_twice_has_a_reason() {
        check("  { crate = \"a@1.0.0\", reason = \"c 3\" },", &[]);
        check("", &["a is there in the versions 1.0.0, 2.0.0, and deny.toml does not say why"]);
        check("  { crate = \"a@1.0.0\" },", &["deny.toml gives no reason for a@1.0.0"]);
        let stale = "  { crate = \"a@1.0.0\", reason = \"c\" },\n  { crate = \"b@1.0.0\", reason = \"d\" },";
        check(stale, &["deny.toml lists b@1.0.0, of which there is no second version"]);
    }
}
