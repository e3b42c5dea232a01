//! The faults of a file, each with its place and its fix.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

pub(super) use miette::Severity;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

use super::excerpt::{self, Excerpt};
use zerottl_dns::ZoneError;

/// Most problems shown one by one: a file whose generator went wrong is not worth a screenful per line.
const SHOWN_MAX: usize = 50;
/// The place of what an earlier reading has read: none in this text.
pub(super) const UNREAD: Range<usize> = usize::MAX..usize::MAX;
/// The longest message, bytes: it may quote a value, and a value may be a whole generated file.
const MESSAGE_MAX: usize = 1_000;

/// One error or warning, at one place of one file.
///
/// Its `Display` is the message alone; [`Problem::line`] puts the place before it and the fix after it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    severity: Severity,
    message: String,
    help: Option<String>,
    labels: Vec<LabeledSpan>,
    place: Option<(usize, usize)>,
    origin: Arc<NamedSource<String>>,
    /// The piece that is shown where the lines are too long.
    excerpt: Option<Excerpt>,
}

impl Problem {
    /// Returns the problem, in one sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Line and column, both from 1, the column in characters; none if the file could not be read.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        self.place
    }

    /// `file:line:column: error: message (help)`, for logs and editors.
    #[must_use]
    pub fn line(&self) -> String {
        let place = self.place.map(|(row, column)| format!(":{row}:{column}")).unwrap_or_default();
        let help = self.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}{place}: {}: {}{help}", self.origin.name(), self.severity_word(), self.message)
    }

    /// The problem with its lines of the file, marked.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        render(self, colour)
    }

    /// `{"severity", "file", "line", "column", "message", "help"}`; `null` for what does not apply.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity_word(),
            "file": self.origin.name(),
            "line": self.place.map(|(line, _)| line),
            "column": self.place.map(|(_, column)| column),
            "message": self.message,
            "help": self.help,
        })
    }

    fn severity_word(&self) -> &'static str {
        if self.severity == Severity::Error { "error" } else { "warning" }
    }

    /// Names the fix.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Sets the text beneath the marked place.
    pub(super) fn label(&mut self, text: impl Into<String>) -> &mut Self {
        self.labels[0].set_label(Some(text.into()));
        self
    }

    /// Marks a second place.
    pub(super) fn also(&mut self, span: Range<usize>, text: impl Into<String>) -> &mut Self {
        let span = clamp(self.origin.inner(), span);
        // Two marks on one spot draw over each other.
        if self.labels.iter().all(|l| l.offset() != span.start) && !excerpt::is_too_long(self.origin.inner(), &span) {
            self.labels.push(LabeledSpan::new(Some(text.into()), span.start, span.len()));
        }
        self
    }
}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.map(|_| self.excerpt.as_ref().map_or(&*self.origin as _, |excerpt| excerpt as _))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.place?;
        Some(match &self.excerpt {
            None => Box::new(self.labels.iter().cloned()),
            Some(excerpt) => Box::new(self.labels.iter().take(1).map(|label| excerpt.label(label.label()))),
        })
    }
}

/// Why a configuration is refused: every error found, in the file's order.
///
/// As a miette diagnostic it shows each with its lines of the file. [`ConfigError::plain`] is one line each and
/// [`ConfigError::to_json`] is for programs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{file}: {}", errors(problems))]
pub struct ConfigError {
    file: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(file: &str, problems: Vec<Problem>) -> Self {
        Self { file: file.to_owned(), problems }
    }

    /// A file that could not be read.
    pub(super) fn unreadable(path: &Path, reason: &str) -> Self {
        let file = path.display().to_string();
        let source = Arc::new(NamedSource::new(&file, String::new()));
        let message = format!("cannot read the configuration: {reason}");
        let help = Some("give the path of a readable TOML file".to_owned());
        let problem = Problem {
            severity: Severity::Error,
            message,
            help,
            labels: Vec::new(),
            place: None,
            origin: source,
            excerpt: None,
        };
        Self { file, problems: vec![problem] }
    }

    /// Every error, in the file's order, and after them the warnings; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// One line for each problem, each as by [`Problem::line`].
    #[must_use]
    pub fn plain(&self) -> String {
        let mut lines: Vec<_> = self.problems.iter().take(SHOWN_MAX).map(Problem::line).collect();
        lines.extend(self.unshown());
        lines.join("\n")
    }

    /// Every problem with its lines of the file, marked.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        render(self, colour)
    }

    /// An array of [`Problem::to_json`].
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.problems.iter().map(Problem::to_json).collect()
    }

    fn unshown(&self) -> Option<String> {
        let more = self.problems.len().checked_sub(SHOWN_MAX).filter(|&more| more > 0)?;
        Some(format!("… and {more} more"))
    }
}

