//! Fronts without keys: what a bundle from another host lets them answer, for how long, and what they refuse.
//!
//! The other host is a folder, and its clock is moved, so that a bundle is made at any time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use domain::base::Rtype;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::{
    agent::Agent,
    config::Config,
    lab::{LabSpec, can_run, front_addresses},
    process::eventually,
    program::{binary, faketime_library},
    query::ClientQuestion,
    scene::Scene,
    scratch::folder,
    validator::Delv,
};

use super::{
    scene::{NAMES, Signed, TYPES, config, ds},
    zone::{children_validate, delv_validates, static_denials_validate, static_records_validate},
};

/// Times of one period: the shortest that there are.
const SHORT: &str = ", validity = \"6h\", renew = \"1h\"";
/// `validity` of that, seconds.
const SHORT_VALIDITY: i64 = 6 * 3600;

/// The host with the keys, and the bundle on its way to the front.
struct SigningHost {
    folder: TempDir,
    /// Where the front has it.
    front: TempDir,
}

impl SigningHost {
    /// None where the clock cannot be moved.
    fn new() -> Option<Self> {
        if faketime_library().is_err() {
            eprintln!("NOT TESTED: bundles (libfaketime is not installed)");
            return None;
        }
        Some(Self { folder: folder().expect("a folder"), front: folder().expect("a folder") })
    }

    fn bundle(&self) -> PathBuf {
        self.front.path().join("app.bundle")
    }

    /// The front's configuration, with more keys of its `dnssec`.
    fn config(&self, more: &str) -> Config {
        let zone = format!("dnssec = {{ bundle = \"{}\"{more} }}", self.bundle().display());
        Config { zone, ..config() }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs `zerottl` on the host, whose clock is off by some seconds.
    fn zerottl(&self, clock: i64, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary().expect("zerottl"));
        command.args(arguments).current_dir(self.folder.path());
        if clock != 0 {
            let library = faketime_library().expect("libfaketime");
            command.env("LD_PRELOAD", library).env("FAKETIME", format!("{clock:+}"));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.output().expect("zerottl runs")
    }

    /// Makes a bundle there of a configuration for some time, and puts it to the front.
    fn sign(&self, config: &Config, clock: i64, span: &str) -> String {
        let file = config.write(self.folder.path()).expect("written");
        let out = self.folder.path().join("made");
        let (file, state, to) = (file.to_string_lossy(), self.state(), out.to_string_lossy());
        let state = state.to_string_lossy();
        let arguments = ["sign", "--config", &file, "--state", &state, "--for", span, "--out", &to, "--make-keys"];
        let output = self.zerottl(clock, &arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(out, self.bundle()).expect("moved");
        said
    }

    /// Starts a front with a bundle that the host has made with its clock.
    fn front(&self, what: &str, more: &str, clock: i64, span: &str) -> Option<Signed> {
        Signed::start_after(what, self.config(more), |config| drop(self.sign(config, clock, span)))
    }
}

/// The files below a folder that hold a private key.
fn secrets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("there").flatten().map(|entry| entry.path());
    let of = |path: PathBuf| if path.is_dir() { secrets(&path) } else { vec![path] };
    let holds = |path: &PathBuf| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(10).any(|bytes| bytes.eq_ignore_ascii_case(b"PrivateKey")))
            || path.extension().is_some_and(|ending| ending == "private")
    };
    entries.flat_map(of).filter(holds).collect()
}

/// Whether a reload is refused, with these words, and everything stays as it was.
fn reload_is_refused(signed: &Signed, words: &[&str]) {
    let agent = &signed.scene.agent;
    let before = agent.status().expect("status").0["plan"]["generation"].clone();
    let reload = agent.output(&["reload"]).expect("zerottl runs");
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(!reload.status.success(), "it was taken");
    for word in words {
        assert!(said.contains(word), "no {word} in: {said}");
    }
    let _ = signed.delv().secure("boston.app.com", "A");
    let _ = (before, signed.delv().secure("mail.app.com", "A"));
}

/// The seconds that the zone's signatures last, by its metric.
fn lasts(signed: &Signed) -> f64 {
    let metrics = signed.scene.agent.get("/metrics").expect("metrics");
    let found =
        metrics.lines().find_map(|line| line.strip_prefix("zerottl_signature_expires_seconds{zone=\"app.com\"} "));
    found.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
}

