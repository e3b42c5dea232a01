//! Which questions are asked, and by whom: every dynamic name, or what a file lists.
//!
//! A file is in dnsperf's form, a name and a type on each line, or what `zerottl trace` printed, or both mixed; a
//! traced line's client, and its client subnet if it had one, ask the question.

use std::{collections::HashMap, net::IpAddr, str::FromStr};

use domain::base::iana::Rtype;
use serde::Deserialize;
use thiserror::Error;

use zerottl_core::model::Name;

/// Queries of one question: a share is then within 1 % of what it would come to in the long run, 99 times of 100.
pub const TIMES: usize = 1 << 14;
/// Queries of one side, at most; with more questions than fit, each is asked fewer times.
pub(crate) const RUNS_MAX: usize = 4_000_000;
/// Each question is asked at least this often.
const TIMES_MIN: usize = 16;
/// Lines of a file, at most.
pub const LINES_MAX: usize = 1_000_000;

/// The client that asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuestionClient {
    /// Where from; none is drawn anew for each query.
    pub client: Option<IpAddr>,
    /// The EDNS client subnet: address and prefix length.
    pub subnet: Option<(IpAddr, u8)>,
}

/// One question and all that ask it; at least one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionGroup {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub rtype: Rtype,
    /// In their order.
    pub askers: Vec<QuestionClient>,
}

/// A and AAAA of each name, by clients from anywhere. Names that several lists have are asked once.
pub fn every<'a>(names: impl IntoIterator<Item = &'a Name>) -> Vec<QuestionGroup> {
    let mut groups = QuestionGroups::default();
    for name in names {
        for rtype in [Rtype::A, Rtype::AAAA] {
            if !groups.places.contains_key(&(name.clone(), rtype)) {
                groups.add(name, rtype, QuestionClient::default());
            }
        }
    }
    groups.list
}

/// How often each of so many questions is asked.
#[must_use]
pub fn times(groups: usize) -> usize {
    let each = (RUNS_MAX / groups.max(1)).clamp(TIMES_MIN, TIMES);
    // A power of two goes whole times through a table.
    1 << each.ilog2()
}

/// Half the width of the interval that holds a share with 99 % confidence, as a fraction: the widest, a half's.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn precision(times: usize) -> f64 {
    1.288 / (times as f64).sqrt()
}

/// A line of a file that cannot be used.
#[derive(Debug, Error)]
#[error("line {line}: {fault}")]
pub struct BadQueryFile {
    line: usize,
    #[source]
    fault: BadQuery,
}

/// The fault of a line.
#[derive(Debug, Error)]
enum BadQuery {
    #[error("more than {LINES_MAX} lines")]
    TooMany,
    #[error("the file ends without a question")]
    None,
    #[error("`{0}` is not a name and a type, nor a line of `zerottl trace`")]
    Neither(String),
    #[error("not a line of `zerottl trace`: {0}")]
    Traced(#[source] serde_json::Error),
    #[error("`{0}` is not a name: {1}")]
    Name(String, #[source] <Name as FromStr>::Err),
    #[error("`{0}` is not a type")]
    Type(String),
    #[error("`{0}` is not a client subnet")]
    Subnet(String),
}

/// Reads a file. Empty lines, comments (`;`, `#`) and traced packets without a question are skipped.
pub fn read(text: &str) -> Result<Vec<QuestionGroup>, BadQueryFile> {
    let mut groups = QuestionGroups::default();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        let fault = |fault| BadQueryFile { line: number, fault };
        if number > LINES_MAX {
            return Err(fault(BadQuery::TooMany));
        }
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let asked = if line.starts_with('{') { traced(line) } else { listed(line).map(Some) };
        if let Some((name, rtype, asker)) = asked.map_err(fault)? {
            groups.add(&name, rtype, asker);
        }
    }
    if groups.list.is_empty() {
        return Err(BadQueryFile { line: text.lines().count(), fault: BadQuery::None });
    }
    Ok(groups.list)
}

type AskedQuestion = (Name, Rtype, QuestionClient);

/// `name type`, as dnsperf reads it.
fn listed(line: &str) -> Result<AskedQuestion, BadQuery> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(rtype), None) = (words.next(), words.next(), words.next()) else {
        return Err(BadQuery::Neither(line.to_owned()));
    };
    Ok((parse_name(name)?, parse_type(rtype)?, QuestionClient::default()))
}

