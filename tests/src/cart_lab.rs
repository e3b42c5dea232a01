//! The sessions' lab: a shop whose carts are in the Site's sessions, three workers of a director, three session servers, and lines to
//! paste.
//!
//! ```text
//!   client  ── eth0 ═════ veth ═════ eth0 ──  boston's machine: 10.7.0.1:8080
//!  10.7.0.2                                   zerottl director ── site-1, site-2, site-3 ── shop 127.0.0.1:9090
//!                                             redis 127.0.0.1:6381, 6382, 6383
//! ```

use std::{
    fs, io,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    browser::{Browser, Look},
    director::{DirectorScene, PLACE, PLACE_V6},
    process::Process,
    program::binary,
    redis::RedisServer,
    scratch::{find_tool, root},
};

const SHOP: &str = "127.0.0.1:9090";
/// The Pool Name, which leads to the Site's own name; the client's machine knows both.
const URL: &str = "http://app.com:8080";
/// Ports of the session servers.
const PORTS: [u16; 3] = [6381, 6382, 6383];

/// The lab, which runs until it is stopped or dropped.
#[derive(Debug)]
pub struct CartLab {
    /// The machines and the director.
    pub scene: DirectorScene,
    /// The session servers.
    pub servers: Vec<RedisServer>,
    zerottl: PathBuf,
    _shop: Process,
}

