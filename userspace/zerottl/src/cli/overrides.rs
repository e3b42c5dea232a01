//! `zerottl drain`, `maint`, `ready`, `weight`.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;
use zerottl::admin::{
    error_body::ErrorBody,
    fleet::FleetPage,
    listen::user_name,
    overrides::{DrainPage, DrainingSite, OverridePlaced, SetAdminState, SetWeight},
};
use zerottl_config as config;
use zerottl_core::status::AdminState;
use zerottl_inputs::agent_client::{self as client, AgentAddress, ClientError};

use super::{AgentAt, BadArgument, CommandError, completions, print, unasked};

/// How often a drain is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long every front is waited for: one that does not live is none after its lease.
const EVERYWHERE: Duration = Duration::from_mins(1);
/// The time whose newest samples the estimate of a drain's end is made from.
const SEEN: Duration = Duration::from_mins(5);
/// Between two lines of progress where there is no terminal.
const LINE: Duration = Duration::from_secs(30);

/// The arguments of `maint` and `ready`.
#[derive(Debug, clap::Args)]
pub struct Say {
    /// A Site's key, a group's or pool's name, or a glob over keys such as 'bos*'
    #[arg(add = ArgValueCompleter::new(completions::sites))]
    sites: String,
    #[command(flatten)]
    why: Why,
    /// Do it even if the pool falls below its minimum
    #[arg(long)]
    force: bool,
    /// Wait until every living front of the fleet has it; `drain`: and until no name answers the Sites and their sessions have ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    agent: AgentAt,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Options of every override.
#[derive(Debug, clap::Args)]
struct Why {
    /// The reason, which `zerottl status` shows
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// End it after this time, such as 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: Option<Duration>,
    /// The name of whoever asks for it [default: the user that runs this]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// The arguments of `drain`.
#[derive(Debug, clap::Args)]
pub struct Drain {
    #[command(flatten)]
    say: Say,
    /// The number of sessions at which a Site counts as empty
    #[arg(long, value_name = "N", default_value_t = 0, requires = "wait")]
    sessions: u64,
}

/// The arguments of `weight`.
#[derive(Debug, clap::Args)]
pub struct Weigh {
    /// A Site's key, a group's or pool's name, or a glob over keys such as 'bos*'
    #[arg(add = ArgValueCompleter::new(completions::sites))]
    sites: String,
    /// 1 to 65535, or `configured`
    #[arg(value_parser = weight)]
    weight: Weight,
    #[command(flatten)]
    why: Why,
    /// Wait until every living front of the fleet has it
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    agent: AgentAt,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A weight as the command line has it; none is the configured one.
#[derive(Clone, Copy, Debug)]
struct Weight(Option<u32>);

fn weight(text: &str) -> Result<Weight, BadArgument> {
    match text.parse() {
        _ if text == "configured" => Ok(Weight(None)),
        Ok(weight @ 1..=65_535) => Ok(Weight(Some(weight))),
        _ => Err(BadArgument("give 1 to 65535, or `configured`")),
    }
}

fn duration(text: &str) -> Result<Duration, BadArgument> {
    let duration = config::duration(text).filter(|duration| *duration >= Duration::from_secs(1));
    duration.ok_or(BadArgument("give a whole number and its unit, s, m or h, such as 30m; 1s at least"))
}

impl Why {
    /// Returns who asks: as told, else the user.
    fn by(&self) -> Option<String> {
        self.by.clone().or_else(operator)
    }
}

/// The user who ran `sudo`, else the user, also where the environment does not say (cron, a container, `su -`).
pub(super) fn operator() -> Option<String> {
    let told = |name: &&str| std::env::var(name).ok().filter(|by| !by.is_empty());
    let variable = || ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(told);
    let uid = rustix::process::getuid().as_raw();
    variable().or_else(|| user_name(uid)).or_else(|| Some(format!("uid {uid}")))
}

impl Say {
    /// Says the word and prints what came of it.
    pub async fn run(&self, word: AdminState) -> Result<(), CommandError> {
        self.at(word, &self.agent.address()?).await
    }

