//! Metrics, alerts and the Grafana dashboard, held to each other by Prometheus itself.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tests::{
    config::Config,
    director::{DirectorScene, server},
    fleet::{BY_ETCD, FleetScene},
    invite::{InviteScene, local},
    lab::{can_load, can_run},
    netns::Netns,
    process::{Process, eventually},
    scene::Scene,
    scratch::{find_tool, root},
    session_lab::SessionLab,
    walk::Curl,
};
use zerottl_core::session_id::SessionId;

/// The line that begins the director's rules in `alerts.yml`.
const DIRECTOR_RULES: &str = "  - name: zerottl-director\n";
/// The line that begins those of sessions, which come after them.
const SESSION_RULES: &str = "  - name: zerottl-session\n";
/// The line that begins those of invitations, which come after these.
const INVITE_RULES: &str = "  - name: zerottl-invitation\n";
/// The line that begins those of fleets; only hooks have theirs behind them.
const FLEET_RULES: &str = "  - name: zerottl-fleet\n";
/// Whatever is about sessions has a metric of these, which are there where sessions are hosted.
const SESSION_METRICS: &str = "zerottl_site_session_";
/// Likewise of invitations.
const INVITE_METRICS: &str = "zerottl_site_invite";
/// On a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn packaging(file: &str) -> PathBuf {
    root().join("packaging").join(file)
}

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new(find_tool("promtool").expect("promtool")).args(arguments).output().expect("promtool");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// The rules are rules, and each fires when its test says so. Needs no agent.
#[test]
fn alert_rules_hold() {
    let (rules, test) = (packaging("prometheus/alerts.yml"), packaging("prometheus/alerts_test.yml"));
    promtool(&["check", "rules", &rules.display().to_string()]);
    promtool(&["test", "rules", &test.display().to_string()]);
    let (rules, test) = (fs::read_to_string(rules).expect("rules"), fs::read_to_string(test).expect("tests"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in alerts {
        // A test of its silence alone would hold for a rule that never fires.
        let fires = format!("- alertname: {alert}\n");
        assert!(test.contains(&fires), "{alert} is not seen to fire in alerts_test.yml");
    }
}

/// Words that begin with `zerottl_`.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("zerottl_")).map(ToOwned::to_owned).collect()
}

/// Prometheus in the front's namespace, scraping the agent and the Sites' servers every second.
struct Prometheus<'a> {
    machine: &'a Netns,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    fn start(machine: &'a Netns, folder: &Path, sites: &[String]) -> Self {
        Self::of_jobs(machine, folder, &[("zerottl", &["127.0.0.1:8053".into()]), ("zerottl-site", sites)])
    }

    /// Starts one that scrapes these places under these names.
    fn of_jobs(machine: &'a Netns, folder: &Path, jobs: &[(&str, &[String])]) -> Self {
        let rules = fs::canonicalize(packaging("prometheus/alerts.yml")).expect("rules");
        let mut configuration = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n",
            rules.display()
        );
        for (job, places) in jobs {
            let _ = writeln!(configuration, "  - job_name: {job}\n    static_configs: [{{ targets: {places:?} }}]");
        }
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration).expect("written");
        let mut command = Command::new(find_tool("prometheus").expect("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:9090");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.join("log")).expect("a log"));
        Self { machine, _process: Process::new(machine.spawn(command).expect("prometheus")) }
    }

    /// Asserts that it has scraped all of these metrics.
    fn has_all(&self, metrics: BTreeSet<String>) {
        let known = self.api("label/__name__/values", None).expect("names");
        let known: BTreeSet<&str> = known.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for metric in metrics {
            assert!(known.contains(metric.as_str()), "nobody has {metric}");
        }
    }

    fn api(&self, path: &str, query: Option<&str>) -> Option<Value> {
        let url = format!("http://127.0.0.1:9090/api/v1/{path}");
        let query = query.map(|query| format!("query={query}"));
        let mut arguments = vec!["-sS", "--max-time", "5", &url];
        if let Some(query) = &query {
            arguments.extend(["--data-urlencode", query]);
        }
        let page: Value = serde_json::from_str(&self.machine.read("curl", &arguments).ok()?).ok()?;
        assert!(page["status"] == "success" || query.is_none(), "{query:?}: {page}");
        (page["status"] == "success").then(|| page["data"].clone())
    }

    /// Returns each value that it finds, with its labels.
    fn values(&self, query: &str) -> Vec<(String, f64)> {
        let data = self.api("query", Some(query)).unwrap_or_else(|| panic!("{query} is not understood"));
        let value = |sample: &Value| {
            let value = sample["value"][1].as_str().and_then(|value| value.parse().ok());
            (sample["metric"].to_string(), value.unwrap_or_else(|| panic!("{query}: {sample}")))
        };
        data["result"].as_array().into_iter().flatten().map(value).collect()
    }

    fn count(&self, query: &str) -> usize {
        self.api("query", Some(query)).and_then(|data| data["result"].as_array().map(Vec::len)).unwrap_or(0)
    }

    /// Why an expression shows nothing to whoever looks: it finds nothing, or what it finds is no number.
    fn fault(&self, expression: &str) -> Option<String> {
        let found = self.values(expression);
        let odd: Vec<_> = found.iter().filter(|(_, value)| !value.is_finite()).collect();
        match (found.is_empty(), odd.is_empty()) {
            (true, _) => Some(format!("finds nothing: {expression}")),
            (false, false) => Some(format!("{odd:?}: {expression}")),
            (false, true) => None,
        }
    }
}

