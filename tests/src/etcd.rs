//! etcd, by which several fronts share their words: real nodes, each on a peer machine of the lab.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    addresses::peer_v4,
    lab::Lab,
    netns::Netns,
    process::{Process, eventually},
    scratch::find_tool,
};

/// The port of TLS to clients.
pub const SECURE_PORT: u16 = 2381;
const PATIENCE: Duration = Duration::from_secs(20);

/// One etcd of one or several nodes. Each node has a machine of its own, which every front reaches.
#[derive(Debug)]
pub struct Etcd {
    nodes: Vec<EtcdNode>,
    secure: Option<SecureClients>,
}

/// The files by which nodes speak TLS to clients, besides plain HTTP: to those alone that have a certificate of the same authority.
#[derive(Clone, Debug)]
pub struct SecureClients {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The certificate of all nodes.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

#[derive(Debug)]
struct EtcdNode {
    machine: Arc<Netns>,
    folder: PathBuf,
    process: Option<Process>,
}

impl Etcd {
    /// Starts a node on every peer of the lab ([`crate::lab::LabSpec::peers`]), and waits until they have a leader.
    pub fn start(lab: &Lab) -> io::Result<Self> {
        Self::start_with(lab, None)
    }

    /// Starts it as [`Self::start`] does; with files, each node speaks TLS at [`SECURE_PORT`], too.
    pub fn start_with(lab: &Lab, secure: Option<SecureClients>) -> io::Result<Self> {
        let node = |machine: &Arc<Netns>| {
            Ok(EtcdNode { machine: Arc::clone(machine), folder: lab.folder("etcd")?, process: None })
        };
        let mut all = Self { nodes: lab.peers.iter().map(node).collect::<io::Result<_>>()?, secure };
        for number in 0..all.nodes.len() {
            all.launch(number)?;
        }
        for number in 0..all.nodes.len() {
            all.wait_for(number)?;
        }
        Ok(all)
    }

    /// The URLs for clients, by node.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.nodes.len()).map(endpoint).collect()
    }

    /// The number of nodes, whether they run or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The processes of those that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| Some(node.process.as_ref()?.id())).collect()
    }

    /// Kills a node; what it has on its disk stays.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].process = None;
    }

    /// Takes away what a node that was killed has on its disk: together with the others it begins as a new etcd.
    pub fn forget(&self, number: usize) -> io::Result<()> {
        fs::remove_dir_all(self.nodes[number].folder.join("data"))
    }

    /// Starts a node again, with what it has on its disk, and waits until it knows a leader.
    pub fn restart(&mut self, number: usize) -> io::Result<()> {
        self.start_alone(number)?;
        self.wait_for(number)
    }

    /// Starts a node again, and does not wait: where too few run for a leader.
    pub fn start_alone(&mut self, number: usize) -> io::Result<()> {
        self.kill(number);
        self.launch(number)
    }

    /// Stops a node without an end (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&mut self, number: usize, signal: Signal) -> io::Result<()> {
        self.nodes[number].process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// The node that leads, by what the others say; none while there is none.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|&number| {
            let status = self.ask(number, "/v3/maintenance/status", &json!({}));
            status.is_ok_and(|status| status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
        })
    }

    /// Puts a raw value by one node.
    pub fn put(&self, number: usize, key: &str, value: &[u8]) -> io::Result<()> {
        let body = json!({ "key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(value) });
        self.ask(number, "/v3/kv/put", &body).map(drop)
    }

    /// Deletes a key by one node.
    pub fn delete(&self, number: usize, key: &str) -> io::Result<()> {
        self.ask(number, "/v3/kv/deleterange", &json!({ "key": BASE64_STANDARD.encode(key) })).map(drop)
    }

    /// Reads a value at one node, as all agree on it; none if the key is not there.
    pub fn get(&self, number: usize, key: &str) -> io::Result<Option<Vec<u8>>> {
        let found = self.ask(number, "/v3/kv/range", &json!({ "key": BASE64_STANDARD.encode(key) }))?;
        let value = found["kvs"][0]["value"].as_str();
        value.map(|value| BASE64_STANDARD.decode(value).map_err(io::Error::other)).transpose()
    }

    /// Returns the keys that begin so, at one node.
    pub fn keys(&self, number: usize, prefix: &str) -> io::Result<Vec<String>> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let body = json!({
            "key": BASE64_STANDARD.encode(prefix), "range_end": BASE64_STANDARD.encode(end), "keys_only": true
        });
        let found = self.ask(number, "/v3/kv/range", &body)?;
        let keys = found["kvs"].as_array().into_iter().flatten().filter_map(|pair| pair["key"].as_str());
        let text = |key: &str| BASE64_STANDARD.decode(key).map(|key| String::from_utf8_lossy(&key).into_owned());
        keys.map(|key| text(key).map_err(io::Error::other)).collect()
    }

    /// Asks a node by its JSON gateway, from its own machine: what cuts a front off does not come between.
    pub fn ask(&self, number: usize, path: &str, body: &Value) -> io::Result<Value> {
        let folder = &self.nodes[number].folder;
        // By a file: a large value is no argument of a program.
        let file = folder.join(format!("ask{}", rand::random::<u64>()));
        fs::write(&file, body.to_string())?;
        let (data, url) = (format!("@{}", file.display()), format!("{}{path}", endpoint(number)));
        let said = self.nodes[number].machine.read("curl", &["-sSf", "--max-time", "3", "--data-binary", &data, &url]);
        fs::remove_file(&file)?;
        serde_json::from_str(&said?).map_err(io::Error::other)
    }

    /// Returns what a node has logged.
    #[must_use]
    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.nodes[number].folder.join("log")).unwrap_or_default()
    }

    fn launch(&mut self, number: usize) -> io::Result<()> {
        let peer = |number| format!("http://{}:2380", peer_v4(number));
        let all: Vec<_> = (0..self.nodes.len()).map(|number| format!("n{number}={}", peer(number))).collect();
        let secure = self.secure.clone();
        let node = &mut self.nodes[number];
        let log = File::options().create(true).append(true).open(node.folder.join("log"))?;
        let mut command = Command::new(find_tool("etcd")?);
        command.arg("--data-dir").arg(node.folder.join("data")).args(["--name", &format!("n{number}")]);
        let client = endpoint(number);
        let mut listen = client.clone();
        if let Some(SecureClients { ca, certificate, key }) = secure {
            listen = format!("{client},https://{}:{SECURE_PORT}", peer_v4(number));
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
            command.arg("--trusted-ca-file").arg(ca).arg("--client-cert-auth");
        }
        command.args(["--listen-client-urls", &listen, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer(number), "--initial-advertise-peer-urls", &peer(number)]);
        command.args(["--initial-cluster", &all.join(","), "--initial-cluster-token", "lab"]);
        command.args([
            "--max-request-bytes",
            "33554432",
            "--heartbeat-interval",
            "100",
            "--election-timeout",
            "1000",
            "--logger",
            "zap",
        ]);
        // Settings of the machine's own are none of the lab's.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        node.process = Some(Process::new(node.machine.spawn(command)?));
        Ok(())
    }

    /// Waits until a node answers as all agree.
    fn wait_for(&self, number: usize) -> io::Result<()> {
        if eventually(PATIENCE, || self.get(number, "no-such-key").is_ok()) {
            return Ok(());
        }
        let log = self.log(number);
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("etcd's node {number} does not answer:\n{log}")))
    }
}

fn endpoint(number: usize) -> String {
    format!("http://{}:2379", peer_v4(number))
}
