//! Reads and checks the configuration file.
//!
//! All or nothing (invariant 9): a file with any error gives no [`Model`], and every error found is reported, each
//! with its place and its fix. The file's keys are in `examples/reference.toml`.
//!
//! | step | module |
//! |---|---|
//! | text to shapes, a long one in parts, and of those what has changed; unknown keys, wrong types | `parts`, `known`, `tables`, `raw`, `fields` |
//! | single values, and those that several sections have | `values`, `readers`, `places`, `by_site` |
//! | sections to the model's parts; references | `front`, `admin`, `agent`, `health`, `fleet`, `edns`, `rate_limit`, `forward`, `hooks`, `dnssec`, `sites`, `probe`, `load_source`, `pools`, `safety`, `depends`, `clients`, `web`, `director` |
//! | the model as a whole | `cross_checks` |
//! | the model in use: shares, records files | `usage_checks` |
//! | faults, their places and how they are shown; the piece of a long line | `report`, `excerpt` |
#![forbid(unsafe_code)]
#![expect(clippy::ref_option, reason = "an absent list is an `Option` inside what serde fills in")]
mod admin;
mod agent;
mod by_site;
mod clients;
mod cross_checks;
mod depends;
mod director;
mod dnssec;
mod edns;
mod excerpt;
mod fields;
mod fleet;
mod forward;
mod front;
mod health;
mod hooks;
mod known;
mod load_source;
mod parts;
mod places;
mod pools;
mod probe;
mod rate_limit;
mod raw;
mod readers;
mod report;
mod safety;
mod sites;
mod tables;
mod usage_checks;
mod values;
mod web;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    string::FromUtf8Error,
    time::SystemTime,
};

pub use edns::secret_fingerprint;
pub use known::{EarlierReading, KnownParts};
pub use report::{ConfigError, Problem};

use self::{parts::Parts, pools::PoolSource, tables::Unread};
use zerottl_core::model::Model;
use zerottl_dns::Zones;

/// Bytes of a configuration file, at most: some 200,000 Sites, and a bound on what a wrong path can cost.
const FILE_LEN_MAX: u64 = 64 << 20;

/// A valid configuration, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The meaning of the file.
    pub model: Model,
    /// The zones of the model with their records files.
    pub zones: Zones,
    /// The file itself, where it was read from one, and those that it names.
    pub files: Vec<PathBuf>,
    /// Warnings of what is allowed but probably not meant, in the file's order.
    pub warnings: Vec<Problem>,
    /// The parts of a long file, for [`load_again`].
    pub parts: KnownParts,
}

/// A whole number and its unit: `500ms`, `1s`, `2m`, `1h`.
#[must_use]
pub fn duration(text: &str) -> Option<std::time::Duration> {
    values::duration(text)
}

/// Reads and checks a file. Relative paths in it start at the file's own directory.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    load_after(path, None)
}

/// As [`load`], after an earlier reading of the same file: of a long one, parts that have not changed are not read again.
pub fn load_again(path: &Path, earlier: EarlierReading<'_>) -> Result<Loaded, ConfigError> {
    load_after(path, Some(earlier))
}

fn load_after(path: &Path, earlier: Option<EarlierReading<'_>>) -> Result<Loaded, ConfigError> {
    let text = read(path).map_err(|error| ConfigError::unreadable(path, &error.to_string()))?;
    // By when the text was as it is now: what changes meanwhile is newer.
    let changed = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut loaded = parse_file(&path.display().to_string(), text, folder, (changed, earlier))?;
    loaded.files.push(path.to_owned());
    Ok(loaded)
}

/// The reason why a configuration file gives no text.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is longer than {} MiB", FILE_LEN_MAX >> 20)]
    TooLong,
    #[error("it is not UTF-8 at byte {}", .0.utf8_error().valid_up_to())]
    NotUtf8(#[from] FromUtf8Error),
}

fn read(path: &Path) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(ReadError::TooLong);
    }
    Ok(String::from_utf8(bytes)?)
}

/// Checks a text. `name` stands for the file in messages; relative paths in the text start at `base_dir`.
pub fn parse(name: &str, text: &str, base_dir: &Path) -> Result<Loaded, ConfigError> {
    parse_file(name, text.to_owned(), base_dir, (None, None))
}

