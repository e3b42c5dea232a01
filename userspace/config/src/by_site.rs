//! Sections that a Site may have a table of its own in: `[web]` with `[web.SITE]`, `[director]` with `[director.SITE]`.

use serde::de::DeserializeOwned;

use super::{fields::fields_of, raw, report::Reporter, tables::section};

/// Reports Sites whose key is one of the section's, too: a table of that name could be either.
pub(super) fn told_apart<K: DeserializeOwned>(report: &mut Reporter, file: &raw::File, kind: &str) {
    for (key, _) in &file.site.0 {
        let text = key.get_ref().as_str();
        if fields_of::<K>().contains(&text) {
            let message = format!("{}: `{text}` is a key of [{kind}] too", section(&["site", text]));
            report
                .error(key.span(), message)
                .label("not told apart")
                .help(format!("give the Site another key: [{kind}.{text}] would be a table of it"));
        }
    }
}

/// A Site's tables, read: its own, and the one for all Sites.
pub(super) struct Parts<'a, P> {
    pub own: Option<&'a P>,
    pub shared: &'a P,
}

impl<'a, P> Parts<'a, P> {
    /// A key's value, and whose it is.
    pub(super) fn get<T>(&self, key: impl Fn(&'a P) -> Option<&'a T>) -> Option<(&'a T, &'a P)> {
        let own = self.own.and_then(|own| Some((key(own)?, own)));
        own.or_else(|| Some((key(self.shared)?, self.shared)))
    }

    /// A key's value, or its default.
    pub(super) fn value<T: Clone + 'a>(&self, key: impl Fn(&'a P) -> Option<&'a T>, default: impl FnOnce() -> T) -> T {
        self.get(key).map_or_else(default, |(value, _)| value.clone())
    }
}
