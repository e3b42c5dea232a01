//! A configuration that has something of everything, loaded into the kernel and beside it for the socket path.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
};

use domain::{base::Rtype, utils::base64};
use kernel_table::row::Ran;
use tempfile::TempDir;
use tests::{
    kernel::{machine::KernelMachine, planned::Planned},
    scratch,
};
use zerottl_core::{model::DynamicType, plan::Plan};
use zerottl_dns::{
    self as dns, Zones,
    dnssec::{
        SignedZone,
        chain::COHORTS,
        mirror::{CohortMirror, CohortSignatures},
    },
    view::View,
};
use zerottl_sign::SetSignature;

/// Our MAC and the client's.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

const CONFIG: &str = r#"
[front]
interfaces = ["lo"]
addresses = ["203.0.113.53", "2001:db8::53"]

[edns]
nsid = "one"

[zone."app.example"]
nameservers = ["ns1.app.example", "ns.provider.net"]
contact = "hostmaster@app.example"
negative_ttl = 5
records = "app.zone"

[zone."b.c.test"]
nameservers = ["a-name-server-with-a-long-name.of-a-provider.net"]
contact = "somebody-with-a-long-name@another-provider.org"

[forward."given.away.app.example"]
upstreams = ["192.0.2.53"]
clients = ["0.0.0.0/0", "::/0"]
[forward."given"]
upstreams = ["192.0.2.53"]
clients = ["0.0.0.0/0", "::/0"]
[forward."inner.given"]
upstreams = ["192.0.2.53"]
clients = ["0.0.0.0/0", "::/0"]

[pool."app.example"]
sites = ["one", "two"]
https = { alpn = ["h2", "http/1.1"], port = 8443 }
[pool."random.app.example"]
sites = ["one", "two"]
policy = "weighted-random"
[pool."sticky.app.example"]
sites = ["one", "two", "four"]
policy = "sticky"
https = { alpn = ["h3"] }
[pool."servfail.app.example"]
sites = ["down"]
all_down = "servfail"
https = {}
[pool."open.app.example"]
sites = ["down"]
ttl = 7
https = { port = 444 }
[pool."deep.er.and.deep.er.b.c.test"]
sites = ["four"]
[pool."b.c.test"]
sites = ["six"]

[pool."nets.app.example"]
sites = ["one", "two", "four", "down"]
https = { alpn = ["h2"] }
[group."near.app.example"]
pool = "nets.app.example"
sites = ["one", "two"]
policy = "sticky"
clients = ["198.18.0.0/17", "198.18.7.0/24", "2001:db8:8000::/33", "10.0.0.0/8", "c000::/3"]
[group."far.app.example"]
pool = "nets.app.example"
sites = ["four"]
policy = "weighted-random"
clients = ["198.19.128.0/17", "198.18.16.0/20", "2001:db8:0:8000::/49", "2001:db8:c001:4000:8000::/66", "192.0.0.0/4"]
[group."dead.app.example"]
pool = "nets.app.example"
sites = ["down"]
clients = ["198.18.32.0/19", "2001:db8:4000::/34"]

[site.one]
name = "one.app.example"
addresses = ["192.0.2.10", "2001:db8:1::10"]
weight = 2
probe = { kind = "tcp", port = 80 }
[site.two]
name = "two.app.example"
addresses = ["192.0.2.20", "2001:db8:2::10"]
probe = { kind = "tcp", port = 80 }
[site.four]
name = "four.app.example"
addresses = ["192.0.2.40"]
probe = { kind = "tcp", port = 80 }
[site.six]
name = "six.b.c.test"
addresses = ["2001:db8:6::10"]
probe = { kind = "tcp", port = 80 }
[site.down]
name = "down.app.example"
addresses = ["192.0.2.66", "2001:db8:66::10"]
probe = { kind = "tcp", port = 80 }
"#;