fn parse_file(
    name: &str,
    text: String,
    base_dir: &Path,
    (changed, earlier): (Option<SystemTime>, Option<EarlierReading<'_>>),
) -> Result<Loaded, ConfigError> {
    let parts = Parts::cut(&text);
    let mut report = report::Reporter::new(name, text, base_dir);
    report.changed = changed;
    parse_parts(name, report, parts, earlier)
}

fn parse_parts(
    name: &str,
    mut report: report::Reporter,
    parts: Parts,
    earlier: Option<EarlierReading<'_>>,
) -> Result<Loaded, ConfigError> {
    let source = report.source();
    let text = source.inner();
    let mut read = read_parts(&mut report, text, parts.clone(), earlier);
    if earlier.is_some() && report.wants_places() {
        report.forget();
        read = read_parts(&mut report, text, parts, None);
    }
    let sound = read.filter(|_| report.errors() == 0).and_then(|(mut file, model, parts)| {
        usage_checks::forgotten(&mut report, &file, &model);
        // Room for the zones: nothing more is told of pools.
        file.pool_heads = Vec::new();
        Some((usage_checks::zones(&mut report, &file, &model)?, model, parts))
    });
    drop(source);
    let files = std::mem::take(&mut report.files);
    let (mut errors, warnings) = report.finish();
    match sound {
        Some((zones, model, parts)) if errors.is_empty() => Ok(Loaded { model, zones, files, warnings, parts }),
        _ => {
            errors.extend(warnings);
            Err(ConfigError::new(name, errors))
        }
    }
}

/// Reads the parts of a text; nothing where one is not read.
fn read_parts(
    report: &mut report::Reporter,
    text: &str,
    mut parts: Parts,
    earlier: Option<EarlierReading<'_>>,
) -> Option<(raw::File, Model, KnownParts)> {
    loop {
        let rest = known::digest(&parts.rest, text);
        let earlier = earlier.filter(|earlier| earlier.has_rest(&rest));
        let source = PoolSource { text, parts: &parts, earlier };
        let mut known = KnownParts::of_rest(rest);
        let read = tables::read(report, text, &parts.rest);
        let read = read.and_then(|mut file| resolve(report, &mut file, &source, &mut known).map(|model| (file, model)));
        match read {
            Ok((file, model)) => {
                if report.errors() == 0 {
                    usage_checks::shares(report, &file, &model);
                }
                return Some((file, model, known));
            }
            Err(Unread::Repeated) => {
                report.forget();
                parts = Parts::whole(text);
            }
            Err(Unread::Faulty) => {
                tables::report_unread(report, text, &parts);
                return None;
            }
        }
    }
}

/// Always makes a model, with placeholders where an error was reported; [`parse`] gives it out only without errors.
fn resolve(
    report: &mut report::Reporter,
    file: &mut raw::File,
    source: &PoolSource<'_>,
    known: &mut KnownParts,
) -> Result<Model, Unread> {
    let front = front::front(report, file.front.as_ref());
    let admin = admin::admin(report, file.admin.as_ref());
    let state = safety::state(report, file.state.as_ref());
    let life = agent::agent(report, file.agent.as_ref());
    let health_file = health::file(report, file.health.as_ref());
    let fleet = fleet::fleet(report, file.fleet.as_ref(), (source.text, source.parts));
    let edns = edns::edns(report, file.edns.as_ref());
    let rate_limit = rate_limit::rate_limit(report, file.rate_limit.as_ref());
    let chaos = edns::chaos(report, file.chaos.as_ref());
    let zones = front::Zones::read(report, &file.zone, front.roles);
    let mut sites = sites::sites(report, &file.site, &zones);
    let mut pools = pools::pools(report, file, &zones, source, known)?;
    let file = &*file;
    let groups = pools::groups(report, file, &zones, &mut pools);
    pools::join(report, file, &mut sites, &pools, &groups);
    depends::join(report, &file.site, &mut sites);
    let nets = clients::nets(report, file, &pools, &groups).into();
    let forwards = forward::forwards(report, &file.forward, &zones, &front.listen);
    let names = cross_checks::names(report, file, &pools, &groups, &sites, front.roles);
    let mut model = Model {
        front,
        admin,
        state,
        life,
        health_file,
        fleet,
        edns,
        rate_limit,
        chaos,
        zones: zones.list,
        forwards,
        pools,
        groups,
        nets,
        sites,
        names,
        web: Vec::new(),
        hooks: hooks::hooks(report, &file.hook),
        directors: Vec::new(),
    };
    cross_checks::check(report, file, &model);
    fleet::check(report, file, &model);
    model.web = web::web(report, file, &model);
    model.directors = director::directors(report, file, &model);
    Ok(model)
}
