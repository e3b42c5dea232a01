//! The director's pages for a terminal.

use std::{fmt::Write as _, time::Duration};

use zerottl::admin::text::{age, printable, table};
use zerottl_director::pages::{ConnectionPage, DirectorPage, ProcessPage, VerbDone};

/// Formats the state of a director: how it chooses, who waits, and its servers.
pub fn status(page: &DirectorPage) -> String {
    let by = if page.kernel {
        "the kernel chooses"
    } else {
        "the kernel does not choose: connections are handed over or relayed"
    };
    let mut text = format!("{}: {}, {by}; listens on {}\n", page.site, page.policy, page.listen.join(", "));
    if let Some(note) = &page.note {
        let _ = writeln!(text, "{note}");
    }
    let waiting = &page.waiting;
    let first = match waiting.now {
        0 => String::new(),
        _ => format!(", the first for {}", age(Duration::from_millis(waiting.oldest_ms).as_secs_f64())),
    };
    let _ = writeln!(
        text,
        "waiting: {} of {}{first}; so far {} handed over, {} relayed, {} timed out, {} left, {} found it full",
        waiting.now,
        waiting.max,
        waiting.served_handover,
        waiting.served_relay,
        waiting.timeouts,
        waiting.left,
        waiting.full
    );
    let header =
        ["SERVER", "STATE", "FOR", "PID", "WEIGHT", "LIVE", "ASSIGNED", "HANDED", "RELAYED", "RESTARTS", "WHY"];
    let rows: Vec<_> = page.servers.iter().map(row).collect();
    // Each line by itself: a note may be anybody's words.
    let mut text: String = text.lines().flat_map(|line| [printable(line), "\n".into()]).collect();
    text.push('\n');
    text + &table(&header, &rows)
}

fn row(server: &ProcessPage) -> Vec<String> {
    let state = match server.state.as_str() {
        "down" | "hung" | "backoff" => server.state.to_uppercase(),
        state => state.to_owned(),
    };
    let of = server.max_connections.map(|max| format!("/{max}")).unwrap_or_default();
    vec![
        server.name.clone(),
        state,
        age(server.since_s),
        server.pid.map_or("-".into(), |pid| pid.to_string()),
        server.weight.to_string(),
        format!("{}{of}", server.live),
        server.assigned.to_string(),
        server.handed_over.to_string(),
        server.relayed.to_string(),
        server.restarts.to_string(),
        why(server),
    ]
}

/// Why it is in its state, what was the matter before, what it still has to finish, and what it says of its work.
fn why(server: &ProcessPage) -> String {
    let mut parts = Vec::new();
    match (server.state.as_str(), server.why.as_str()) {
        (_, "") => {}
        ("ready", why) => parts.push(format!("started again: {why}")),
        (_, why) => parts.push(why.to_owned()),
    }
    if server.finishing > 0 {
        parts.push(format!("{} of them finish at the process before", server.finishing));
    }
    if let Some(pending) = server.pending.filter(|pending| *pending > 0) {
        parts.push(format!("{pending} pending"));
    }
    parts.join("; ")
}

/// Formats the result of a verb.
pub fn done(done: &VerbDone, verb: &str) -> String {
    let note = done.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    format!("{}\n", printable(&format!("{}: {verb}{note}", done.servers.join(", "))))
}

/// Formats why a connection is where it is.
pub fn connection(page: &ConnectionPage) -> String {
    let server = page.server.as_deref().unwrap_or("no server");
    let lines = page.why.iter().map(|line| format!("  {line}"));
    let lines = [format!("{}: {server}", page.client)].into_iter().chain(lines);
    lines.flat_map(|line| [printable(&line), "\n".into()]).collect()
}

#[cfg(test)]
mod tests {
    use zerottl_director::pages::WaitingPage;

    use super::*;

    #[test]
    fn servers_are_a_table() {
        let app = |name: &str, state: &str| ProcessPage {
            name: name.into(),
            server: "app".into(),
            state: state.into(),
            pid: Some(70),
            slot: Some(1),
            weight: 3,
            live: 12,
            reserved: 1,
            max_connections: Some(100),
            assigned: 3456,
            since_s: 130.0,
            ..ProcessPage::default()
        };
        let down = ProcessPage {
            pid: None,
            max_connections: None,
            restarts: 5,
            why: "ended with exit code 1\u{1b}[2J".into(),
            ..app("app-2", "backoff")
        };
        let again =
            ProcessPage { why: "ended by signal 9".into(), finishing: 2, pending: Some(3), ..app("app-3", "ready") };
        let page = DirectorPage {
            site: "boston".into(),
            policy: "weighted-round-robin".into(),
            kernel: true,
            note: Some("`memory_max` has no effect".into()),
            listen: vec!["0.0.0.0:443".into(), "[::]:443".into()],
            waiting: WaitingPage {
                now: 3,
                max: 512,
                served_handover: 8,
                served_relay: 2,
                timeouts: 1,
                left: 4,
                full: 5,
                oldest_ms: 2400,
                ..WaitingPage::default()
            },
            servers: vec![app("app-1", "ready"), down, again],
            ..DirectorPage::default()
        };
        assert_eq!(
            status(&page),
            "boston: weighted-round-robin, the kernel chooses; listens on 0.0.0.0:443, [::]:443\n\
             `memory_max` has no effect\n\
             waiting: 3 of 512, the first for 2s; so far 8 handed over, 2 relayed, 1 timed out, 4 left, 5 found it full\n\
             \n\
             SERVER  STATE    FOR  PID  WEIGHT  LIVE    ASSIGNED  HANDED  RELAYED  RESTARTS  WHY\n\
             app-1   ready    2m   70   3       12/100  3456      0       0        0\n\
             app-2   BACKOFF  2m   -    3       12      3456      0       0        5         \
             ended with exit code 1\u{fffd}[2J\n\
             app-3   ready    2m   70   3       12/100  3456      0       0        0         \
             started again: ended by signal 9; 2 of them finish at the process before; 3 pending\n"
        );
    }

    #[test]
    fn verbs_and_connections_are_lines() {
        let page =
            VerbDone { servers: vec!["app-1".into(), "app-2".into()], note: Some("12 connections go on".into()) };
        assert_eq!(done(&page, "drain"), "app-1, app-2: drain; 12 connections go on\n");
        let page = ConnectionPage {
            client: "192.0.2.1:4711".into(),
            server: Some("app-1".into()),
            why: vec!["its turn".into()],
        };
        assert_eq!(connection(&page), "192.0.2.1:4711: app-1\n  its turn\n");
        assert_eq!(connection(&ConnectionPage { server: None, ..page }), "192.0.2.1:4711: no server\n  its turn\n");
    }
}
