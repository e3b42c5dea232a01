//! The quick-start lab: Appendix A's front end, client and Sites on this machine, the agent running, lines to paste.
//!
//! `cargo xtask run` builds and starts it. Ctrl-C ends it, and with it every namespace and process it made.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, IsTerminal as _, Write as _},
    net::Ipv4Addr,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use rustix::{process::Signal, termios::tcgetwinsize};
use tests::{
    agent::{Agent, AgentReport, binary},
    cart_lab::CartLab,
    checker::{self, Pace},
    config::{Config, ProbeConfig},
    director::DirectorScene,
    director_lab::DirectorLab,
    fleet::{BY_ETCD, FleetScene},
    lab::{Lab, LabSpec, front_addresses, front_v4, front_v6},
    netns::Netns,
    relay,
    scratch::find_tool,
    site::Serves,
};
use tokio::signal::unix::{SignalKind, signal};

/// A Site that was killed is started again after this, so that its name is seen to come back.
const REVIVE_AFTER: Duration = Duration::from_secs(15);

/// `[web]` of the Sites.
const WEB: &str = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\n";

/// Appendix A's front end, client and three Sites in network namespaces of this machine, with zerottl in front.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Arguments {
    /// End after this many seconds; without it, at Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Run the example application at the Sites, behind `zerottl site`, and show how a client is bound
    #[arg(long)]
    site: bool,
    /// Run a director and three application servers instead: one Site's machine, and a client
    #[arg(long, conflicts_with_all = ["site", "check"])]
    director: bool,
    /// Run a shop instead whose carts are in sessions: three workers, three session servers, and a client
    #[arg(long, conflicts_with_all = ["site", "check", "director"])]
    session: bool,
    /// Run three fronts instead that share words and votes by three nodes of etcd
    #[arg(long, conflicts_with_all = ["site", "check", "director", "session"])]
    fleet: bool,
    /// Ask with dig and with a checking client, exit 0 if every answer was right and made in the kernel
    #[arg(long)]
    check: bool,
}

impl Arguments {
    fn limit(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("lab: needs root, for network namespaces and XDP. Try: sudo -E cargo xtask run");
        return ExitCode::FAILURE;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(Arc::clone(&stop))?;
    if arguments.director {
        return run_director(arguments, &stop);
    }
    if arguments.session {
        return run_session(arguments, &stop);
    }
    if arguments.fleet {
        return run_fleet(arguments, &stop);
    }
    for tool in ["dig", "dnsperf", "nsenter"] {
        find_tool(tool)?;
    }
    // Appendix A's own figures, not the quicker ones of the tests.
    let probe = ProbeConfig { interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3 };
    let mut config = Config { xdp: "native".into(), probe: Some(probe), ..Config::default() };
    let mut spec = LabSpec::default();
    if arguments.site {
        WEB.clone_into(&mut config.more);
        // Geneva is alone in its group: its name has to go somewhere, too.
        "last_resort = \"pool\"".clone_into(&mut config.pool);
        spec.serves = Serves::Front(Box::new(config.clone()));
    }
    eprintln!("Making namespaces, wires and three Sites ...");
    let lab = Lab::start(&spec)?;
    eprintln!("Starting zerottl ...");
    let mut agent = Agent::start(&lab, 0, &config)?;
    let result = if arguments.check {
        check(&lab, &agent, &config)
    } else {
        let walk = if arguments.site { walk(&lab)? } else { String::new() };
        print!("{}", welcome(&lab, &agent, &config, arguments.site)? + &walk + "\nCtrl-C ends everything.\n\n");
        io::stdout().flush()?;
        watch(&lab, &mut agent, arguments.limit(), &stop)
    };
    agent.stop(Signal::TERM)?;
    drop(lab);
    eprintln!("The lab is gone.");
    result
}

fn run_director(arguments: &Arguments, stop: &AtomicBool) -> io::Result<()> {
    for tool in ["curl", "nsenter", "pgrep", "python3"] {
        find_tool(tool)?;
    }
    eprintln!("Making namespaces, and starting a director with three servers ...");
    let mut lab = DirectorLab::start()?;
    print!("{}\nCtrl-C ends everything.\n\n", lab.welcome()?);
    io::stdout().flush()?;
    let result = watch_director(&mut lab.scene, arguments.limit(), stop);
    lab.stop()?;
    eprintln!("The lab is gone.");
    result
}

fn run_session(arguments: &Arguments, stop: &AtomicBool) -> io::Result<()> {
    for tool in ["curl", "nsenter", "python3", "redis-server"] {
        find_tool(tool)?;
    }
    eprintln!("Making namespaces, and starting session servers, a shop and a director with three workers ...");
    let mut lab = CartLab::start()?;
    print!("{}\nCtrl-C ends everything.\n\n", lab.welcome()?);
    io::stdout().flush()?;
    let result = watch_director(&mut lab.scene, arguments.limit(), stop);
    lab.stop()?;
    eprintln!("The lab is gone.");
    result
}

fn run_fleet(arguments: &Arguments, stop: &AtomicBool) -> io::Result<()> {
    for tool in ["dig", "etcd", "nsenter"] {
        find_tool(tool)?;
    }
    eprintln!("Making namespaces, and starting three fronts, three nodes of etcd and three Sites ...");
    let config = Config { fleet: BY_ETCD.into(), ..Config::default() };
    let Some(scene) = FleetScene::start("the lab of a fleet", 3, 3, &config) else { return Ok(()) };
    print!("{}\nCtrl-C ends everything.\n\n", scene.welcome()?);
    io::stdout().flush()?;
    let mut screen = Screen::new(arguments.limit());
    while screen.waits(stop) {
        screen.show(&scene.line())?;
    }
    drop(scene);
    eprintln!("The lab is gone.");
    Ok(())
}

/// Sets `stop` at SIGINT, SIGTERM or SIGHUP, from a thread that lives as long as the process.
fn stop_on_signals(stop: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut streams = {
        let _inside = runtime.enter();
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut streams;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        stop.store(true, Ordering::Relaxed);
    })?;
    Ok(())
}

