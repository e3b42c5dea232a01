//! Master files (RFC 1035 section 5) into records: files, directives, owners, TTLs, and whatever is wrong with them.
//!
//! A fault ends its entry and not the file, so that all faults are told at once.

use std::{
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::SystemTime,
};

use domain::base::{Rtype, iana::Class};

use super::{
    fault::{At, Fault, Faults, ZoneError, escape},
    generate::Generate,
    rewrite::{Entries, Entry, Token, octets, ttl_seconds},
    text_form,
    zone::Data,
};
use zerottl_core::model;

/// How deep `$INCLUDE` may go: a file that includes itself must end.
const INCLUDE_DEPTH_MAX: usize = 8;
/// Files of one zone, at most: files that include each other twice must end, too.
const FILES_MAX: usize = 10_000;
/// Bytes of one file, at most: a bound on what a wrong path can cost.
const FILE_LEN_MAX: u64 = 256 << 20;
/// Records that `$GENERATE` makes in one zone, at most.
const GENERATED_MAX: u64 = 1 << 20;
/// Without `$TTL`, without a TTL before, and without an SOA in the file: an hour.
const TTL_DEFAULT: u32 = 3_600;

/// Where a record stands.
#[derive(Clone, Debug)]
pub struct FilePosition {
    /// The file.
    pub file: Arc<Path>,
    /// Its first line, from 1.
    pub line: usize,
    owner: Range<usize>,
    rtype: Range<usize>,
    whole: Range<usize>,
}

impl FilePosition {
    /// Returns a fault as an error at this place.
    #[must_use]
    pub fn error(&self, fault: Fault) -> ZoneError {
        let span = match fault.at {
            At::Owner => &self.owner,
            At::Type => &self.rtype,
            At::Token(_) | At::Whole => &self.whole,
        };
        ZoneError {
            zone: None,
            file: Some(self.file.to_path_buf()),
            line: Some(self.line),
            span: Some(span.clone()),
            message: fault.message,
            help: fault.help.map(Into::into),
        }
    }
}

/// A record as the file has it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its owner, spelt as there.
    pub owner: model::Name,
    /// Seconds.
    pub ttl: u32,
    /// Its type.
    pub rtype: Rtype,
    /// Its data.
    pub data: Data,
}

/// The function that takes each record.
pub type Each<'e> = &'e mut dyn FnMut(Record, &FilePosition) -> Result<(), Fault>;

/// The files that were read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// All of them.
    pub files: Vec<PathBuf>,
    /// When the newest was changed.
    pub newest: Option<SystemTime>,
}

/// Reads a file and what it includes, and hands every record to `each`.
pub fn read(path: &Path, origin: model::Name, faults: &mut Faults, each: Each<'_>) -> Sources {
    let mut reader = Reader {
        origin,
        owner: None,
        default_ttl: None,
        last_ttl: None,
        generated: 0,
        sources: Sources::default(),
        faults,
        each,
    };
    if let Err(reason) = reader.file(path, INCLUDE_DEPTH_MAX) {
        reader.faults.error(ZoneError::of_file(path, reason.to_string()));
    }
    reader.sources
}

/// The state that one entry leaves for those after it.
struct Reader<'r> {
    origin: model::Name,
    owner: Option<model::Name>,
    /// As `$TTL` says, also in files that are included behind it (RFC 2308 section 4).
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    generated: u64,
    sources: Sources,
    faults: &'r mut Faults,
    each: Each<'r>,
}

/// Where an entry was written.
#[derive(Clone, Copy)]
struct Source<'s> {
    file: &'s Arc<Path>,
    text: &'s [u8],
    /// How much deeper it may go.
    depth: usize,
}

