//! From text to [`raw`](super::raw) shapes, with every unknown key and every value of a wrong type reported.
//!
//! Serde stops at its first error. So the parsed tree is cleaned first, entry by entry, against the very shapes serde
//! will read: what a shape does not know is reported and dropped, and what is left always reads.

use std::collections::BTreeSet;

use serde::{Deserialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue, ValueDeserializer},
};

use super::{
    fields::fields_of,
    parts::{Part, Parts},
    raw,
    report::Reporter,
};

type Reads = fn(Spanned<DeValue<'_>>) -> Result<(), toml::de::Error>;

/// The help where a number stands for a duration.
const DURATION: &str = "a duration is a text with its unit: \"500ms\", \"1s\", \"2m\"";

/// The shape of one place of the file.
pub(super) enum Shape {
    /// Sections named by the operator.
    Sections,
    /// A table of known keys; and whether a table with one given entry can be read.
    Keys(&'static [&'static str], Reads),
    /// As `Keys`, beside which each Site may have a table by its key.
    Shared(&'static [&'static str], Reads),
    /// A value that may be such a table, or a list that may hold some.
    Loose(&'static [&'static str], Reads),
    /// A table whose keys are the operator's own, and whose values hold no table.
    Free,
}

impl Shape {
    /// The shape at a path, if a table may stand there.
    pub(super) fn at(path: &[&str]) -> Option<Self> {
        Some(match path {
            [] => Self::keys::<raw::File>(),
            ["zone" | "pool" | "group" | "site" | "forward" | "hook"] => Self::Sections,
            ["front"] => Self::keys::<raw::Front>(),
            ["admin"] => Self::keys::<raw::Admin>(),
            ["state"] => Self::keys::<raw::State>(),
            ["edns"] => Self::keys::<raw::Edns>(),
            ["fleet"] => Self::keys::<raw::Fleet>(),
            ["chaos"] => Self::keys::<raw::Chaos>(),
            ["geo"] => Self::keys::<raw::Geo>(),
            ["agent"] => Self::keys::<raw::Agent>(),
            ["health"] => Self::keys::<raw::Health>(),
            ["rate_limit"] => Self::keys::<raw::RateLimit>(),
            ["zone", _] => Self::keys::<raw::Zone>(),
            ["zone", _, "dnssec"] => Self::loose::<raw::DnssecTable>(),
            ["forward", _] => Self::keys::<raw::Forward>(),
            ["hook", _] => Self::keys::<raw::Hook>(),
            ["pool", _] => Self::keys::<raw::Pool>(),
            ["pool", _, "https"] => Self::keys::<raw::Https>(),
            ["group", _] => Self::keys::<raw::Group>(),
            ["site", _] => Self::keys::<raw::Site>(),
            ["site", _, "probe"] => Self::loose::<raw::Probe>(),
            ["site", _, "load"] => Self::keys::<raw::Load>(),
            ["site", _, "addresses"] => Self::loose::<raw::AddressTable>(),
            ["web"] => Self::shared::<raw::WebKeys>(),
            ["web", below @ ..] => return Self::below_web(without_site::<raw::WebKeys>(below)),
            ["director"] => Self::shared::<raw::DirectorKeys>(),
            ["director", below @ ..] => return Self::below_director(without_site::<raw::DirectorKeys>(below)),
            _ => return None,
        })
    }

    /// The shape at a path below `[web]` or `[web.SITE]`.
    fn below_web(path: &[&str]) -> Option<Self> {
        Some(match path {
            [] => Self::keys::<raw::WebKeys>(),
            ["tls"] => Self::keys::<raw::WebTls>(),
            ["backend_probe"] => Self::keys::<raw::BackendProbe>(),
            ["invite"] => Self::keys::<raw::Invite>(),
            ["marker"] => Self::keys::<raw::Marker>(),
            ["busy"] => Self::keys::<raw::Busy>(),
            ["session"] => Self::keys::<raw::Session>(),
            ["session", "servers"] => Self::loose::<raw::SessionServerTable>(),
            ["flag"] => Self::keys::<raw::Flag>(),
            ["limits"] => Self::keys::<raw::WebLimits>(),
            ["peers"] => Self::loose::<raw::PeersTable>(),
            ["rule"] => Self::loose::<raw::Rule>(),
            ["class"] => Self::loose::<raw::Class>(),
            _ => return None,
        })
    }

