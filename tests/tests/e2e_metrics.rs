//! Metrics, alerts and the Grafana dashboard, held to each other by Prometheus itself.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tests::{
    config::Config,
    netns::Netns,
    process::{Process, eventually},
    scene::Scene,
    scratch::{find_tool, root},
};

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

/// Prometheus in the front's namespace, scraping the agent every second.
struct Prometheus<'a> {
    machine: &'a Netns,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    fn start(machine: &'a Netns, folder: &Path) -> Self {
        let configuration = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n  - job_name: \
             zerottl\n    static_configs: [{{ targets: [\"127.0.0.1:8053\"] }}]\n",
            fs::canonicalize(packaging("prometheus/alerts.yml")).expect("rules").display()
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, configuration).expect("written");
        let mut command = Command::new(find_tool("prometheus").expect("prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:9090");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.join("log")).expect("a log"));
        Self { machine, _process: Process::new(machine.spawn(command).expect("prometheus")) }
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

    fn count(&self, query: &str) -> usize {
        self.api("query", Some(query)).and_then(|data| data["result"].as_array().map(Vec::len)).unwrap_or(0)
    }
}

/// With all that has metrics of its own: loads, and a minimum to be undershot.
fn config() -> Config {
    let more = "[site.geneva.load]\nkind = \"push\"\ncapacity = 100\n";
    Config { pool: "min_sites = 3".into(), more: more.into(), ..Config::default() }
}

/// Each metric that an alert or the dashboard names is one that a real agent gives a real Prometheus, each question that
/// the dashboard asks is understood, and a dead Site comes to an alert.
#[test]
fn prometheus_finds_what_alerts_and_dashboard_ask_for() {
    let Some(scene) = Scene::start("metrics in Prometheus", config()) else { return };
    let text = scene.agent.get("/metrics").expect("a page");
    let folder = scene.lab.folder("prometheus").expect("a folder");
    // Linted as Prometheus's own text format.
    let page = folder.join("metrics");
    fs::write(&page, &text).expect("written");
    let mut check = Command::new(find_tool("promtool").expect("promtool"));
    check.args(["check", "metrics"]).stdin(fs::File::open(&page).expect("there"));
    let output = check.output().expect("promtool");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "promtool check metrics: {said}");

    let prometheus = Prometheus::start(&scene.lab.fronts[0], &folder);
    let scraped = || prometheus.count("up{job=\"zerottl\"} == 1") == 1 && prometheus.count("zerottl_site_up") == 3;
    assert!(eventually(Duration::from_mins(1), scraped), "{}", fs::read_to_string(folder.join("log")).expect("a log"));

    let alerts = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("rules");
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(packaging("grafana/zerottl.json")).expect("a dashboard"))
            .expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let expressions: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .filter_map(|target| target["expr"].as_str())
        .collect();
    assert!(expressions.len() >= 15, "{expressions:?}");
    let variables = dashboard["templating"].to_string();
    for expression in &expressions {
        let asked = expression.replace("$instance", ".*").replace("$name", ".*").replace("$__rate_interval", "5s");
        // An error of PromQL's would be the answer; nothing found may be right.
        prometheus.api("query", Some(&asked)).unwrap_or_else(|| panic!("{asked}"));
    }
    for needed in ["Shares", "States", "latency", "kernel", "Packets", "Machines"] {
        assert!(
            panels.iter().any(|panel| panel["title"].as_str().is_some_and(|title| title.contains(needed))),
            "{needed}"
        );
    }
    let shares = "sum by (name, type) (zerottl_share) > 0.999 < 1.001";
    assert!(prometheus.count(shares) >= 6, "the shares of each name and type come to 1");
    assert!(prometheus.count("zerottl_probe_duration_seconds_count > 0") == 3, "probes are in the histograms");
    assert_eq!(prometheus.count("ALERTS{alertname=\"ZerottlSiteDown\"}"), 0);

    scene.lab.site("boston").kill();
    let alerted = || prometheus.count("ALERTS{alertname=\"ZerottlSiteDown\", site=\"boston\"}") == 1;
    assert!(eventually(Duration::from_secs(30), alerted), "a Site is down and no alert is pending");
    assert_eq!(
        prometheus.count("zerottl_share{site=\"boston\", name=\"app.com\"} == 0"),
        2,
        "a lost share is 0, not absent"
    );

    // Now that there is something of everything, an alarm too.
    let alarmed = || prometheus.count("zerottl_alarm{kind=\"below-minimum\", pool=\"app.com\"} == 1") == 1;
    assert!(eventually(Duration::from_secs(30), alarmed), "no alarm");
    let known = prometheus.api("label/__name__/values", None).expect("names");
    let known: BTreeSet<&str> = known.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for metric in
        [metrics_in(&alerts), metrics_in(&expressions.join(" ")), metrics_in(&variables)].into_iter().flatten()
    {
        assert!(known.contains(metric.as_str()), "no agent has {metric}");
    }
}
