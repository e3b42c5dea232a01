//! Man pages: one of each command, made from its help with what a page needs besides, and one of the configuration file,
//! made from `examples/reference.toml`.

use std::{fs, io, path::Path};

use clap::Command;
use clap_mangen::Man;
use roff::{Roff, bold, italic, roman};

/// Every key there is, with its comment.
const REFERENCE: &str = include_str!("../../../../examples/reference.toml");
/// A whole configuration.
const EXAMPLE: &str = include_str!("../../../../examples/appendix-a.toml");

/// A command line, and what it does.
type Example = (&'static str, &'static str);

/// Command lines worth knowing, by command; none is the page of `zerottl` itself.
const EXAMPLES: &[(Option<&str>, &[Example])] = &[
    (
        None,
        &[
            ("zerottl check", "Check the installed configuration before it is used."),
            (
                "zerottl status --down",
                "Show the Sites that are down, drained or otherwise not fully in service, and why.",
            ),
            (
                "zerottl drain boston --for 2h --reason 'kernel upgrade'",
                "Keep new clients away from a Site for two hours.",
            ),
        ],
    ),
    (
        Some("run"),
        &[
            ("zerottl run --config /etc/zerottl/zerottl.toml", "Run the agent as its systemd unit does."),
            ("zerottl run --config new.toml --take-over", "Replace a running agent; no query is lost."),
        ],
    ),
    (
        Some("check"),
        &[
            ("zerottl check", "Check the installed configuration."),
            ("zerottl check --config new.toml --json", "Check another file, with JSON for a script."),
        ],
    ),
    (
        Some("status"),
        &[
            ("zerottl status", "Show the Sites with problems, the names and the counters."),
            ("zerottl status --site 'eu-*' --names", "Show some Sites, whatever their state, and all names."),
            (
                "zerottl status --json | jq '.sites[] | select(.up | not) | .key'",
                "Print the keys of the Sites that are down, for a script.",
            ),
        ],
    ),
    (
        Some("explain"),
        &[("zerottl explain app.com --client 192.0.2.77", "Show what that client would be answered, and why.")],
    ),
    (
        Some("drain"),
        &[
            ("zerottl drain boston --wait", "Return once the Site has no sessions left."),
            ("zerottl drain 'eu-*' --for 30m --reason 'rack 7'", "Drain several Sites for half an hour."),
        ],
    ),
    (
        Some("maint"),
        &[("zerottl maint boston --reason 'disk'", "Take a Site out as if it were down; its Site Name fails over.")],
    ),
    (Some("ready"), &[("zerottl ready boston", "Undo drain and maint.")]),
    (
        Some("weight"),
        &[
            ("zerottl weight boston 50 --for 1h", "Set another weight for a Site for an hour."),
            ("zerottl weight boston configured", "Restore the configured weight."),
        ],
    ),
    (
        Some("top"),
        &[("zerottl top --admin unix:/run/zerottl/admin.sock", "Watch an agent that listens on a Unix socket.")],
    ),
    (Some("reload"), &[("zerottl check && zerottl reload", "Read the changed file, if it is valid.")]),
    (
        Some("detach"),
        &[(
            "zerottl detach --config /etc/zerottl/zerottl.toml",
            "Remove the program that a killed agent has left; the file says where its pins are.",
        )],
    ),
    (
        Some("trace"),
        &[("zerottl trace --count 100 | jq -r .reason | sort | uniq -c", "Count a hundred packets by their reason.")],
    ),
    (
        Some("completions"),
        &[(
            "zerottl completions bash > /etc/bash_completion.d/zerottl",
            "Complete commands, Sites and names in bash, if no package has installed this.",
        )],
    ),
    (Some("man"), &[("zerottl man /usr/local/share/man/man1", "Write the pages of an agent that was built here.")]),
    (
        Some("simulate"),
        &[(
            "zerottl simulate --config new.toml",
            "Show what the new file would change in the answers of the running agent.",
        )],
    ),
    (
        Some("site"),
        &[
            ("zerottl site --config /etc/zerottl/zerottl.toml --as boston", "Run the front of the Site boston."),
            (
                "zerottl site explain https://app.com/ --config /etc/zerottl/zerottl.toml --as boston",
                "Show how that Site would handle a request.",
            ),
        ],
    ),
    (
        Some("session"),
        &[
            ("zerottl session status --as boston", "Show how the sessions of the Site boston are copied."),
            (
                "zerottl session status --json | jq '[.workers[].under_replicated] | add'",
                "Print how many sessions have fewer copies than they are to have, for a script.",
            ),
            (
                "zerottl session explain AAECAwQFBgcICQoLDA0ODw --at 127.0.0.1:8054",
                "Show who hosts a session, by one process's admin interface.",
            ),
        ],
    ),
];