/// The lines to paste into another terminal.
fn welcome(lab: &Lab, agent: &Agent, config: &Config, site: bool) -> io::Result<String> {
    let client = format!("nsenter --net={}", lab.client.path());
    let front = format!("nsenter --net={}", lab.fronts[0].path());
    let (v4, v6) = (front_v4(0), front_v6(0));
    let queries = lab.path().join("queries");
    fs::write(&queries, config.dnsperf_queries())?;
    let mode = attach_mode(&lab.fronts[0])?;
    let admin = (Ipv4Addr::LOCALHOST, 8053).into();
    let dashboard = relay::into_namespace(Arc::clone(&lab.fronts[0]), admin)?;
    // An address is no name of a Site, so `zerottl site` does not serve it.
    let direct = if site {
        String::new()
    } else {
        format!("Go to the Site that was answered, with no proxy between:\n  {client} curl http://192.0.2.10/\n")
    };
    let mut text = format!(
        "
zerottl (pid {pid}) answers on {v4} and {v6}; XDP on the front's eth0: {mode}.
The lines below go into another terminal of this machine, as root.

Ask, from the client:
  {client} dig @{v4} app.com
  {client} dig @{v6} app.com AAAA
  {client} dig @{v4} europe.app.com +short
  {client} dig @{v4} boston.app.com +short
Ask fast:
  {client} dnsperf -s {v4} -d {queries} -l 10
{direct}Why that answer, and what the agent sees:
  {front} {zerottl} explain boston.app.com
  {front} {zerottl} status
  {front} {zerottl} top
The same as a page, for a browser on this machine: http://{dashboard}/
Take a Site out of use, see its share go, and put it back:
  {front} {zerottl} drain boston --for 10m --reason 'a try'
  {front} {zerottl} ready boston
What a change of the configuration would do, before it is made:
  {front} {zerottl} simulate --config {config}
Kill a Site (it is started again {revive} s later):
",
        pid = agent.pid(),
        queries = queries.display(),
        zerottl = binary()?.display(),
        config = agent.folder().join("zerottl.toml").display(),
        revive = REVIVE_AFTER.as_secs(),
    );
    for site in &lab.sites {
        let pids: Vec<_> = site.pids().iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  kill -9 {:<16} # {}", pids.join(" "), site.config.key);
    }
    Ok(text)
}