    /// The shape at a path below `[director]` or `[director.SITE]`.
    fn below_director(path: &[&str]) -> Option<Self> {
        Some(match path {
            [] => Self::keys::<raw::DirectorKeys>(),
            ["waiting"] => Self::keys::<raw::Waiting>(),
            ["restart"] => Self::keys::<raw::Restart>(),
            ["server"] => Self::loose::<raw::Server>(),
            ["server", "check"] => Self::keys::<raw::Check>(),
            ["server", "environment"] => Self::Free,
            _ => return None,
        })
    }

    fn shared<T: DeserializeOwned>() -> Self {
        Self::Shared(fields_of::<raw::BySite<T>>(), reads::<raw::BySite<T>>)
    }

    fn loose<T: DeserializeOwned>() -> Self {
        Self::Loose(fields_of::<T>(), reads::<T>)
    }

    fn keys<T: DeserializeOwned>() -> Self {
        Self::Keys(fields_of::<T>(), reads::<T>)
    }
}

/// Returns a path below a section with a table for each Site as it would be without the Site's key.
fn without_site<'a, 'b, T: DeserializeOwned>(path: &'a [&'b str]) -> &'a [&'b str] {
    match path {
        [site, below @ ..] if !fields_of::<T>().contains(site) => below,
        _ => path,
    }
}

fn reads<T: DeserializeOwned>(table: Spanned<DeValue<'_>>) -> Result<(), toml::de::Error> {
    T::deserialize(ValueDeserializer::from(table)).map(drop)
}

/// Why a part is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not TOML, or whole sections of it are not what they should be.
    Faulty,
    /// Something of it stands in another part, too.
    Repeated,
}

/// Reads a part of a text. What is at fault in it is reported.
pub(super) fn read(report: &mut Reporter, text: &str, part: &Part) -> Result<raw::File, Unread> {
    let own = part.text(text);
    let tree = parsed(report, &own, part).ok_or(Unread::Faulty)?;
    let is_of_pools =
        matches!(tree.get_ref(), DeValue::Table(table) if table.keys().all(|key| key.get_ref() == "pool"));
    let tree = if is_of_pools {
        // Very many pools are seldom at fault: cleaning would be as much work as all the rest. The shapes refuse what cleaning
        // drops, and then there is something to be told.
        match raw::File::deserialize(ValueDeserializer::from(tree)) {
            Ok(file) => return Ok(file),
            Err(_) => parsed(report, &own, part).ok_or(Unread::Faulty)?,
        }
    } else {
        tree
    };
    let tree = cleaned(report, tree).ok_or(Unread::Faulty)?;
    raw::File::deserialize(ValueDeserializer::from(tree)).map_err(|fault| {
        report.error(fault.span().unwrap_or(0..0), fault.message());
        Unread::Faulty
    })
}

/// Reports the faults for which a text is not read, whichever of its parts they are in, and nothing else.
pub(super) fn report_unread(report: &mut Reporter, text: &str, parts: &Parts) {
    report.forget();
    for part in parts.all() {
        parsed(report, &part.text(text), part);
    }
    if report.errors() > 0 {
        return;
    }
    for part in parts.all() {
        // Its faults are reported, which is all that is wanted here.
        drop(read(report, text, part));
    }
}

/// The tree of a part, with its places in the file; `None` where it is not TOML.
fn parsed<'i>(report: &mut Reporter, own: &'i str, part: &Part) -> Option<Spanned<DeValue<'i>>> {
    let (tree, faults) = DeTable::parse_recoverable(own);
    for fault in &faults {
        let span = fault.span().map_or(0..0, |span| part.place(span));
        report.error(span, format!("not TOML: {}", fault.message())).help("https://toml.io has the syntax");
    }
    // What the parser guessed after a slip would be reported as faults of the operator's.
    faults.is_empty().then(|| {
        let span = part.place(tree.span());
        Spanned::new(span, DeValue::Table(placed_table(tree.into_inner(), part)))
    })
}

/// A table whose places are those of the file.
fn placed_table<'i>(table: DeTable<'i>, part: &Part) -> DeTable<'i> {
    let entries = table.into_iter().map(|(key, value)| {
        let span = part.place(key.span());
        (Spanned::new(span, key.into_inner()), placed(value, part))
    });
    entries.collect()
}

fn placed<'i>(value: Spanned<DeValue<'i>>, part: &Part) -> Spanned<DeValue<'i>> {
    let span = part.place(value.span());
    let inner = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(placed_table(table, part)),
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| placed(item, part)).collect()),
        other => other,
    };
    Spanned::new(span, inner)
}

