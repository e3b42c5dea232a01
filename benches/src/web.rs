//! (f) `zerottl site` beside nginx: redirects, and requests in a session that are proxied.
//!
//! ```text
//!   CPU 1                    CPU 0                                       CPU 1
//!   wrk ── 64 connections ── zerottl site, or nginx ── keep-alive connections ── nginx: 1 KiB
//! ```
//!
//! All in a namespace of its own, over its loopback. Both fronts run all the time, one of them is asked.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ::tests::{
    agent::binary,
    netns::Netns,
    process::{Process, eventually},
    scratch,
};

use crate::{error::BenchError, stats::Quartiles};

/// Connections of the generator, each with one request under way.
pub const CONNECTIONS: u32 = 64;
/// At moderate load: what a connection waits on average after a response, milliseconds.
const PAUSE_MS: u32 = 16;
/// Where the fronts and the backend listen.
const NGINX: &str = "127.0.0.1:8081";
const ZEROTTL: &str = "127.0.0.1:8082";
const BACKEND: &str = "127.0.0.1:8083";
const POOL_NAME: &str = "app.example";
const SITE_NAME: &str = "boston.app.example";
/// The path and query that are asked for.
const TARGET: &str = "/shop/cart?item=42";
/// Bytes of the backend's response.
const BODY: usize = 1024;
/// Until a server answers after its start.
const START: Duration = Duration::from_secs(20);

/// The work of a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebWork {
    /// A request for the Pool Name is redirected.
    Redirect,
    /// A request in a session is proxied.
    Proxy,
}

/// How much it is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebLoad {
    /// As much as it can.
    Full,
    /// Each connection waits between requests.
    Moderate,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct WebEffort {
    /// Rounds of everything.
    pub rounds: usize,
    /// Of one run of the generator, whole seconds.
    pub seconds: u64,
}

/// One run of the generator.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

/// One front's figures, a round each.
#[derive(Clone, Debug, Default)]
struct Samples {
    per_s: Vec<f64>,
    per_cpu_s: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

/// A figure of both fronts.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// The name of the figure.
    pub what: &'static str,
    /// nginx's.
    pub nginx: Quartiles,
    /// `zerottl site`'s.
    pub zerottl: Quartiles,
    /// The latter by the former, round by round.
    pub ratio: Quartiles,
}

/// Both fronts at one kind of work and load.
#[derive(Clone, Debug)]
pub struct WebCost {
    /// The work that they do.
    pub work: WebWork,
    /// How much of it.
    pub load: WebLoad,
    nginx: Samples,
    zerottl: Samples,
}

impl WebCost {
    /// Each figure: rate, rate by CPU time, latencies.
    #[must_use]
    pub fn figures(&self) -> [Compared; 4] {
        let compared = |what, of: fn(&Samples) -> &Vec<f64>| {
            let (nginx, zerottl) = (of(&self.nginx), of(&self.zerottl));
            Compared {
                what,
                nginx: Quartiles::of(nginx.iter().copied()),
                zerottl: Quartiles::of(zerottl.iter().copied()),
                ratio: Quartiles::of_pairs(zerottl, nginx, |zerottl, nginx| zerottl / nginx),
            }
        };
        [
            compared("requests a second", |samples| &samples.per_s),
            compared("requests a second of its CPU time", |samples| &samples.per_cpu_s),
            compared("latency, p50, µs", |samples| &samples.p50_us),
            compared("latency, p99, µs", |samples| &samples.p99_us),
        ]
    }

    /// Returns what was done, in words.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match (self.work, self.load) {
            (WebWork::Redirect, WebLoad::Full) => "redirects, full load",
            (WebWork::Redirect, WebLoad::Moderate) => "redirects, moderate load",
            (WebWork::Proxy, WebLoad::Full) => "proxied in a session, full load",
            (WebWork::Proxy, WebLoad::Moderate) => "proxied in a session, moderate load",
        }
    }
}

/// Measures all kinds of work and load.
pub fn measure(effort: WebEffort) -> Result<Vec<WebCost>, BenchError> {
    let scene = Scene::new()?;
    let mut measured = Vec::new();
    for work in [WebWork::Redirect, WebWork::Proxy] {
        for load in [WebLoad::Full, WebLoad::Moderate] {
            let mut web = WebCost { work, load, nginx: Samples::default(), zerottl: Samples::default() };
            // The first round warms caches and is not kept. Who goes first changes, so that drift favours neither.
            for round in 0..=effort.rounds {
                let mut order = [(&scene.nginx, &mut web.nginx), (&scene.zerottl, &mut web.zerottl)];
                order.rotate_left(round % 2);
                for (front, samples) in order {
                    let before = front.cpu_s()?;
                    let run = scene.run(front, work, load, effort.seconds)?;
                    let cpu_s = front.cpu_s()? - before;
                    if round > 0 {
                        samples.per_s.push(run.per_s);
                        samples.per_cpu_s.push(run.per_s * effort.seconds as f64 / cpu_s);
                        samples.p50_us.push(run.p50_us);
                        samples.p99_us.push(run.p99_us);
                    }
                }
            }
            measured.push(web);
        }
    }
    Ok(measured)
}