const RECORDS: &str = r#"$TTL 300
@ MX 10 mail
@ TXT "apex"
one TXT "a site" "with text"
mail A 192.0.2.25
mail AAAA 2001:db8::25
www CNAME app.example.
out CNAME www.example.net.
moved DNAME wild
host.of.ents A 192.0.2.77
*.wild TXT "wild"
*.wild A 192.0.2.78
x.wild MX 5 mail
sub NS ns.sub
sub NS ns.elsewhere.net.
ns.sub A 192.0.2.79
caa CAA 0 issue "ca.example.net"
odd TYPE65280 \# 3 010203
svc HTTPS 1 . alpn=h2
"#;

/// Both sides.
pub(crate) struct BothPaths {
    pub zones: Zones,
    pub view: View,
    pub plan: Plan,
    /// By owner, type and data of an answer of the plan, its signature in base 64.
    pub signatures: HashMap<(String, Rtype, String), String>,
    kernel: KernelMachine,
    _records: TempDir,
}

impl BothPaths {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With more sections.
    pub(crate) fn with(sections: &str) -> Self {
        Self::read(&format!("{CONFIG}{sections}"), |planned| planned)
    }

    /// With both zones signed, by either algorithm.
    pub(crate) fn signed() -> Self {
        let signed = |zone: &str, how: &str| (format!("[zone.\"{zone}\"]\n"), format!("[zone.\"{zone}\"]\n{how}\n"));
        let (app, other) =
            (signed("app.example", "dnssec = true"), signed("b.c.test", "dnssec.algorithm = \"ed25519\""));
        Self::read(&CONFIG.replace(&app.0, &app.1).replace(&other.0, &other.1), Planned::sign)
    }

    fn read(config: &str, change: impl FnOnce(Planned) -> Planned) -> Self {
        let folder = scratch::folder().unwrap();
        fs::write(folder.path().join("app.zone"), RECORDS).unwrap();
        let planned = change(Planned::read(config, folder.path()).with_down(&["down"]));
        let plan = planned.plan(1);
        let mut kernel = KernelMachine::load(&planned, &plan, &MACS[..1]);
        kernel.loaded.publisher.publish(&plan);
        let signatures = planned.signed.iter().flatten().flat_map(|signed| signatures(signed)).collect();
        let view = View::new(Arc::clone(planned.planner.model()), plan.clone()).with_signed(planned.signed);
        Self { zones: planned.zones, view, plan, signatures, kernel, _records: folder }
    }

    /// Runs the program, and says in which second of the Unix epoch.
    pub(crate) fn run_at(&mut self, frame: &[u8]) -> (Ran, u32) {
        let now = dns::now();
        self.kernel.loaded.publisher.set_clock(now);
        (self.kernel.run(frame), now)
    }
}

/// The signature of each answer that a zone's names may have.
fn signatures(signed: &SignedZone) -> Vec<((String, Rtype, String), String)> {
    let lines = Arc::new(Mutex::new(vec![Vec::new(); COHORTS]));
    signed.mirror_to(Box::new(Lines(Arc::clone(&lines))));
    let lines = lines.lock().unwrap();
    let mut all = Vec::new();
    for link in signed.links() {
        for (of, rtype) in DynamicType::ALL.into_iter().zip([Rtype::A, Rtype::AAAA, Rtype::HTTPS]) {
            let Some((first, answers)) = link.answers(of) else { continue };
            for (data, line) in answers.iter().zip(first as usize..) {
                let signature = base64::encode_string(&lines[link.cohort()][line]);
                all.push(((link.owner().to_string(), rtype, text(data)), signature));
            }
        }
    }
    all
}

/// Record data as a differential compares it.
pub(crate) fn text(data: &impl ToString) -> String {
    // Of the root, `domain` writes two dots where the name is one of its own.
    data.to_string().replacen("1 ..", "1 .", 1).to_ascii_lowercase()
}

/// Cohorts as they were put.
#[derive(Debug)]
struct Lines(Arc<Mutex<Vec<Vec<SetSignature>>>>);

impl CohortMirror for Lines {
    fn put(&mut self, cohort: usize, signatures: CohortSignatures<'_>) {
        self.0.lock().unwrap()[cohort] = signatures.lines.to_vec();
    }
}
