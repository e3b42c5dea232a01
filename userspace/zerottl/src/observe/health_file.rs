//! The file of `[health]` as it was read last: what it holds, and what is wrong with it.

use std::path::PathBuf;

/// Kinds of alarms about the file.
pub const HEALTH_FILE_KINDS: [&str; 3] = ["health-file", "health-file-lines", "fleet-refused"];
/// Faults that an alarm names, at most.
const NAMED_MAX: usize = 3;

/// The file as it was read last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthFileState {
    /// Its path; none where the configuration names no file.
    pub path: Option<PathBuf>,
    /// Lines that state the health of Sites.
    pub statements: usize,
    /// The first of the lines that are left out, each as a sentence.
    pub faults: Vec<String>,
    /// All of them, counted.
    pub ignored: usize,
    /// Why it could not be read; none if it was.
    pub error: Option<String>,
    /// Why words of it are not in force.
    pub refused: Vec<String>,
}

impl HealthFileState {
    /// The alarms that it gives cause for: their kind, and the sentence.
    #[must_use]
    pub fn alarms(&self) -> Vec<(&'static str, String)> {
        let Some(path) = self.path.as_ref().map(|path| path.display()) else { return Vec::new() };
        let [unread, lines, refused] = HEALTH_FILE_KINDS;
        let mut alarms = Vec::new();
        if let Some(error) = &self.error {
            alarms.push((unread, format!("{path} is not read: {error}; what it stated before holds until it expires")));
        }
        if self.ignored > 0 {
            let named = self.faults.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
            let more = match self.ignored.saturating_sub(self.faults.len().min(NAMED_MAX)) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            let some = if self.ignored == 1 { "a line is" } else { "lines are" };
            alarms.push((lines, format!("{path}: {some} ignored: {named}{more}")));
        }
        if !self.refused.is_empty() {
            let named = self.refused.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
            alarms.push((refused, format!("{path}: words are not in force: {named}")));
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-FILE: what is wrong with the file is named.
    #[test]
    fn f_file_alarms_name_lines() {
        let mut state = HealthFileState::default();
        assert_eq!(state.alarms(), []);
        state.path = Some("/run/health".into());
        assert_eq!(state.alarms(), []);
        (state.faults, state.ignored) = (vec!["line 2: x".into()], 1);
        assert_eq!(state.alarms(), [("health-file-lines", "/run/health: a line is ignored: line 2: x".to_owned())]);
        (state.faults, state.ignored) = ((1..=9).map(|n| format!("line {n}: x")).collect(), 12);
        state.error = Some("it is longer than 16 MiB".into());
        let [(_, error), (_, lines)] = &state.alarms()[..] else { panic!("two alarms") };
        assert_eq!(lines, "/run/health: lines are ignored: line 1: x; line 2: x; line 3: x; and 9 more");
        let expected =
            "/run/health is not read: it is longer than 16 MiB; what it stated before holds until it expires";
        assert_eq!(error, expected);
    }
}
