//! Keys that are exchanged while the zone is answered.

use std::time::{Duration, Instant};

use domain::base::iana::Rcode;
use rustix::process::Signal;
use serde_json::Value;
use tests::{
    config::Config,
    lab::{LabSpec, front_addresses},
    scene::Scene,
    validator::{Delv, Validator},
};

use super::scene::{config, ds};

/// Records whose TTL, as all of this zone, is short.
const RECORDS: &str = "$TTL 5\n@ TXT \"short\"\nmail A 192.0.2.200\n*.wild A 192.0.2.202\n";
/// Two waits of a TTL, each looked at every 10 s, and the rest.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A zone whose keys are rolled.
pub struct Rolling {
    /// The lab and its agent.
    pub scene: Scene,
}

impl Rolling {
    /// Starts it, with more keys of `dnssec`.
    pub fn start(what: &str, dnssec: &str) -> Option<Self> {
        let zone = format!("dnssec = {{ parent_ttl = \"5s\"{dnssec} }}\nns_ttl = 5\nsoa_ttl = 5");
        let config = Config { zone, records: RECORDS.into(), ..config() };
        let spec = LabSpec { resolver: true, sites: config.sites.clone(), ..LabSpec::default() };
        Some(Self { scene: Scene::in_lab(what, &spec, config)? })
    }

    /// Runs `zerottl dnssec`.
    pub fn dnssec(&self, arguments: &[&str]) -> String {
        let file = self.scene.agent.folder().join("zerottl.toml");
        let config = ["--config", &file.to_string_lossy()];
        self.scene.agent.zerottl(&[&["dnssec"], arguments, &config].concat()).expect("zerottl")
    }