/// The fields that are used of a line of `zerottl trace`.
#[derive(Deserialize)]
struct Traced {
    name: Option<String>,
    qtype: Option<String>,
    client: Option<IpAddr>,
    subnet: Option<String>,
}

fn traced(line: &str) -> Result<Option<AskedQuestion>, BadQuery> {
    let traced: Traced = serde_json::from_str(line).map_err(BadQuery::Traced)?;
    let (Some(name), Some(rtype)) = (traced.name, traced.qtype) else { return Ok(None) };
    let subnet = traced.subnet.as_deref().map(parse_subnet).transpose()?;
    Ok(Some((parse_name(&name)?, parse_type(&rtype)?, QuestionClient { client: traced.client, subnet })))
}

fn parse_name(text: &str) -> Result<Name, BadQuery> {
    // Names are compared as they are written here, and the program answers any case.
    Name::from_str(&text.to_ascii_lowercase()).map_err(|error| BadQuery::Name(text.to_owned(), error))
}

fn parse_type(text: &str) -> Result<Rtype, BadQuery> {
    Rtype::from_str(text).map_err(|_| BadQuery::Type(text.to_owned()))
}

fn parse_subnet(text: &str) -> Result<(IpAddr, u8), BadQuery> {
    let net: ipnet::IpNet = text.parse().map_err(|_| BadQuery::Subnet(text.to_owned()))?;
    Ok((net.network(), net.prefix_len()))
}

#[derive(Default)]
struct QuestionGroups {
    list: Vec<QuestionGroup>,
    places: HashMap<(Name, Rtype), usize>,
}

impl QuestionGroups {
    fn add(&mut self, name: &Name, rtype: Rtype, asker: QuestionClient) {
        let place = *self.places.entry((name.clone(), rtype)).or_insert_with(|| {
            self.list.push(QuestionGroup { name: name.clone(), rtype, askers: Vec::new() });
            self.list.len() - 1
        });
        self.list[place].askers.push(asker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Vec<(String, String, usize)>, String> {
        let groups = read(text).map_err(|error| error.to_string())?;
        Ok(groups.iter().map(|group| (group.name.to_string(), group.rtype.to_string(), group.askers.len())).collect())
    }

    #[test]
    fn dnsperf_s_form() {
        let text = "; comment\napp.com A\n\napp.com AAAA\nAPP.com. a\n# more\nwww.app.com TYPE65\n";
        let expected = [("app.com", "A", 2), ("app.com", "AAAA", 1), ("www.app.com", "HTTPS", 1)];
        assert_eq!(asked(text), Ok(expected.map(|(name, rtype, count)| (name.into(), rtype.into(), count)).into()));
    }

    #[test]
    fn traced_lines_have_clients() {
        let text = r#"{"at_ns":1,"reason":"answer-a","action":"answer","len":90,"client":"198.51.100.7","name":"App.com","qtype":"A","subnet":"203.0.113.0/24"}
{"at_ns":2,"reason":"pass-ethertype","action":"pass","len":60}
app.com A"#;
        let groups = read(text).unwrap();
        let recorded = QuestionClient {
            client: Some("198.51.100.7".parse().unwrap()),
            subnet: Some(("203.0.113.0".parse().unwrap(), 24)),
        };
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].askers, [recorded, QuestionClient::default()]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, words) in [
            ("app.com", "line 1: `app.com` is not a name and a type, nor a line of `zerottl trace`"),
            ("app.com A\napp.com ZZ", "line 2: `ZZ` is not a type"),
            ("a..b A", "line 1: `a..b` is not a name: "),
            ("{", "line 1: not a line of `zerottl trace`: "),
            (r#"{"name":"a","qtype":"A","subnet":"x"}"#, "line 1: `x` is not a client subnet"),
            ("# nothing\n", "line 1: the file ends without a question"),
        ] {
            let error = asked(text).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn many_questions_are_asked_less_often() {
        assert_eq!([1, 100, 1_000, 20_000, 10_000_000].map(times), [1 << 14, 1 << 14, 2_048, 128, 16]);
        assert!(precision(TIMES) < 0.0101);
    }

    #[test]
    fn every_name_is_asked_once_for_each_family() {
        let names = ["app.com", "boston.app.com", "app.com"].map(|name| Name::from_str(name).unwrap());
        assert_eq!(every(&names).len(), 4);
    }
}