    async fn at(&self, word: AdminState, at: &AgentAddress) -> Result<(), CommandError> {
        let body = SetAdminState {
            sites: self.sites.clone(),
            word,
            reason: self.why.reason.clone(),
            for_s: self.why.lasts.map(|lasts| lasts.as_secs()),
            by: self.why.by(),
            force: self.force,
        };
        place(at, "/v1/sites/word", &body, (self.json, self.wait), word.as_str()).await
    }
}

impl Weigh {
    /// Sets the weight and prints what came of it.
    pub async fn run(&self) -> Result<(), CommandError> {
        let Weight(weight) = self.weight;
        let body = SetWeight {
            sites: self.sites.clone(),
            weight,
            reason: self.why.reason.clone(),
            for_s: self.why.lasts.map(|lasts| lasts.as_secs()),
            by: self.why.by(),
        };
        let word = weight.map_or("configured weight".into(), |weight| format!("weight {weight}"));
        place(&self.agent.address()?, "/v1/sites/weight", &body, (self.json, self.wait), &word).await
    }
}

/// Hands in an override and prints what came of it.
async fn place(
    at: &AgentAddress,
    path: &str,
    body: &impl Serialize,
    (json, wait): (bool, bool),
    word: &str,
) -> Result<(), CommandError> {
    let answer = client::post(at, path, body).await.map_err(refused)?;
    let placed: OverridePlaced = understood(at, &answer)?;
    let told = placed.fleet.as_ref();
    if json {
        print(&[&answer, &b"\n"[..]].concat())?;
        return if wait { in_the_fleet(at, &placed, json).await } else { Ok(()) };
    }
    let mut text = format!("{}: {word}, from plan {} on\n", placed.sites.join(", "), placed.generation);
    if let Some(why) = &placed.not_kept_because {
        let _ = writeln!(text, "a restart will forget it: {why}");
    }
    match told.map(|told| (told.revision, &told.not_told_because)) {
        Some((Some(_), _)) if !wait => text.push_str("the fleet has it: `zerottl status` shows each front\n"),
        Some((None, why)) => {
            let why = why.as_deref().unwrap_or("no reason is given");
            let _ = writeln!(text, "in force at this front alone: the fleet could not be told ({why}), and will be");
        }
        _ => {}
    }
    print(text.as_bytes())?;
    if wait { in_the_fleet(at, &placed, json).await } else { Ok(()) }
}

/// Waits until every living front has taken over a word, or has refused it, which is an error that names it.
async fn in_the_fleet(at: &AgentAddress, placed: &OverridePlaced, json: bool) -> Result<(), CommandError> {
    // In no fleet there is nobody to wait for.
    let Some(told) = &placed.fleet else { return Ok(()) };
    let revision = told.revision.ok_or_else(|| CommandError::Sentence("the fleet could not be told".into()))?;
    let begun = Instant::now();
    loop {
        let page: FleetPage = understood(at, &client::get(at, "/v1/fleet").await.map_err(refused)?)?;
        let behind: Vec<&str> =
            page.fronts.iter().filter(|front| front.revision < revision).map(|front| front.front.as_str()).collect();
        if behind.is_empty() && !page.fronts.is_empty() {
            let refusals = page.fronts.iter().flat_map(|front| {
                let asked = front.refused.iter().filter(|(site, _)| placed.sites.contains(site));
                asked.map(|(site, why)| format!("{} does not do it of {site}: {why}", front.front))
            });
            let refusals: Vec<String> = refusals.collect();
            if !refusals.is_empty() {
                return Err(CommandError::Sentence(refusals.join("\n")));
            }
            let fronts: Vec<&str> = page.fronts.iter().map(|front| front.front.as_str()).collect();
            return if json { Ok(()) } else { print(format!("in force at {}\n", fronts.join(", ")).as_bytes()) };
        }
        if begun.elapsed() > EVERYWHERE {
            let why = format!("not yet at {} after {} s", behind.join(", "), EVERYWHERE.as_secs());
            return Err(CommandError::Sentence(why));
        }
        tokio::time::sleep(LOOK / 10).await;
    }
}

pub(super) fn understood<T: serde::de::DeserializeOwned>(at: &AgentAddress, answer: &[u8]) -> Result<T, CommandError> {
    serde_json::from_slice(answer)
        .map_err(|error| format!("what answers at {at} is no agent of this version ({error})").into())
}

/// The agent's words where it has some, else what went wrong.
#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
pub(super) fn refused(error: ClientError) -> CommandError {
    if let ClientError::Status(_, body) = &error
        && let Ok(fault) = serde_json::from_str::<ErrorBody>(body)
    {
        return CommandError::Sentence(match fault.error.as_str() {
            "below-minimum" => fault.message.replace("with force it is", "with --force it is"),
            _ => fault.message,
        });
    }
    unasked(&error)
}

impl Drain {
    /// Drains, and waits if told to.
    pub async fn run(&self) -> Result<(), CommandError> {
        let at = self.say.agent.address()?;
        self.say.at(AdminState::Drain, &at).await?;
        if self.say.wait { self.wait(&at).await } else { Ok(()) }
    }

