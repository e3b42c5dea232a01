//! docs/outputs.md: what the commands print, from the lab with Appendix A's configuration.
//!
//! `cargo xtask docs` writes the file. Its figures are of the moment; its [`shape`] is what a test compares.

use std::{fmt::Write as _, io, time::Duration};

use crate::{
    agent::Agent,
    client::Client,
    config::{Config, ProbeConfig},
    lab::{Lab, LabSpec, front_addresses},
    process::eventually,
};

const HEAD: &str = "\
# What the commands print

Examples of the main commands, for whoever wants to see them before an installation. They are made by `cargo xtask docs`
in the lab of the [quick start](quick-start.md): three Sites, of which boston, with twice the weight, has just been
killed. Figures are of one run.
";

/// The texts on what is shown, and in which words.
const STATUS: &str = "Sites with what the probes found, names with each Site's share, and every packet under a reason.";
const EXPLAIN: &str =
    "One name's answer, and for each Site why it has part in it or not. Boston's own name leads to the next Site.";
const CLIENT: &str = "The pool's name for one client.";
const SIMULATE: &str = "\
A candidate, `new.toml`, gives chicago three times its weight and moves americas.app.com to another name. It is run by the
agent's own program, in the kernel but attached to nothing, with the health that the agent sees now: boston is still down.";
const REFUSED: &str = "A file with an error is refused with the message of `zerottl check`.";

/// Makes the page. Takes some ten seconds and needs root.
pub fn page() -> io::Result<String> {
    let lab = Lab::start(&LabSpec::default())?;
    let probe = ProbeConfig { interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3 };
    let config = Config { probe: Some(probe), ..Config::default() };
    let agent = Agent::start(&lab, 0, &config)?;
    let patience = Duration::from_secs(20);
    agent.wait_for(&[("geneva", true), ("boston", true), ("chicago", true)], patience)?;
    let client = Client::new(&lab.client, None, front_addresses(0)[0])?;
    for name in ["app.com", "europe.app.com", "boston.app.com"].into_iter().cycle().take(12) {
        client.lookup(name, false).map_err(io::Error::other)?;
    }
    lab.site("boston").kill();
    agent.wait_for(&[("boston", false)], patience)?;
    // The first second of an age is "0s" however old it is.
    eventually(Duration::from_millis(1500), || false);

    let mut new = config.clone();
    new.sites[2].weight = 3;
    "west.app.com".clone_into(&mut new.groups[1].0);
    let folder = lab.folder("candidate")?;
    let candidate = folder.join("new.toml");
    std::fs::rename(new.write(&folder)?, &candidate)?;
    let mut broken = config.clone();
    broken.sites[0].weight = 70_000;
    let refused = lab.folder("refused")?;
    let refused_file = refused.join("new.toml");
    std::fs::rename(broken.write(&refused)?, &refused_file)?;

    let mut page = String::from(HEAD);
    let mut show = |heading: &str, words: &str, command: &str, output: &str| {
        let mut shown = output.to_owned();
        for folder in [&folder, &refused] {
            shown = shown.replace(&format!("{}/", folder.display()), "");
        }
        let shown: Vec<_> = shown.trim_end().lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## {heading}\n\n{words}\n\n```\n# zerottl {command}\n{}\n```\n", shown.join("\n"));
    };
    show("status", STATUS, "status", &agent.zerottl(&["status"])?);
    show("explain", EXPLAIN, "explain boston.app.com", &agent.zerottl(&["explain", "boston.app.com"])?);
    let arguments = ["explain", "app.com", "--client", "198.18.5.1"];
    show("explain --client", CLIENT, &arguments.join(" "), &agent.zerottl(&arguments)?);
    let text = agent.zerottl(&["simulate", "--config", &candidate.to_string_lossy()])?;
    show("simulate", SIMULATE, "simulate --config new.toml", &text);
    match agent.zerottl(&["simulate", "--config", &refused_file.to_string_lossy()]) {
        Ok(text) => return Err(io::Error::other(format!("not refused: {text}"))),
        Err(error) => {
            let text = error.to_string();
            // Before it stand the command line and its status.
            let said = text.find("error: ").or_else(|| text.find("Error")).map_or("", |at| &text[at..]);
            show("simulate, refused", REFUSED, "simulate --config new.toml", said);
        }
    }
    Ok(page)
}

/// The lines of a page that are the same in every run: headings, commands, tables' heads.
#[must_use]
pub fn shape(page: &str) -> Vec<String> {
    let is_head = |line: &str| {
        let mut words = line.split_whitespace().peekable();
        words.peek().is_some() && words.all(|word| word.chars().all(|letter| letter.is_ascii_uppercase()))
    };
    let kept = page.lines().filter(|line| line.starts_with('#') || is_head(line));
    kept.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_no_figures() {
        let page =
            "## status\n\nWords.\n```\n# zerottl status\nzerottl 0.1.0, up 3s\n\nSITE    A\nboston  50.0%\n```\n";
        assert_eq!(shape(page), ["## status", "# zerottl status", "SITE A"]);
    }
}
