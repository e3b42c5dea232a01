//! Several processes of `zerottl site` for the same addresses, each started by the contract of docs/director/contract.md.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tests::{
    agent::binary,
    config::Config,
    lab::can_run,
    netns::Netns,
    process::eventually,
    scratch::folder,
    server::{AppServer, Given, HttpClient, PATIENCE, application, listener},
};
use zerottl_server::message::ServerMessage;

const BACKEND: &str = "127.0.0.1:8080";

/// A Site's folder, and its processes.
struct Front {
    machine: Netns,
    folder: TempDir,
    at: SocketAddr,
}

impl Front {
    /// `[web]` listens at `listen` with the port that is found for it.
    fn new(listen: &str) -> Self {
        let (machine, folder) = (Netns::new().unwrap(), folder().unwrap());
        application(&machine, BACKEND.parse().unwrap()).unwrap();
        let at: SocketAddr = "127.0.0.1:8443".parse().unwrap();
        // Two processes could not both have `admin`.
        let web = format!(
            "[web]\nlisten = [\"{listen}:{}\"]\nadmin = \"127.0.0.1:9000\"\nbackends = [\"http://{BACKEND}\"]\n\
             peers = \"none\"\n",
            at.port()
        );
        Config { more: web, ..Config::default() }.write(folder.path()).unwrap();
        Self { machine, folder, at }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn start_at(&self, name: &str, at: &[SocketAddr]) -> AppServer {
        let program = binary().unwrap().display().to_string();
        let config = self.path("zerottl.toml").display().to_string();
        let command = [&program, "site", "--config", &config, "--as", "boston"].map(str::to_owned);
        let listeners = at.iter().map(|at| listener(&self.machine, *at).unwrap()).collect();
        let log = File::create(self.path(&format!("{name}.log"))).unwrap();
        AppServer::start(&self.machine, name, &command, listeners, Given { handover: true, page: true }, |start| {
            start.env("ZEROTTL_SITE_ADMIN", self.path(&format!("{name}.admin"))).stderr(log);
        })
        .unwrap()
    }

    fn start(&self, name: &str) -> AppServer {
        let server = self.start_at(name, &[self.at]);
        let is_there = eventually(PATIENCE, || self.admin(name, "/v1/site").is_ok());
        assert!(is_there, "{}", self.log(name));
        server
    }

    /// Asks a process's own admin interface.
    fn admin(&self, name: &str, path: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.path(&format!("{name}.admin")))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Connections that are open at a process.
    fn open(&self, name: &str) -> usize {
        let answer = self.admin(name, "/v1/site").unwrap();
        let json: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        usize::try_from(json["connections"].as_u64().unwrap()).unwrap()
    }

    fn client(&self) -> HttpClient {
        HttpClient::connect(&self.machine, self.at).unwrap()
    }
}

/// One of a Site's processes is killed, and the connections of the other go on.
#[test]
fn the_death_of_one_process_ends_no_connection_of_the_other() {
    if !can_run("processes of a Site") {
        return;
    }
    let front = Front::new("127.0.0.1");
    let (mut first, mut second) = (front.start("site-1"), front.start("site-2"));
    let mut clients: Vec<HttpClient> = (0..40).map(|_| front.client()).collect();
    for client in &mut clients {
        let own = client.address().unwrap().ip();
        let head = client.get("/health").unwrap();
        assert!(head.to_lowercase().contains(&format!("x-forwarded-for: {own}")), "{head}");
    }
    let (of_first, of_second) = (front.open("site-1"), front.open("site-2"));
    assert_eq!(of_first + of_second, clients.len());
    assert!(of_first > 0 && of_second > 0, "{of_first} and {of_second}");
    assert!(front.admin("site-1", "/metrics").unwrap().contains("zerottl_site_"));

    first.process.kill();
    let living = clients.iter_mut().filter_map(|client| client.get("/health").ok()).count();
    assert_eq!(living, of_second, "{}", front.log("site-2"));
    // As the director does: what is in the dead one's queue goes to the other, and so does whoever connects.
    first.listeners.clear();
    for _ in 0..20 {
        front.client().get("/health").unwrap();
    }

    // It is the director that replaces a process.
    second.process.signal(Signal::USR2).unwrap();
    assert!(eventually(PATIENCE, || front.log("site-2").contains("a director runs this process")));
    assert!(eventually(PATIENCE, || second.page().unwrap().looped_at > 0));
    second.process.signal(Signal::TERM).unwrap();
    drop(clients);
    assert!(second.process.wait(PATIENCE).unwrap().success(), "{}", front.log("site-2"));
}

/// A connection that has waited at the director's is a client's as any other, with its own address.
#[test]
fn a_connection_that_is_handed_over_is_the_clients() {
    if !can_run("a Site's connections that are handed over") {
        return;
    }
    // Any address: the socket of the director is one of them.
    let front = Front::new("0.0.0.0");
    let site = front.start("site-1");
    let waiting = listener(&front.machine, front.at).unwrap();
    // The kernel gives a connection to either socket of the group.
    let handed = || loop {
        waiting.set_nonblocking(true).unwrap();
        let client = front.client();
        for _ in 0..20 {
            if let Ok((connection, from)) = waiting.accept() {
                return (client, connection, from);
            }
        }
    };
    let (mut client, connection, from) = handed();
    assert_eq!(from, client.address().unwrap());
    // As who waits is not known by its loopback address, another client's is said.
    let said: SocketAddr = "192.0.2.77:4321".parse().unwrap();
    site.hand_over(&connection, said).unwrap();
    drop(connection);
    let head = client.get("/health").unwrap().to_lowercase();
    assert!(head.contains("x-forwarded-for: 192.0.2.77"), "{head}");
    assert!(eventually(PATIENCE, || front.open("site-1") == 1));
    drop(client);
    assert_eq!(site.hears().unwrap().0, ServerMessage::Done);
}

/// Listeners and `[web]` have to agree: otherwise connections would come that nobody takes.
#[test]
fn a_site_says_where_the_director_and_its_file_differ() {
    if !can_run("a Site at other addresses than its director's") {
        return;
    }
    let front = Front::new("127.0.0.1");
    let other: SocketAddr = "127.0.0.1:8444".parse().unwrap();
    for (at, says) in [
        (&[other][..], "cannot listen on 127.0.0.1:8443: the director does not listen there"),
        (&[front.at, other], "the director gives sockets for 127.0.0.1:8444, where [web] does not listen"),
    ] {
        let mut site = front.start_at("site-1", at);
        assert!(!site.process.wait(PATIENCE).unwrap().success());
        assert!(front.log("site-1").contains(says), "{}", front.log("site-1"));
    }
}
