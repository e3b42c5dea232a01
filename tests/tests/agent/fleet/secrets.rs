//! Secrets of server cookies, changed by all fronts of a fleet in two steps (RFC 9018 section 5).

use std::{
    fs,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tests::{
    addresses::{CLIENT, front_v4},
    config::Config,
    fleet::FleetScene,
    process::eventually,
};
use xdp_ebpf::cookie::Secret;
use zerottl_core::model::CookieSecrets;
use zerottl_dns::{cookies, options::CookieOption};

use super::{PATIENCE, alarms, config, page, start};

const OLD: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
const NEW: u128 = 0xfedc_ba98_7654_3210_8899_aabb_ccdd_eeff;

/// Brings a front its secrets, and has it read them.
fn bring(scene: &FleetScene, front: usize, secrets: &[u128]) {
    let lines: Vec<String> = secrets.iter().map(|secret| format!("{secret:032x}\n")).collect();
    fs::write(scene.agents[front].folder().join("cookie-secrets"), lines.concat()).expect("written");
    scene.agents[front].zerottl(&["reload", "--admin", "127.0.0.1:8053"]).expect("reloaded");
}

/// Asks a front with a cookie; the one of its answer.
fn asked(scene: &FleetScene, front: usize, cookie: &str) -> Vec<u8> {
    let (server, cookie) = (format!("@{}", front_v4(front)), format!("+cookie={cookie}"));
    let said = scene.lab.client.read("dig", &[&server, "app.com", "A", "+norec", "+tries=3", "+time=1", &cookie]);
    let said = said.expect("dig");
    let line = said.lines().find_map(|line| line.strip_prefix("; COOKIE: ")).expect("a cookie");
    let digits = line.split(' ').next().unwrap_or_default();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Whether a front has made this cookie with a secret.
fn is_of(cookie: &[u8], secret: u128) -> bool {
    let secrets = CookieSecrets { present: Secret::new(secret.to_be_bytes()), previous: None, is_shared: true };
    let option = CookieOption { client: cookie[..8].try_into().expect("8 bytes"), server: &cookie[8..] };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as u32;
    cookies::reply(option, &secrets, IpAddr::V4(CLIENT.0), now).known
}

/// The fingerprints that a front says it accepts, the one that it makes cookies with first.
fn accepted(scene: &FleetScene, front: usize) -> Vec<String> {
    let page = page(scene, 0);
    let of = page["fronts"].as_array().expect("fronts").iter().find(|of| of["front"] == format!("ns{}", front + 1));
    let secrets = of.and_then(|of| of["cookie_secrets"].as_array().cloned()).unwrap_or_default();
    secrets.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// F-SECRET: cookies are made with another secret only once every living front accepts it; then all make it, and no cookie that any of
/// them has made is refused by another at any time.
#[test]
fn f_secret_all_accept_before_any_makes() {
    let Some(mut scene) = start("F-SECRET", &config()) else { return };
    for front in 0..3 {
        let more = "[edns]\ncookie_secret_file = \"cookie-secrets\"\n".to_owned();
        Config { more, ..scene.configs[front].clone() }.write(scene.agents[front].folder()).expect("written");
        bring(&scene, front, &[OLD]);
    }
    let is_shown = || (0..3).all(|front| accepted(&scene, front).len() == 1);
    assert!(eventually(PATIENCE, is_shown), "{}", page(&scene, 0));
    let old = accepted(&scene, 0)[0].clone();
    let before = asked(&scene, 0, "0102030405060708");
    assert!(is_of(&before, OLD) && !is_of(&before, NEW));
    let secrets = |front: usize, more: &[&str]| {
        let output = scene.agents[front].output(&[&["cookie-secrets", "--admin", "127.0.0.1:8053"], more].concat());
        let output = output.expect("ran");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };

    // The first step, which one front has not gone yet.
    (0..2).for_each(|front| bring(&scene, front, &[OLD, NEW]));
    assert!(eventually(PATIENCE, || (0..2).all(|front| accepted(&scene, front).len() == 2)), "{}", page(&scene, 0));
    let new = accepted(&scene, 0)[1].clone();
    let (is_done, said) = secrets(1, &["--make", &new]);
    assert!(!is_done && said.contains("not accepted by ns3"), "{said}");
    assert!(is_of(&asked(&scene, 1, "0102030405060708"), OLD));
    bring(&scene, 2, &[OLD, NEW]);
    assert!(eventually(PATIENCE, || accepted(&scene, 2).len() == 2), "{}", page(&scene, 0));

    // The second.
    let (is_done, said) = secrets(1, &["--make", &new, "--wait", "--by", "alice"]);
    assert!(is_done && said.contains(&format!("{new}: accepted by ns1, ns2, ns3; made by ns1, ns2, ns3")), "{said}");
    assert!(said.contains(&format!("{old}: accepted by ns1, ns2, ns3; made by nobody")), "{said}");
    for front in 0..3 {
        let made = asked(&scene, front, "0102030405060708");
        assert!(is_of(&made, NEW), "front {front}");
        for other in 0..3 {
            assert_eq!(asked(&scene, other, &hex(&made)), made, "made by {front}, known by {other}");
            let renewed = asked(&scene, other, &hex(&before));
            assert!(is_of(&renewed, NEW), "an old one is exchanged by {other}");
        }
    }
    let by = page(&scene, 2)["cookie_secret_by"].as_str().expect("a name").to_owned();
    assert!(by.starts_with("alice") && by.ends_with("at ns2"), "{by}");
    assert!((0..3).all(|front| alarms(&scene, front).is_empty()), "{:?}", alarms(&scene, 0));

    // A front that starts again makes it, too; one that no longer accepts it is named by all.
    scene.agents[2].kill();
    scene.agents[2].restart(&[]).expect("restarted");
    assert!(eventually(PATIENCE, || is_of(&asked(&scene, 2, "0102030405060708"), NEW)), "{}", page(&scene, 2));
    bring(&scene, 2, &[OLD]);
    let is_said = || (0..3).all(|front| alarms(&scene, front).contains("fleet-secret"));
    assert!(eventually(PATIENCE, is_said), "{}", page(&scene, 0));
    (0..3).for_each(|front| bring(&scene, front, &[NEW]));
    let is_well = || (0..3).all(|front| alarms(&scene, front).is_empty() && accepted(&scene, front) == [new.clone()]);
    assert!(eventually(Duration::from_secs(20), is_well), "{}", page(&scene, 0));
}