impl Reader<'_> {
    /// Reads one file; fails if it cannot be read at all.
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), FileError> {
        let (text, changed) = text_of(path)?;
        self.sources.files.push(path.to_owned());
        self.sources.newest = self.sources.newest.max(changed);
        let file: Arc<Path> = path.into();
        let source = Source { file: &file, text: &text, depth };
        for entry in Entries::new(&text) {
            match entry {
                Err(unclosed) => self.faults.error(ZoneError {
                    line: Some(unclosed.line),
                    span: Some(unclosed.span),
                    ..ZoneError::of_file(path, unclosed.message.into())
                }),
                Ok(entry) => {
                    if let Err(fault) = self.entry(source, &entry) {
                        let error = entry_error(source, &entry, fault);
                        self.faults.error(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, source: Source<'_>, entry: &Entry) -> Result<(), Fault> {
        let first = &entry.tokens[0];
        let word = &source.text[first.span.clone()];
        if !entry.indented && !first.quoted && word.starts_with(b"$") {
            return match word.to_ascii_uppercase().as_slice() {
                b"$TTL" => self.set_ttl(source, entry),
                b"$ORIGIN" => self.set_origin(source, entry),
                b"$INCLUDE" => self.include(source, entry),
                b"$GENERATE" => self.generate(source, entry),
                _ => Err(Fault::new(At::Token(0), format!("unknown control: {}", String::from_utf8_lossy(word)))
                    .help("there are $ORIGIN, $TTL, $INCLUDE and $GENERATE; a name that begins so is written \\$…")),
            };
        }
        let (record, place) = self.record(source, entry)?;
        let (soa_ttl, ttl) = (minimum(&record.data), record.ttl);
        (self.each)(record, &place)?;
        // RFC 1035 section 3.3.13: what has no TTL, and follows an SOA, has its MINIMUM.
        self.last_ttl = self.last_ttl.or(soa_ttl.map(|minimum| minimum.min(ttl)));
        Ok(())
    }

    fn set_ttl(&mut self, source: Source<'_>, entry: &Entry) -> Result<(), Fault> {
        let [_, token] = &entry.tokens[..] else { return Err(arity("$TTL", "one TTL")) };
        let ttl = ttl_seconds(token.inner(source.text)).ok_or_else(|| {
            Fault::new(At::Token(1), format!("`{}` is no TTL", shown(source.text, token)))
                .help("give seconds, or numbers with units: 3600, 1h30m, 2d")
        })?;
        self.default_ttl = Some(ttl);
        Ok(())
    }

    fn set_origin(&mut self, source: Source<'_>, entry: &Entry) -> Result<(), Fault> {
        let [_, token] = &entry.tokens[..] else { return Err(arity("$ORIGIN", "one name")) };
        self.origin = self.name(source, token, 1)?;
        Ok(())
    }

    fn include(&mut self, source: Source<'_>, entry: &Entry) -> Result<(), Fault> {
        let (file, origin) = match &entry.tokens[..] {
            [_, file] => (file, None),
            [_, file, origin] => (file, Some(self.name(source, origin, 2)?)),
            _ => return Err(arity("$INCLUDE", "a file and, if it is another, its origin")),
        };
        let Some(depth) = source.depth.checked_sub(1) else {
            return Err(Fault::new(At::Whole, format!("$INCLUDE goes deeper than {INCLUDE_DEPTH_MAX} files")));
        };
        if self.sources.files.len() >= FILES_MAX {
            return Err(Fault::new(At::Whole, format!("one zone has more than {FILES_MAX} files")));
        }
        let bytes = octets(file.inner(source.text)).ok_or_else(|| escape(1))?;
        let beside = String::from_utf8(bytes).map_err(|_| Fault::new(At::Token(1), "the file's name is not UTF-8"))?;
        let path = source.file.parent().unwrap_or(Path::new("")).join(beside);
        // What a file sets is its own, but for TTLs.
        let (origin_before, owner_before) = (self.origin.clone(), self.owner.clone());
        self.origin = origin.unwrap_or_else(|| origin_before.clone());
        let read = self.file(&path, depth);
        (self.origin, self.owner) = (origin_before, owner_before);
        read.map_err(|reason| {
            Fault::new(At::Token(1), format!("the included file {} {reason}", path.display()))
                .help("a relative path starts where this file is")
        })
    }

    fn generate(&mut self, source: Source<'_>, entry: &Entry) -> Result<(), Fault> {
        let generate = Generate::read(source.text, entry)?;
        self.generated = self.generated.saturating_add(generate.count());
        if self.generated > GENERATED_MAX {
            return Err(Fault::new(At::Token(1), format!("$GENERATE makes more than {GENERATED_MAX} records"))
                .help("generate the file by a program, or use a wildcard"));
        }
        for value in generate.values() {
            let text = generate.line(value)?;
            let made = Entries::new(&text).next().and_then(Result::ok);
            let made = made.ok_or_else(|| Fault::new(At::Whole, "$GENERATE makes what is no record"))?;
            // Whatever is wrong with what was made stands in the directive, and in all that it makes.
            let within = Source { text: &text, ..source };
            let told = |fault: Fault| {
                let line = String::from_utf8_lossy(&text);
                Fault { at: At::Whole, message: format!("{}: {}", line.trim_end(), fault.message), help: fault.help }
            };
            let (record, place) = self.record(within, &made).map_err(told)?;
            let whole = entry.span();
            let place = FilePosition { line: entry.line, owner: whole.clone(), rtype: whole.clone(), whole, ..place };
            (self.each)(record, &place).map_err(told)?;
        }
        Ok(())
    }

    fn name(&self, source: Source<'_>, token: &Token, at: usize) -> Result<model::Name, Fault> {
        text_form::name(source.text, token, &self.origin).map_err(|reason| {
            Fault::new(At::Token(at), format!("`{}` is no name: {reason}", shown(source.text, token)))
        })
    }

    fn record(&mut self, source: Source<'_>, entry: &Entry) -> Result<(Record, FilePosition), Fault> {
        let tokens = &entry.tokens;
        let (owner, first) = if entry.indented {
            let owner = self.owner.clone().ok_or_else(|| {
                Fault::new(At::Whole, "no owner: the line begins with white space, and no record comes before it")
                    .help("begin the line with a name, or with @ for the origin")
            })?;
            (owner, 0)
        } else {
            (self.name(source, &tokens[0], 0)?, 1)
        };
        let head = Head::read(source.text, tokens, first)?;
        self.owner = Some(owner.clone());
        let data = text_form::data(head.rtype, source.text, &tokens[head.data..], &self.origin);
        let data = data.map_err(|fault| match fault.at {
            At::Token(at) => Fault { at: At::Token(head.data + at), ..fault },
            At::Whole if fault.message.starts_with("unexpected end") => fault,
            _ => Fault { message: format!("{} at {owner}: {}", head.rtype, fault.message), ..fault },
        })?;
        let ttl = head.ttl.or(self.default_ttl).or(self.last_ttl).or_else(|| minimum(&data)).unwrap_or(TTL_DEFAULT);
        self.last_ttl = head.ttl.or(self.last_ttl);
        let place = FilePosition {
            file: Arc::clone(source.file),
            line: entry.line,
            owner: if first == 0 { entry.span() } else { tokens[0].span.clone() },
            rtype: tokens[head.data - 1].span.clone(),
            whole: entry.span(),
        };
        Ok((Record { owner, ttl, rtype: head.rtype, data }, place))
    }
}

/// The fields between a record's owner and its data.
struct Head {
    ttl: Option<u32>,
    rtype: Rtype,
    /// The first token of the data.
    data: usize,
}

impl Head {
    fn read(text: &[u8], tokens: &[Token], first: usize) -> Result<Self, Fault> {
        let (mut ttl, mut class) = (None, None);
        for (at, token) in tokens.iter().enumerate().skip(first) {
            let word = if token.quoted { b"" } else { token.inner(text) };
            if ttl.is_none() && word.first().is_some_and(u8::is_ascii_digit) {
                let seconds = ttl_seconds(word).ok_or_else(|| {
                    Fault::new(At::Token(at), format!("`{}` is neither a TTL nor a type", shown(text, token)))
                })?;
                ttl = Some(seconds);
                continue;
            }
            let word = std::str::from_utf8(word).unwrap_or_default();
            if let Some(rtype) = text_form::rtype(word) {
                return Ok(Self { ttl, rtype, data: at + 1 });
            }
            match Class::from_str(word) {
                Ok(Class::IN) if class.is_none() => class = Some(Class::IN),
                Ok(other) if class.is_none() => {
                    let message = format!("different class: {other} is not served");
                    return Err(Fault::new(At::Token(at), message).help("leave the class out, or give IN"));
                }
                _ => {
                    let message = format!("`{}` is no record type", shown(text, token));
                    return Err(Fault::new(At::Token(at), message)
                        .help("a type is a word such as A or MX, or TYPE and its number (RFC 3597)"));
                }
            }
        }
        Err(Fault::new(At::Whole, "unexpected end of entry: a record has an owner, a type and data"))
    }
}

/// The MINIMUM of an SOA.
fn minimum(data: &Data) -> Option<u32> {
    match data {
        Data::Soa(soa) => Some(soa.minimum().as_secs()),
        _ => None,
    }
}

fn arity(directive: &str, what: &str) -> Fault {
    Fault::new(At::Whole, format!("{directive} takes {what}"))
}

fn shown(text: &[u8], token: &Token) -> String {
    String::from_utf8_lossy(&text[token.span.clone()]).into_owned()
}

/// A fault at its tokens.
fn entry_error(source: Source<'_>, entry: &Entry, fault: Fault) -> ZoneError {
    let token = |at: usize| entry.tokens.get(at).map(|token| token.span.clone());
    let span = match fault.at {
        At::Token(at) => token(at),
        At::Owner if !entry.indented => token(0),
        At::Type => {
            let first = usize::from(!entry.indented);
            Head::read(source.text, &entry.tokens, first).ok().and_then(|head| token(head.data - 1))
        }
        At::Owner | At::Whole => None,
    };
    let span = span.unwrap_or_else(|| entry.span());
    // An entry may go on for lines.
    let lines = source.text.get(entry.tokens[0].span.start..span.start).map_or(0, line_feeds);
    ZoneError {
        zone: None,
        file: Some(source.file.to_path_buf()),
        line: Some(entry.line + lines),
        span: Some(span),
        message: fault.message,
        help: fault.help.map(Into::into),
    }
}

fn line_feeds(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot be read: it is not a file")]
    NotAFile,
    #[error("is longer than {} MiB", FILE_LEN_MAX >> 20)]
    TooLong,
}

fn text_of(path: &Path) -> Result<(Vec<u8>, Option<SystemTime>), FileError> {
    // The kind first: opening a FIFO would wait for its other end.
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(FileError::NotAFile);
    }
    let mut text = Vec::new();
    File::open(path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(FileError::TooLong);
    }
    Ok((text, meta.modified().ok()))
}
