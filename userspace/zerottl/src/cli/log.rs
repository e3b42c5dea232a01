//! The log's filter and form.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal},
    os::unix::fs::MetadataExt,
};

use thiserror::Error;
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    filter::ParseError,
    fmt::{FmtContext, FormatEvent, FormatFields, format},
    registry::LookupSpan,
};

/// The environment variable for what is logged, in the words of `tracing_subscriber::EnvFilter`.
const VARIABLE: &str = "ZEROTTL_LOG";
/// The environment variable for its form.
const FORMAT_VARIABLE: &str = "ZEROTTL_LOG_FORMAT";
/// By this, systemd says that a stream goes to its journal.
const JOURNAL: &str = "JOURNAL_STREAM";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// Text after a priority (`sd-daemon(3)`), without the time, which the journal has.
    Journald,
}

/// A fault of the environment's settings; it says what is allowed.
#[derive(Debug, Error)]
pub enum LogError {
    /// A variable's value.
    #[error("{0}: it is not UTF-8")]
    NotUtf8(&'static str),
    /// A part of the filter that is no level, and no module with one.
    #[error(
        "{VARIABLE}: {0:?} is not understood: give a level ({levels}), or a module and its level such as \
         `info,zerottl::probe=debug`",
        levels = LEVELS.join(", ")
    )]
    Directive(String),
    /// The filter.
    #[error("{VARIABLE}: {0}")]
    Filter(#[source] ParseError),
    /// The form.
    #[error("{FORMAT_VARIABLE}: {0:?} is no form of the log: it is `text`, `json` or `journald`")]
    Format(String),
}

/// The settings that the environment asks for.
#[derive(Debug)]
pub struct Log {
    filter: EnvFilter,
    format: LogFormat,
}

impl Log {
    /// Reads them from the environment.
    pub fn from_environment() -> Result<Self, LogError> {
        let read = |name: &'static str| match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(Some(value)),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(LogError::NotUtf8(name)),
        };
        let wish = read(VARIABLE)?;
        let filter = filter(wish.as_deref().unwrap_or("info"))?;
        let format = match read(FORMAT_VARIABLE)? {
            Some(word) => format_of(&word)?,
            None if read(JOURNAL).ok().flatten().is_some_and(|stream| is_stderr(&stream)) => LogFormat::Journald,
            None => LogFormat::Text,
        };
        Ok(Self { filter, format })
    }

    /// Begins to log to stderr.
    pub fn start(self) {
        let log = tracing_subscriber::fmt()
            .with_env_filter(self.filter)
            .with_writer(io::stderr)
            .with_ansi(self.format == LogFormat::Text && io::stderr().is_terminal())
            // It would panic where stderr is closed.
            .log_internal_errors(false);
        match self.format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
            LogFormat::Journald => log.event_format(Prioritised).init(),
        }
    }
}

fn format_of(word: &str) -> Result<LogFormat, LogError> {
    match word {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "journald" => Ok(LogFormat::Journald),
        _ => Err(LogError::Format(word.to_owned())),
    }
}

/// Whether what systemd names in `JOURNAL_STREAM` is our stderr: whoever inherits the variable may have another.
fn is_stderr(stream: &str) -> bool {
    let named = stream.split_once(':').and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    let own = std::fs::metadata("/proc/self/fd/2").map(|file| (file.dev(), file.ino()));
    own.is_ok_and(|own| named == Some(own))
}

/// The filter that a text asks for. `EnvFilter` takes any word for the name of a module, so that a slip such as `inf0`
/// would log nothing, errors included; and errors are logged in any case, unless it says `off`.
fn filter(wish: &str) -> Result<EnvFilter, LogError> {
    let directives: Vec<&str> = wish.split(',').map(str::trim).collect();
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    for directive in &directives {
        let (target, level) = directive.rsplit_once('=').map_or((None, *directive), |(of, level)| (Some(of), level));
        let is_ours = |target: &str| {
            let rest = target.strip_prefix("zerottl");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('_'))
        };
        if !(is_level(level) || target.is_none() && is_ours(level)) || target == Some("") {
            return Err(LogError::Directive((*directive).to_owned()));
        }
    }
    let base = if directives.iter().any(|directive| is_level(directive)) { "" } else { "error," };
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(format!("{base}{}", directives.into_iter().flat_map(by_crate).collect::<Vec<_>>().join(",")))
        .map_err(LogError::Filter)
}

