//! `zerottl site` as a check for other servers (S4-B-FORM): the example for nginx under nginx itself, and what Envoy asks,
//! asked by curl.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, process::Command, process::Stdio, time::Duration};

use tempfile::TempDir;
use tests::{
    agent::binary,
    lab::can_run,
    netns::Netns,
    process::{Process, eventually},
    scratch,
};

/// Boston; the other Sites count as up.
const SITE: &str = r#"
[front]
interfaces = ["eth0"]
addresses = ["203.0.113.53"]
[zone."app.example"]
nameservers = ["ns1.app.example"]
contact = "hostmaster@app.example"
[pool."app.example"]
sites = ["geneva", "boston", "chicago"]
[site.geneva]
name = "geneva.app.example"
addresses = ["198.51.100.10"]
[site.boston]
name = "boston.app.example"
addresses = ["192.0.2.10"]
[site.chicago]
name = "chicago.app.example"
addresses = ["192.0.2.20"]
[web]
listen = []
admin = "127.0.0.1:8054"
peers = "none"
busy = { in_flight = 0, sessions = 2 }
"#;

/// What the example is included in, and the application: it says what it was asked for.
const NGINX: &str = r#"
daemon off;
master_process off;
pid pid;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  include EXAMPLE;
  server {
    listen 127.0.0.1:8080;
    location / {
      default_type text/plain;
      return 200 "$request_method $http_host $request_uri by $http_x_forwarded_for";
    }
  }
}
"#;

/// nginx and `zerottl site` in a namespace of their own.
struct Boston {
    site: Process,
    _nginx: Process,
    machine: Netns,
    folder: TempDir,
}

/// A response as curl shows it.
#[derive(Debug)]
struct Shown {
    head: String,
    body: String,
}

impl Shown {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    fn field(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }
}

