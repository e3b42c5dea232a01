//! The inputs that fuzzing begins with: `tests/fuzz/corpus/TARGET/`, made by [`write()`] and kept in the tree, where inputs
//! that once failed join them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

use kernel_table::{
    packet::{ask, opt},
    rows,
    world::World,
};

use super::{files, load, packet, site};
use crate::scratch::root;

/// Rows of the kernel table per reason, the shortest ones.
const ROWS_PER_REASON: usize = 2;
/// The names that the socket path is asked for in the corpus.
const NAMES: [&str; 13] = [
    "app.com",
    "europe.app.com",
    "boston.app.com",
    "www.app.com",
    "loop-a.app.com",
    "into-down.app.com",
    "a.b.wild.app.com",
    "x.sub.app.com",
    "wide.app.com",
    "ent.app.com",
    "large.app.com",
    "nothing.app.com",
    "example.net",
];
/// A, NS, SOA, TXT, AAAA, HTTPS, AXFR, ANY.
const KINDS: [u16; 8] = [1, 2, 6, 16, 28, 65, 252, 255];

/// Where the corpus of a target lies.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    root().join("tests/fuzz/corpus").join(target)
}

/// The inputs of a target, by their files' names.
pub fn read(target: &str) -> io::Result<BTreeMap<String, Vec<u8>>> {
    fs::read_dir(folder(target))?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?))
        })
        .collect()
}

/// Writes what [`made`] makes for every target; files of other names stay.
pub fn write() -> io::Result<()> {
    for (target, _) in super::TARGETS {
        fs::create_dir_all(folder(target))?;
        for (name, bytes) in made(target) {
            fs::write(folder(target).join(name), bytes)?;
        }
    }
    Ok(())
}

/// The inputs made from the kernel table, the examples and a few questions.
#[must_use]
pub fn made(target: &str) -> BTreeMap<String, Vec<u8>> {
    match target {
        "frame" => {
            let plain = frames().map(|(name, frame)| (name, [&[0], &frame[..]].concat()));
            plain.chain(with_options()).collect()
        }
        "trace" => {
            let answered = frames().filter(|(name, _)| name.starts_with("answer"));
            let answered = answered.map(|(name, frame)| (name, [&[0], &frame[..]].concat()));
            answered.chain(with_options().filter(|(name, _)| name.starts_with("option-subnet-"))).collect()
        }
        "socket" => messages().collect(),
        "records" => {
            let examples = example_files("zone").into_iter();
            examples.chain([("every-kind".to_owned(), files::RECORDS.as_bytes().to_vec())]).collect()
        }
        "load" => load::made(),
        "site" => site::made(),
        "config" => {
            let examples = example_files("toml");
            // No file is found beside them while fuzzing, so these go further.
            let alone = examples.clone().into_iter().map(|(name, text)| (format!("{name}-alone"), alone(&text)));
            let alone: Vec<_> = alone.collect();
            examples.into_iter().chain(alone).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn frames() -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut by_reason = BTreeMap::<&str, BTreeSet<(usize, Vec<u8>)>>::new();
    for row in rows::all().into_iter().filter(|row| row.world == World::Full) {
        by_reason.entry(row.reason.name()).or_default().insert((row.frame.len(), row.frame));
    }
    by_reason.into_iter().flat_map(|(reason, frames)| {
        let shortest = frames.into_iter().take(ROWS_PER_REASON).enumerate();
        shortest.map(move |(i, (_, frame))| (format!("{reason}-{i}"), frame))
    })
}

/// Queries with the options that are answered, and with those on either side of what their formats allow.
fn with_options() -> impl Iterator<Item = (String, Vec<u8>)> {
    let option = |code: u8, data: &[u8]| [&[0, code, 0, data.len() as u8], data].concat();
    let subnet = |family: u8, source: u8, address: &[u8]| option(8, &[&[0, family, source, 0], address].concat());
    let mut options: Vec<(String, Vec<u8>)> = vec![
        ("nsid".into(), option(3, &[])),
        ("subnet-host-bit".into(), subnet(1, 23, &[198, 51, 101])),
        ("subnet-scope".into(), option(8, &[0, 1, 0, 1])),
        ("subnet6-host-bit".into(), subnet(2, 71, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 1])),
        ("missing".into(), vec![]),
        ("cut".into(), [&option(10, &[1; 8])[..11], &[]].concat()),
        (
            "all".into(),
            [option(10, &[1; 8]), option(3, &[]), subnet(1, 24, &[198, 51, 100]), option(200, &[7])].concat(),
        ),
    ];
    options.extend([7, 8, 9, 15, 16, 24, 40, 41].map(|len| (format!("cookie-{len}"), option(10, &vec![1; len]))));
    for (family, bits) in [(1, [0, 1, 24, 32, 33]), (2, [0, 56, 72, 128, 129])] {
        options.extend(bits.map(|bits: u8| {
            let address = vec![0; usize::from(bits).div_ceil(8)];
            (format!("subnet-{family}-{bits}"), subnet(family, bits, &address))
        }));
    }
    let names = ["www.example", "none.example", "STICKY.EXAMPLE"].into_iter().cycle();
    options.into_iter().zip(names).flat_map(|((option, bytes), name)| {
        let mut record = opt(1232, 0x8000, &bytes);
        // One byte more than there is.
        record[10] += u8::from(option == "missing");
        let message = ask(name, 1).additional(&record);
        [("", message.v4()), ("-v6", message.v6())].map(|(family, packet)| {
            let how = packet::MENDED | packet::WITH_OPTIONS;
            (format!("option-{option}{family}"), [&[how], &packet.bytes()[..]].concat())
        })
    })
}

/// Questions for every name, the types in turn; and the messages of [`frames`].
fn messages() -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut kinds = KINDS.into_iter().cycle();
    let asked =
        NAMES.into_iter().flat_map(move |name| [false, true].map(|edns| (name, edns))).map(move |(name, edns)| {
            let kind = kinds.next().unwrap_or_default();
            let message = ask(name, kind);
            let message = if edns { message.edns() } else { message };
            (format!("{name}-{kind}"), [&[0], &message.v4().dns[..]].concat())
        });
    let from_frames = |(name, frame): (String, Vec<u8>)| Some((name, [&[1], packet::message(&frame)?].concat()));
    let options = with_options().map(|(name, input)| (name, input[1..].to_vec()));
    asked.chain(frames().chain(options).filter_map(from_frames))
}

/// A configuration without the lines that name other files, and without comments: each change meets something that counts.
fn alone(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|line| {
        let key = line.split('=').next().unwrap_or_default().trim();
        !["records", "[geo]", "database", "countries", "continents"].contains(&key)
            && !key.ends_with("_file")
            && !line.contains(".pem")
            && !key.is_empty()
            && !key.starts_with('#')
    });
    let bare = lines.map(|line| line.split(" #").next().unwrap_or_default().trim_end());
    bare.flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
}

fn example_files(extension: &str) -> BTreeMap<String, Vec<u8>> {
    let examples = root().join("examples");
    let paths = fs::read_dir(examples).into_iter().flatten().flatten().map(|entry| entry.path());
    let chosen = paths.filter(|path| path.extension().is_some_and(|own| own == extension));
    chosen.filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), fs::read(&path).ok()?))).collect()
}