    async fn wait(&self, at: &AgentAddress) -> Result<(), CommandError> {
        let sites = client::query_value(&self.say.sites);
        let path = format!("/v1/sites/drained?sites={sites}&sessions={}", self.sessions);
        let mut seen = SessionSamples::default();
        let mut progress = Progress::default();
        loop {
            let page: DrainPage = understood(at, &client::get(at, &path).await.map_err(refused)?)?;
            if let Some(site) = page.sites.iter().find(|site| site.word == AdminState::Ready.as_str()) {
                progress.end();
                return Err(CommandError::Sentence(format!(
                    "{} is ready again: somebody took the drain back, or it lapsed",
                    site.site
                )));
            }
            if page.done {
                progress.end();
                if self.say.json {
                    let text = serde_json::to_string(&page).expect("texts and numbers make JSON");
                    return print(format!("{text}\n").as_bytes());
                }
                let lines: Vec<String> = page.sites.iter().map(|site| format!("{}\n", ended(site))).collect();
                return print(lines.concat().as_bytes());
            }
            let left: Vec<String> = page.sites.iter().filter(|site| !site.done).map(under_way).collect();
            let now = Instant::now();
            let sessions = page.sites.iter().filter_map(|site| site.sessions).sum();
            let end = seen
                .look(now, sessions, self.sessions)
                .map_or(String::new(), |end| format!("; about {} left", brief(end)));
            progress.show(now, &format!("{}{end}", left.join(", ")));
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn ended(site: &DrainingSite) -> String {
    match site.sessions {
        Some(sessions) => format!("{}: drained; no name answers it, {sessions} sessions", site.site),
        None => format!("{}: no name answers it; its sessions cannot be seen, as it does not report them", site.site),
    }
}

fn under_way(site: &DrainingSite) -> String {
    match (site.answered_by, site.sessions) {
        (0, Some(sessions)) => format!("{}: {sessions} sessions", site.site),
        (names, _) => format!("{}: {names} names still answer it, for want of others", site.site),
    }
}

/// A duration in its largest unit, rounded up.
fn brief(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{}s", seconds + 1),
        seconds @ 60..3600 => format!("{}m", seconds.div_ceil(60)),
        seconds => format!("{}h", seconds.div_ceil(3600)),
    }
}

/// Sums of sessions as they were, oldest first.
#[derive(Debug, Default)]
struct SessionSamples(VecDeque<(Instant, u64)>);

impl SessionSamples {
    /// Takes in a sum; when it will be at most `enough`, if it goes on as in the last minutes.
    fn look(&mut self, now: Instant, sessions: u64, enough: u64) -> Option<Duration> {
        self.0.push_back((now, sessions));
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > SEEN) {
            self.0.pop_front();
        }
        let (first, most) = *self.0.front()?;
        let (gone, left) = (most.checked_sub(sessions)?, sessions.saturating_sub(enough));
        if gone == 0 {
            return None;
        }
        let passed = now.saturating_duration_since(first).as_secs_f64();
        // Sessions are far fewer than what an f64 counts exactly.
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = passed * left as f64 / gone as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// One line that changes on a terminal, a line now and then elsewhere; on stderr.
#[derive(Debug, Default)]
struct Progress {
    at: Option<Instant>,
}

impl Progress {
    fn show(&mut self, now: Instant, text: &str) {
        let mut err = io::stderr().lock();
        // Where stderr is closed nobody looks.
        if err.is_terminal() {
            let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
        } else if self.at.is_none_or(|at| now.saturating_duration_since(at) >= LINE) {
            let _ = writeln!(err, "{text}");
        } else {
            return;
        }
        self.at = Some(now);
    }

    fn end(&self) {
        let mut err = io::stderr().lock();
        if self.at.is_some() && err.is_terminal() {
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_linear_in_the_last_minutes() {
        let start = Instant::now();
        let mut seen = SessionSamples::default();
        let mut look = |second, sessions| seen.look(start + Duration::from_secs(second), sessions, 10);
        assert_eq!(look(0, 100), None, "one sample is no line");
        assert_eq!(look(10, 90), Some(Duration::from_secs(80)), "1 a second, 80 over 10");
        assert_eq!(look(20, 100), None, "none has gone");
        assert_eq!(look(30, 120), None, "they grow");
        // The samples up to second 30 are too old now.
        assert_eq!(look(331, 70), None, "alone in its minutes");
        assert_eq!(look(341, 50), Some(Duration::from_secs(20)));
        assert_eq!(look(342, 5), Some(Duration::ZERO));
    }

    #[test]
    fn durations_and_weights_are_as_told() {
        assert_eq!(duration("30m"), Ok(Duration::from_mins(30)));
        assert!(duration("500ms").is_err() && duration("30").is_err() && duration("-1s").is_err());
        assert!(matches!(weight("7"), Ok(Weight(Some(7)))) && matches!(weight("configured"), Ok(Weight(None))));
        assert!(weight("0").is_err() && weight("65536").is_err() && weight("x").is_err());
        assert_eq!([0, 59, 60, 61, 3600].map(|s| brief(Duration::from_secs(s))), ["1s", "60s", "1m", "2m", "1h"]);
    }
}
