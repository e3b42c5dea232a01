//! Records of requests that `zerottl site` makes: the access log, the log's line for one that nobody answered, and numbers.

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{
    config::Config,
    process::eventually,
    scene::Scene,
    scratch::folder,
    walk::{Curl, unix_now},
};

const SOON: Duration = Duration::from_secs(20);

fn config(log: &Path) -> Config {
    let web = format!(
        "[web]\nclean_url = false\nbackends = [\"http://127.0.0.1:8080\"]\naccess_log = \"{}\"\naccess_log_format = \"json\"\n",
        log.display()
    );
    Config { more: web, ..Config::default() }
}

/// Lines for a target, once there are as many.
fn lines(file: &Path, target: &str, count: usize) -> Vec<Value> {
    let read = || -> Vec<Value> {
        let text = fs::read_to_string(file).unwrap_or_default();
        // The last line may be on its way.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"].as_str().is_some_and(|seen| seen.starts_with(target))).collect()
    };
    assert!(eventually(SOON, || read().len() >= count), "{count} lines for {target}: {:?}", read());
    read()
}

/// Every way a request goes has its line, with what was decided and who answered; a file that was moved away is left alone after a
/// signal; what nobody answered is said, with its cause; all of it is counted.
#[test]
fn requests_are_told_of() {
    let folder = folder().expect("folder");
    let (file, moved) = (folder.path().join("access"), folder.path().join("access.1"));
    let Some(scene) = Scene::with_fronts("access log", config(&file)) else { return };
    let boston = scene.lab.site("boston");
    let client = Curl::new(&scene.lab).with(&["-H", "X-Request-ID: r-1"]);
    for target in [format!("a/distrib={}", unix_now()), "b".to_owned()] {
        assert_eq!(client.go(&format!("http://boston.app.com/{target}")).statuses(), [200], "{target}");
    }
    client.ask(&["http://boston.app.com/c", "-H", "Host: app.com"]).expect("curl");
    let told = |target: &str| {
        let line = lines(&file, target, 1).remove(0);
        let word = |name: &str| line[name].as_str().map(str::to_owned);
        (word("outcome").unwrap_or_default(), line["session"] == true, line["status"].as_u64(), word("backend"))
    };
    let backend = Some("http://127.0.0.1:8080".to_owned());
    assert_eq!(told("/a/distrib="), ("admitted".into(), false, Some(200), backend.clone()));
    assert_eq!(told("/b"), ("in-session".into(), true, Some(200), backend.clone()));
    assert_eq!(told("/c"), ("redirected".into(), false, Some(302), None));
    let line = lines(&file, "/b", 1).remove(0);
    assert_eq!((&line["host"], &line["request_id"]), (&Value::from("boston.app.com"), &Value::from("r-1")), "{line}");

    let pid = i32::try_from(boston.pid().expect("it runs")).ok().and_then(Pid::from_raw).expect("a process");
    fs::rename(&file, &moved).expect("rename");
    kill_process(pid, Signal::USR1).expect("signal");
    assert!(eventually(SOON, || file.exists()), "{}", boston.log());
    assert_eq!(client.go("http://boston.app.com/after").statuses(), [200]);
    assert_eq!(lines(&file, "/after", 1).len(), 1);
    assert!(!fs::read_to_string(&moved).expect("read").contains("/after"));
    assert_eq!(boston.pid().and_then(|pid| i32::try_from(pid).ok()), Some(pid.as_raw_nonzero().get()), "it goes on");

    boston.kill_application();
    let failed = client.ask(&["http://boston.app.com/dead"]).expect("curl");
    assert!([502, 503].contains(&failed.status()), "{failed:?}");
    let line = lines(&file, "/dead", 1).remove(0);
    assert_eq!(line["status"].as_u64(), Some(failed.status().into()));
    let said = || {
        let log = boston.log();
        log.contains("a request was not answered") && log.contains("Connection refused")
            || log.contains("no backend is healthy")
    };
    assert!(eventually(SOON, said), "{}", boston.log());
    let page = boston.machine.read("curl", &["-sf", "http://127.0.0.1:8054/metrics"]).expect("metrics");
    let value = |name: &str| {
        let line =
            page.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("{name}: {page}"));
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert!(value("zerottl_site_responses_total{status=\"200\"}") >= 3.0);
    assert!(value("zerottl_site_responses_total{status=\"302\"}") >= 1.0);
    let unanswered =
        ["502", "503"].map(|status| value(&format!("zerottl_site_responses_total{{status=\"{status}\"}}")));
    assert!(unanswered.iter().sum::<f64>() >= 1.0, "{unanswered:?}");
    assert!(value("zerottl_site_request_seconds_count") >= 5.0);
    assert!(value("zerottl_site_request_seconds_bucket{le=\"+Inf\"}") >= 5.0);
    assert!((value("zerottl_site_access_log_lines_lost_total") - 0.0).abs() < f64::EPSILON);
}
