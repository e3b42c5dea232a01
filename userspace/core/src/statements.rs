//! Statements of health from outside, and the file of them: any program says of a Site by a line what its state is, and for
//! how long. Pure.
//!
//! The grammar is that of gdnsd's extfile, `NAME => STATE[/SECONDS]`, with `#` before a comment:
//!
//! ```text
//! boston            => UP/300            # for five minutes from the file's last change on
//! boston/192.0.2.10 => DOWN              # one address, for as long as the line stands
//! chicago           => DRAIN/3600        # words: DRAIN, MAINT, READY, WEIGHT=50
//! ```
//!
//! `NAME` is a Site's key, as it is or in double quotes. Capital and small letters are the same in a `STATE`, and a comma
//! may end a line. A line at fault is named and left out, and costs nothing of the others.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    model::{Model, SiteId},
    overrides::{LASTS, OverrideValue},
    status::AdminState,
};

/// Bytes of a file, at most.
pub const FILE_MAX: u64 = 16 << 20;
/// Faults that are named, at most; others are counted.
pub const FAULTS_MAX: usize = 20;
/// Characters of a line that a fault shows, at most.
const SHOWN_MAX: usize = 60;

/// The state that a statement gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatedState {
    /// It is up.
    Up,
    /// It is down.
    Down,
    /// An operator's word.
    Word(AdminState),
    /// An operator's weight, 1 to 65,535.
    Weight(u32),
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatement {
    /// The Site's key, as written.
    pub site: String,
    /// One of its addresses; none for all.
    pub address: Option<IpAddr>,
    /// The state that it gives.
    pub state: StatedState,
    /// For how long from the file's last change on; none is for as long as the line stands.
    pub lasts: Option<Duration>,
    /// The line, from 1.
    pub line: usize,
}

/// A line that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct LineFault {
    /// The line, from 1.
    pub line: usize,
    /// The fault of it, with what to do.
    pub fault: StatementFault,
}

/// The fault of a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementFault {
    /// It is no text.
    #[error("it is not UTF-8: save the file as UTF-8")]
    NotText,
    /// There is no arrow in it.
    #[error("`{0}` is no statement: write NAME => STATE or NAME => STATE/SECONDS")]
    NoArrow(String),
    /// There is no name in it.
    #[error("there is no name before the `=>`: write a Site's key there")]
    NoName,
    /// The address is none.
    #[error("`{0}` is not an address: write SITE or SITE/ADDRESS before the `=>`")]
    Address(String),
    /// The state is none.
    #[error("`{0}` is no state: write UP, DOWN, DRAIN, MAINT, READY or WEIGHT=1 to WEIGHT=65535")]
    State(String),
    /// The seconds are none.
    #[error("`{0}` is no number of seconds: write 1 to {max}", max = LASTS.end().as_secs())]
    Seconds(String),
    /// A word or a weight is of a whole Site.
    #[error("a word or a weight is of a whole Site: take the address away")]
    WordOfAddress,
    /// An earlier line says the same kind of thing of the same.
    #[error("line {0} has a statement of that already: take one of the two out")]
    Again(usize),
    /// Words are not taken from this file.
    #[error(
        "words are not taken from this file: say {0} by the command line or the admin interface, or write UP or DOWN"
    )]
    NoWords(StatedState),
    /// No Site has this key.
    #[error("there is no Site `{0}`: write the key of a Site as it is in the configuration")]
    NoSuchSite(String),
    /// The Site does not have this address.
    #[error("Site `{0}` does not have the address {1}: write one of its `addresses`, as it is answered")]
    NoSuchAddress(String, IpAddr),
}

/// The faults of a file: the first few, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineFaults {
    /// The first of them, by line.
    pub first: Vec<LineFault>,
    /// All of them, counted.
    pub count: usize,
}

impl LineFaults {
    fn note(&mut self, line: usize, fault: StatementFault) {
        self.count += 1;
        if self.first.len() < FAULTS_MAX {
            self.first.push(LineFault { line, fault });
        }
    }

    /// Adds the faults of a later look at the same file.
    pub fn extend(&mut self, others: Self) {
        self.count += others.count;
        self.first.extend(others.first);
        self.first.sort_by_key(|fault| fault.line);
        self.first.truncate(FAULTS_MAX);
    }
}

/// The meaning of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStatements {
    /// Its statements, in its order.
    pub statements: Vec<FileStatement>,
    /// The lines that are left out.
    pub faults: LineFaults,
}

