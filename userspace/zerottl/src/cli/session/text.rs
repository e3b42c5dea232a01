//! Pages about sessions for a terminal.

use serde::{Deserialize, Serialize};
use zerottl::admin::text::{age, printable, table};
use zerottl_session::{
    StorePage,
    page::{SessionPage, SessionServerPage},
};

/// The state of all processes that were asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SessionsPage {
    /// The processes that have answered.
    pub workers: Vec<StorePage>,
    /// The processes that have not.
    pub unanswered: Vec<Unanswered>,
}

/// A process that has not answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unanswered {
    /// Its name, or its place.
    pub process: String,
    /// The reason; a sentence.
    pub why: String,
}

/// Formats the state of several processes: each with its session servers.
pub fn status(page: &SessionsPage) -> String {
    let mut parts: Vec<String> = page.workers.iter().map(worker).collect();
    let silent = page.unanswered.iter().map(|one| printable(&format!("{} does not answer: {}", one.process, one.why)));
    parts.extend(silent.map(|line| line + "\n"));
    parts.join("\n")
}

fn worker(page: &StorePage) -> String {
    let many = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let copies = many(page.copies as u64, if page.copies == 1 { "copy" } else { "copie" });
    let lease = if page.has_lease { "" } else { "; NO LEASE: too few session servers are reached" };
    let mut lines = vec![format!(
        "{}: {}, {copies} of each, write {}{lease}",
        page.worker,
        many(page.hosted, "session"),
        page.write
    )];
    let behind = match page.under_replicated {
        0 => "all have all their copies".to_owned(),
        count => format!("{count} have FEWER COPIES than they are to have"),
    };
    let lag =
        if page.lag_s > 0.0 { format!("; the oldest change waits for {}", since(page.lag_s)) } else { String::new() };
    lines.push(format!("{} bytes; {behind}{lag}", page.bytes));
    lines.push(format!(
        "so far {} claimed, {} of them from others, {} of these unasked; {} lost to others, {} ended, {} evicted, {} copied to others",
        page.claims, page.moves, page.adoptions, page.lost, page.ends, page.evictions, page.repairs
    ));
    let header =
        ["SERVER", "STATE", "COPIES", "BEHIND", "WRITES", "READS", "CLAIMS", "FENCED", "FAILURES", "RESTARTS", "WHY"];
    let rows: Vec<Vec<String>> = page.servers.iter().map(row).collect();
    let text: String = lines.iter().flat_map(|line| [printable(line), "\n".into()]).collect();
    text + "\n" + &table(&header, &rows)
}

fn row(server: &SessionServerPage) -> Vec<String> {
    let state = if server.state == "down" { "DOWN" } else { server.state.as_str() };
    let counts = [
        server.copies,
        server.behind,
        server.writes,
        server.reads,
        server.claims,
        server.fenced,
        server.failures,
        server.restarts,
    ];
    let mut row = vec![server.name.clone(), state.to_owned()];
    row.extend(counts.map(|count| count.to_string()));
    row.push(server.why.clone().unwrap_or_default());
    row
}

fn since(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1}s") } else { age(seconds) }
}

/// Formats how one session stands.
pub fn explain(page: &SessionPage) -> String {
    let reach = page.reach.as_ref().map(|reach| format!(", at {reach}")).unwrap_or_default();
    let whose = match (page.state.as_str(), page.worker.as_str()) {
        ("hosted" | "elsewhere", worker) => format!("hosted by {worker}{reach}"),
        ("ended", _) => "ended for good: whoever shows its cookie is a new client".to_owned(),
        (_, "") => "hosted by nobody: its last host has given it up".to_owned(),
        (_, worker) => format!("hosted by nobody: the lease of its last host, {worker}, has ended"),
    };
    let mut lines = vec![format!("{}: {whose}", page.session)];
    if page.state == "free" {
        lines.push(
            "whoever is asked for it next reads it from a session server, once, and hosts it under a higher epoch"
                .into(),
        );
    }
    lines.push(match &page.tag {
        Some(tag) => format!("epoch {}, number {}, tag {tag}, {} bytes", page.epoch, page.number, page.bytes),
        None if page.state == "hosted" => format!("epoch {}, number {}, no data yet", page.epoch, page.number),
        None => format!("epoch {}, number {}, as the session servers know it", page.epoch, page.number),
    });
    if page.state == "hosted" || !page.copies.is_empty() {
        let copy = |copy: &zerottl_session::page::CopyPage| {
            let has = if copy.has_newest { "has" } else { "has NOT" };
            format!("{} {has} the newest state", copy.server)
        };
        let copies: Vec<String> = page.copies.iter().map(copy).collect();
        lines.push(if copies.is_empty() { "no session server has a copy".into() } else { copies.join("; ") });
    }
    lines.iter().flat_map(|line| [printable(line), "\n".into()]).collect()
}