fn is_alarmed(signed: &Signed) -> bool {
    let metrics = signed.scene.agent.get("/metrics").expect("metrics");
    metrics.contains("zerottl_alarm{kind=\"signature-expiring\",pool=\"\"} 1")
}

/// The end of a signature's time in delv's words, `20261214022448`.
fn expiration(delv: &Delv<'_>, name: &str) -> String {
    let said = delv.secure(name, "A");
    let of = said.lines().find(|line| line.contains("\tRRSIG\t") || line.contains(" RRSIG "));
    let end = of.and_then(|line| line.split_whitespace().find(|word| word.len() == 14 && word.starts_with("20")));
    end.unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// D-BUNDLE: a front with a bundle has no private key, and all its answers validate: of every kind, by three resolvers and
/// delv, while a Site dies, and after kill -9.
#[test]
fn a_front_without_keys_validates() {
    let Some(host) = SigningHost::new() else { return };
    let Some(mut signed) = host.front("D-BUNDLE", "", 0, "14d") else { return };
    let delv = signed.delv();
    delv_validates(&delv);
    for (name, _) in NAMES {
        for rtype in TYPES {
            let _ = delv.secure(name, rtype);
        }
    }
    for rtype in ["CDS", "CDNSKEY"] {
        let _ = delv.secure("app.com", rtype);
    }
    let resolvers = signed.resolvers();
    for resolver in &resolvers {
        static_records_validate(resolver);
        static_denials_validate(resolver);
        children_validate(resolver);
        for (name, keys) in NAMES {
            for rtype in TYPES {
                let answer = resolver.secure(name, rtype);
                resolver.expect(&answer, signed.is_of(&answer, rtype, keys));
            }
        }
    }
    signed.scene.lab.site("boston").kill();
    signed.scene.wait_for(&[("boston", false)]);
    for resolver in &resolvers {
        signed.follows(resolver, "boston.app.com", "A", &["chicago"], Duration::from_secs(5));
    }
    drop(resolvers);
    signed.scene.agent.kill();
    signed.scene.agent.restart(&[]).expect("started");
    signed.scene.wait_for(&[("boston", false), ("chicago", true)]);
    delv_validates(&signed.delv());
    let agent = &signed.scene.agent;
    assert_eq!([secrets(agent.folder()), secrets(host.front.path())].concat(), Vec::<PathBuf>::new());
    assert_eq!(secrets(host.folder.path()).len(), 1, "the look for secrets sees them");
    // What an operator asks is answered by it.
    let file = agent.folder().join("zerottl.toml");
    let file = file.to_string_lossy();
    let own = |verb: &str| agent.output(&["dnssec", verb, "app.com", "--config", &file]).expect("zerottl runs");
    let status = String::from_utf8_lossy(&own("status").stdout).into_owned();
    assert!(status.contains("CSK") && status.contains("its keys are on another host"), "{status}");
    assert!(String::from_utf8_lossy(&own("dnskey").stdout).contains(" IN DNSKEY 257 3 13 "));
    for verb in ["roll", "step", "ds-seen"] {
        let output = own(verb);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains("the keys of the zone app.com are not here"),
            "{verb}: {said}"
        );
    }
    let status = agent.zerottl(&["status"]).expect("status");
    assert!(status.contains(", from a bundle, good for 13 d "), "{status}");
    assert!((13.9 * 86_400.0..14.1 * 86_400.0).contains(&lasts(&signed)), "{}", lasts(&signed));
    assert!(!is_alarmed(&signed));
}