/// A server under test.
struct Front {
    process: Process,
    at: &'static str,
}

impl Front {
    /// CPU time of the process so far, seconds (proc(5): fields 14 and 15 of stat, in hundredths).
    fn cpu_s(&self) -> Result<f64, BenchError> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = text.rsplit_once(')').ok_or("stat has no name")?;
        let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0)
    }
}

/// Fronts, backend and generator.
struct Scene {
    nginx: Front,
    zerottl: Front,
    /// Of the session at `zerottl site`; nginx gets the same header and proxies it.
    cookie: String,
    _backend: Process,
    machine: Netns,
    scripts: PathBuf,
    _folder: Box<dyn std::any::Any>,
}

impl Scene {
    fn new() -> Result<Self, BenchError> {
        scratch::find_tool("wrk")?;
        let (machine, folder) = (Netns::new()?, scratch::folder()?);
        let backend = nginx(&machine, folder.path(), "backend", 1, &backend_configuration())?;
        let own = Front { process: nginx(&machine, folder.path(), "front", 0, &front_configuration())?, at: NGINX };
        let file = folder.path().join("zerottl.toml");
        fs::write(&file, site_configuration())?;
        let mut command = pinned(0, &binary()?);
        command.args(["site", "--as", "boston", "--config"]).arg(&file);
        let log = folder.path().join("zerottl.log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let ours = Front { process: Process::new(machine.spawn(command)?), at: ZEROTTL };
        for at in [BACKEND, NGINX, ZEROTTL] {
            let answers = || machine.read("curl", &["-s", "-o", "/dev/null", &format!("http://{at}/")]).is_ok();
            if !eventually(START, answers) {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("nothing answers at {at} after {START:?}\n{log}").into());
            }
        }
        for (name, text) in [(WebLoad::Full, SCRIPT.to_owned()), (WebLoad::Moderate, format!("{SCRIPT}{}", pauses()))] {
            fs::write(script(folder.path(), name), text)?;
        }
        let cookie = session(&machine)?;
        let scripts = folder.path().to_owned();
        let scene =
            Self { nginx: own, zerottl: ours, cookie, _backend: backend, machine, scripts, _folder: Box::new(folder) };
        scene.check()?;
        Ok(scene)
    }

    /// Both fronts do the same.
    fn check(&self) -> Result<(), BenchError> {
        let elsewhere = format!("http://{SITE_NAME}{}", TARGET.split('?').next().unwrap_or_default());
        for front in [&self.nginx, &self.zerottl] {
            let redirect = ask(&self.machine, front.at, POOL_NAME, TARGET, None)?;
            let sent = redirect.field("location").is_some_and(|to| to.starts_with(&elsewhere));
            if redirect.status() != Some("302") || !sent {
                return Err(format!("{} does not redirect: {}", front.at, redirect.head).into());
            }
            let proxied = ask(&self.machine, front.at, SITE_NAME, TARGET, Some(&self.cookie))?;
            if proxied.status() != Some("200") || proxied.body.len() != BODY || proxied.cookie().is_some() {
                return Err(format!("{} does not proxy in a session: {}", front.at, proxied.head).into());
            }
        }
        Ok(())
    }

    fn run(&self, front: &Front, work: WebWork, load: WebLoad, seconds: u64) -> Result<Run, BenchError> {
        let host = match work {
            WebWork::Redirect => POOL_NAME,
            WebWork::Proxy => SITE_NAME,
        };
        let mut command = pinned(1, &scratch::find_tool("wrk")?);
        command.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &format!("{seconds}s"), "-s"]);
        command.arg(script(&self.scripts, load)).args(["-H", &format!("Host: {host}")]);
        if work == WebWork::Proxy {
            command.args(["-H", &format!("Cookie: {}", self.cookie)]);
        }
        command.arg(format!("http://{}{TARGET}", front.at));
        let output = self.machine.output(command)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        figures(&said).ok_or_else(|| format!("wrk failed, or not every request was answered:\n{said}").into())
    }
}

/// A program on one CPU, or on the last where there are fewer.
pub(crate) fn pinned(cpu: usize, program: &Path) -> Command {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &cpu.min(last).to_string()]).arg(program);
    command
}

/// nginx as one process.
fn nginx(machine: &Netns, folder: &Path, name: &str, cpu: usize, http: &str) -> io::Result<Process> {
    let folder = folder.join(name);
    fs::create_dir(&folder)?;
    let mut text =
        String::from("daemon off;\nmaster_process off;\npid pid;\nevents { worker_connections 1024; }\nhttp {\n");
    text.push_str("access_log off;\ndefault_type text/plain;\nkeepalive_requests 1000000000;\n");
    for path in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        // Writing into a String does not fail.
        let _ = writeln!(text, "{path}_temp_path {path};");
    }
    text.push_str(http);
    text.push_str("}\n");
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = pinned(cpu, &scratch::find_tool("nginx")?);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Process::new(machine.spawn(command)?))
}

