//! The inputs that fuzzing begins with: `tests/fuzz/corpus/TARGET/`, made by [`write()`] and kept in the tree, where inputs
//! that once failed join them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{files, packet};
use crate::table::{
    packet::{ask, opt},
    rows,
    world::World,
};

/// Rows of the kernel table per reason, the shortest ones.
const ROWS_PER_REASON: usize = 2;
/// What the socket path is asked in the corpus.
const NAMES: [&str; 12] = [
    "app.com",
    "europe.app.com",
    "boston.app.com",
    "www.app.com",
    "loop-a.app.com",
    "into-down.app.com",
    "a.b.wild.app.com",
    "x.sub.app.com",
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
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
            answered.map(|(name, frame)| (name, [&[0], &frame[..]].concat())).collect()
        }
        "socket" => messages().collect(),
        "records" => {
            let examples = example_files("zone").into_iter();
            examples.chain([("every-kind".to_owned(), files::RECORDS.as_bytes().to_vec())]).collect()
        }
        "config" => example_files("toml"),
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

/// Queries with the options that are answered, and one whose data has no right form.
fn with_options() -> impl Iterator<Item = (String, Vec<u8>)> {
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let whole = [&[0, 10, 0, 24][..], &[1; 8], &[1, 0, 0, 0], &[9; 12]].concat();
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100];
    let subnet6 = [0, 8, 0, 11, 0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0];
    let all = [&cookie[..], &[0, 3, 0, 0], &subnet, &[0xff, 0xfe, 0, 1, 7]].concat();
    let options: [(&str, Vec<u8>); 7] = [
        ("cookie", cookie.to_vec()),
        ("server-cookie", whole),
        ("nsid", vec![0, 3, 0, 0]),
        ("subnet", subnet.to_vec()),
        ("subnet6", subnet6.to_vec()),
        ("all", all),
        ("short-subnet", vec![0, 8, 0, 6, 0, 1, 24, 0, 198, 51]),
    ];
    options.into_iter().zip(["www.example", "none.example", "sticky.example"].into_iter().cycle()).flat_map(
        |((option, bytes), name)| {
            let message = ask(name, 1).additional(&opt(1232, 0x8000, &bytes));
            [("", message.v4()), ("-v6", message.v6())].map(|(family, packet)| {
                let how = packet::MENDED | packet::WITH_OPTIONS;
                (format!("option-{option}{family}"), [&[how], &packet.bytes()[..]].concat())
            })
        },
    )
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
    asked.chain(frames().filter_map(|(name, frame)| Some((name, [&[1], packet::message(&frame)?].concat()))))
}

fn example_files(extension: &str) -> BTreeMap<String, Vec<u8>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let paths = fs::read_dir(examples).into_iter().flatten().flatten().map(|entry| entry.path());
    let chosen = paths.filter(|path| path.extension().is_some_and(|own| own == extension));
    chosen.filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), fs::read(&path).ok()?))).collect()
}