fn configuration() -> String {
    let server = |port: &u16| format!("{{ url = \"redis://127.0.0.1:{port}\", domain = \"{port}\" }}");
    let servers: Vec<String> = PORTS.iter().map(server).collect();
    format!(
        "drain_timeout = \"5s\"
affinity = \"10m\"

[[director.server]]
name = \"site\"
kind = \"site\"
count = 3

[web]
listen = [\"{PLACE}\", \"{PLACE_V6}\"]
backends = [\"http://{SHOP}\"]
peers = \"none\"

[web.session]
key = \"key\"
servers = [{}]
write = \"ack-one\"
",
        servers.join(", ")
    )
}

impl CartLab {
    /// Makes the machines, starts session servers, shop and director, and waits until all serve.
    pub fn start() -> io::Result<Self> {
        let mut scene = DirectorScene::new("")?;
        fs::write(scene.beside("key"), [7; 32])?;
        let machine = &scene.machine;
        let server = |port: u16| RedisServer::start_at(([127, 0, 0, 1], port).into(), Some(Arc::clone(machine)));
        let servers = PORTS.into_iter().map(server).collect::<io::Result<Vec<_>>>()?;
        let mut command = Command::new(find_tool("python3")?);
        command.arg(root().join("examples/servers/cart.py")).args(["9090", "http://127.0.0.1:8054"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let shop = Process::new(machine.spawn(command)?);
        let folder = scene.beside("client");
        fs::create_dir_all(&folder)?;
        scene.client.knows("app.com boston.app.com", [10, 7, 0, 1].into(), &folder)?;
        scene.write(&configuration())?;
        scene.start()?;
        Ok(Self { scene, servers, zerottl: binary()?, _shop: shop })
    }

    /// Opens a browser on the client's machine.
    pub fn browser(&self) -> io::Result<Browser> {
        let mut browser = Browser::start(&self.scene.client)?;
        browser.look(Look { width: 640, height: 420, dark: false })?;
        Ok(browser)
    }

    /// Logs in, and puts two things into the cart.
    pub fn shop(browser: &mut Browser) -> io::Result<()> {
        browser.go(&format!("{URL}/"))?;
        let send = |browser: &mut Browser, field: &str, value: &str| {
            let fill = format!("document.querySelector('input[name={field}]').value = '{value}'");
            browser.value(&fill)?;
            browser.value("document.querySelector('form').submit()").map(drop)
        };
        browser.wait_for("form", |text| text.contains("Log in"))?;
        send(browser, "name", "Eve")?;
        browser.wait_for("#name", |text| text.contains("Eve"))?;
        send(browser, "item", "apples")?;
        browser.wait_for("#cart", |text| text.contains("apples"))?;
        send(browser, "item", "bread")?;
        browser.wait_for("#cart", |text| text.contains("bread")).map(drop)
    }

    /// Puts one more thing into the cart, and looks for it.
    pub fn add(browser: &mut Browser, item: &str) -> io::Result<String> {
        browser.go(&format!("{URL}/"))?;
        browser.wait_for("#cart", |text| !text.is_empty())?;
        browser.value(&format!("document.querySelector('input[name=item]').value = '{item}'"))?;
        browser.value("document.querySelector('form').submit()")?;
        browser.wait_for("#cart", |text| text.contains(item))
    }

    /// Returns the worker that hosts the one session, if one does.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        (1..=3).map(|number| format!("site-{number}")).find(|name| {
            let url = format!("http://127.0.0.1:8054/servers/{name}/v1/sessions");
            let page = self.scene.machine.read("curl", &["-sS", "--max-time", "5", &url]).unwrap_or_default();
            serde_json::from_str::<Value>(&page)
                .is_ok_and(|page| page["hosted"].as_u64().is_some_and(|count| count > 0))
        })
    }

    /// Kills the worker that hosts the session. Returns its name.
    pub fn kill_host(&self) -> io::Result<String> {
        let host = self.host().ok_or_else(|| io::Error::other("no worker hosts a session"))?;
        rustix::process::kill_process(self.scene.pid(&host)?, rustix::process::Signal::KILL)?;
        Ok(host)
    }

    /// Waits until all workers serve again.
    pub fn wait_until_ready(&self) -> io::Result<()> {
        self.scene.wait_until_ready()
    }

    /// Returns the lines to paste into another terminal.
    pub fn welcome(&mut self) -> io::Result<String> {
        let client = format!("nsenter --net={} --mount={}", self.scene.client.path(), self.scene.client.mounts());
        let machine = format!("nsenter --net={}", self.scene.machine.path());
        let zerottl = self.zerottl.display();
        let jar = self.scene.beside("jar");
        let curl = format!("{client} curl -sS -L -b {jar} -c {jar}", jar = jar.display());
        let keeper = self.scene.keeper().id();
        let redis = self.servers.first().and_then(RedisServer::pid).unwrap_or_default();
        let kill = |name: &str| Ok(format!("  kill -9 {} # {name}", self.scene.pid(name)?.as_raw_nonzero()));
        let kills =
            ["site-1", "site-2", "site-3"].map(kill).into_iter().collect::<io::Result<Vec<String>>>()?.join("\n");
        Ok(format!(
            "
A shop at {URL}/, whose carts are in sessions: three workers of a director (pid {keeper}) host them, and each session has
two copies at three session servers, 127.0.0.1:6381 to 6383. A change is acknowledged once one of them has it.
The configuration: {file}
The log: {log}
The lines below go into another terminal of this machine, as root.

Log in, fill a cart, and look at it:
  {curl} -d name=Eve {URL}/login
  {curl} -d item=apples {URL}/add
  {curl} {URL}/
Who hosts the session, and where its copies are:
  {machine} sh -c 'for n in 1 2 3; do curl -s http://127.0.0.1:8054/servers/site-$n/v1/sessions; echo; done'
Kill the worker whose `hosted` is 1, and go on: another one has it at once, and the killed one is started again:
{kills}
  {curl} -d item=bread {URL}/add
  {curl} {URL}/
Kill a session server, and go on; what it held is copied to the others from the workers' memory:
  kill -9 {redis}
  {curl} -d item=cheese {URL}/add
  {curl} {URL}/
Log out: no worker and no server brings it back:
  {curl} -d '' {URL}/logout
In a browser, as a picture (log in by curl first; it asks for itself):
  {client} chromium --headless --no-sandbox --hide-scrollbars --window-size=640,420 --screenshot={picture} {URL}/
The workers and servers:
  {zerottl} director status --control {control}
",
            file = self.scene.file().display(),
            log = self.scene.beside("log").display(),
            picture = self.scene.beside("shop.png").display(),
            control = self.scene.control().display(),
        ))
    }

    /// Ends all in order.
    pub fn stop(self) -> io::Result<()> {
        self.scene.stop()
    }
}