fn backend_configuration() -> String {
    format!("server {{ listen {BACKEND}; location / {{ return 200 \"{}\"; }} }}\n", "x".repeat(BODY))
}

/// The backend sees the same fields as from `zerottl site`.
fn front_configuration() -> String {
    format!(
        "upstream application {{ server {BACKEND}; keepalive 256; keepalive_requests 1000000000; }}
server {{ listen {NGINX}; server_name {POOL_NAME}; return 302 http://{SITE_NAME}$request_uri; }}
server {{
  listen {NGINX};
  server_name {SITE_NAME};
  location / {{
    proxy_pass http://application;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Port $server_port;
  }}
}}
"
    )
}

fn site_configuration() -> String {
    let mut text = format!(
        "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\n\
         [zone.\"{POOL_NAME}\"]\nnameservers = [\"ns1.{POOL_NAME}\"]\ncontact = \"hostmaster@{POOL_NAME}\"\n\
         [pool.\"{POOL_NAME}\"]\nsites = [\"geneva\", \"boston\", \"chicago\"]\n\
         [web]\nlisten = [\"{ZEROTTL}\"]\nadmin = \"none\"\nbackends = [\"http://{BACKEND}\"]\npeers = \"none\"\n"
    );
    for (number, key) in ["geneva", "boston", "chicago"].into_iter().enumerate() {
        let _ = write!(text, "[site.{key}]\nname = \"{key}.{POOL_NAME}\"\naddresses = [\"192.0.2.{number}\"]\n");
    }
    text
}

/// The generator's script, which prints its results at the end, in numbers.
const SCRIPT: &str = "\
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('figures %d %d %d %.0f %.0f\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
";

/// Makes the script for what a connection waits after a response, milliseconds.
fn pauses() -> String {
    format!("function delay() return math.random(0, {}) end\n", 2 * PAUSE_MS)
}

fn script(folder: &Path, load: WebLoad) -> PathBuf {
    folder.join(match load {
        WebLoad::Full => "full.lua",
        WebLoad::Moderate => "moderate.lua",
    })
}

/// Of what the script has written; none where a request failed.
fn figures(said: &str) -> Option<Run> {
    let line = said.lines().find_map(|line| line.strip_prefix("figures "))?;
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    match numbers[..] {
        [requests, took_us, 0.0, p50_us, p99_us] if requests > 0.0 && took_us > 0.0 => {
            Some(Run { per_s: requests / took_us * 1e6, p50_us, p99_us })
        }
        _ => None,
    }
}

/// A response as curl shows it.
struct Shown {
    head: String,
    body: String,
}

impl Shown {
    fn status(&self) -> Option<&str> {
        self.head.split(' ').nth(1)
    }

    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The cookie that is set, as it comes back.
    fn cookie(&self) -> Option<&str> {
        self.field("set-cookie")?.split(';').next()
    }
}

fn ask(machine: &Netns, at: &str, host: &str, target: &str, cookie: Option<&str>) -> Result<Shown, BenchError> {
    let (url, host) = (format!("http://{at}{target}"), format!("Host: {host}"));
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}"));
    let mut arguments = vec!["-sSi", "--max-time", "5", "-H", &host];
    arguments.extend(cookie.iter().flat_map(|cookie| ["-H", cookie]));
    arguments.push(&url);
    let text = machine.read("curl", &arguments)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("a response without a head")?;
    Ok(Shown { head: head.to_owned(), body: body.to_owned() })
}

/// A session: from the Pool Name to the Site Name, as a browser goes. The first cookie is exchanged when it comes back, for
/// one that lasts; whoever kept the first would be given another with every response.
fn session(machine: &Netns) -> Result<String, BenchError> {
    let sent = ask(machine, ZEROTTL, POOL_NAME, TARGET, None)?;
    let prefix = format!("http://{SITE_NAME}");
    let marked =
        sent.field("location").and_then(|to| to.strip_prefix(&prefix)).ok_or("the Pool Name redirects nowhere")?;
    let admitted = ask(machine, ZEROTTL, SITE_NAME, marked, None)?;
    let first = admitted.cookie().ok_or_else(|| format!("no session began: {}", admitted.head))?;
    let back = ask(machine, ZEROTTL, SITE_NAME, TARGET, Some(first))?;
    Ok(back.cookie().ok_or_else(|| format!("the first cookie is not exchanged: {}", back.head))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_words_are_understood() {
        let said = "Running 1s test\nfigures 20000 2000000 0 150 900\n";
        assert_eq!(figures(said), Some(Run { per_s: 10_000.0, p50_us: 150.0, p99_us: 900.0 }));
        assert_eq!(figures("figures 20000 2000000 1 150 900\n"), None, "not every request was answered");
        assert_eq!(figures("figures 0 2000000 0 0 0\n"), None);
        assert_eq!(figures("unable to connect\n"), None);
    }
}