/// Modules by the names that they had while the program was one crate, and where they are now.
const MOVED: [(&str, &[&str]); 12] = [
    ("zerottl::config", &["zerottl_config"]),
    ("zerottl::dns", &["zerottl_dns"]),
    ("zerottl::hooks", &["zerottl_kernel::attachments"]),
    ("zerottl::kernel", &["zerottl_kernel"]),
    ("zerottl::load", &["zerottl_inputs::load"]),
    ("zerottl::operator", &["zerottl::agent::assessment_log"]),
    ("zerottl::probe", &["zerottl_inputs::probe"]),
    ("zerottl::proxy", &["zerottl_proxy"]),
    ("zerottl::resources", &["zerottl_host::resources"]),
    ("zerottl::site", &["zerottl_site", "zerottl_proxy"]),
    ("zerottl::state::keeper", &["zerottl_host::state::writer"]),
    ("zerottl::state", &["zerottl_host::state"]),
];

/// Returns the directives that one stands for, by the crates of the modules that it names.
fn by_crate(directive: &str) -> Vec<String> {
    for (before, now) in MOVED {
        if let Some(rest) = directive.strip_prefix(before)
            && (rest.is_empty() || rest.starts_with("::") || rest.starts_with('='))
        {
            return now.iter().map(|now| format!("{now}{rest}")).collect();
        }
    }
    vec![directive.to_owned()]
}

/// Lines that each begin with their priority.
#[derive(Debug)]
struct Prioritised;

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        let inner = format().without_time().with_level(false).with_ansi(false);
        inner.format_event(context, format::Writer::new(&mut text), event)?;
        writer.write_str(&prioritised(*event.metadata().level(), &text))
    }
}

/// The journal takes each line for a message of its own.
fn prioritised(level: Level, text: &str) -> String {
    let priority = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    let mut lines = String::with_capacity(text.len() + 4);
    for line in text.trim_start().lines() {
        let _ = writeln!(lines, "<{priority}>{line}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wish: &str, expect: Result<&str, &str>) {
        let filter = filter(wish).map(|filter| filter.to_string()).map_err(|error| error.to_string());
        match (&filter, expect) {
            (Ok(filter), Ok(expect)) => assert_eq!(filter, expect, "{wish}"),
            (Err(why), Err(expect)) => assert!(why.contains(expect), "{wish}: {why}"),
            _ => panic!("{wish}: {filter:?}"),
        }
    }

    /// A slip is told, and nothing but `off` hides errors.
    #[test]
    fn filters_are_levels_and_modules() {
        check("warn", Ok("warn"));
        check("DEBUG", Ok("debug"));
        check("info,zerottl_inputs::probe=debug", Ok("zerottl_inputs::probe=debug,info"));
        check("zerottl_inputs::probe=debug", Ok("zerottl_inputs::probe=debug,error"));
        check("zerottl_inputs::probe", Ok("zerottl_inputs::probe=trace,error"));
        check("zerottl=debug", Ok("zerottl=debug,error"));
        check("zerottl::probe=debug", Ok("zerottl_inputs::probe=debug,error"));
        check("warn,zerottl::dns::forward=info", Ok("zerottl_dns::forward=info,warn"));
        check("zerottl::site=debug", Ok("zerottl_proxy=debug,zerottl_site=debug,error"));
        check("info,zerottl::proxy::front=debug", Ok("zerottl_proxy::front=debug,info"));
        check("hyper=info", Ok("hyper=info,error"));
        check("off", Ok("off"));
        for slip in [
            "inf0",
            "warning",
            "all",
            "info;debug",
            "info, dbg",
            "zerottl=chatty",
            "=info",
            "info,,warn",
            "hyper",
            "inf0=info=no",
        ] {
            check(slip, Err("give a level (off, error, warn, info, debug, trace)"));
        }
    }

    #[test]
    fn forms_are_three() {
        assert_eq!(["text", "json", "journald"].map(|word| format_of(word).is_ok()), [true; 3]);
        assert!(format_of("JSON").is_err() && format_of("syslog").is_err());
        assert!(!is_stderr("") && !is_stderr("1:2") && !is_stderr("x:y"));
        assert_eq!(prioritised(Level::ERROR, " zerottl: a\n  b\n"), "<3>zerottl: a\n<3>  b\n");
        assert_eq!(prioritised(Level::WARN, "a\n"), "<4>a\n");
    }
}
