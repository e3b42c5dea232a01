//! The lines of `top`, made from a status for a screen of so many columns and rows. Pure.

use std::collections::HashMap;

use zerottl::admin::{
    overview,
    status::{SitePage, StatusPage},
    text,
};

/// Alarms shown; of more, how many more.
const ALARMS_MAX: usize = 3;

/// In what order Sites are listed; within each, by the configuration's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Those in trouble first.
    #[default]
    Trouble,
    /// By key.
    Key,
    /// Most answers a second first.
    Rate,
    /// Fullest first.
    Load,
}

impl Sort {
    /// The next one, round.
    pub fn next(self) -> Self {
        match self {
            Self::Trouble => Self::Key,
            Self::Key => Self::Rate,
            Self::Rate => Self::Load,
            Self::Load => Self::Trouble,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Key => "key",
            Self::Rate => "answers",
            Self::Load => "load",
        }
    }
}

/// The choices of the user.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The order.
    pub sort: Sort,
    /// Only Sites in trouble.
    pub down: bool,
    /// Only Sites with this in key, name or state; lower case.
    pub wish: String,
    /// Whether that is being typed.
    pub typing: bool,
    /// Names instead of Sites.
    pub names: bool,
    /// The first row shown.
    pub from: usize,
}

/// Two statuses, for what happens in a second.
pub struct Pages<'a> {
    /// The newest.
    pub now: &'a StatusPage,
    /// The one before, and how many seconds lie between them.
    pub before: Option<(&'a StatusPage, f64)>,
}

impl Pages<'_> {
    /// Returns how much happens in a second; none before there are two pages. A counter that went back began anew.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn rate(&self, of: impl Fn(&StatusPage) -> u64) -> Option<f64> {
        let (before, seconds) = self.before.filter(|(_, seconds)| *seconds > 0.0)?;
        let (before, now) = (of(before), of(self.now));
        Some(now.checked_sub(before).unwrap_or(now) as f64 / seconds)
    }

    fn rate_of(&self, site: &SitePage, before: &HashMap<&str, u64>) -> Option<f64> {
        let known = *before.get(site.key.as_str())?;
        self.rate(|page| if std::ptr::eq(page, self.now) { site.answers } else { known })
    }
}

/// The screen: its heading, and all further lines with the rows cut to those from `from` on. `from` is brought back into
/// what there is.
pub fn screen(pages: &Pages<'_>, choices: &mut Choices, columns: usize, rows: usize) -> Vec<String> {
    let status = pages.now;
    let mut lines = vec![heading(pages)];
    lines.push(if choices.typing {
        format!("only with: {}_  (Enter: keep, Esc: all)", choices.wish)
    } else {
        let wish = if choices.wish.is_empty() { String::new() } else { format!(" with {:?}", choices.wish) };
        let down = if choices.down { ", in trouble" } else { "" };
        format!("by {}{wish}{down} | s sort, d trouble, / search, n names, q quit", choices.sort.word())
    });
    let alarms = &status.notices.alarms;
    lines.extend(alarms.iter().take(ALARMS_MAX).map(|alarm| format!("ALARM: {}", text::printable(&alarm.message))));
    if alarms.len() > ALARMS_MAX {
        lines.push(format!("and {} more alarms: zerottl status", alarms.len() - ALARMS_MAX));
    }
    let table =
        if choices.names { overview::names_table(status, Some(columns)) } else { sites(pages, choices, columns) };
    let mut table = table.lines().map(str::to_owned);
    lines.extend(table.next());
    let all: Vec<String> = table.collect();
    // One line at the end says where in the list this is.
    let room = rows.saturating_sub(lines.len() + 1);
    choices.from = choices.from.min(all.len().saturating_sub(room));
    let shown: Vec<String> = all.iter().skip(choices.from).take(room).cloned().collect();
    let last = choices.from + shown.len();
    lines.extend(shown);
    if all.is_empty() {
        lines.push("nothing is so".to_owned());
    } else if all.len() > room {
        lines.push(format!("{}-{last} of {}: arrows and page keys", choices.from + 1, all.len()));
    }
    lines.truncate(rows);
    lines.iter().map(|line| line.chars().take(columns).collect()).collect()
}

fn heading(pages: &Pages<'_>) -> String {
    let status = pages.now;
    let up = status.sites.iter().filter(|site| site.up).count();
    let answered = |page: &StatusPage| -> u64 {
        let kernel = page.reasons.values().filter(|reason| reason.action == "answer").map(|reason| reason.count);
        kernel.sum::<u64>() + page.socket.queries.values().sum::<u64>()
    };
    let dropped = |page: &StatusPage| -> u64 {
        page.reasons.values().filter(|reason| reason.action == "drop").map(|reason| reason.count).sum()
    };
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
    format!(
        "zerottl: {up} of {} Sites up, plan {}, {} answers/s, {} dropped/s",
        status.sites.len(),
        status.plan.generation,
        rate(pages.rate(answered)),
        rate(pages.rate(dropped)),
    )
}