/// Writes the text for `--site`: how a client is bound, and bound anew.
fn walk(lab: &Lab) -> io::Result<String> {
    // With the client's resolv.conf, which names the front.
    let client = format!("nsenter --net={} --mount={}", lab.client.path(), lab.client.mounts());
    let folder = lab.folder("walk")?;
    let (jar, options) = (folder.join("jar").display().to_string(), folder.join("curl"));
    let lines = format!(
        "silent\nshow-error\nlocation\ncookie = {jar:?}\ncookie-jar = {jar:?}\n\
         write-out = \"%{{num_redirects}} redirects, %{{url_effective}}\\n\"\n"
    );
    fs::write(&options, lines)?;
    let curl = format!("{client} curl -K {}", options.display());
    let mut text = format!(
        "
At each Site `zerottl site` faces the network, and the application userspace/zerottl/examples/counter.rs is behind it.
Open the Pool Name: DNS chooses a Site, which binds you to its own name and begins a session:
  {curl} http://app.com/
Go on there, in session; kill the Site, and its name leads to the next, which binds you to its own, in a new session:
  {curl} http://boston.app.com/
  {curl} http://chicago.app.com/
  {curl} http://geneva.app.com/
Why a Site redirects:
"
    );
    for site in &lab.sites {
        let _ = writeln!(text, "  tail -f {}/log", site.folder().display());
    }
    if let Ok(chromium) = find_tool("chromium") {
        let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some());
        let picture =
            format!("--headless --hide-scrollbars --window-size=640,560 --screenshot={}/page.png", folder.display());
        let how = if has_screen { "--no-first-run" } else { &picture };
        let _ = writeln!(
            text,
            "Browse{}:\n  {client} {} --no-sandbox --user-data-dir={}/chromium {how} http://app.com/",
            if has_screen { "" } else { ", without a screen" },
            chromium.display(),
            folder.display(),
        );
        text.push_str("  (Chromium keeps an address for a minute, whatever its TTL: so long it may look for a Site that is dead.)\n");
    }
    Ok(text)
}

fn attach_mode(front: &Netns) -> io::Result<String> {
    Ok(tests::agent::attached(front, "eth0")?.map_or_else(|| "none".into(), |(_, mode)| mode))
}

/// Shows the state until the time is over or a signal comes: redrawn each second on a terminal, else a line every
/// five.
fn watch(lab: &Lab, agent: &mut Agent, limit: Option<Duration>, stop: &AtomicBool) -> io::Result<()> {
    let mut screen = Screen::new(limit);
    let mut died: Vec<Option<Instant>> = vec![None; lab.sites.len()];
    let mut before = (Instant::now(), agent.status()?);
    while screen.waits(stop) {
        if !agent.runs() {
            return Err(io::Error::other(format!("zerottl has ended:\n{}", agent.log())));
        }
        for (site, died) in lab.sites.iter().zip(&mut died) {
            match (site.pid(), *died) {
                (None, None) => *died = Some(Instant::now()),
                (None, Some(when)) if when.elapsed() >= REVIVE_AFTER => {
                    site.restart()?;
                    *died = None;
                }
                _ => {}
            }
        }
        let now = (Instant::now(), agent.status()?);
        let rate = rate(&before, &now);
        screen.show(&if screen.is_terminal { table(lab, &now.1, rate) } else { line(lab, &now.1, rate) })?;
        before = now;
    }
    Ok(())
}

/// Shows the servers and who waits until the time is over or a signal comes: redrawn each second on a terminal, else once
/// every five.
fn watch_director(scene: &mut DirectorScene, limit: Option<Duration>, stop: &AtomicBool) -> io::Result<()> {
    let mut screen = Screen::new(limit);
    while screen.waits(stop) {
        scene.check()?;
        let text = scene.status()?.unwrap_or_else(|| "(the director is being started again)\n".into());
        screen.show(&text)?;
    }
    Ok(())
}

/// A table that is shown again and again, until a time is over.
struct Screen {
    start: Instant,
    limit: Option<Duration>,
    is_terminal: bool,
    drawn: usize,
}

impl Screen {
    fn new(limit: Option<Duration>) -> Self {
        Self { start: Instant::now(), limit, is_terminal: io::stdout().is_terminal(), drawn: 0 }
    }

    /// Waits for the next time; false if there is none.
    fn waits(&self, stop: &AtomicBool) -> bool {
        let goes_on = || !stop.load(Ordering::Relaxed) && self.limit.is_none_or(|limit| self.start.elapsed() < limit);
        let mut left = if self.is_terminal { 10 } else { 50 };
        while left > 0 && goes_on() {
            thread::sleep(Duration::from_millis(100));
            left -= 1;
        }
        goes_on()
    }

