//! Two sets of answers into what changes. Pure; `simulate` shows it, and `reload` can.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde::{Deserialize, Serialize};

use crate::{
    admin::{
        status::{FamilyPage, StatusPage},
        text,
    },
    observe::shares::SiteShares,
};

/// Answers: for a name and a type, the share of each Site, or of the reason why there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers(BTreeMap<(String, String), SiteShares>);

impl Answers {
    /// Adds one question's.
    pub fn insert(&mut self, name: &str, rtype: &str, shares: SiteShares) {
        self.0.insert((name.to_owned(), rtype.to_owned()), shares);
    }

    /// Reads what a running agent answers, by its own page.
    #[must_use]
    pub fn of_page(page: &StatusPage) -> Self {
        let mut answers = Self::default();
        for name in &page.names {
            for (rtype, family) in [("A", &name.a), ("AAAA", &name.aaaa)] {
                answers.insert(&name.name, rtype, shares(name.served, family));
            }
        }
        answers
    }

    /// Only the questions that another set has, too.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        let kept = self.0.iter().filter(|(question, _)| other.0.contains_key(question));
        Self(kept.map(|(question, shares)| (question.clone(), shares.clone())).collect())
    }
}

fn shares(served: bool, family: &FamilyPage) -> SiteShares {
    let alone = |reason: &str| SiteShares::from([(reason.to_owned(), 1.0)]);
    match family.choice.as_str() {
        _ if !served => alone("pass-referral"),
        "nodata" => alone("answer-nodata"),
        "servfail" => alone("answer-servfail"),
        _ => family.shares.clone(),
    }
}

/// One share before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareChange {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    #[serde(rename = "type")]
    pub rtype: String,
    /// The Site's key, or the reason for an answer without one.
    pub site: String,
    /// Share now, 0 to 1; none where nothing is known of the name now.
    pub now: Option<f64>,
    /// Share then, 0 to 1; none where the name is not asked for any more.
    pub then: Option<f64>,
}

impl ShareChange {
    /// By how much; none unless both are known.
    #[must_use]
    pub fn change(&self) -> Option<f64> {
        Some(self.then? - self.now?)
    }

    /// How far it moves, for the order: what is new or goes moves by all of it.
    fn distance(&self) -> f64 {
        (self.then.unwrap_or(0.0) - self.now.unwrap_or(0.0)).abs()
    }
}

/// All that changes, and what does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Every share, the largest change first.
    pub shares: Vec<ShareChange>,
    /// Names that are only there then.
    pub added: Vec<String>,
    /// Names that are only there now.
    pub removed: Vec<String>,
    /// Changes below this are chance, as a fraction.
    pub precision: f64,
}

/// The names that a configuration has, in text form.
pub type Names = BTreeSet<String>;

/// Compares `now` with `then`. A name in `now` alone has no `then`, and the other way round. With the names of both
/// configurations it says which are added and removed; without the first all is shown as it will be.
#[must_use]
pub fn compare(now: Option<(&Answers, &Names)>, then: (&Answers, &Names), precision: f64) -> Changes {
    let nothing = Answers::default();
    let before = now.map_or(&nothing, |(answers, _)| answers);
    let questions: BTreeSet<_> = before.0.keys().chain(then.0.0.keys()).collect();
    let mut shares = Vec::new();
    for question in questions {
        let (now, then) = (before.0.get(question), then.0.0.get(question));
        let sites: BTreeSet<&String> = now.into_iter().chain(then).flat_map(SiteShares::keys).collect();
        for site in sites {
            let of = |shares: Option<&SiteShares>| shares.map(|shares| shares.get(site).copied().unwrap_or(0.0));
            let (name, rtype) = question.clone();
            shares.push(ShareChange { name, rtype, site: site.clone(), now: of(now), then: of(then) });
        }
    }
    // Stable: equal changes stay in the order of their names.
    shares.sort_by(|a, b| b.distance().total_cmp(&a.distance()));
    let only = |these: &Names, those: &Names| these.difference(those).cloned().collect();
    let (added, removed) =
        now.map_or((Vec::new(), Vec::new()), |(_, names)| (only(then.1, names), only(names, then.1)));
    Changes { shares, added, removed, precision }
}