impl Boston {
    fn start() -> Self {
        let (machine, folder) = (Netns::new().unwrap(), scratch::folder().unwrap());
        let file = folder.path().join("zerottl.toml");
        fs::write(&file, SITE).unwrap();
        let mut command = Command::new(binary().unwrap());
        command.args(["site", "--as", "boston", "--config"]).arg(&file);
        let log = fs::File::create(folder.path().join("zerottl.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let site = Process::new(machine.spawn(command).unwrap());
        let example = scratch::root().join("examples/nginx-auth-request.conf");
        let file = folder.path().join("nginx.conf");
        fs::write(&file, NGINX.replace("EXAMPLE", &format!("\"{}\"", example.display()))).unwrap();
        let mut command = Command::new(scratch::find_tool("nginx").unwrap());
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).arg("-e").arg(folder.path().join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let nginx = Process::new(machine.spawn(command).unwrap());
        let boston = Self { site, _nginx: nginx, machine, folder };
        let is_up = |port| boston.machine.read("curl", &["-s", &format!("http://127.0.0.1:{port}/load")]).is_ok();
        for port in [8054, 8080, 80] {
            assert!(eventually(Duration::from_secs(20), || is_up(port)), "port {port}: {}", boston.logs());
        }
        boston
    }

    fn logs(&self) -> String {
        let of = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        of("zerottl.log") + &of("error.log")
    }

    fn curl(&self, url: &str, arguments: &[&str]) -> Shown {
        let arguments = [&["-sSi", "--max-time", "10", "--path-as-is", url], arguments].concat();
        let text = self.machine.read("curl", &arguments).unwrap_or_else(|error| panic!("{error}\n{}", self.logs()));
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        Shown { head: head.to_owned(), body: body.to_owned() }
    }

    /// From nginx, under a URL of plain HTTP.
    fn get(&self, url: &str, arguments: &[&str]) -> Shown {
        let (host, target) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a URL");
        let host = format!("Host: {host}");
        self.curl(&format!("http://127.0.0.1/{target}"), &[&["-H", &host], arguments].concat())
    }

    /// A session: its cookie.
    fn session(&self) -> String {
        let moved = self.get("http://app.example/", &[]);
        let admitted = self.get(moved.field("location"), &[]);
        assert_eq!(admitted.status(), 200, "{admitted:?}\n{}", self.logs());
        admitted.field("set-cookie").split(';').next().unwrap().to_owned()
    }
}

/// S4-B-FORM, S4-5A-540, S4-5A-GATE, S4-C10, S4-C13: with the example's configuration, nginx sends the Pool Name's clients to
/// the Site Name, serves them there without the marker, and knows them again.
#[test]
fn s4_b_form_nginx_walks_from_the_pool_name_into_a_session() {
    if !can_run("nginx with a check") {
        return;
    }
    let mut boston = Boston::start();
    let moved = boston.get("http://app.example/shop//a%2Fb/?item=42&x", &[]);
    assert_eq!((moved.status(), moved.field("cache-control")), (302, "no-store"), "{moved:?}\n{}", boston.logs());
    let location = moved.field("location");
    let marker =
        location.strip_prefix("http://boston.app.example/shop//a%2Fb/distrib=").unwrap_or_else(|| panic!("{location}"));
    assert!(marker.ends_with(",?item=42&x"), "{location}");

    let admitted = boston.get(location, &[]);
    assert_eq!(admitted.status(), 200, "{admitted:?}\n{}", boston.logs());
    assert_eq!(admitted.body, "GET boston.app.example /shop//a%2Fb/?item=42&x by 127.0.0.1");
    let cookies = admitted.all("set-cookie");
    assert!(cookies.len() == 1 && cookies[0].starts_with("ZSESSION="), "{admitted:?}");

    let cookie = format!("Cookie: {}", cookies[0].split(';').next().unwrap());
    let inside = boston.get("http://boston.app.example/order", &["-H", &cookie, "-d", "one=1"]);
    assert_eq!((inside.status(), &*inside.body), (200, "POST boston.app.example /order by 127.0.0.1"), "{inside:?}");
    assert!(inside.all("set-cookie").is_empty(), "{inside:?}");

    let posted = boston.get("http://app.example/order", &["-d", "one=1"]);
    assert_eq!(posted.status(), 307, "{posted:?}");
    let unknown = boston.get("http://other.example/", &[]);
    assert_eq!(unknown.status(), 421, "{unknown:?}");
    assert!(unknown.field("content-type").starts_with("text/html") && unknown.body.contains("<h1>"), "{unknown:?}");
    // A marker of the client's own making is good for one bookmark's life and no more (S4-5A-520).
    let stale = boston.get("http://boston.app.example/a/distrib=1000000000", &[]);
    let location = stale.field("location");
    assert!(stale.status() == 302 && location.starts_with("http://app.example/a"), "{stale:?}");
    // What is asked of zerottl is nobody else's to ask.
    assert_ne!(boston.get("http://boston.app.example/.zerottl", &["-H", "X-Original-URI: /"]).status(), 204);

    // Nobody is let in unasked.
    boston.site.kill();
    assert_eq!(boston.get("http://boston.app.example/order", &["-H", &cookie]).status(), 500);
}

/// S4-B-FORM, S4-5B-570, S4-5B-DEFER: the busy page comes through nginx as it is, with its status and Retry-After, and its
/// key is good at the next attempt.
#[test]
fn s4_b_form_nginx_shows_the_busy_page() {
    if !can_run("nginx with a check") {
        return;
    }
    let boston = Boston::start();
    let (first, second) = (boston.session(), boston.session());
    assert_ne!(first, second);
    let moved = boston.get("http://app.example/a", &[]);
    let marked = moved.field("location");
    // The next Site, while one is left; a session that there is goes on.
    let onward = boston.get(marked, &[]);
    assert_eq!(onward.status(), 302, "{onward:?}");
    assert!(onward.field("location").starts_with("http://chicago.app.example/a/distrib="), "{onward:?}");
    let inside = boston.get("http://boston.app.example/a", &["-H", &format!("Cookie: {first}")]);
    assert_eq!(inside.status(), 200, "{inside:?}");
    // As it comes from the last.
    let busy = boston.get(&format!("{marked}+chicago.app.example++2"), &[]);
    assert_eq!((busy.status(), busy.field("retry-after")), (503, "10"), "{busy:?}");
    assert_eq!(busy.field("cache-control"), "no-store");
    let back = busy.body.split_once(";url=").and_then(|(_, rest)| rest.split('"').next()).expect("a page that goes on");
    assert!(back.starts_with("http://boston.app.example/a/distrib="), "{}", busy.body);
    let early = boston.get(back, &[]);
    assert_eq!(early.status(), 503, "{early:?}");
    assert!(early.body.contains(back), "the place is kept: {}", early.body);
}

/// S4-B-FORM: what Envoy's `ext_authz` asks over HTTP: the request itself under another path, some fields, no body.
#[test]
fn s4_b_form_envoy_asks() {
    if !can_run("a check") {
        return;
    }
    let boston = Boston::start();
    let ask = |host: &str, target: &str, more: &[&str]| {
        let host = format!("Host: {host}");
        let fields = ["-H", &host, "-H", "X-Forwarded-For: 192.0.2.99", "-H", "X-Forwarded-Proto: https"];
        boston.curl(&format!("http://127.0.0.1:8054/check/envoy{target}"), &[&fields, more].concat())
    };
    let moved = ask("app.example", "/shop//a%2Fb?item=42", &[]);
    assert_eq!((moved.status(), moved.field("cache-control")), (302, "no-store"), "{moved:?}");
    let marked = moved.field("location").strip_prefix("https://boston.app.example").expect("the Site Name");
    let admitted = ask("boston.app.example", marked, &[]);
    assert_eq!((admitted.status(), admitted.field("x-zerottl-uri")), (200, "/shop//a%2Fb?item=42"), "{admitted:?}");
    let cookie = admitted.field("set-cookie");
    assert!(cookie.starts_with("ZSESSION=") && cookie.ends_with("; Secure"), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let inside = ask("boston.app.example", "/", &["-H", &cookie, "-X", "POST", "-H", "Content-Length: 0"]);
    assert_eq!((inside.status(), inside.field("x-zerottl-uri")), (200, "/"), "{inside:?}");
    assert_eq!(ask("app.example", "/", &["-X", "PUT", "-H", "Content-Length: 0"]).status(), 307);
    assert_eq!(ask("other.example", "/", &[]).status(), 421);
    // The second session fills the Site; the third is told so, with the page itself.
    boston.session();
    let busy = ask("boston.app.example", &marked.replace('?', "+chicago.app.example++2?"), &[]);
    assert_eq!((busy.status(), busy.field("retry-after")), (503, "10"), "{busy:?}");
    assert!(busy.body.contains("http-equiv=\"refresh\""), "{busy:?}");
}
