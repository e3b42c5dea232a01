//! HTTPS records of dynamic names, to dig: in the kernel and by the sockets.

use tests::{
    config::Config,
    lab::{front_v4, front_v6},
    scene::Scene,
};

/// The records that dig is given for a name.
fn dig(scene: &Scene, v6: bool, name: &str, arguments: &[&str]) -> Vec<String> {
    let server = if v6 { front_v6(0).to_string() } else { front_v4(0).to_string() };
    let server = format!("@{server}");
    let fixed = [&server, name, "HTTPS", "+short", "+tries=1", "+time=3"];
    let text = scene.lab.client.read("dig", &[&fixed, arguments].concat()).expect("dig");
    text.lines().map(str::to_owned).collect()
}

/// S4-3A-330, RFC 9460: Pool, Group and Site Names have the record of the Site they choose; a dead Site's is no longer
/// given, and comes back.
fn https_records_go_with_their_sites(xdp: &str) {
    let pool = "https = { alpn = [\"h2\"], port = 8443 }".to_owned();
    let config = Config { xdp: xdp.into(), pool, ..Config::default() };
    let Some(scene) = Scene::start(&format!("S4-3A-330: HTTPS records, xdp {xdp}"), config) else { return };
    let record = |key: &str| {
        let (v4, v6) = (scene.address(key, false), scene.address(key, true));
        format!("1 . alpn=\"h2\" port=8443 ipv4hint={v4} ipv6hint={v6}")
    };
    let expect = |situation: &str, name: &str, keys: &[&str]| {
        for v6 in [false, true] {
            let mut seen: Vec<String> = (0..16).flat_map(|_| dig(&scene, v6, name, &[])).collect();
            assert_eq!(seen.len(), 16, "{situation}: {name}: one record each");
            seen.sort_unstable();
            seen.dedup();
            let mut expected: Vec<String> = keys.iter().map(|key| record(key)).collect();
            expected.sort_unstable();
            assert_eq!(seen, expected, "{situation}: {name}, over IPv6: {v6}");
        }
    };
    expect("all up", "app.com", &["geneva", "boston", "chicago"]);
    expect("all up", "americas.app.com", &["boston", "chicago"]);
    expect("all up", "boston.app.com", &["boston"]);
    assert_eq!(dig(&scene, false, "boston.app.com", &["+tcp"]), [record("boston")]);
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    expect("boston dead", "app.com", &["geneva", "chicago"]);
    expect("boston dead", "boston.app.com", &["chicago"]);
    scene.lab.site("boston").restart().expect("restart");
    scene.wait_for(&[("boston", true)]);
    expect("boston back", "boston.app.com", &["boston"]);
    let counted = scene.agent.status().expect("status").reason("answer-https");
    assert_eq!(counted, if xdp == "off" { 0 } else { 6 * 2 * 16 }, "answered in the kernel");
}

#[test]
fn https_records_in_the_kernel() {
    https_records_go_with_their_sites("native");
}

#[test]
fn https_records_by_the_sockets() {
    https_records_go_with_their_sites("off");
}