impl Changes {
    /// Shares that move by more than chance, the largest first.
    pub fn moved(&self) -> impl Iterator<Item = &ShareChange> {
        self.shares.iter().filter(|share| share.now.is_none() || share.then.is_none() || self.is_real(share))
    }

    fn is_real(&self, share: &ShareChange) -> bool {
        share.distance() > self.precision
    }

    /// For a terminal: what moves, then what does not in a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), text::percent);
        let row = |change: &ShareChange| {
            let by = change.change().map_or_else(|| "-".to_owned(), |by| format!("{:+.1}%", by * 100.0));
            vec![
                change.name.clone(),
                change.rtype.clone(),
                change.site.clone(),
                share(change.now),
                share(change.then),
                by,
            ]
        };
        let rows: Vec<_> = self.moved().map(row).collect();
        let still = self.shares.len() - rows.len();
        let mut page = String::new();
        if !rows.is_empty() {
            page += &text::table(&["NAME", "TYPE", "SITE", "NOW", "THEN", "CHANGE"], &rows);
        }
        if still > 0 {
            let verb = if still == 1 { "share stays" } else { "shares stay" };
            let _ = writeln!(page, "{still} {verb} within {}", text::percent(self.precision));
        }
        for (word, names) in [("added", &self.added), ("removed", &self.removed)] {
            if !names.is_empty() {
                let _ = writeln!(page, "names {word}: {}", text::printable(&names.join(", ")));
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(rows: &[(&str, &str, f64)]) -> Answers {
        let mut answers = Answers::default();
        for (name, site, share) in rows {
            let question = ((*name).to_owned(), "A".to_owned());
            answers.0.entry(question).or_default().insert((*site).to_owned(), *share);
        }
        answers
    }

    fn names(names: &[&str]) -> Names {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_largest_change_stands_first() {
        let now = answers(&[("a", "x", 0.5), ("a", "y", 0.5), ("b", "x", 0.9), ("b", "y", 0.1), ("old", "x", 1.0)]);
        let then = answers(&[("a", "x", 0.502), ("a", "y", 0.498), ("b", "y", 1.0), ("new", "answer-nodata", 1.0)]);
        let (before, after) = (names(&["a", "b", "old"]), names(&["a", "b", "new"]));
        let changes = compare(Some((&now, &before)), (&then, &after), 0.01);
        let text = "\
NAME  TYPE  SITE           NOW     THEN    CHANGE
new   A     answer-nodata  -       100.0%  -
old   A     x              100.0%  -       -
b     A     x              90.0%   0.0%    -90.0%
b     A     y              10.0%   100.0%  +90.0%
2 shares stay within 1.0%
names added: new
names removed: old
";
        assert_eq!(changes.to_text(), text);
    }

    #[test]
    fn without_a_now_all_is_shown() {
        let then = answers(&[("a", "x", 1.0)]);
        let changes = compare(None, (&then, &names(&["a"])), 0.01);
        assert_eq!(changes.to_text(), "NAME  TYPE  SITE  NOW  THEN    CHANGE\na     A     x     -    100.0%  -\n");
        assert!(changes.added.is_empty());
    }

    #[test]
    fn the_same_twice_is_no_change() {
        let same = answers(&[("a", "x", 1.0)]);
        let names = names(&["a"]);
        let changes = compare(Some((&same, &names)), (&same, &names), 0.01);
        assert_eq!(changes.to_text(), "1 share stays within 1.0%\n");
    }

    /// Not the shares alone: what an agent says of names without any.
    #[test]
    fn a_page_s_answers_have_reasons() {
        let family =
            |choice: &str| FamilyPage { choice: choice.into(), from: choice.into(), shares: SiteShares::new() };
        let reason = |served, choice| shares(served, &family(choice)).into_keys().next();
        assert_eq!(reason(true, "nodata").as_deref(), Some("answer-nodata"));
        assert_eq!(reason(true, "servfail").as_deref(), Some("answer-servfail"));
        assert_eq!(reason(false, "table").as_deref(), Some("pass-referral"));
    }
}