/// Pages of other commands that somebody who reads a command's page may want.
const RELATED: &[(&str, &[&str])] = &[
    ("run", &["check", "reload", "detach", "status"]),
    ("check", &["simulate", "run"]),
    ("status", &["top", "explain", "drain"]),
    ("top", &["status"]),
    ("explain", &["status", "trace"]),
    ("drain", &["maint", "ready", "weight", "status"]),
    ("maint", &["drain", "ready"]),
    ("ready", &["drain", "maint"]),
    ("weight", &["drain", "status"]),
    ("reload", &["check", "simulate"]),
    ("detach", &["run", "status"]),
    ("trace", &["explain", "status"]),
    ("simulate", &["check", "reload"]),
    ("site", &["check", "run", "session"]),
    ("session", &["site", "check"]),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/zerottl/zerottl.toml", "The configuration; see zerottl.toml(5)."),
    ("/var/lib/zerottl", "The state that survives a restart: overrides, health."),
    ("/sys/fs/bpf/zerottl", "The program's links and counters, which stay without the agent."),
    ("/usr/share/doc/zerottl", "README, the chapters it leads to, and examples."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("ZEROTTL_LOG", "What run and site log, such as debug or info,zerottl::probe=debug. Default: info."),
    ("ZEROTTL_LOG_FORMAT", "text, json or journald. Default: journald under systemd, else text."),
    ("ZEROTTL_TOKEN", "The token for an agent that asks for one."),
];

/// Writes all pages into a directory that exists.
pub fn write(mut command: Command, directory: &Path) -> io::Result<()> {
    command.build();
    fs::write(directory.join("zerottl.1"), page(&command, None)?)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = sub.get_name();
        fs::write(directory.join(format!("zerottl-{name}.1")), page(sub, Some(name))?)?;
    }
    fs::write(directory.join("zerottl.toml.5"), configuration()?)
}

fn page(command: &Command, name: Option<&str>) -> io::Result<Vec<u8>> {
    let title = name.map_or_else(|| "zerottl".to_owned(), |name| format!("zerottl-{name}"));
    let man = Man::new(command.clone()).title(title).section("1").manual("zerottl");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut more = Roff::new();
    if let Some((_, examples)) = EXAMPLES.iter().find(|(of, _)| *of == name) {
        more.control("SH", ["EXAMPLES"]);
        for (line, what) in *examples {
            more.control("TP", []).text([bold(*line)]).text([roman(*what)]);
        }
    }
    for (head, entries) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        more.control("SH", [head]);
        for (word, what) in entries {
            more.control("TP", []).text([italic(*word)]).text([roman(*what)]);
        }
    }
    let page_of = |command: &str| format!("zerottl-{command}(1)");
    let mut also: Vec<String> = match name {
        // Of all commands.
        None => command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(|sub| page_of(sub.get_name())).collect(),
        Some(_) => vec!["zerottl(1)".to_owned()],
    };
    let related = RELATED.iter().find(|(of, _)| Some(*of) == name).map_or(&[][..], |(_, related)| related);
    also.extend(related.iter().map(|command| page_of(command)));
    also.extend(["zerottl.toml(5)", "dig(1)", "systemd.service(5)"].map(str::to_owned));
    more.control("SH", ["SEE ALSO"]).text([roman(also.join(", "))]);
    more.to_writer(&mut page)?;
    Ok(page)
}

/// `zerottl.toml(5)`: sections and keys in the order of the reference, each with its comment.
fn configuration() -> io::Result<Vec<u8>> {
    let mut page = Roff::new();
    page.control("TH", ["zerottl.toml", "5", "", concat!("zerottl ", env!("CARGO_PKG_VERSION")), "zerottl"]);
    page.control("SH", ["NAME"]).text([roman("zerottl.toml - configuration of zerottl")]);
    page.control("SH", ["SYNOPSIS"]).text([italic("/etc/zerottl/zerottl.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    let mut comment: Vec<&str> = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if line.starts_with('[') {
            page.control("SS", [line.trim_end()]);
            if !comment.is_empty() {
                page.text([roman(comment.join(" "))]);
            }
            comment.clear();
        } else if line.contains('=') && !line.starts_with(char::is_whitespace) {
            page.control("TP", []).text([bold(line)]).text([roman(comment.join(" "))]);
            comment.clear();
        } else if line.trim().is_empty() {
            if !comment.is_empty() {
                page.control("PP", []).text([roman(comment.join(" "))]);
            }
            comment.clear();
        } else {
            // A value of several lines goes on.
            page.control("br", []).text([bold(line.trim_end())]);
        }
    }
    page.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []).control("SH", ["FILES"]);
    for (word, what) in FILES {
        page.control("TP", []).text([italic(*word)]).text([roman(*what)]);
    }
    page.control("SH", ["SEE ALSO"]).text([roman("zerottl(1), zerottl-check(1), zerottl-run(1), zerottl-site(1)")]);
    let mut bytes = Vec::new();
    page.to_writer(&mut bytes)?;
    Ok(bytes)
}