/// A statement of the health of some addresses of one Site of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressStatement {
    /// The Site.
    pub site: SiteId,
    /// The positions of its addresses.
    pub addresses: Vec<usize>,
    /// Whether they are up.
    pub up: bool,
    /// For how long from the file's last change on.
    pub lasts: Option<Duration>,
    /// The line, from 1.
    pub line: usize,
}

/// The door by which a statement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementSource {
    /// The admin interface.
    Interface,
    /// The file of `[health]`.
    File,
}

/// A statement of an address's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthStatement {
    /// The door by which it came.
    pub source: StatementSource,
    /// Whether the address is up.
    pub up: bool,
    /// The name of who states it, and from where.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// When: for a file, when it last changed.
    pub at: Instant,
    /// That moment as wall-clock time, milliseconds since 1970: to be shown, never to be counted with.
    pub at_wall_ms: u64,
    /// When it expires; none is never.
    pub until: Option<Instant>,
}

impl HealthStatement {
    /// Whether it has not expired.
    #[must_use]
    pub fn is_in_force(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// The file of `[health]`, as it was read.
#[derive(Clone, Debug)]
pub struct FileReading {
    /// How long ago it was changed, when it was read.
    pub age: Duration,
    /// When it was changed, as wall-clock time, milliseconds since 1970.
    pub at_wall_ms: u64,
    /// The file's name, for people.
    pub name: String,
    /// All that it says of health.
    pub statements: Vec<AddressStatement>,
    /// Its words, where they are taken.
    pub words: Vec<FileWord>,
}

/// Reads a file's text.
#[must_use]
pub fn parse(text: &[u8]) -> FileStatements {
    let mut file = FileStatements::default();
    let mut seen: HashMap<(String, Option<IpAddr>, u8), usize> = HashMap::new();
    for (bytes, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        let read =
            std::str::from_utf8(bytes).map_err(|_| StatementFault::NotText).and_then(|line| statement(line, number));
        let statement = match read {
            Ok(None) => continue,
            Ok(Some(statement)) => statement,
            Err(fault) => {
                file.faults.note(number, fault);
                continue;
            }
        };
        let kind = match statement.state {
            StatedState::Up | StatedState::Down => 0,
            StatedState::Word(_) => 1,
            StatedState::Weight(_) => 2,
        };
        if let Some(first) = seen.get(&(statement.site.clone(), statement.address, kind)) {
            file.faults.note(number, StatementFault::Again(*first));
            continue;
        }
        seen.insert((statement.site.clone(), statement.address, kind), number);
        file.statements.push(statement);
    }
    file
}

/// Reads a line; none where it says nothing.
fn statement(line: &str, number: usize) -> Result<Option<FileStatement>, StatementFault> {
    let text = line.split_once('#').map_or(line, |(text, _)| text).trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (name, state) = text.split_once("=>").ok_or_else(|| StatementFault::NoArrow(shown(text)))?;
    let state = state.trim().trim_end_matches([',', ';']).trim_end();
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    let (site, address) = match name.rsplit_once('/') {
        None => (name, None),
        Some((site, address)) => {
            let address = address.trim();
            (site.trim_end(), Some(address.parse().map_err(|_| StatementFault::Address(shown(address)))?))
        }
    };
    if site.is_empty() {
        return Err(StatementFault::NoName);
    }
    let (word, seconds) =
        state.split_once('/').map_or((state, None), |(word, seconds)| (word.trim_end(), Some(seconds)));
    let lasts = seconds.map(|seconds| seconds_of(seconds.trim())).transpose()?;
    let state = state_of(word).ok_or_else(|| StatementFault::State(shown(word)))?;
    if address.is_some() && !matches!(state, StatedState::Up | StatedState::Down) {
        return Err(StatementFault::WordOfAddress);
    }
    Ok(Some(FileStatement { site: site.to_owned(), address, state, lasts, line: number }))
}

fn seconds_of(text: &str) -> Result<Duration, StatementFault> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_number).map(Duration::from_secs);
    seconds.filter(|lasts| LASTS.contains(lasts)).ok_or_else(|| StatementFault::Seconds(shown(text)))
}

fn state_of(word: &str) -> Option<StatedState> {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "up" => Some(StatedState::Up),
        "down" => Some(StatedState::Down),
        _ => {
            let weight = || {
                let digits = word.strip_prefix("weight")?.trim_start().strip_prefix('=')?.trim_start();
                let weight = digits.parse().ok().filter(|weight| (1..=65_535).contains(weight))?;
                digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(StatedState::Weight(weight))
            };
            AdminState::parse(&word).map(StatedState::Word).or_else(weight)
        }
    }
}