/// D-BUNDLE: a configuration that the bundle does not sign is refused with the names, by `check`, `reload` and a take-over,
/// and answered, signed, once a new bundle is there.
#[test]
fn an_address_is_answered_once_it_is_signed() {
    let Some(host) = SigningHost::new() else { return };
    let Some(mut signed) = host.front("D-BUNDLE: another address", "", 0, "4d") else { return };
    let mut wider = signed.scene.config.clone();
    let boston = wider.sites.iter_mut().find(|site| site.key == "boston").expect("boston");
    boston.addresses.push("192.0.2.11".parse().expect("an address"));
    boston.addresses.retain(|address| !address.is_ipv4() || address.to_string() == "192.0.2.11");
    wider.records += "extra A 192.0.2.250\n";
    let file = wider.write(signed.scene.agent.folder()).expect("written");
    let words = [
        "app.com (A 192.0.2.11, HTTPS)",
        ", boston.app.com (A 192.0.2.11, HTTPS)",
        "extra.app.com (NSEC, A 192.0.2.250)",
    ];
    reload_is_refused(&signed, &words);
    let checked = signed.scene.agent.output(&["check", "--config", &file.to_string_lossy()]).expect("zerottl runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && words.iter().all(|word| said.contains(word)), "{said}");
    let simulated =
        signed.scene.agent.output(&["simulate", "--config", &file.to_string_lossy()]).expect("zerottl runs");
    let said = String::from_utf8_lossy(&simulated.stderr).into_owned();
    assert!(simulated.status.success() && words.iter().all(|word| said.contains(word)), "{said}");
    let pid = signed.scene.agent.pid();
    signed.scene.agent.restart(&["--take-over"]).expect_err("it must not go well");
    assert!(signed.scene.agent.runs() && signed.scene.agent.pid() == pid, "the agent in force runs on");
    host.sign(&wider, 0, "4d");
    signed.reload(wider);
    let delv = signed.delv();
    let _ = (delv.secure("extra.app.com", "A"), delv.secure("mail.app.com", "A"));
    signed.scene.agent.kill();
    signed.scene.agent.restart(&[]).expect("started");
    let _ = signed.delv().secure("extra.app.com", "A");
}

/// D-BUNDLE: a bundle that is altered, cut off, another zone's, over or not begun is refused, and an agent that runs goes on
/// with the one that it has.
#[test]
fn bundles_that_are_none_are_refused() {
    let Some(host) = SigningHost::new() else { return };
    let Some(mut signed) = host.front("D-BUNDLE: refusals", "", 0, "4d") else { return };
    let whole = fs::read(host.bundle()).expect("read");
    let put = |bytes: &[u8]| {
        // As a copy does that is made with care.
        let new = host.front.path().join("new");
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, host.bundle())).expect("written");
    };
    let mut altered = whole.clone();
    altered[whole.len() / 3] ^= 1;
    put(&altered);
    reload_is_refused(&signed, &["is no bundle, or not a whole one"]);
    put(&whole[..whole.len() - 1]);
    reload_is_refused(&signed, &["is no bundle, or not a whole one"]);
    fs::remove_file(host.bundle()).expect("removed");
    reload_is_refused(&signed, &["app.bundle: No such file"]);
    let (config, zone) = (signed.scene.config.clone(), |sign: &Config| sign.zone.clone());
    let other = Config { records: config.records.clone(), zone: zone(&config) + "\nns_ttl = 60", ..config.clone() };
    host.sign(&other, 0, "4d");
    reload_is_refused(&signed, &["app.com (NS, DNSKEY, CDNSKEY, CDS)"]);
    host.sign(&config, -5 * 86_400, "4d");
    reload_is_refused(&signed, &["app.com is over since 20", "resolvers believe none of its signatures"]);
    host.sign(&config, 2 * 86_400, "4d");
    reload_is_refused(&signed, &["app.com begins on 20", "and the clock here is at 20"]);
    // Nor does an agent start with it.
    signed.scene.agent.kill();
    signed.scene.agent.restart(&[]).expect_err("it must not go well");
    assert!(signed.scene.agent.log().contains("begins on 20"), "{}", signed.scene.agent.log());
    put(&whole);
    signed.scene.agent.restart(&[]).expect("started");
    let _ = signed.delv().secure("boston.app.com", "A");
}