    /// The state of its keys.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.dnssec(&["status", "app.com", "--json"])).expect("JSON")
    }

    /// The number of the roll's step; 0 once it is done.
    pub fn step(&self) -> u64 {
        self.status()["roll"]["step"].as_u64().unwrap_or_default()
    }

    fn delv(&self, anchors: &[String]) -> Delv<'_> {
        let lab = &self.scene.lab;
        Delv::new(lab, &lab.client, front_addresses(0)[0].ip(), "app.com", anchors)
    }

    /// Asks for one of each kind of answer, from these anchors; the tags in CDS are returned.
    fn validates(&self, anchors: &[String]) -> String {
        let delv = self.delv(anchors);
        for (name, rtype) in [
            ("app.com", "SOA"),
            ("app.com", "A"),
            ("boston.app.com", "AAAA"),
            ("mail.app.com", "A"),
            ("x.wild.app.com", "A"),
            ("app.com", "DNSKEY"),
            ("app.com", "CDNSKEY"),
        ] {
            let _ = delv.secure(name, rtype);
        }
        delv.negative("nothing.app.com", "A");
        delv.negative("mail.app.com", "AAAA");
        delv.secure("app.com", "CDS")
    }

    /// Asks resolvers again and again until the roll is at a step, or done with 0; each answer on the way validates.
    fn until(&self, step: u64, resolvers: &[Validator<'_>]) {
        let began = Instant::now();
        loop {
            let mut answers = Vec::new();
            for resolver in resolvers {
                for (name, rtype) in [("app.com", "A"), ("mail.app.com", "A"), ("x.app.com", "A"), ("app.com", "TXT")] {
                    answers.push((resolver, resolver.ask(name, rtype)));
                }
            }
            let now = self.step();
            if now == 0 && step == 0 {
                // Who trusts the old key alone is not asked for any more.
                return;
            }
            for (resolver, answer) in answers {
                resolver.expect(&answer, answer.is_authentic() && answer.rcode() != Rcode::SERVFAIL);
            }
            if now == step {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "not at step {step}: {}\n{}", self.status(), self.scene.agent.log());
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// The tag of a DS record's line.
fn tag(ds: &str) -> &str {
    ds.split_whitespace().nth(4).expect("a tag")
}

/// D-KEYS: a CSK is rolled under three resolvers that ask all the time and may keep what they like: valid at each step, by
/// the old DS until the old key goes, by the new one from when it is asked for.
#[test]
fn a_csk_roll_is_valid_at_each_step() {
    let Some(mut zone) = Rolling::start("csk-roll", "") else { return };
    let old = ds(&zone.scene, "app.com");
    let resolvers = Validator::all(&zone.scene.lab, &["app.com"], &old);
    zone.validates(&old);
    let said = zone.dnssec(&["roll", "app.com"]);
    assert!(said.contains("step 1 of 5"), "{said}");
    assert_eq!(ds(&zone.scene, "app.com"), old, "the parent is not asked for the new one yet");
    zone.until(2, &resolvers);
    let cds = zone.validates(&old);
    assert!(cds.contains(&format!("CDS\t{} 13 2 ", tag(&old[0]))), "{cds}");
    zone.until(3, &resolvers);
    drop(resolvers);
    let signed = || zone.status()["roll"]["waits_for"].as_str().is_some_and(|text| text.contains("parent"));
    assert!(tests::process::eventually(PATIENCE, signed), "{}", zone.status());
    let new = ds(&zone.scene, "app.com");
    assert_ne!(new, old);
    let said = zone.dnssec(&["status", "app.com"]);
    assert!(said.contains(&new[0]) && said.contains("zerottl dnssec ds-seen app.com"), "{said}");
    for anchors in [&old, &new] {
        let cds = zone.validates(anchors);
        assert!(cds.contains(&format!("CDS\t{} 13 2 ", tag(&new[0]))), "{cds}");
        assert!(!cds.contains(&format!("CDS\t{} 13 2 ", tag(&old[0]))), "{cds}");
    }
    // A restart in between goes on from there.
    zone.scene.agent.kill();
    zone.scene.agent.restart(&[]).expect("started");
    zone.scene.wait_for(&[("boston", true)]);
    zone.validates(&new);
    let resolvers = Validator::all(&zone.scene.lab, &["app.com"], &old);
    zone.dnssec(&["ds-seen", "app.com"]);
    zone.until(4, &resolvers);
    zone.validates(&old);
    zone.validates(&new);
    // And a reload.
    zone.scene.agent.signal(Signal::HUP).expect("told");
    zone.until(0, &resolvers);
    drop(resolvers);
    zone.validates(&new);
    let gone = zone.delv(&old).ask("mail.app.com", "A");
    assert!(!gone.contains("fully validated"), "{gone}");
    assert_eq!(ds(&zone.scene, "app.com"), new);
    assert_eq!(zone.status()["keys"].as_array().map(Vec::len), Some(1));
}

/// D-KEYS: a ZSK is rolled without the parent and without a person, under three resolvers that ask all the time.
#[test]
fn a_zsk_roll_needs_nobody() {
    let Some(zone) = Rolling::start("zsk-roll", ", split_keys = true") else { return };
    let anchors = ds(&zone.scene, "app.com");
    let resolvers = Validator::all(&zone.scene.lab, &["app.com"], &anchors);
    let keys = || zone.status()["keys"].as_array().expect("keys").clone();
    let before = keys();
    zone.dnssec(&["roll", "app.com", "--zsk"]);
    zone.until(2, &resolvers);
    zone.validates(&anchors);
    zone.until(4, &resolvers);
    zone.validates(&anchors);
    zone.until(0, &resolvers);
    for resolver in &resolvers {
        let _ = resolver.secure("boston.app.com", "A");
    }
    zone.validates(&anchors);
    assert_eq!(ds(&zone.scene, "app.com"), anchors);
    let after = keys();
    assert_eq!((before[0].clone(), before.len(), after.len()), (after[0].clone(), 2, 2));
    assert_ne!(before[1]["tag"], after[1]["tag"]);
}