    /// Shows a text: on a terminal in the place of the one before, and no line longer than it is wide.
    fn show(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.drawn > 0 {
            // Up to the text's first line, and from there to the end of the screen.
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        // Some terminals, such as those of containers, say that they have no columns.
        let width = tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_col));
        for line in text.lines() {
            let shown: String = line.chars().take(if width == 0 { usize::MAX } else { width }).collect();
            writeln!(out, "{shown}")?;
        }
        out.flush()?;
        self.drawn = if self.is_terminal { text.lines().count() } else { 0 };
        Ok(())
    }
}

/// Kernel answers a second between two reports.
fn rate(before: &(Instant, AgentReport), now: &(Instant, AgentReport)) -> u64 {
    let answers = now.1.kernel_answers().saturating_sub(before.1.kernel_answers());
    let millis = (now.0 - before.0).as_millis().max(1) as u64;
    answers * 1000 / millis
}

fn table(lab: &Lab, report: &AgentReport, rate: u64) -> String {
    let mut text = format!("{:<10}{:<8}{:>8}{:>10}  addresses\n", "Site", "health", "pid", "app.com");
    let shares = report.shares("app.com");
    for site in &lab.sites {
        let key = &site.config.key;
        let pid = site.pid().map_or_else(|| "-".into(), |pid| pid.to_string());
        let share = shares.iter().find(|(name, _)| name == key).map_or(0.0, |(_, share)| *share);
        let addresses: Vec<_> = site.config.addresses.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "{key:<10}{:<8}{pid:>8}{:>8.1} %  {}",
            health(report, key),
            share * 100.0,
            addresses.join("  ")
        );
    }
    let _ = writeln!(text, "\n{rate} answers a second in the kernel, plan {}", report.generation());
    for (reason, count) in report.reasons().iter().take(5) {
        let _ = writeln!(text, "  {count:>12}  {reason}");
    }
    text
}

fn line(lab: &Lab, report: &AgentReport, rate: u64) -> String {
    let sites: Vec<_> = lab.sites.iter().map(|site| &site.config.key).collect();
    let sites: Vec<_> = sites.iter().map(|key| format!("{key} {}", health(report, key))).collect();
    let reasons: Vec<_> = report.reasons().iter().take(3).map(|(name, count)| format!("{name} {count}")).collect();
    format!("{}; {rate} q/s in the kernel; {}\n", sites.join(", "), reasons.join(", "))
}

/// In parentheses while not all of the Site's addresses are proven the same.
fn health(report: &AgentReport, key: &str) -> &'static str {
    match (report.site_is_proven(key), report.site_is_up(key)) {
        (Some(true), _) => "up",
        (Some(false), _) => "down",
        (None, Some(true)) => "(up)",
        (None, Some(false)) => "(down)",
        (None, None) => "?",
    }
}

/// The lab's own test: dig once over each family, then two seconds of checked queries, each answered in the kernel.
fn check(lab: &Lab, agent: &Agent, config: &Config) -> io::Result<()> {
    for (server, rtype) in [(front_v4(0).to_string(), "A"), (front_v6(0).to_string(), "AAAA")] {
        let before = agent.status()?.kernel_answers();
        let mut dig = Command::new("dig");
        dig.args([&format!("@{server}"), "app.com", rtype, "+short", "+tries=1", "+time=2"]);
        let output = lab.client.output(dig)?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let ours = config.sites.iter().flat_map(|site| &site.addresses).any(|address| address.to_string() == said);
        let counted = agent.status()?.kernel_answers() - before;
        println!("dig @{server} app.com {rtype} -> {said}; answered in the kernel: {counted}");
        if !ours || counted != 1 {
            return Err(io::Error::other("dig's query was not answered in the kernel with a Site's address"));
        }
    }
    let before = agent.status()?.kernel_answers();
    let pace = Pace { rate: 2000, duration: Duration::from_secs(2), sockets: 4 };
    let targets = [config.targets(false), config.targets(true)].concat();
    let report = checker::run(&lab.client, &front_addresses(0), &targets, pace, &AtomicBool::new(false))?;
    let counted = agent.status()?.kernel_answers() - before;
    println!("checking client: {report}; answered in the kernel: {counted}");
    if report.is_clean() && counted == report.sent {
        return Ok(());
    }
    Err(io::Error::other("not every answer was right and made in the kernel"))
}