#[cfg(test)]
mod tests {
    use zerottl_session::page::CopyPage;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_loudly() {
        let server = |name: &str, state: &str| SessionServerPage {
            name: name.into(),
            state: state.into(),
            copies: 3,
            ..SessionServerPage::default()
        };
        let down =
            SessionServerPage { behind: 1, why: Some("timed out\u{1b}[2J".into()), ..server("10.0.0.2:6379", "down") };
        let worker = StorePage {
            worker: "boston.01".into(),
            write: "ack-one".into(),
            copies: 2,
            has_lease: true,
            hosted: 4,
            under_replicated: 1,
            lag_s: 1.26,
            servers: vec![server("10.0.0.1:6379", "up"), down],
            ..StorePage::default()
        };
        let silent = Unanswered { process: "site-2".into(), why: "it did not answer".into() };
        let page = SessionsPage { workers: vec![worker], unanswered: vec![silent] };
        let said = status(&page);
        for line in [
            "boston.01: 4 sessions, 2 copies of each, write ack-one",
            "0 bytes; 1 have FEWER COPIES than they are to have; the oldest change waits for 1.3s",
            "10.0.0.1:6379  up     3       0       0       0      0       0       0         0",
            "site-2 does not answer: it did not answer",
        ] {
            assert!(said.lines().any(|one| one == line), "{line}\nis not in\n{said}");
        }
        assert!(said.contains("10.0.0.2:6379  DOWN   3       1 ") && !said.contains('\u{1b}'), "{said}");
        let quiet = StorePage { copies: 1, hosted: 1, ..StorePage::default() };
        let said = status(&SessionsPage { workers: vec![quiet], unanswered: Vec::new() });
        assert!(said.contains(": 1 session, 1 copy of each") && said.contains("NO LEASE"), "{said}");
    }

    #[test]
    fn a_session_is_explained() {
        let page = |state: &str, worker: &str| SessionPage {
            session: "AAAAAAAAAAAAAAAAAAAAAA".into(),
            state: state.into(),
            worker: worker.into(),
            epoch: 65_537,
            number: 4,
            ..SessionPage::default()
        };
        let copies = vec![
            CopyPage { server: "r1".into(), has_newest: true },
            CopyPage { server: "r2".into(), has_newest: false },
        ];
        let hosted = SessionPage { tag: Some("4-0123456789abcdef".into()), bytes: 9, copies, ..page("hosted", "a.1") };
        assert_eq!(
            explain(&hosted),
            "AAAAAAAAAAAAAAAAAAAAAA: hosted by a.1\nepoch 65537, number 4, tag 4-0123456789abcdef, 9 bytes\n\
             r1 has the newest state; r2 has NOT the newest state\n"
        );
        let free = explain(&page("free", "a.1"));
        assert!(free.contains("hosted by nobody: the lease of its last host, a.1, has ended\n"), "{free}");
        assert!(free.contains("reads it from a session server, once"), "{free}");
        let elsewhere = SessionPage { reach: Some("http://10.8.0.11:8054".into()), ..page("elsewhere", "b.2") };
        assert!(explain(&elsewhere).contains(": hosted by b.2, at http://10.8.0.11:8054\n"));
        assert!(explain(&page("ended", "")).contains(": ended for good"));
    }
}