/// Returns the expressions of a dashboard, with each variable set to all that there is.
fn asked_by(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions = targets.filter_map(|target| target["expr"].as_str());
    let filled = |text: &str| text.replace("$instance", ".*").replace("$name", ".*").replace("$__rate_interval", "20s");
    expressions.map(filled).collect()
}

fn dashboard(file: &str) -> Value {
    let text = fs::read_to_string(packaging("grafana").join(file)).expect("a dashboard");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The alerts' expressions without the comparison that makes them alerts: what is compared has to be there and a number,
/// or the alert can never fire.
fn compared_by(alerts: &str) -> Vec<String> {
    let mut expressions = Vec::new();
    let mut lines = alerts.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("expr: ") else { continue };
        let mut whole = first.trim_start_matches(">-").to_owned();
        while first == ">-"
            && lines.peek().is_some_and(|next| !next.starts_with("for:") && !next.starts_with("labels:"))
        {
            whole.push(' ');
            whole.push_str(lines.next().expect("peeked"));
        }
        let (compared, number) = whole.trim().rsplit_once(' ').expect("a comparison");
        let (compared, operator) = compared.rsplit_once(' ').expect("a comparison");
        assert!(number.parse::<f64>().is_ok() && ["==", ">", "<", "<="].contains(&operator), "{whole}");
        expressions.push(compared.to_owned());
    }
    expressions
}

/// With all that has metrics of its own: loads, a minimum to be undershot, and the Sites' own servers.
fn config(certificates: &Path) -> Config {
    let load = |key: &str| format!("[site.{key}.load]\nkind = \"push\"\ncapacity = 100\nstale_after = \"1h\"\n");
    let loads = ["geneva", "boston", "chicago"].map(load).concat();
    // Everybody in the lab may look.
    let web = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\nadmin = \"0.0.0.0:8054\"\n";
    let tls = format!("tls = {{ certificates = \"{}\" }}\n", certificates.display());
    Config { pool: "min_sites = 3".into(), more: format!("{loads}{web}{tls}"), ..Config::default() }
}

/// Clients that come by the Pool Name, some of whom are sent on.
fn use_the_fronts(scene: &Scene) {
    for _ in 0..6 {
        let client = Curl::new(&scene.lab);
        let walk = client.go("http://app.com/");
        assert_eq!(walk.status(), 200, "{walk:?}");
    }
}