/// D-BUNDLE: the front goes to the next period when that begins, without a reload, and every answer on the way validates.
#[test]
fn the_next_period_is_taken() {
    let Some(host) = SigningHost::new() else { return };
    // The second one begins in half a minute.
    let Some(signed) = host.front("D-BUNDLE: the next period", SHORT, -3600 + 30, "12h") else { return };
    let delv = signed.delv();
    let first = expiration(&delv, "mail.app.com");
    let mut seen = vec![first.clone()];
    let is_next = eventually(Duration::from_mins(1), || {
        let now = expiration(&delv, "mail.app.com");
        let _ = (delv.secure("app.com", "DNSKEY"), delv.secure("boston.app.com", "A"));
        delv.negative("nothing.app.com", "A");
        seen.push(now.clone());
        now != first
    });
    assert!(is_next, "{seen:?}\n{}", signed.scene.agent.log());
    for (name, rtype) in [("app.com", "SOA"), ("app.com", "DNSKEY"), ("app.com", "CDS"), ("boston.app.com", "AAAA")] {
        let _ = delv.secure(name, rtype);
    }
    let explained = signed.scene.agent.zerottl(&["explain", "--dnssec", "app.com", "DNSKEY"]).expect("explain");
    assert!(
        explained.contains("good since 1 h 0 min, for 5 h 59 min more") || explained.contains("for 6 h 0 min"),
        "{explained}"
    );
    // 6 periods of an hour each, and 5 behind the last.
    let left = lasts(&signed);
    assert!((10.9 * 3600.0..11.1 * 3600.0).contains(&left), "{left}");
}

/// D-BUNDLE: a bundle that ends in a day is an alarm, which ends with a newer one.
#[test]
fn a_bundle_that_ends_is_an_alarm() {
    let Some(host) = SigningHost::new() else { return };
    let Some(signed) = host.front("D-BUNDLE: one day before its end", "", -13 * 86_400 - 600, "14d") else { return };
    assert!(eventually(Duration::from_secs(10), || is_alarmed(&signed)), "{}", signed.scene.agent.log());
    assert!((86_400.0 - 900.0..86_400.0 - 540.0).contains(&lasts(&signed)), "{}", lasts(&signed));
    let status = signed.scene.agent.zerottl(&["status"]).expect("status");
    assert!(status.contains("the last signatures in the bundle of the zone app.com expire in 23 h "), "{status}");
    let _ = signed.delv().secure("boston.app.com", "A");
    host.sign(&signed.scene.config, 0, "14d");
    signed.scene.agent.zerottl(&["reload"]).expect("reloaded");
    assert!(eventually(Duration::from_secs(10), || !is_alarmed(&signed)), "{}", signed.scene.agent.log());
    assert!(lasts(&signed) > 13.9 * 86_400.0);
    let _ = signed.delv().secure("boston.app.com", "A");
}