/// A text as a fault shows it: short, and without what a terminal would act on.
fn shown(text: &str) -> String {
    let short = text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let more = if text.chars().nth(SHOWN_MAX).is_some() { "…" } else { "" };
    format!("{}{more}", short.collect::<String>())
}

/// A word of a file on a Site of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileWord {
    /// The Site's key.
    pub site: String,
    /// The state or the weight.
    pub value: OverrideValue,
    /// For how long from the file's last change on.
    pub lasts: Option<Duration>,
    /// The line, from 1.
    pub line: usize,
}

/// Finds the words of a file, on Sites of whatever model.
#[must_use]
pub fn words_of(statements: &[FileStatement]) -> Vec<FileWord> {
    let word = |said: &FileStatement| {
        let value = match said.state {
            StatedState::Up | StatedState::Down => return None,
            StatedState::Word(state) => OverrideValue::State(state),
            StatedState::Weight(weight) => OverrideValue::Weight(Some(weight)),
        };
        Some(FileWord { site: said.site.clone(), value, lasts: said.lasts, line: said.line })
    };
    statements.iter().filter_map(word).collect()
}

/// Finds what a file says of the health of a model's Sites. A statement of one address goes before one of all. Words are
/// passed over if somebody `takes_words`, and are faults if nobody does.
#[must_use]
pub fn health_of(
    model: &Model,
    statements: &[FileStatement],
    takes_words: bool,
) -> (Vec<AddressStatement>, LineFaults) {
    let keys: HashMap<&str, usize> = model.sites.iter().zip(0..).map(|(site, id)| (site.key.as_str(), id)).collect();
    let (mut found, mut faults) = (Vec::new(), LineFaults::default());
    let single: BTreeSet<(&str, IpAddr)> = statements
        .iter()
        .filter(|said| matches!(said.state, StatedState::Up | StatedState::Down))
        .filter_map(|said| Some((said.site.as_str(), said.address?)))
        .collect();
    for said in statements {
        let Some(site) = keys.get(said.site.as_str()).copied() else {
            faults.note(said.line, StatementFault::NoSuchSite(shown(&said.site)));
            continue;
        };
        let up = match said.state {
            StatedState::Up => true,
            StatedState::Down => false,
            StatedState::Word(_) | StatedState::Weight(_) => {
                if !takes_words {
                    faults.note(said.line, StatementFault::NoWords(said.state));
                }
                continue;
            }
        };
        let has = model.sites[site].addresses.iter().enumerate();
        let is_meant = |answer: IpAddr| match said.address {
            Some(address) => address == answer,
            None => !single.contains(&(said.site.as_str(), answer)),
        };
        let addresses: Vec<usize> = has.filter(|(_, of)| is_meant(of.answer)).map(|(index, _)| index).collect();
        if let (Some(address), true) = (said.address, addresses.is_empty()) {
            faults.note(said.line, StatementFault::NoSuchAddress(said.site.clone(), address));
            continue;
        }
        found.push(AddressStatement { site: SiteId(site), addresses, up, lasts: said.lasts, line: said.line });
    }
    (found, faults)
}