/// Each expression of each dashboard and each alert, evaluated by a real Prometheus over a real lab with a Site killed, a
/// drain, load reports and the Sites' servers in use, finds numbers: not nothing, which "No data" cannot be told from, and
/// not NaN, which is over no threshold. Each metric that they name is one that a real process has.
#[test]
fn prometheus_finds_what_alerts_and_dashboards_ask_for() {
    let certificates = tests::scratch::folder().expect("a folder");
    let names = ["app.com", "*.app.com"].map(str::to_owned);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
    fs::write(certificates.path().join("app.com.pem"), cert.pem() + &signing_key.serialize_pem()).expect("written");
    let Some(scene) = Scene::with_fronts("metrics in Prometheus", config(certificates.path())) else { return };
    let folder = scene.lab.folder("prometheus").expect("a folder");
    let site_page = scene.lab.site("boston").machine.read("curl", &["-sSf", "http://127.0.0.1:8054/metrics"]);
    for (of, text) in [("agent", scene.agent.get("/metrics")), ("site", site_page)] {
        is_linted(&folder, of, &text.expect("a page"));
    }
    let sites: Vec<String> = scene.config.sites.iter().map(|site| format!("{}:8054", site.addresses[0])).collect();
    let prometheus = Prometheus::start(&scene.lab.fronts[0], &folder, &sites);
    let scraped = || prometheus.count("up == 1") == 4 && prometheus.count("zerottl_site_up") == 3;
    assert!(eventually(PATIENCE, scraped), "{}", fs::read_to_string(folder.join("log")).expect("a log"));
    let shares = "sum by (name, type) (zerottl_share) > 0.999 < 1.001";
    assert!(prometheus.count(shares) >= 6, "the shares of each name and type come to 1");
    assert_eq!(prometheus.count("ALERTS{alertname=\"ZerottlSiteDown\"}"), 0);

    let report = |key: &str| format!("{{\"site\": \"{key}\", \"current\": 40, \"sessions\": 7}}");
    let all = scene.config.sites.iter().map(|site| report(&site.key)).collect::<Vec<_>>().join(",");
    scene.agent.post("/v1/load", &format!("[{all}]")).expect("taken");
    use_the_fronts(&scene);
    scene.agent.zerottl(&["drain", "geneva", "--force", "--by", "the test"]).expect("drained");
    scene.lab.site("boston").kill();
    let alerted = || prometheus.count("ALERTS{alertname=\"ZerottlSiteDown\", site=\"boston\"}") == 1;
    assert!(eventually(PATIENCE, alerted), "a Site is down and no alert is pending");
    let alarmed = || prometheus.count("zerottl_alarm{kind=\"below-minimum\", pool=\"app.com\"} == 1") == 1;
    assert!(eventually(PATIENCE, alarmed), "no alarm");
    let lost = "zerottl_share{site=\"boston\", name=\"app.com\"} == 0";
    assert_eq!(prometheus.count(lost), 2, "a lost share is 0, not absent");

    let alerts = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("rules");
    let alerts = alerts.split(DIRECTOR_RULES).next().expect("the rules before");
    let dashboards = ["zerottl.json", "zerottl-site.json"].map(dashboard);
    let mut expressions: Vec<String> =
        dashboards.iter().flat_map(asked_by).filter(|one: &String| is_of_any_site(one)).collect();
    assert!(expressions.len() >= 35, "{expressions:?}");
    expressions.extend(compared_by(alerts));
    // A rate wants two scrapes; what goes on being wrong is wrong.
    let faults = || -> Vec<String> {
        use_the_fronts(&scene);
        expressions.iter().filter_map(|expression| prometheus.fault(expression)).collect()
    };
    assert!(eventually(PATIENCE, || faults().is_empty()), "{:#?}", faults());

    let variables = dashboards.map(|dashboard| dashboard["templating"].to_string());
    prometheus.has_all(metrics_in(alerts));
    prometheus.has_all(metrics_in(&variables.concat()));
}

