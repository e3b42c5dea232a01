//! `[geo]`, and a group's `clients`, `countries` and `continents`: which group answers whom.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::Path,
};

use toml::Spanned;

use super::{
    raw,
    readers::readable,
    report::{Once, Reporter},
    tables::section,
    values::{Fault, Reader, prefix},
};
use zerottl_core::{
    model::{Group, GroupId, Pool, PoolId},
    nets::{Nets, Rule, Source, geo},
};

/// Continents, as databases write them.
const CONTINENTS: [(&str, &str); 7] =
    [("AF", "AF"), ("AN", "AN"), ("AS", "AS"), ("EU", "EU"), ("NA", "NA"), ("OC", "OC"), ("SA", "SA")];

/// The groups that have a country or a continent, with the pool of each.
type Places = HashMap<String, Vec<(PoolId, GroupId)>>;

pub(super) fn nets(report: &mut Reporter, file: &raw::File, pools: &[Pool], groups: &[Group]) -> Nets {
    let errors_before = report.errors();
    let mut rules = Vec::new();
    let mut nets_once = Once::new();
    let mut places_once = Once::new();
    let (mut countries, mut continents) = (Places::new(), Places::new());
    let mut wanted = None;
    for (i, (group, (key, raw))) in groups.iter().zip(&file.group.0).enumerate() {
        let (pool, id) = (group.pool, GroupId(i));
        let mut reader = Reader { report, section: section(&["group", key.get_ref()]), header: key.span() };
        let span = [&raw.clients, &raw.countries, &raw.continents].into_iter().flatten().map(Spanned::span).next();
        let Some(span) = span else { continue };
        if pools.get(pool.0).is_some_and(|pool| pool.name == group.name) {
            reader
                .error(span, "a group that bears its pool's name has all its Sites and cannot be chosen by clients")
                .help("give the group a name of its own, or take this out");
            continue;
        }
        for text in reader.list("clients", &raw.clients).unwrap_or_default() {
            let Some(net) = reader.parsed(text, prefix) else { continue };
            if let Some(first) = nets_once.see((pool, net), text.span()) {
                taken(&mut reader, text, first, &format!("net {net}"));
                continue;
            }
            rules.push(Rule { pool, group: id, net, source: Source::Written });
        }
        for text in reader.list("countries", &raw.countries).unwrap_or_default() {
            let Some(country) = reader.parsed(text, country) else { continue };
            wanted.get_or_insert_with(|| text.span());
            if let Some(first) = places_once.see((pool, country.clone()), text.span()) {
                taken(&mut reader, text, first, &format!("country {country}"));
                continue;
            }
            countries.entry(country).or_default().push((pool, id));
        }
        for text in reader.list("continents", &raw.continents).unwrap_or_default() {
            let Some(continent) = reader.word("continents", text, &CONTINENTS) else { continue };
            wanted.get_or_insert_with(|| text.span());
            // No country has three letters.
            if let Some(first) = places_once.see((pool, format!("{continent}-")), text.span()) {
                taken(&mut reader, text, first, &format!("continent {continent}"));
                continue;
            }
            continents.entry(continent.to_owned()).or_default().push((pool, id));
        }
    }
    let database = database(report, file.geo.as_ref(), wanted);
    if report.errors() > errors_before {
        return Nets::default();
    }
    if let Some((path, full)) = database {
        let mut reader = geo_reader(report, file.geo.as_ref());
        from_database(&mut reader, &path, &full, (&countries, &continents), &mut rules);
    }
    Nets::build(&rules).unwrap_or_else(|error| {
        report.error(0..0, error.to_string());
        Nets::default()
    })
}

fn taken(reader: &mut Reader<'_>, text: &Spanned<String>, first: std::ops::Range<usize>, what: &str) {
    reader
        .error(text.span(), format!("{what} is a group's of this pool already"))
        .label("again")
        .also(first, "first here")
        .help("one of a pool's groups answers a client; take one out");
}

fn country(text: &str) -> Result<String, Fault> {
    if text.len() == 2 && text.bytes().all(|letter| letter.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` is no country"),
        "give two capital letters by ISO 3166-1, such as \"CH\"; a database may know more, such as \"XK\"",
    ))
}

fn geo_reader<'a>(report: &'a mut Reporter, geo: Option<&Spanned<raw::Geo>>) -> Reader<'a> {
    Reader { report, section: "[geo]".into(), header: geo.map_or(0..0, Spanned::span) }
}

/// The database's path as it is written, and in full, where one is needed.
fn database(
    report: &mut Reporter,
    geo: Option<&Spanned<raw::Geo>>,
    wanted: Option<std::ops::Range<usize>>,
) -> Option<(Spanned<String>, std::path::PathBuf)> {
    let Some(geo) = geo else {
        if let Some(span) = wanted {
            report
                .error(span, "countries and continents need a database")
                .help("add `[geo]` with `database = \"GeoLite2-Country.mmdb\"`");
        }
        return None;
    };
    let mut reader = geo_reader(report, Some(geo));
    let Some(path) = &geo.get_ref().database else {
        reader.missing("database", "\"GeoLite2-Country.mmdb\"");
        return None;
    };
    if wanted.is_none() {
        reader
            .warn(path.span(), "`database` has no use: no group has `countries` or `continents`")
            .help("take it out, or give a group its countries");
        return None;
    }
    let full = readable(&mut reader, "database", path)?;
    Some((path.clone(), full))
}

/// Adds the rules of every network that a group wants. A country goes before its continent.
fn from_database(
    reader: &mut Reader<'_>,
    path: &Spanned<String>,
    full: &Path,
    (countries, continents): (&Places, &Places),
    rules: &mut Vec<Rule>,
) {
    let unseen = RefCell::new(countries.keys().map(String::as_str).collect::<HashSet<_>>());
    let wanted = |country: Option<&str>, continent: Option<&str>| {
        if let Some(country) = country {
            unseen.borrow_mut().remove(country);
        }
        let of = |places: &Places, place: Option<&str>| {
            place.and_then(|place| places.get(place)).cloned().unwrap_or_default()
        };
        let mut by_pool = of(countries, country);
        let by_continent = of(continents, continent);
        by_pool.extend(by_continent.iter().filter(|(pool, _)| {
            !countries.get(country.unwrap_or_default()).is_some_and(|own| own.iter().any(|(p, _)| p == pool))
        }));
        by_pool
    };
    let read = geo::read(full, wanted, |net, (pool, group)| {
        rules.push(Rule { pool, group, net, source: Source::Database });
    });
    if let Err(error) = read {
        reader
            .error(path.span(), format!("`database` file `{}`: {error}", path.get_ref()))
            .help("give a database of countries in MaxMind's format (.mmdb), such as GeoLite2-Country");
        return;
    }
    let mut unseen: Vec<_> = unseen.into_inner().into_iter().collect();
    unseen.sort_unstable();
    if !unseen.is_empty() {
        reader
            .warn(path.span(), format!("`database` has no network of {}", unseen.join(", ")))
            .help("are these countries spelt as ISO 3166-1 has them?");
    }
}
