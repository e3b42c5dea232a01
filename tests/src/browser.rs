//! A browser without a screen: Debian's Chromium, driven by its `DevTools` protocol over a pair of pipes.
//!
//! The protocol is one JSON object a message, ended by a zero byte; requests bear a number, and events none. Everything
//! waits for at most `PATIENCE`.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    netns::Netns,
    process::Process,
    scratch::{find_tool, folder},
};

/// For the browser's start, and for each of its answers.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running browser with one page; killed when dropped.
#[derive(Debug)]
pub struct Browser {
    input: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    number: u64,
    /// The complaints of the page: exceptions, and entries of its log, such as what its policy forbade.
    complaints: Vec<String>,
    _process: Process,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Width of the window, CSS pixels.
    pub width: u32,
    /// Height of the window, CSS pixels.
    pub height: u32,
    /// Whether the user likes dark pages.
    pub dark: bool,
}

impl Browser {
    /// Starts it in a namespace.
    pub fn start(machine: &Netns) -> io::Result<Self> {
        Self::start_with(machine, &[])
    }

    /// Starts it as [`Self::start`] does, with further options of its own.
    pub fn start_with(machine: &Netns, options: &[&str]) -> io::Result<Self> {
        let profile = folder()?;
        // The protocol's pipes are descriptors 3 and 4; here the child's standard ones, which it then closes.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]);
        command.arg(find_tool("chromium")?);
        // Root has no sandbox of its own; what is shown is ours.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--hide-scrollbars", "--remote-debugging-pipe"]);
        command.args(options);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::new(machine.spawn(command)?);
        let (Some(input), Some(output)) = (process.child().stdin.take(), process.child().stdout.take()) else {
            return Err(io::Error::other("the browser's pipes are gone"));
        };
        let (sender, messages) = sync_channel(1024);
        thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { return };
                let Ok(message) = serde_json::from_slice(&message) else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let session = String::new();
        let mut browser =
            Self { input, messages, session, number: 0, complaints: Vec::new(), _process: process, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach)?;
        attached["sessionId"].as_str().unwrap_or_default().clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Goes to an address.
    pub fn go(&mut self, url: &str) -> io::Result<()> {
        let gone = self.call("Page.navigate", json!({ "url": url }))?;
        match gone["errorText"].as_str() {
            None => Ok(()),
            Some(why) => Err(io::Error::other(format!("{url}: {why}"))),
        }
    }

    /// Sets the window and the user's taste.
    pub fn look(&mut self, look: Look) -> io::Result<()> {
        let size = json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if look.dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).map(drop)
    }

    /// Turns the page's scripts off or on, from the next page on.
    pub fn scripts(&mut self, on: bool) -> io::Result<()> {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !on })).map(drop)
    }

    /// The value of a `JavaScript` expression; an error if it throws.
    pub fn value(&mut self, expression: &str) -> io::Result<Value> {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", asked)?;
        if answer["exceptionDetails"].is_null() {
            return Ok(answer["result"]["value"].take());
        }
        Err(io::Error::other(format!("{expression}: {}", answer["exceptionDetails"])))
    }

    /// The text that a user sees of the first element that a CSS selector finds; empty if there is none.
    pub fn text(&mut self, selector: &str) -> io::Result<String> {
        let selector = json!(selector);
        // Of an element that is not shown, `innerText` would be all that stands in it.
        let seen = "((element) => element && element.checkVisibility() ? element.innerText : '')";
        let expression = format!("{seen}(document.querySelector({selector}))");
        let end = Instant::now() + PATIENCE;
        loop {
            match self.value(&expression) {
                Ok(value) => return Ok(value.as_str().unwrap_or_default().to_owned()),
                // The browser went on to the next page while it was asked: reading changes nothing, so the next one is asked.
                Err(error) if is_leaving(&error) && Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the text of an element is as `fits` says; its last text if it does not come to that.
    pub fn wait_for(&mut self, selector: &str, fits: impl Fn(&str) -> bool) -> io::Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text(selector)?;
            if fits(&text) {
                return Ok(text);
            }
            if Instant::now() >= end {
                let why = format!("{selector} is {text:?}; complaints: {:?}", self.complaints);
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes a picture of the whole page, PNG.
    pub fn picture(&mut self, file: &Path) -> io::Result<()> {
        let asked = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", asked)?;
        let png = BASE64_STANDARD.decode(answer["data"].as_str().unwrap_or_default()).map_err(io::Error::other)?;
        std::fs::write(file, png)
    }

    /// Returns what the page has complained of so far.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write it in place")]
    fn call(&mut self, method: &str, parameters: Value) -> io::Result<Value> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.input.write_all(format!("{message}\0").as_bytes())?;
        let end = Instant::now() + PATIENCE;
        loop {
            let mut message = match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => return Err(io::Error::other(format!("{method}: no answer"))),
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other(format!("{method}: it has ended"))),
            };
            if message["id"] == self.number {
                if message["error"].is_null() {
                    return Ok(message["result"].take());
                }
                return Err(io::Error::other(format!("{method}: {}", message["error"]["message"])));
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let said = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => &event["params"]["exceptionDetails"],
            Some("Log.entryAdded") if event["params"]["entry"]["level"] == "error" => &event["params"]["entry"],
            _ => return,
        };
        self.complaints.push(said.to_string());
    }
}

/// Whether an expression has no value because its page was left before it had one.
fn is_leaving(error: &io::Error) -> bool {
    let error = error.to_string();
    ["target navigated", "context was destroyed", "Cannot find context", "default execution context"]
        .iter()
        .any(|said| error.contains(said))
}