/// A quiet lab shows as 0, and nothing shows as NaN: the expressions over a lab in which nothing has happened yet, for what has
/// no need of a Site that says something.
#[test]
fn a_quiet_lab_has_numbers_too() {
    let web = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\nadmin = \"0.0.0.0:8054\"\n";
    let Some(scene) = Scene::with_fronts("a quiet lab in Prometheus", Config { more: web.into(), ..Config::default() })
    else {
        return;
    };
    let folder = scene.lab.folder("prometheus").expect("a folder");
    let sites: Vec<String> = scene.config.sites.iter().map(|site| format!("{}:8054", site.addresses[0])).collect();
    let prometheus = Prometheus::start(&scene.lab.fronts[0], &folder, &sites);
    assert!(eventually(PATIENCE, || prometheus.count("up == 1") == 4), "not scraped");
    let expressions: Vec<String> = ["zerottl.json", "zerottl-site.json"]
        .map(dashboard)
        .iter()
        .flat_map(asked_by)
        .filter(|one| is_of_any_site(one))
        .collect();
    let faults =
        || -> Vec<String> { expressions.iter().filter_map(|expression| prometheus.fault(expression)).collect() };
    assert!(eventually(PATIENCE, || faults().is_empty()), "{:#?}", faults());
    assert_eq!(prometheus.count("ALERTS{severity!=\"info\"}"), 0, "{:?}", prometheus.values("ALERTS"));
}

/// A director's metrics, likewise: one of its servers is killed, and clients wait in vain.
#[test]
fn prometheus_finds_what_a_directors_dashboard_asks_for() {
    if !can_load("a director's metrics in Prometheus") {
        return;
    }
    let keys = "count = 2\nmax_connections = 1\nhandover = true";
    let servers = server("a", keys).expect("a server");
    let director = format!("waiting = {{ max = 2, timeout = \"1s\" }}\n{servers}");
    let scene = DirectorScene::started(&director).expect("a director");
    let folder = scene.beside("prometheus");
    fs::create_dir(&folder).expect("a folder");
    let page = scene.machine.read("curl", &["-sSf", "http://127.0.0.1:8054/metrics"]).expect("a page");
    is_linted(&folder, "director", &page);
    let prometheus = Prometheus::of_jobs(&scene.machine, &folder, &[("zerottl-director", &["127.0.0.1:8054".into()])]);
    assert!(eventually(PATIENCE, || prometheus.count("up == 1") == 1), "not scraped");
    kill_process(scene.pid("a-1").expect("a process"), Signal::KILL).expect("killed");

    let rules = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("rules");
    let alerts = rules.split(DIRECTOR_RULES).nth(1).expect("its rules");
    let alerts = alerts.split(SESSION_RULES).next().expect("the rules before");
    let dashboard = dashboard("zerottl-director.json");
    let mut expressions = asked_by(&dashboard);
    expressions.extend(compared_by(alerts));
    assert!(expressions.len() >= 20, "{expressions:?}");
    let faults = || -> Vec<String> {
        let clients: Vec<_> = (0..6).filter_map(|_| scene.connect().ok()).collect();
        let faults = expressions.iter().filter_map(|expression| prometheus.fault(expression)).collect();
        drop(clients);
        faults
    };
    assert!(eventually(PATIENCE, || faults().is_empty()), "{:#?}", faults());
    prometheus.has_all(metrics_in(alerts));
    prometheus.has_all(metrics_in(&dashboard.to_string()));
    scene.stop().expect("stopped");
}

fn is_of_any_site(expression: &str) -> bool {
    !expression.contains(SESSION_METRICS) && !expression.contains(INVITE_METRICS)
}