impl fmt::Display for StatedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("UP"),
            Self::Down => f.write_str("DOWN"),
            Self::Word(state) => f.write_str(&state.as_str().to_ascii_uppercase()),
            Self::Weight(weight) => write!(f, "WEIGHT={weight}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    fn words(file: &FileStatements) -> Vec<String> {
        let one = |said: &FileStatement| {
            let address = said.address.map_or(String::new(), |address| format!("/{address}"));
            let lasts = said.lasts.map_or(String::new(), |lasts| format!("/{}", lasts.as_secs()));
            format!("{}{address} {}{lasts} @{}", said.site, said.state, said.line)
        };
        file.statements.iter().map(one).collect()
    }

    /// F-FILE: each form of a line.
    #[test]
    fn f_file_lines_are_read() {
        let text = "# a comment\n\nboston => UP/300 # and why\n  \"geneva\"=>down,\nboston/192.0.2.10 => DOWN / 30\r\n\
                    boston/2001:db8:1::10=>UP\nchicago => drain/60\nchicago => WEIGHT=50/9\nlima => READY\noslo => Maint";
        let file = parse(text.as_bytes());
        assert_eq!(file.faults, LineFaults::default());
        let expected = [
            "boston UP/300 @3",
            "geneva DOWN @4",
            "boston/192.0.2.10 DOWN/30 @5",
            "boston/2001:db8:1::10 UP @6",
            "chicago DRAIN/60 @7",
            "chicago WEIGHT=50/9 @8",
            "lima READY @9",
            "oslo MAINT @10",
        ];
        assert_eq!(words(&file), expected);
        assert_eq!(parse(b""), FileStatements::default());
    }

    /// F-FILE: a line at fault is named, with what to do, and loses nothing of the rest.
    #[test]
    fn f_file_bad_lines_are_named_and_ignored() {
        let check = |line: &[u8], expected: &str| {
            let text = [b"geneva => UP\n".as_slice(), line, b"\nlima => DOWN"].concat();
            let file = parse(&text);
            assert_eq!(words(&file), ["geneva UP @1", "lima DOWN @3"], "{}", String::from_utf8_lossy(line));
            let faults: Vec<String> = file.faults.first.iter().map(ToString::to_string).collect();
            assert_eq!(faults, [format!("line 2: {expected}")]);
        };
        check(b"boston UP", "`boston UP` is no statement: write NAME => STATE or NAME => STATE/SECONDS");
        check(b"=> UP", "there is no name before the `=>`: write a Site's key there");
        let states = "is no state: write UP, DOWN, DRAIN, MAINT, READY or WEIGHT=1 to WEIGHT=65535";
        for word in ["", "OK", "WEIGHT=0", "WEIGHT=65536", "WEIGHT=+5", "WEIGHT", "UP UP"] {
            check(format!("boston => {word}").as_bytes(), &format!("`{word}` {states}"));
        }
        for seconds in ["", "0", "-1", "+5", "1.5", "5m", "31622401", "99999999999999999999"] {
            let fault = format!("`{seconds}` is no number of seconds: write 1 to 31622400");
            check(format!("boston => UP/{seconds}").as_bytes(), &fault);
        }
        check(b"boston/x => UP", "`x` is not an address: write SITE or SITE/ADDRESS before the `=>`");
        check(b"boston/192.0.2.1 => DRAIN", "a word or a weight is of a whole Site: take the address away");
        check(b"geneva => DOWN/5", "line 1 has a statement of that already: take one of the two out");
        check(b"\xff => UP", "it is not UTF-8: save the file as UTF-8");
        let long = format!("{}\u{1b}", "x".repeat(59));
        check(
            format!("{long}y").as_bytes(),
            &format!("`{}\u{fffd}…` is no statement: write NAME => STATE or NAME => STATE/SECONDS", "x".repeat(59)),
        );
        let many = parse("x\n".repeat(1_000).as_bytes());
        assert_eq!((many.faults.first.len(), many.faults.count), (FAULTS_MAX, 1_000));
    }

    /// F-FILE: what is said of one address goes before what is said of all, wherever it stands.
    #[test]
    fn f_file_statements_find_their_addresses() {
        let model = fixture::appendix_a();
        let file = parse(b"boston => UP/5\nboston/192.0.2.10 => DOWN\nnowhere => UP\nchicago/192.0.2.10 => UP\nchicago => DRAIN\nnobody => DRAIN");
        let (found, faults) = health_of(&model, &file.statements, true);
        let found: Vec<_> =
            found.iter().map(|said| (said.site.0, said.addresses.clone(), said.up, said.line)).collect();
        assert_eq!(found, [(0, vec![1], true, 1), (0, vec![0], false, 2)]);
        let faults: Vec<String> = faults.first.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "line 3: there is no Site `nowhere`: write the key of a Site as it is in the configuration",
                "line 4: Site `chicago` does not have the address 192.0.2.10: write one of its `addresses`, as it is answered",
                "line 6: there is no Site `nobody`: write the key of a Site as it is in the configuration",
            ]
        );
        let (_, faults) = health_of(&model, &file.statements, false);
        assert_eq!(
            faults.first[2].to_string(),
            "line 5: words are not taken from this file: say DRAIN by the command line or the admin interface, or write UP or DOWN"
        );
    }

    proptest! {
        /// F-FILE: no bytes make it panic, and every line is read, empty or named.
        #[test]
        fn f_file_any_bytes_are_read(lines in prop::collection::vec("[ab/=> UPDOWN0-9#\",\\x00\\x1b]{0,24}", 0..20), raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&raw);
            let text = lines.join("\n");
            let file = parse(text.as_bytes());
            prop_assert!(file.statements.len() + file.faults.count <= text.split('\n').count());
            prop_assert!(file.faults.first.windows(2).all(|pair| pair[0].line < pair[1].line));
        }
    }
}