/// Counts the errors among problems, in words.
fn errors(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    format!("{errors} error{}", if errors == 1 { "" } else { "s" })
}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.unshown().map(|more| Box::new(more) as _)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().take(SHOWN_MAX).map(|p| p as _)))
    }
}

fn render(diagnostic: &dyn Diagnostic, colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(120);
    let mut text = String::new();
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) => text,
        Err(fmt::Error) => diagnostic.to_string(),
    }
}

/// The span cut to the text and to whole characters, so that every renderer can slice by it.
fn clamp(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.floor_char_boundary(span.end.min(text.len())).max(start);
    start..end
}

/// Gathers problems while a file is read.
pub(super) struct Reporter {
    /// Where relative paths start.
    base_dir: PathBuf,
    source: Arc<NamedSource<String>>,
    /// Looked for once there is something to report.
    line_starts: OnceCell<Vec<usize>>,
    problems: Vec<(usize, Problem)>,
    errors: usize,
    /// Where the last problem is, as byte offset and as column.
    last_column: Option<(usize, usize)>,
    /// `section key` pairs already complained about: not to be called missing too.
    spoiled: HashSet<String>,
    /// Whether something was told of a pool that an earlier reading has read, whose place is not known.
    is_about_unread: bool,
    /// The files that the configuration names.
    pub(super) files: Vec<PathBuf>,
    /// When the configuration was changed, if it is a file.
    pub(super) changed: Option<SystemTime>,
    /// The file that a fault was in last.
    other: Option<(PathBuf, Vec<u8>, Arc<NamedSource<String>>)>,
}

impl Reporter {
    pub(super) fn new(name: &str, text: String, base_dir: &Path) -> Self {
        let line_starts = OnceCell::new();
        let source = Arc::new(NamedSource::new(name, text));
        let base_dir = base_dir.to_owned();
        let (problems, spoiled, files) = (Vec::new(), HashSet::new(), Vec::new());
        let (last_column, changed, other) = (None, None, None);
        Self {
            base_dir,
            source,
            line_starts,
            problems,
            errors: 0,
            last_column,
            spoiled,
            is_about_unread: false,
            files,
            changed,
            other,
        }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.errors += 1;
        self.add(Severity::Error, span, message.into())
    }

