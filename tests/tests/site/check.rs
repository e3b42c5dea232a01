//! `zerottl site` as a check for other servers (S4-B-FORM): the examples for nginx, `HAProxy` and Caddy under these servers
//! themselves, and what Envoy and Traefik ask, asked by curl.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod application;

use std::{fs, path::Path, process::Command, process::Stdio, time::Duration};

use application::Application;
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
busy = { in_flight = 0, sessions = 2, client_share = 1.0 }
"#;

/// The configuration that the example is included in.
const NGINX: &str = r"
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
}
";

/// The server that stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Nginx,
    HaProxy,
    Caddy,
}

impl Server {
    /// The command, for files in `folder`.
    fn command(self, folder: &Path) -> Command {
        let examples = scratch::root().join("examples");
        match self {
            Self::Nginx => {
                let (file, example) = (folder.join("nginx.conf"), examples.join("nginx-auth-request.conf"));
                fs::write(&file, NGINX.replace("EXAMPLE", &format!("\"{}\"", example.display()))).unwrap();
                let mut command = Command::new(scratch::find_tool("nginx").unwrap());
                command.arg("-p").arg(folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
                command
            }
            Self::HaProxy => {
                let mut command = Command::new(scratch::find_tool("haproxy").unwrap());
                // It loads the script from where it is started.
                command.current_dir(examples).args(["-db", "-f", "haproxy.cfg"]);
                command
            }
            Self::Caddy => {
                let mut command = Command::new(scratch::find_tool("caddy").unwrap());
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(examples.join("Caddyfile"));
                // What it keeps for certificates and itself.
                command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
                command
            }
        }
    }
}

/// A server and `zerottl site` in a namespace of their own, the application behind them.
struct Boston {
    site: Process,
    _server: Process,
    _application: Application,
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
    fn start(server: Server) -> Self {
        let (machine, folder) = (Netns::new().unwrap(), scratch::folder().unwrap());
        let file = folder.path().join("zerottl.toml");
        fs::write(&file, SITE).unwrap();
        let mut command = Command::new(binary().unwrap());
        command.args(["site", "--as", "boston", "--config"]).arg(&file);
        let log = fs::File::create(folder.path().join("zerottl.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let site = Process::new(machine.spawn(command).unwrap());
        let application = Application::start(&machine).unwrap();
        let mut command = server.command(folder.path());
        let log = fs::File::create(folder.path().join("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = Process::new(machine.spawn(command).unwrap());
        let boston = Self { site, _server: server, _application: application, machine, folder };
        let is_up = |port| boston.machine.read("curl", &["-s", &format!("http://127.0.0.1:{port}/load")]).is_ok();
        for port in [8054, 8080, 80] {
            assert!(eventually(Duration::from_secs(30), || is_up(port)), "port {port}: {}", boston.logs());
        }
        boston
    }

    fn logs(&self) -> String {
        let of = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        of("zerottl.log") + &of("error.log") + &of("server.log")
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

    /// Follows redirects with a jar of its own, or none; the session's cookie and the last response.
    fn walk(&self, url: &str) -> (String, Shown) {
        let (mut url, mut cookie, mut shown) = (url.to_owned(), String::new(), None);
        for _ in 0..6 {
            let field = format!("Cookie: {cookie}");
            let more: &[&str] = if cookie.is_empty() { &[] } else { &["-H", &field] };
            let next = self.get(&url, more);
            if let Some(set) = next.all("set-cookie").first() {
                set.split(';').next().unwrap().clone_into(&mut cookie);
            }
            let location = next.field("location").to_owned();
            shown = Some(next);
            if location.is_empty() {
                break;
            }
            url = location;
        }
        (cookie, shown.expect("a response"))
    }

    /// A session: its cookie.
    fn session(&self) -> String {
        let (cookie, shown) = self.walk("http://app.example/");
        assert_eq!(shown.status(), 200, "{shown:?}\n{}", self.logs());
        cookie
    }
}

/// S4-B-FORM, S4-5A-540, S4-5A-GATE, S4-C10, S4-C13: with the example's configuration, the server sends the Pool Name's clients
/// to the Site Name, serves them there without the marker, and knows them again.
fn walks_from_the_pool_name_into_a_session(server: Server) {
    if !can_run("a server with a check") {
        return;
    }
    let mut boston = Boston::start(server);
    let moved = boston.get("http://app.example/shop//a%2Fb/?item=42&x", &["-d", "one=1"]);
    assert_eq!((moved.status(), moved.field("cache-control")), (307, "no-store"), "{moved:?}\n{}", boston.logs());
    let location = moved.field("location");
    let marker =
        location.strip_prefix("http://boston.app.example/shop//a%2Fb/distrib=").unwrap_or_else(|| panic!("{location}"));
    assert!(marker.ends_with(",?item=42&x"), "{location}");

    // Not a GET, which would be sent to its URL without a marker first.
    let admitted = boston.get(location, &["-d", "one=1"]);
    assert_eq!(admitted.status(), 200, "{admitted:?}\n{}", boston.logs());
    assert_eq!(admitted.body, "POST boston.app.example /shop//a%2Fb/?item=42&x by 127.0.0.1");
    let cookies = admitted.all("set-cookie");
    assert!(cookies.len() == 1 && cookies[0].starts_with("ZSESSION="), "{admitted:?}");
    assert!(admitted.all("cache-control").join(",").contains("private"), "{admitted:?}");

    // A browser, which is shown no marker.
    let (cookie, page) = boston.walk("http://app.example/shop/?item=42");
    assert_eq!((page.status(), &*page.body), (200, "GET boston.app.example /shop/?item=42 by 127.0.0.1"), "{page:?}");
    assert!(page.all("set-cookie").is_empty(), "{page:?}");
    let cookie = format!("Cookie: {cookie}");
    let inside = boston.get("http://boston.app.example/order", &["-H", &cookie, "-d", "one=1"]);
    assert_eq!((inside.status(), &*inside.body), (200, "POST boston.app.example /order by 127.0.0.1"), "{inside:?}");
    assert!(inside.all("set-cookie").is_empty() && inside.all("cache-control").is_empty(), "{inside:?}");

    let unknown = boston.get("http://other.example/", &["-H", &cookie]);
    assert_eq!(unknown.status(), 421, "{unknown:?}");
    assert!(unknown.field("content-type").starts_with("text/html") && unknown.body.contains("<h1>"), "{unknown:?}");
    // A marker of the client's own making is good for one bookmark's life and no more (S4-5A-520).
    let stale = boston.get("http://boston.app.example/a/distrib=1000000000", &[]);
    let location = stale.field("location");
    assert!(stale.status() == 302 && location.starts_with("http://app.example/a"), "{stale:?}");
    // A web page whose name leads to this machine reads nothing there.
    let rebound = |host: &str| boston.curl("http://127.0.0.1:8054/v1/site", &["-H", &format!("Host: {host}")]).status();
    assert_eq!((rebound("evil.example:8054"), rebound("localhost:8054"), rebound("127.0.0.1:8054")), (403, 200, 200));
    // What is asked of zerottl, and what it answers, is nobody else's to say.
    assert_ne!(boston.get("http://boston.app.example/.zerottl", &["-H", "X-Original-URI: /"]).status(), 204);
    let lies = ["-H", &cookie, "-H", "X-Zerottl-URI: /other", "-H", "X-Zerottl-Cookie: lie=1"];
    let liar = boston.get("http://boston.app.example/a", &lies);
    assert_eq!((&*liar.body, liar.all("set-cookie").len()), ("GET boston.app.example /a by 127.0.0.1", 0), "{liar:?}");

    // A WebSocket in a session, and none without.
    let socket = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", application::WEBSOCKET_KEY];
    let socket: Vec<&str> = socket.into_iter().flat_map(|field| ["-H", field]).collect();
    let opened = boston.get("http://boston.app.example/socket", &[&socket[..], &["-H", &cookie, "--http1.1"]].concat());
    assert_eq!((opened.status(), &*opened.body), (101, "opened"), "{opened:?}\n{}", boston.logs());
    assert_eq!(boston.get("http://boston.app.example/socket", &socket).status(), 302);

    // Nobody is let in unasked.
    boston.site.kill();
    let status = boston.get("http://boston.app.example/order", &["-H", &cookie]).status();
    assert!((500..600).contains(&status), "{status}");
}

/// S4-B-FORM, S4-5B-570, S4-5B-DEFER: the busy page comes through the server as it is, with its status and Retry-After, and
/// its key is good at the next attempt.
fn shows_the_busy_page(server: Server) {
    if !can_run("a server with a check") {
        return;
    }
    let boston = Boston::start(server);
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

#[test]
fn s4_b_form_nginx_walks_from_the_pool_name_into_a_session() {
    walks_from_the_pool_name_into_a_session(Server::Nginx);
}

#[test]
fn s4_b_form_nginx_shows_the_busy_page() {
    shows_the_busy_page(Server::Nginx);
}

#[test]
fn s4_b_form_haproxy_walks_from_the_pool_name_into_a_session() {
    walks_from_the_pool_name_into_a_session(Server::HaProxy);
}

#[test]
fn s4_b_form_haproxy_shows_the_busy_page() {
    shows_the_busy_page(Server::HaProxy);
}

#[test]
fn s4_b_form_caddy_walks_from_the_pool_name_into_a_session() {
    walks_from_the_pool_name_into_a_session(Server::Caddy);
}

#[test]
fn s4_b_form_caddy_shows_the_busy_page() {
    shows_the_busy_page(Server::Caddy);
}

/// S4-B-FORM: what Traefik's forwardAuth asks: a GET with all in fields.
#[test]
fn s4_b_form_traefik_asks() {
    if !can_run("a check") {
        return;
    }
    let boston = Boston::start(Server::Nginx);
    let ask = |method: &str, host: &str, target: &str, more: &[&str]| {
        let fields = [("Method", method), ("Host", host), ("Uri", target), ("Proto", "https"), ("For", "192.0.2.99")];
        let fields = fields.map(|(name, value)| format!("X-Forwarded-{name}: {value}"));
        let fields: Vec<&str> = fields.iter().flat_map(|field| ["-H", field]).collect();
        boston.curl("http://127.0.0.1:8054/check/forward", &[&fields, more].concat())
    };
    let moved = ask("POST", "app.example", "/shop//a%2Fb?item=42", &[]);
    assert_eq!((moved.status(), moved.field("cache-control")), (307, "no-store"), "{moved:?}");
    let marked = moved.field("location").strip_prefix("https://boston.app.example").expect("the Site Name");
    let admitted = ask("POST", "boston.app.example", marked, &[]);
    assert_eq!((admitted.status(), admitted.field("x-zerottl-uri")), (200, "/shop//a%2Fb?item=42"), "{admitted:?}");
    let cookie = admitted.field("set-cookie");
    assert!(cookie.starts_with("ZSESSION=") && cookie.ends_with("; Secure"), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(ask("GET", "boston.app.example", "/", &["-H", &cookie]).status(), 200);
    assert_eq!(ask("GET", "other.example", "/", &["-H", &cookie]).status(), 421);
}

/// S4-B-FORM: what Envoy's `ext_authz` asks over HTTP: the request itself under another path, some fields, no body.
#[test]
fn s4_b_form_envoy_asks() {
    if !can_run("a check") {
        return;
    }
    let boston = Boston::start(Server::Nginx);
    let ask = |host: &str, target: &str, more: &[&str]| {
        let host = format!("Host: {host}");
        let fields = ["-H", &host, "-H", "X-Forwarded-For: 192.0.2.99", "-H", "X-Forwarded-Proto: https"];
        boston.curl(&format!("http://127.0.0.1:8054/check/envoy{target}"), &[&fields, more].concat())
    };
    let moved = ask("app.example", "/shop//a%2Fb?item=42", &["-X", "POST", "-H", "Content-Length: 0"]);
    assert_eq!((moved.status(), moved.field("cache-control")), (307, "no-store"), "{moved:?}");
    let marked = moved.field("location").strip_prefix("https://boston.app.example").expect("the Site Name");
    let admitted = ask("boston.app.example", marked, &["-X", "POST", "-H", "Content-Length: 0"]);
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