/// The metrics of sessions, likewise: a session server stops, and another starts anew and empty.
#[test]
fn prometheus_finds_what_is_asked_about_sessions() {
    if !can_run("metrics of sessions in Prometheus") {
        return;
    }
    let mut lab = SessionLab::start(2, 3, "lease = \"1s\"\ntimeout = \"200ms\"\n").expect("a Site");
    let folder = lab.folder().join("prometheus");
    fs::create_dir(&folder).expect("a folder");
    let page = lab.client.read("curl", &["-sSf", &format!("http://{}/metrics", lab.workers[0].at())]);
    is_linted(&folder, "worker", &page.expect("a page"));
    let (machine, workers) =
        (lab.client.clone(), lab.workers.iter().map(|one| one.at().to_string()).collect::<Vec<_>>());
    let prometheus = Prometheus::of_jobs(&machine, &folder, &[("zerottl-site", &workers)]);
    assert!(eventually(PATIENCE, || prometheus.count("up == 1") == 2), "not scraped");

    let rules = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("rules");
    let alerts = rules.split(SESSION_RULES).nth(1).expect("their rules");
    let alerts = alerts.split(INVITE_RULES).next().expect("the rules before");
    let dashboard = dashboard("zerottl-site.json");
    let mut expressions: Vec<String> = asked_by(&dashboard);
    expressions.retain(|expression| expression.contains(SESSION_METRICS));
    assert!(expressions.len() >= 12, "{expressions:?}");
    expressions.extend(compared_by(alerts).into_iter().map(|expression| expression.replace("15m", "20s")));
    let use_sessions = || {
        for number in 0..4 {
            let url = format!("http://{}/v1/session/{}", workers[number % 2], SessionId([number as u8; 16]));
            let _ = machine.read("curl", &["-sS", "-X", "PUT", "-d", "cart", "-o", "/dev/null", &url]);
        }
    };
    let faults = || -> Vec<String> {
        use_sessions();
        expressions.iter().filter_map(|expression| prometheus.fault(expression)).collect()
    };
    assert!(eventually(PATIENCE, || faults().is_empty()), "{:#?}", faults());
    prometheus.has_all(metrics_in(alerts));
    let alerting = |alert: &str| prometheus.count(&format!("ALERTS{{alertname=\"{alert}\"}}"));
    assert_eq!(prometheus.count("ALERTS{alertname=~\"ZerottlSession.*\"}"), 0, "{:?}", prometheus.values("ALERTS"));
    lab.servers[0].signal(Signal::STOP).expect("stopped");
    assert!(eventually(PATIENCE, || alerting("ZerottlSessionServerDown") == 2), "a session server is away");
    lab.servers[1].lose().expect("killed");
    // One of three is no majority.
    assert!(eventually(PATIENCE, || alerting("ZerottlSessionNoLease") == 2), "no lease");
    lab.servers[0].signal(Signal::CONT).expect("goes on");
    lab.servers[1].restart().expect("started");
    let restarted = || alerting("ZerottlSessionServerRestarted") == 1 && alerting("ZerottlSessionNoLease") == 0;
    assert!(eventually(PATIENCE, restarted), "{:?}", prometheus.values("ALERTS"));
}

/// The metrics of invitations, likewise: requests find no application server, and then some that fall silent.
#[test]
fn prometheus_finds_what_is_asked_about_invitations() {
    if !can_run("metrics of invitations in Prometheus") {
        return;
    }
    let scene = InviteScene::new(false).expect("a Site");
    let worker = scene.worker(1, "", "stall = \"500ms\"\nwaiting = 1\npatience = \"300ms\"\n");
    let worker = worker.expect("a worker");
    let folder = scene.path("prometheus");
    fs::create_dir(&folder).expect("a folder");
    is_linted(&folder, "worker", &scene.get_own(worker.admin, "/metrics").expect("a page").body);
    let prometheus = Prometheus::of_jobs(&scene.machine, &folder, &[("zerottl-site", &[worker.admin.to_string()])]);
    assert!(eventually(PATIENCE, || prometheus.count("up == 1") == 1), "not scraped");

    let rules = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("rules");
    let alerts = rules.split(INVITE_RULES).nth(1).expect("their rules");
    let alerts = alerts.split(FLEET_RULES).next().expect("the rules before");
    let mut expressions: Vec<String> = asked_by(&dashboard("zerottl-site.json"));
    expressions.retain(|expression| expression.contains(INVITE_METRICS));
    assert!(expressions.len() >= 6, "{expressions:?}");
    expressions.extend(compared_by(alerts));
    let faults =
        || -> Vec<String> { expressions.iter().filter_map(|expression| prometheus.fault(expression)).collect() };
    assert!(eventually(PATIENCE, || faults().is_empty()), "{:#?}", faults());
    prometheus.has_all(metrics_in(alerts));
    let alerting = |alert: &str| prometheus.count(&format!("ALERTS{{alertname=\"{alert}\"}}"));
    assert_eq!(prometheus.count("ALERTS"), 0, "a worker that stands by: {:?}", prometheus.values("ALERTS"));
    let alerted = || {
        // One waits, the others find no place.
        let requests: Vec<_> = (0..20).map(|_| scene.begin(worker.at, "/free", "").expect("a connection")).collect();
        for request in requests {
            assert_eq!(request.answer().expect("an answer").status, 503);
        }
        alerting("ZerottlInvitedByNobody") == 1 && alerting("ZerottlInviteInVain") >= 1
    };
    assert!(eventually(PATIENCE, alerted), "{:?}", prometheus.values("ALERTS"));
    assert_eq!(alerting("ZerottlInviteStalls"), 0);
    let fall_silent = || {
        let channels: Vec<_> =
            (1..=4).map(|number| scene.channel(&worker, &format!("app-{number}"), local(9000), 0)).collect();
        thread::sleep(Duration::from_secs(2));
        drop(channels);
        alerting("ZerottlInviteStalls") == 1
    };
    assert!(eventually(PATIENCE, fall_silent), "{:?}", prometheus.values("ALERTS"));
}

