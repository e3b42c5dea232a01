//! Walks of HTTP clients through the lab: who redirected where, and what page they ended on.

use std::{
    fs,
    io::{self, Write as _},
    net::{IpAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{lab::Lab, netns::Netns, process::eventually, site::LabSite};

/// A client with cookies of its own: curl, which finds hosts as its machine does.
#[derive(Debug)]
pub struct Curl<'a> {
    machine: &'a Netns,
    folder: PathBuf,
    options: Vec<String>,
    keeps_cookies: bool,
}

/// The course of one request and of what it led to.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// Every response's head, in order.
    pub hops: Vec<Hop>,
    /// Where it ended.
    pub url: String,
    /// The last response's body.
    pub body: String,
}

/// One response's head.
#[derive(Clone, Debug, Default)]
pub struct Hop {
    /// As in the status line: `HTTP/1.1`, `HTTP/2`.
    pub version: String,
    /// The status.
    pub status: u16,
    /// Fields, names in lower case.
    pub fields: Vec<(String, String)>,
}

impl<'a> Curl<'a> {
    /// On the lab's client.
    ///
    /// # Panics
    /// If the lab's folder cannot be written to.
    #[must_use]
    pub fn new(lab: &'a Lab) -> Self {
        let folder = lab.folder("curl").unwrap_or_else(|e| panic!("{e}"));
        Self { machine: &lab.client, folder, options: Vec::new(), keeps_cookies: true }
    }

    /// With further options, for all its requests.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// One that keeps none.
    #[must_use]
    pub fn without_cookies(mut self) -> Self {
        self.keeps_cookies = false;
        self
    }

    /// Goes to a URL and follows redirects.
    ///
    /// # Panics
    /// If curl fails; a status is no failure.
    #[must_use]
    #[track_caller]
    pub fn go(&self, url: &str) -> Walk {
        self.ask(&["-L", url]).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Asks as these arguments say.
    pub fn ask(&self, arguments: &[&str]) -> io::Result<Walk> {
        let (heads, body, jar) = (self.folder.join("heads"), self.folder.join("body"), self.folder.join("jar"));
        fs::write(&heads, "")?;
        fs::write(&body, "")?;
        let mut command = Command::new("curl");
        command.args(["-sS", "-g", "--max-time", "20", "--max-redirs", "12", "-w", "%{url_effective}"]);
        command.args(["-H", "accept: text/html"]);
        command.arg("-D").arg(&heads).arg("-o").arg(&body);
        if self.keeps_cookies {
            command.arg("-b").arg(&jar).arg("-c").arg(&jar);
        }
        command.args(&self.options).args(arguments);
        let output = self.machine.output(command)?;
        let heads = fs::read_to_string(heads)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("curl {arguments:?}: {}: {said}{heads}", output.status)));
        }
        let hops = heads.split("\r\n\r\n").filter(|head| head.starts_with("HTTP/")).map(Hop::read);
        let url = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Walk { hops: hops.collect(), url, body: fs::read_to_string(body)? })
    }
}

impl Hop {
    fn read(head: &str) -> Self {
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Self { version, status, fields }
    }

    /// The values of a field, by its name in lower case.
    pub fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl Walk {
    /// All statuses.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        self.hops.iter().map(|hop| hop.status).collect()
    }

    /// The last status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.hops.last().map_or(0, |hop| hop.status)
    }

    /// Where each redirect led, but for those to a clean URL of the same Site (303).
    #[must_use]
    pub fn locations(&self) -> Vec<&str> {
        self.hops.iter().filter(|hop| hop.status != 303).flat_map(|hop| hop.field("location")).collect()
    }

    /// The host that each of them led to.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        self.locations().into_iter().map(host).collect()
    }

    /// The host of the page that it ended on.
    #[must_use]
    pub fn host(&self) -> &str {
        host(&self.url)
    }

    /// Returns what the application shows under this ID.
    #[must_use]
    pub fn shown(&self, id: &str) -> &str {
        let from = self.body.split_once(&format!("id=\"{id}\">")).map_or("", |(_, rest)| rest);
        from.split_once('<').map_or("", |(text, _)| text)
    }

    /// The Site whose page it is.
    #[must_use]
    pub fn site(&self) -> &str {
        self.shown("site")
    }

    /// How often the session has looked.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.shown("looks").parse().unwrap_or(0)
    }

    /// Where a page says that it goes on by itself, and after how many seconds.
    #[must_use]
    pub fn refresh(&self) -> Option<(u64, &str)> {
        let (_, rest) = self.body.split_once("http-equiv=\"refresh\" content=\"")?;
        let (seconds, url) = rest.split_once('"')?.0.split_once(";url=")?;
        Some((seconds.parse().ok()?, url))
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// Unix time, seconds.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Requests under way at a Site, each as long as it is kept: their bodies do not end.
#[derive(Debug)]
pub struct Held(Vec<TcpStream>);

impl Held {
    /// So many, which the Site has taken in. They are new sessions' first, come from load balancing as it seems.
    ///
    /// # Panics
    /// If the Site does not take them.
    #[must_use]
    pub fn new(lab: &Lab, site: &LabSite, count: u64) -> Self {
        let address = site.config.addresses.iter().copied().find(IpAddr::is_ipv4).expect("a LabSite with IPv4");
        let before = in_flight(site);
        let streams = (0..count).map(|_| {
            let mut stream = lab.client.run(move || TcpStream::connect((address, 80)))??;
            write!(
                stream,
                "POST /note/distrib={} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nnote=",
                unix_now(),
                site.config.name
            )?;
            Ok::<_, io::Error>(stream)
        });
        let held = Self(streams.collect::<io::Result<_>>().unwrap_or_else(|e| panic!("{e}")));
        let taken = eventually(Duration::from_secs(10), || in_flight(site) == before + count);
        assert!(taken, "{} of {} under way:\n{}", in_flight(site), before + count, site.log());
        held
    }

    /// Ends one, and waits until the Site has noticed.
    ///
    /// # Panics
    /// If it does not.
    pub fn end_one(&mut self, site: &LabSite) {
        let before = in_flight(site);
        assert!(self.0.pop().is_some(), "one is left");
        assert!(eventually(Duration::from_secs(10), || in_flight(site) < before), "{}", site.log());
    }
}

/// Requests under way at a Site, as it reports its load.
fn in_flight(site: &LabSite) -> u64 {
    let text = site.machine.read("curl", &["-sSf", "--max-time", "5", "http://127.0.0.1:8054/load"]);
    let report: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
    report["current"].as_f64().and_then(|current| format!("{current:.0}").parse().ok()).unwrap_or(0)
}