    pub(super) fn warn(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Warning, span, message.into())
    }

    /// Adds an error or a warning about another file, which is shown if it still can be read.
    pub(super) fn in_file(&mut self, severity: Severity, fault: &ZoneError) -> Option<&mut Problem> {
        let (path, line) = (fault.file.as_ref()?, fault.line?);
        if self.other.as_ref().is_none_or(|(known, ..)| known != path) {
            let bytes = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let source = Arc::new(NamedSource::new(path.display().to_string(), text));
            self.other = Some((path.clone(), bytes, source));
        }
        let (_, bytes, source) = self.other.as_ref()?;
        let span = fault.span.clone().unwrap_or(0..0);
        // Bytes that are no UTF-8 are shown as longer ones.
        let shown = |to: usize| String::from_utf8_lossy(&bytes[..to.min(bytes.len())]).len();
        let span = clamp(source.inner(), shown(span.start)..shown(span.end));
        let before = &source.inner()[..span.start];
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let problem = Problem {
            severity,
            message: fault.message.clone(),
            help: fault.help.as_deref().map(str::to_owned),
            labels: vec![LabeledSpan::new_primary_with_span(Some("here".into()), span.clone())],
            place: Some((line, column)),
            excerpt: Excerpt::cut(source.name(), source.inner(), &span, (line, column)),
            origin: Arc::clone(source),
        };
        self.errors += usize::from(severity == Severity::Error);
        // Behind what is wrong with the configuration itself.
        self.problems.push((usize::MAX, problem));
        self.problems.last_mut().map(|(_, problem)| problem)
    }

    /// An error or a warning.
    pub(super) fn at(&mut self, severity: Severity, span: Range<usize>, message: String) -> &mut Problem {
        self.errors += usize::from(severity == Severity::Error);
        self.add(severity, span, message)
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, mut message: String) -> &mut Problem {
        if message.len() > MESSAGE_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_MAX));
            message.push('…');
        }
        self.is_about_unread |= span == UNREAD;
        let text = self.source.inner();
        let span = clamp(text, span);
        let line_starts = self
            .line_starts
            .get_or_init(|| std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect());
        let row = line_starts.partition_point(|&start| start <= span.start);
        let line_start = line_starts[row - 1];
        // Counted on from the place before, where it lies in the same line: the faults of one long line come in its order,
        // and counting from the line's start each time would be quadratic.
        let (from, column) =
            self.last_column.filter(|(at, _)| (line_start..=span.start).contains(at)).unwrap_or((line_start, 1));
        let column = column + text[from..span.start].chars().count();
        self.last_column = Some((span.start, column));
        let labels = vec![LabeledSpan::new_primary_with_span(Some("here".into()), span.clone())];
        let source = Arc::clone(&self.source);
        let place = (row, column);
        let excerpt = Excerpt::cut(source.name(), text, &span, place);
        let problem = Problem { severity, message, help: None, labels, place: Some(place), origin: source, excerpt };
        self.problems.push((span.start, problem));
        &mut self.problems.last_mut().expect("pushed just above").1
    }

    /// A required key that is not there. Says nothing where the key was there but bad.
    pub(super) fn missing(&mut self, section: &str, key: &str, header: Range<usize>, example: &str) {
        if !self.is_spoiled(section, key) {
            self.error(header, format!("{section} has no `{key}`"))
                .label("this section")
                .help(format!("add `{key} = {example}`"));
        }
    }

    /// Notes that a key of a section is bad and reported.
    pub(super) fn spoil(&mut self, section: &str, key: &str) {
        self.spoiled.insert(format!("{section} {key}"));
    }

    /// Whether a key of a section was reported as bad.
    pub(super) fn is_spoiled(&self, section: &str, key: &str) -> bool {
        self.has_spoiled() && self.spoiled.contains(&format!("{section} {key}"))
    }

    /// Whether any key was.
    pub(super) fn has_spoiled(&self) -> bool {
        !self.spoiled.is_empty()
    }

    /// Another for the same text, which knows of nothing yet.
    pub(super) fn beside(&self) -> Self {
        Self {
            base_dir: self.base_dir.clone(),
            source: self.source(),
            line_starts: OnceCell::new(),
            problems: Vec::new(),
            errors: 0,
            last_column: None,
            spoiled: HashSet::new(),
            is_about_unread: false,
            files: Vec::new(),
            changed: self.changed,
            other: None,
        }
    }

    /// Takes over what another one has been told.
    pub(super) fn join(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.spoiled.extend(other.spoiled);
        self.errors += other.errors;
        self.is_about_unread |= other.is_about_unread;
    }

    /// How many errors and warnings there are so far.
    pub(super) fn told(&self) -> usize {
        self.problems.len()
    }

    /// Whether what was told has to be told again, with the places of all pools.
    pub(super) fn wants_places(&self) -> bool {
        self.errors > 0 || self.is_about_unread
    }

    /// Forgets all that was reported.
    pub(super) fn forget(&mut self) {
        self.problems.clear();
        self.spoiled.clear();
        self.files.clear();
        (self.errors, self.last_column, self.is_about_unread) = (0, None, false);
    }

    /// The text.
    pub(super) fn source(&self) -> Arc<NamedSource<String>> {
        Arc::clone(&self.source)
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    pub(super) fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// `did you mean …?` where one candidate is close. Gives up after [`SHOWN_MAX`] problems: it looks at every
    /// candidate, and a file of 100,000 bad references must not take minutes to refuse.
    pub(super) fn did_you_mean<'a>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.problems.len() > SHOWN_MAX {
            return None;
        }
        let word = word.to_ascii_lowercase();
        let scored = candidates.into_iter().map(|c| (strsim::damerau_levenshtein(&word, &c.to_ascii_lowercase()), c));
        let (distance, best) = scored.min_by_key(|&(distance, _)| distance)?;
        (distance <= (word.chars().count() / 3).max(1)).then_some(best)
    }

    /// Errors and warnings, each in the file's order; of very many warnings the first, and how many more there are.
    ///
    /// Whoever is told of warnings (check, run, reload, the log) shows all that there are, each with its lines, which are
    /// looked for from the file's start: a line for each of ten thousand Sites would take minutes and help nobody.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.problems.sort_by_key(|(at, _)| *at);
        let (errors, mut warnings): (Vec<_>, Vec<_>) =
            self.problems.into_iter().map(|(_, p)| p).partition(|p| p.severity == Severity::Error);
        let more = warnings.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            warnings.truncate(SHOWN_MAX);
            warnings.push(Problem {
                severity: Severity::Warning,
                message: format!("and {more} more warnings, which show once there are fewer"),
                help: None,
                labels: Vec::new(),
                place: None,
                origin: self.source,
                excerpt: None,
            });
        }
        (errors, warnings)
    }
}

/// The first place of each thing that may stand only once.
pub(super) struct Once<K>(HashMap<K, Range<usize>>);

impl<K: std::hash::Hash + Eq> Once<K> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Returns the things, in any order.
    pub(super) fn into_things(self) -> impl Iterator<Item = K> {
        self.0.into_keys()
    }

    /// Where the thing stood before, if it did.
    pub(super) fn see(&mut self, thing: K, span: Range<usize>) -> Option<Range<usize>> {
        match self.0.entry(thing) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(span);
                None
            }
        }
    }
}