fn sites(pages: &Pages<'_>, choices: &Choices, columns: usize) -> String {
    let status = pages.now;
    let before = pages.before.map(|(before, _)| before);
    let before: HashMap<&str, u64> =
        before.into_iter().flat_map(|page| &page.sites).map(|site| (site.key.as_str(), site.answers)).collect();
    let has = |site: &&SitePage| {
        let texts = [&site.key, &site.name, &site.state];
        (choices.wish.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&choices.wish)))
            && (!choices.down || overview::is_troubled(site))
    };
    let mut shown: Vec<(&SitePage, Option<f64>)> =
        status.sites.iter().filter(has).map(|site| (site, pages.rate_of(site, &before))).collect();
    match choices.sort {
        Sort::Trouble => shown.sort_by_key(|(site, _)| overview::rank(site)),
        Sort::Key => shown.sort_by(|one, other| one.0.key.cmp(&other.0.key)),
        Sort::Rate => shown.sort_by(|one, other| other.1.unwrap_or(0.0).total_cmp(&one.1.unwrap_or(0.0))),
        Sort::Load => {
            shown.sort_by(|one, other| fullness(other.0).unwrap_or(-1.0).total_cmp(&fullness(one.0).unwrap_or(-1.0)));
        }
    }
    let row = |(site, rate): &(&SitePage, Option<f64>)| {
        let latency = site.addresses.iter().filter(|address| address.live).find_map(|address| address.latency_ms);
        vec![
            site.key.clone(),
            overview::state_word(site),
            site.weight_now.to_string(),
            rate.map_or("-".into(), |rate| format!("{rate:.0}")),
            fullness(site).map_or("-".into(), text::percent),
            latency.map_or("-".into(), |latency| format!("{latency:.1}ms")),
            why(site),
        ]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    text::fitted(&["SITE", "STATE", "WEIGHT", "ANSWERS/S", "LOAD", "LATENCY", "WHY"], &rows, Some(columns))
}

/// Its load, of its capacity.
fn fullness(site: &SitePage) -> Option<f64> {
    let load = site.load.as_ref()?;
    Some(load.current? / load.capacity?)
}

/// Why it is not simply up: what the agent says, or what a probe found.
fn why(site: &SitePage) -> String {
    let error = || site.addresses.iter().filter(|address| !address.live).find_map(|address| address.last_error.clone());
    site.reason.clone().or_else(error).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 200 Sites, of which one is down, one drained, and one is answered more and more.
    fn page(answers: u64) -> StatusPage {
        let site = |i: u32| {
            let (state, up) = if i == 150 { ("down", false) } else { (if i == 160 { "drain" } else { "up" }, true) };
            let error = (i == 150).then_some("connect: connection refused");
            json!({
                "key": format!("site{i}"), "name": format!("site{i}.app.com"), "up": up, "state": state, "weight": 1,
                "weight_now": 1, "eligible": state == "up", "answers": if i == 170 { answers } else { 7 },
                "addresses": [{ "answer": "192.0.2.1", "probe": "192.0.2.1", "health": state, "live": up, "since_s": 9.0,
                    "last_attempt_s": 1.0, "last_error": error, "latency_ms": 1.25, "attempts": 9, "failures": 0, "not_tried": 0, "restarts": 0 }],
            })
        };
        let sites: Vec<_> = (0..200).map(site).collect();
        let status = json!({
            "version": "0", "uptime_s": 1.0, "front": { "listen": [], "roles": [], "attach": [] },
            "plan": { "generation": 3, "age_s": 1.0, "publish_ms": 1.0, "choices": {} }, "sites": sites, "names": [],
            "reasons": { "answer-a": { "action": "answer", "count": answers } },
            "socket": { "queries": {}, "answers": {}, "events": {}, "tcp_open": 0 },
        });
        serde_json::from_value(status).expect("a page")
    }

    fn shown(choices: &mut Choices) -> Vec<String> {
        let (before, now) = (page(100), page(1_100));
        screen(&Pages { now: &now, before: Some((&before, 2.0)) }, choices, 80, 24)
    }

    #[test]
    fn trouble_is_seen_without_scrolling() {
        let lines = shown(&mut Choices::default());
        assert_eq!(lines.len(), 24);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(lines[0].contains("199 of 200 Sites up") && lines[0].contains("500 answers/s"), "{}", lines[0]);
        assert!(lines[3].starts_with("site150 ") && lines[3].contains("connection refus"), "{}", lines[3]);
        assert!(lines[4].starts_with("site160 ") && lines[5].starts_with("site0 "), "{lines:#?}");
        assert!(lines[23].starts_with("1-20 of 200"), "{}", lines[23]);
    }

    #[test]
    fn sorted_searched_and_scrolled() {
        let lines = shown(&mut Choices { sort: Sort::Rate, ..Choices::default() });
        let cells: Vec<&str> = lines[3].split_whitespace().collect();
        assert_eq!(cells[..4], ["site170", "up", "1", "500"], "{}", lines[3]);
        let lines = shown(&mut Choices { wish: "site16".into(), ..Choices::default() });
        assert!(
            lines[3].starts_with("site160 ") && lines[13].starts_with("site169 ") && lines.len() == 14,
            "{lines:#?}"
        );
        let lines = shown(&mut Choices { down: true, ..Choices::default() });
        assert_eq!(lines.len(), 5, "{lines:#?}");
        let mut far = Choices { sort: Sort::Key, from: 1_000, ..Choices::default() };
        let lines = shown(&mut far);
        assert_eq!((far.from, lines[22].split(' ').next()), (180, Some("site99")), "{lines:#?}");
        assert!(
            shown(&mut Choices { wish: "nobody".into(), ..Choices::default() }).contains(&"nothing is so".to_owned())
        );
    }

    /// However small the window, nothing sticks out and nothing panics.
    #[test]
    fn any_window() {
        let now = page(1);
        for (columns, rows) in [(1, 1), (10, 2), (20, 5), (300, 400)] {
            let lines = screen(&Pages { now: &now, before: None }, &mut Choices::default(), columns, rows);
            assert!(lines.len() <= rows && lines.iter().all(|line| line.chars().count() <= columns), "{lines:#?}");
        }
    }
}