/// The metrics of a fleet and of hooks, likewise: nothing is alerted while all is well, and each trouble by its own alert.
#[test]
fn prometheus_finds_what_is_asked_about_fleets_and_hooks() {
    let more = "[hook.dead]\nurl = \"http://127.0.0.1:9/\"\nevents = [\"word\"]\nattempts = 1\n";
    let config = Config { fleet: BY_ETCD.into(), more: more.into(), ..Config::default() };
    let Some(scene) = FleetScene::start("a fleet's metrics in Prometheus", 3, 3, &config) else { return };
    let folder = scene.lab.folder("prometheus").expect("a folder");
    is_linted(&folder, "agent", &scene.agents[0].get("/metrics").expect("a page"));
    let machine = Arc::clone(&scene.lab.fronts[0]);
    let prometheus = Prometheus::of_jobs(&machine, &folder, &[("zerottl", &["127.0.0.1:8053".into()])]);
    let has_met = || prometheus.count("zerottl_fleet_fronts == 3") == 1;
    assert!(eventually(PATIENCE, has_met), "{:?}", prometheus.values("zerottl_fleet_fronts"));

    let rules = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("rules");
    let alerts = rules.split(FLEET_RULES).nth(1).expect("their rules");
    let expressions = compared_by(alerts);
    assert_eq!(expressions.len(), alerts.matches("- alert: ").count());
    let faults =
        || -> Vec<String> { expressions.iter().filter_map(|expression| prometheus.fault(expression)).collect() };
    assert!(eventually(PATIENCE, || faults().is_empty()), "{:#?}", faults());
    prometheus.has_all(metrics_in(alerts));
    let about = "ALERTS{alertname=~\"Zerottl(Fleet|Hook).*\"}";
    assert_eq!(prometheus.count(about), 0, "{:?}", prometheus.values(about));

    let alerted = |alert: &str| {
        let is_there = || prometheus.count(&format!("ALERTS{{alertname=\"{alert}\"}}")) >= 1;
        assert!(eventually(PATIENCE, is_there), "{alert}: {:?}", prometheus.values("ALERTS"));
    };
    // Another file at one front, by which it cannot do without a Site.
    let careful = Config { pool: "min_sites = 3".into(), ..scene.configs[2].clone() };
    careful.write(scene.agents[2].folder()).expect("written");
    scene.agents[2].zerottl(&["reload"]).expect("reloaded");
    alerted("ZerottlFleetDrift");
    scene.agents[0].zerottl(&["drain", "boston", "--by", "the test"]).expect("drained");
    alerted("ZerottlFleetRefused");
    alerted("ZerottlHookLost");
    scene.etcd.put(0, "zerottl/word/geneva", b"garbage").expect("put");
    alerted("ZerottlFleetValueIgnored");
    scene.lab.join_front_to_sites(0, false).expect("cut");
    alerted("ZerottlFleetCutOff");
    scene.lab.join_front_to_peers(0, false).expect("cut");
    alerted("ZerottlFleetAway");
}

/// Linted as Prometheus's own text format.
fn is_linted(folder: &Path, of: &str, text: &str) {
    let page = folder.join(of);
    fs::write(&page, text).expect("written");
    let mut check = Command::new(find_tool("promtool").expect("promtool"));
    check.args(["check", "metrics"]).stdin(fs::File::open(&page).expect("there"));
    let output = check.output().expect("promtool");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "promtool check metrics of the {of}: {said}");
}