/// The tree without what its shapes do not know, which is reported; `None` where everything that refers to a lost section
/// would be reported as dangling.
fn cleaned<'i>(report: &mut Reporter, tree: Spanned<DeValue<'i>>) -> Option<Spanned<DeValue<'i>>> {
    let span = tree.span();
    let DeValue::Table(mut tree) = tree.into_inner() else { return None };
    let sites = site_keys(&tree);
    let mut cleaner = Cleaner { report, sites, path: Vec::new(), lost_section: false };
    cleaner.clean(&mut tree);
    (!cleaner.lost_section).then(|| Spanned::new(span, DeValue::Table(tree)))
}

/// The keys of the Sites, which `[web]` and `[director]` have tables of.
fn site_keys(tree: &DeTable<'_>) -> BTreeSet<String> {
    match tree.get("site").map(Spanned::get_ref) {
        Some(DeValue::Table(sites)) => sites.keys().map(|key| key.get_ref().to_string()).collect(),
        _ => BTreeSet::new(),
    }
}

struct Cleaner<'a> {
    report: &'a mut Reporter,
    sites: BTreeSet<String>,
    path: Vec<String>,
    lost_section: bool,
}

impl Cleaner<'_> {
    fn shape(&self) -> Option<Shape> {
        Shape::at(&self.path.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Drops from the table at `self.path` what its shape does not know or cannot read.
    fn clean(&mut self, table: &mut DeTable<'_>) {
        match self.shape() {
            Some(Shape::Keys(fields, reads) | Shape::Loose(fields, reads)) => retain(table, |key, value| {
                if !fields.contains(&key.get_ref().as_ref()) {
                    self.unknown_key(key, value, fields);
                    return false;
                }
                self.inside(key, |cleaner| cleaner.value(value)) && self.readable(key, value, reads)
            }),
            Some(Shape::Shared(fields, reads)) => retain(table, |key, value| {
                let word = key.get_ref().as_ref();
                if !fields.contains(&word) && !self.sites.contains(word) {
                    self.neither_key_nor_site(key, fields);
                    return false;
                }
                self.inside(key, |cleaner| cleaner.value(value)) && self.readable(key, value, reads)
            }),
            Some(Shape::Sections) => retain(table, |key, value| {
                !self.is_unquoted_name(key, value) && self.inside(key, |cleaner| cleaner.value(value))
            }),
            Some(Shape::Free) | None => {}
        }
    }

    fn inside<T>(&mut self, key: &Spanned<DeString<'_>>, run: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.get_ref().to_string());
        let result = run(self);
        self.path.pop();
        result
    }

    /// Cleans a value's inside; false where it is not the table it should be.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>) -> bool {
        let span = value.span();
        match (self.shape(), value.get_mut()) {
            (Some(_), DeValue::Table(table)) => self.clean(table),
            (Some(Shape::Loose(..)), DeValue::Array(items)) => {
                for item in items.iter_mut() {
                    if let DeValue::Table(table) = item.get_mut() {
                        self.clean(table);
                    }
                }
            }
            (Some(shape @ (Shape::Sections | Shape::Keys(..) | Shape::Shared(..))), _) => {
                let header = section(&self.path);
                let (message, help) = match shape {
                    Shape::Sections => {
                        let kind = self.path.join(".");
                        (format!("`{kind}` must hold named sections"), format!("write [{kind}.NAME]"))
                    }
                    _ => (format!("{header} must be a table"), format!("write {header} once and its keys below it")),
                };
                self.report.error(span, message).help(help);
                // `probe` can be done without; what is nearer the root is referred to, but for what is of Sites alone.
                self.lost_section |= self.path.len() < 3 && !["web", "director"].contains(&self.path[0].as_str());
                let (parent, key) = self.path.split_at(self.path.len() - 1);
                self.report.spoil(&section(parent), &key[0]);
                return false;
            }
            _ => {}
        }
        true
    }

    /// Whether a shape reads this one entry. Tables have been cleaned and need no second look.
    fn readable(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>, reads: Reads) -> bool {
        if matches!(self.inside(key, |c| c.shape()), Some(Shape::Sections | Shape::Keys(..) | Shape::Shared(..))) {
            return true;
        }
        let mut alone = DeTable::new();
        alone.insert(key.clone(), value.clone());
        let Err(fault) = reads(Spanned::new(value.span(), DeValue::Table(alone))) else { return true };
        let section = section(&self.path);
        let message = fault.message().replace("a sequence", "a list").replace("i64", "a whole number");
        let message = message.replace("map,", "table,");
        let message = message.replace("f64", "a number").replace("invalid type: ", "");
        let span = fault.span().unwrap_or_else(|| value.span());
        let problem = self.report.error(span, format!("{section}: `{}` is of a wrong type: {message}", key.get_ref()));
        let in_web = self.path.first().is_some_and(|first| first == "web");
        match key.get_ref().as_ref() {
            "interval" | "timeout" | "hold_down" | "hold_down_max" | "flap_window" | "stale_after" | "slow_start"
            | "lifetime" | "skew" | "head_timeout" | "idle_timeout" | "connect_timeout" | "response_timeout"
            | "affinity" | "drain_timeout" | "delay" | "delay_max" | "window" | "hang_after" | "lame_duck"
            | "grace" | "lease" => {
                problem.help(DURATION);
            }
            // A zone's is a number.
            "retry" if in_web => {
                problem.help(DURATION);
            }
            word @ ("rule" | "class" | "server") => {
                problem.help(format!("write [[{}.{word}]] for each", self.path.join(".")));
            }
            "probe" => {
                problem.help(format!(
                    "write {{ kind = \"http\" }}, or [[{}.probe]] for each of several",
                    self.path.join(".")
                ));
            }
            "environment" => {
                problem.help("write { NAME = \"value\" }: each value is a text");
            }
            _ => {}
        }
        self.report.spoil(&section, key.get_ref());
        false
    }

    fn unknown_key(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>, fields: &[&str]) {
        let word = key.get_ref().as_ref();
        let meant = self.report.did_you_mean(word, fields.iter().copied());
        let section = section(&self.path);
        let message = if self.path.is_empty() {
            // A misspelt section is missed by all that refers to it.
            self.lost_section |= meant.is_some();
            let kind = if matches!(value.get_ref(), DeValue::Table(_)) { "section" } else { "key" };
            format!("unknown {kind} `{word}`")
        } else {
            format!("{section}: unknown key `{word}`")
        };
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("what may stand here: {}", fields.join(", ")),
        };
        self.report.error(key.span(), message).label("not known").help(help);
        if let Some(meant) = meant {
            self.report.spoil(&section, meant);
        }
    }

    /// Reports a key in `[web]` or `[director]` that is neither a known one nor a Site's.
    fn neither_key_nor_site(&mut self, key: &Spanned<DeString<'_>>, fields: &[&str]) {
        let word = key.get_ref().as_ref();
        let known = fields.iter().copied().chain(self.sites.iter().map(String::as_str));
        let help = match self.report.did_you_mean(word, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("what may stand here: {}; or a Site's key with a table of them", fields.join(", ")),
        };
        let section = section(&self.path);
        self.report
            .error(key.span(), format!("{section}: `{word}` is neither a key nor a Site"))
            .label("not known")
            .help(help);
    }

    /// `[pool.app.com]` for `[pool."app.com"]`.
    fn is_unquoted_name(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> bool {
        let Some(Shape::Keys(fields, _)) = self.inside(key, |c| c.shape()) else { return false };
        let mut name = key.get_ref().to_string();
        let mut value = value.get_ref();
        while let DeValue::Table(table) = value
            && table.keys().all(|k| !fields.contains(&k.get_ref().as_ref()))
            && let Some((label, inner @ DeValue::Table(_))) = table.iter().next().map(|(k, v)| (k, v.get_ref()))
        {
            name = format!("{name}.{}", label.get_ref());
            value = inner;
        }
        if name == *key.get_ref() {
            return false;
        }
        let kind = self.path.join(".");
        self.report
            .error(key.span(), format!("[{kind}.{name}] is a table in a table, not a name"))
            .help(format!("quote names that have dots: [{kind}.\"{name}\"]"));
        self.lost_section = true;
        true
    }
}

/// The map's own `retain` hides the keys' places.
fn retain<'i>(
    table: &mut DeTable<'i>,
    mut keep: impl FnMut(&Spanned<DeString<'i>>, &mut Spanned<DeValue<'i>>) -> bool,
) {
    for (key, mut value) in std::mem::take(table) {
        if keep(&key, &mut value) {
            table.insert(key, value);
        }
    }
}

/// A section's header as one writes it: `[pool."app.com"]`; nothing for the file itself.
pub(super) fn section<S: AsRef<str>>(path: &[S]) -> String {
    if path.is_empty() {
        return String::new();
    }
    let bare = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let keys = path.iter().map(|key| {
        let key = key.as_ref();
        if bare(key) { key.to_owned() } else { format!("{key:?}") }
    });
    format!("[{}]", keys.collect::<Vec<_>>().join("."))
}
