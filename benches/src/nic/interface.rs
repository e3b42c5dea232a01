//! Facts that the kernel knows of a network card.

use std::process::Command;

use serde_json::Value;

use crate::error::BenchError;

/// A network card, as the kernel shows it.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Its MTU.
    pub mtu: u64,
    /// Its driver.
    pub driver: String,
    /// The driver's firmware, or nothing.
    pub firmware: String,
    /// Receive queues that are on.
    pub queues: Option<u32>,
    /// Its speed, Mbit/s.
    pub speed: Option<u64>,
    /// Whether a default route leads through it.
    pub is_default: bool,
}

impl Interface {
    /// Asks ip and ethtool.
    ///
    /// # Errors
    /// If there is no such interface, or it has an XDP program.
    pub fn look(name: &str) -> Result<Self, BenchError> {
        let link = json(&["-json", "link", "show", "dev", name])?;
        if link[0].get("xdp").is_some() {
            return Err(format!("{name} has an XDP program: see `ip link show {name}`").into());
        }
        let mac = link[0]["address"].as_str().and_then(mac).ok_or_else(|| format!("{name} has no MAC"))?;
        let driver = read("ethtool", &["-i", name]).unwrap_or_default();
        let queues = read("ethtool", &["-l", name]).unwrap_or_default();
        let speed = read("ethtool", &[name]).unwrap_or_default();
        let mut is_default = false;
        for family in ["-4", "-6"] {
            is_default |= leads_through(&json(&["-json", family, "route", "show", "default"])?, name);
        }
        Ok(Self {
            name: name.to_owned(),
            mac,
            mtu: link[0]["mtu"].as_u64().unwrap_or_default(),
            driver: after(&driver, "driver:").unwrap_or("unknown").to_owned(),
            firmware: after(&driver, "firmware-version:").unwrap_or_default().to_owned(),
            queues: receive_queues(&queues),
            speed: after(&speed, "Speed:").and_then(|speed| speed.trim_end_matches("Mb/s").parse().ok()),
            is_default,
        })
    }
}

fn read(program: &str, arguments: &[&str]) -> Result<String, BenchError> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{program} {}: {}", arguments.join(" "), said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `ip -json`; nothing, if it says nothing.
fn json(arguments: &[&str]) -> Result<Value, BenchError> {
    let text = read("ip", arguments)?;
    Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
}

/// Whether one of these routes, or a next hop of one, is at an interface.
fn leads_through(routes: &Value, name: &str) -> bool {
    let hops =
        |route: &Value| route["nexthops"].as_array().is_some_and(|hops| hops.iter().any(|hop| hop["dev"] == name));
    routes.as_array().is_some_and(|routes| routes.iter().any(|route| route["dev"] == name || hops(route)))
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

/// The rest of the line that begins so.
fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim)
}

/// The queues in use, of "Current hardware settings": those for receiving and those for both.
fn receive_queues(ethtool: &str) -> Option<u32> {
    let (_, current) = ethtool.split_once("Current hardware settings:")?;
    let number = |label| after(current, label).and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
    Some(number("RX:") + number("Combined:"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn routes_and_queues_are_read() {
        let one = json!([{ "dst": "default", "dev": "eth0" }]);
        assert!(leads_through(&one, "eth0") && !leads_through(&one, "eth1"));
        let several = json!([{ "dst": "default", "nexthops": [{ "dev": "eth1" }, { "dev": "eth0" }] }]);
        assert!(leads_through(&several, "eth1") && !leads_through(&several, "eth2"));
        assert!(!leads_through(&Value::Null, "eth0"));
        let ethtool = "Channel parameters for eth0:\nPre-set maximums:\nRX:\t\tn/a\nCombined:\t63\n\
                       Current hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\t1\nCombined:\t8\n";
        assert_eq!(receive_queues(ethtool), Some(8));
        assert_eq!(receive_queues("netlink error: Operation not supported\n"), None);
        assert_eq!(mac("02:00:00:00:00:53"), Some([2, 0, 0, 0, 0, 0x53]));
        assert_eq!(mac("02:00"), None);
    }
}