/// D-BUNDLE, D-CLOCK: a clock that steps by three days chooses no other period, in the rounds and at a reload: what is
/// answered goes on validating.
#[test]
fn a_clock_that_steps_changes_no_period() {
    let Some(host) = SigningHost::new() else { return };
    let Some(signed) = host.front("D-BUNDLE: the clock", "", 0, "14d") else { return };
    let Signed { ds, scene: Scene { agent, lab, config }, .. } = signed;
    agent.stop(Signal::TERM).expect("stopped");
    let offset = host.folder.path().join("offset");
    fs::write(&offset, "+0\n").expect("written");
    let environment = [
        ("LD_PRELOAD", faketime_library().expect("libfaketime").display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    let agent = Agent::start_with(&lab, 0, &config, &environment).expect("started");
    let delv = Delv::new(&lab, &lab.client, front_addresses(0)[0].ip(), "app.com", &ds);
    let before = expiration(&delv, "mail.app.com");
    fs::write(&offset, "+3d\n").expect("written");
    let stepped = || {
        let metrics = agent.get("/metrics").unwrap_or_default();
        metrics.contains("zerottl_alarm{kind=\"clock-stepped\",pool=\"\"} 1")
    };
    assert!(eventually(Duration::from_secs(20), stepped), "{}", agent.log());
    assert_eq!(expiration(&delv, "mail.app.com"), before);
    agent.zerottl(&["reload"]).expect("reloaded");
    assert_eq!(expiration(&delv, "mail.app.com"), before);
    let _ = (delv.secure("boston.app.com", "A"), delv.secure("app.com", "DNSKEY"));
}

/// D-BUNDLE: an agent that runs goes on with a bundle that ends meanwhile, and says so; none starts with it.
#[test]
fn an_expired_bundle_is_answered_and_not_begun_with() {
    let Some(host) = SigningHost::new() else { return };
    let lasting = -SHORT_VALIDITY + 30;
    let Some(mut signed) = host.front("D-BUNDLE: its end", SHORT, lasting, "1h") else { return };
    assert!(is_alarmed(&signed) && lasts(&signed) < 60.0, "{}", lasts(&signed));
    assert!(eventually(Duration::from_secs(90), || lasts(&signed) < 0.0), "{}", lasts(&signed));
    let told = || signed.scene.agent.log().contains("the signatures of the zone app.com stay as they are");
    assert!(eventually(Duration::from_secs(15), told), "{}", signed.scene.agent.log());
    let said = signed.delv().ask("boston.app.com", "A");
    assert!(said.contains("resolution failed") && !said.contains("fully validated"), "{said}");
    let plain = ClientQuestion::new("boston.app.com", Rtype::A, None).expect("a question");
    let plain = signed.scene.client(false).address(&plain).expect("answered");
    assert_eq!(plain, signed.scene.address("boston", false));
    let status = signed.scene.agent.zerottl(&["status"]).expect("status");
    assert!(status.contains("have expired") && status.contains("make a new bundle with `zerottl sign`"), "{status}");
    let reload = signed.scene.agent.output(&["reload"]).expect("zerottl runs");
    let refused = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(!reload.status.success() && refused.contains("is over since 20"), "{refused}");
    signed.scene.agent.kill();
    signed.scene.agent.restart(&[]).expect_err("it must not go well");
    host.sign(&signed.scene.config, 0, "12h");
    signed.scene.agent.restart(&[]).expect("started");
    let _ = signed.delv().secure("boston.app.com", "A");
}

/// D-BUNDLE, D-KEYS: a key is rolled on the host that has it, each step in a bundle of its own, valid by the old DS and then
/// by the new one.
#[test]
fn a_key_is_rolled_by_bundles() {
    let Some(host) = SigningHost::new() else { return };
    if !can_run("D-BUNDLE: a roll") {
        return;
    }
    let config = host.config(", parent_ttl = \"1s\"");
    // All of it is kept for a second.
    let zone = config.zone + "\nns_ttl = 1\nsoa_ttl = 1";
    let config = Config { zone, records: "$TTL 1\nmail A 192.0.2.200\n".into(), ..config };
    host.sign(&config, 0, "4d");
    let spec = LabSpec { resolver: true, sites: config.sites.clone(), ..LabSpec::default() };
    let Some(scene) = Scene::in_lab("D-BUNDLE: a roll", &spec, config) else { return };
    let file = host.folder.path().join("zerottl.toml");
    let (file, state) = (file.to_string_lossy(), host.state());
    let step = |verb: &str| {
        let arguments = ["dnssec", verb, "app.com", "--config", &file, "--state", &state.to_string_lossy()];
        let output = host.zerottl(0, &arguments);
        host.sign(&scene.config, 0, "4d");
        scene.agent.zerottl(&["reload"]).expect("reloaded");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.success(), said)
    };
    let validates = |anchors: &[String]| {
        let lab = &scene.lab;
        let delv = Delv::new(lab, &lab.client, front_addresses(0)[0].ip(), "app.com", anchors);
        for (name, rtype) in [("app.com", "DNSKEY"), ("boston.app.com", "A"), ("mail.app.com", "A"), ("app.com", "CDS")]
        {
            let _ = delv.secure(name, rtype);
        }
        delv.negative("nothing.app.com", "A");
    };
    let old = &ds(&scene, "app.com");
    validates(old);
    let (ok, said) = step("roll");
    assert!(ok && said.contains("step 1 of 5"), "{said}");
    validates(old);
    // Each step as soon as its wait is over; the fronts have each bundle by the time that its step is said to be done.
    let mut new = Vec::new();
    let is_done = eventually(Duration::from_mins(1), || {
        let (_, said) = step("step");
        validates(if new.is_empty() { old } else { &new });
        if said.contains("ds-seen") {
            new = ds(&scene, "app.com");
            validates(&new);
            let (ok, said) = step("ds-seen");
            assert!(ok, "{said}");
        }
        said.contains("no key of the zone app.com is being rolled")
    });
    assert!(is_done && !new.is_empty() && new != *old, "{new:?}");
    validates(&new);
    assert_eq!(ds(&scene, "app.com"), new);
}
