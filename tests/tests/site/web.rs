//! The front end to end: HTTPS and HTTP/2, methods, forms of the marker, hosts of others, reload and restart.

use std::{fs, thread, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tests::{
    config::Config,
    scene::Scene,
    scratch::folder,
    walk::{Curl, unix_now},
};

/// Each redirect is counted, so there are none that only tidy URLs.
const WEB: &str = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\nclean_url = false\n";

fn config(web: &str) -> Config {
    Config { more: format!("{WEB}{web}"), ..Config::default() }
}

/// A folder with a certificate for all the names, which is to be trusted itself.
fn certificates() -> TempDir {
    let folder = folder().expect("folder");
    let names = ["app.com", "*.app.com"].map(str::to_owned);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
    fs::write(folder.path().join("app.com.pem"), cert.pem() + &signing_key.serialize_pem()).expect("write");
    fs::write(folder.path().join("trusted"), cert.pem()).expect("write");
    folder
}

/// S4-5A-505, S4-5A-BIND, C14: over HTTPS and HTTP/2 the Pool Name leads to the Site's name over HTTPS, whose session cookie is
/// `Secure`; a request for another name than the connection was made for, as browsers that coalesce connections make, is
/// answered by 421, but for the Site's own name.
#[test]
fn s4_5a_505_https_stays_https() {
    let folder = certificates();
    let tls = format!("tls = {{ certificates = \"{}\" }}\n", folder.path().display());
    let Some(scene) = Scene::with_fronts("S4-5A-505: HTTPS", config(&tls)) else { return };
    let trusted = folder.path().join("trusted").display().to_string();
    for (protocol, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")] {
        let client = Curl::new(&scene.lab).with(&["--cacert", &trusted, protocol]);
        let walk = client.go("https://app.com/a?b");
        assert_eq!(walk.statuses(), [302, 200], "{walk:?}");
        assert!(walk.hops.iter().all(|hop| hop.version == version), "{walk:?}");
        let site = walk.site().to_owned();
        assert!(walk.url.starts_with(&format!("https://{site}.app.com/a/distrib=")), "{walk:?}");
        for name in ["ZSESSION=", "VISIT="] {
            let cookie = walk.hops[1].field("set-cookie").find(|cookie| cookie.starts_with(name)).expect(name);
            assert!(cookie.ends_with("; Secure"), "{cookie}: the application is told by X-Forwarded-Proto");
        }
        let again = client.go(&format!("https://{site}.app.com/"));
        assert_eq!((again.statuses(), again.looks()), (vec![200], 2));
        // On the same port, plain HTTP is another listener's; its redirects stay plain.
        assert_eq!(client.ask(&["http://app.com/"]).expect("curl").locations()[0].split(':').next(), Some("http"));
    }
    let client = Curl::new(&scene.lab).with(&["--cacert", &trusted]);
    let fresh = format!("distrib={}", unix_now());
    let ask = |protocol: &str, connected: &str, host: &str, path: &str| {
        let url = format!("https://{connected}/{path}");
        client.ask(&[protocol, &url, "-H", &format!("Host: {host}")]).expect("curl")
    };
    for host in ["app.com", "chicago.app.com", "americas.app.com"] {
        let coalesced = ask("--http2", "boston.app.com", host, "");
        assert_eq!((coalesced.status(), coalesced.locations().len()), (421, 0), "{host}: {coalesced:?}");
    }
    // The browser has the Pool Name's connection, is sent to this Site's name, and goes there by the same connection.
    let own = (0..40).map(|_| ask("--http2", "app.com", "boston.app.com", &fresh));
    assert!(own.into_iter().any(|walk| walk.status() == 200 && walk.site() == "boston"));
    // HTTP/1.1 connections are not coalesced: there it is a Site's name that has failed over.
    let failed_over = ask("--http1.1", "boston.app.com", "chicago.app.com", "");
    assert_eq!((failed_over.status(), failed_over.hosts()), (302, vec!["boston.app.com"]));

    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let walk = client.ask(&["--http2", "-L", "https://boston.app.com/"]).expect("curl");
    assert_eq!((walk.statuses(), walk.host()), (vec![302, 200], "chicago.app.com"), "S4-5A-REPEAT: {walk:?}");
}

/// S4-5A-540, C10: a POST is redirected by 307 and arrives with its body; C13, C7: hosts that are not ours are refused, and
/// redirected nowhere.
#[test]
fn s4_5a_540_a_post_arrives_whole_and_other_hosts_are_refused() {
    let trusted = "trusted_proxies = [\"192.0.2.200/32\", \"2001:db8:f::200/128\"]\naliases = [\"www.app.com\"]\n";
    let Some(scene) = Scene::with_fronts("C10, C13", config(trusted)) else { return };
    let client = Curl::new(&scene.lab);
    let plain = ["-L", "-H", "content-type: text/plain", "-d", "note=two words", "http://app.com/note"];
    let walk = client.ask(&plain).expect("curl");
    assert_eq!(walk.statuses(), [307, 200], "{walk:?}");
    assert!(walk.body.contains("value=\"two words\""), "{walk:?}");
    let kept = client.go(&format!("http://{}/", walk.host()));
    assert!(kept.statuses() == [200] && kept.body.contains("value=\"two words\""), "{kept:?}");

    let boston = scene.address("boston", false);
    for (host, status) in
        [("evil.example", 421), ("192.0.2.10", 421), ("boston.app.com.evil.example", 421), ("a b", 400)]
    {
        let walk = client.ask(&[&format!("http://{boston}/"), "-H", &format!("Host: {host}")]).expect("curl");
        assert_eq!((walk.status(), walk.locations().len()), (status, 0), "{host}: {walk:?}");
    }
    assert_eq!(client.ask(&[&format!("http://{boston}/"), "-H", "Host:"]).expect("curl").status(), 400);
    for (host, forwarded) in [("app.com", None), ("www.app.com", None), ("10.0.0.1", Some("www.app.com"))] {
        let forwarded = forwarded.map(|host| format!("X-Forwarded-Host: {host}"));
        let more: Vec<&str> = forwarded.iter().flat_map(|field| ["-H", field]).collect();
        let (url, host) = (format!("http://{boston}/"), format!("Host: {host}"));
        let fixed = [&url, "-H", &host, "-H", "X-Forwarded-Proto: https"];
        let walk = client.ask(&[&fixed[..], &more].concat()).expect("curl");
        // Behind a proxy that ends TLS, which is believed (S4-5A-505).
        assert!(walk.locations()[0].starts_with("https://boston.app.com/distrib="), "{walk:?}");
    }
}

/// S4-5A-535, C18: markers in the query, in a cookie, signed; and a URL without any at the end.
#[test]
fn s4_5a_535_forms_of_the_marker() {
    let key = folder().expect("folder");
    let file = key.path().join("key");
    fs::write(&file, "a key of sixteen bytes, and more").expect("write");
    let query = format!("marker = {{ mode = \"query\", key = \"{}\" }}\n", file.display());
    let Some(scene) = Scene::with_fronts("C18: query, signed", config(&query)) else { return };
    let walk = Curl::new(&scene.lab).go("http://app.com/a/?b=c");
    assert_eq!(walk.statuses(), [302, 200], "{walk:?}");
    let (rest, mac) = walk.url.split_once('~').expect("a signature");
    assert!(rest.contains("/a/?b=c&distrib=") && mac.len() == 22, "{walk:?}");
    assert!(walk.shown("asked").ends_with(".app.com/a/"));
    // One that is not signed, or not by us, is none (C19): back to load balancing.
    let forged = format!("http://boston.app.com/?distrib={}", unix_now() - 10);
    for forged in [forged.clone(), format!("{forged}~{mac}")] {
        assert_eq!(Curl::new(&scene.lab).go(&forged).hosts()[0], "app.com", "{forged}");
    }
    drop(scene);

    let cookie = "marker = { mode = \"cookie\", domain = \"app.com\" }\n";
    let Some(scene) = Scene::with_fronts("C18: cookie", config(cookie)) else { return };
    let client = Curl::new(&scene.lab);
    let walk = client.go("http://app.com/a?b");
    assert_eq!(walk.statuses(), [302, 200], "{walk:?}");
    assert_eq!(walk.url, format!("http://{}.app.com/a?b", walk.site()));
    assert_eq!(client.go(&walk.url).looks(), 2);
    // Who keeps no cookies is let in when all that can be told of him is that he has been round (C16).
    let walk = Curl::new(&scene.lab).without_cookies().go("http://app.com/a?b");
    assert_eq!(walk.status(), 200, "{walk:?}");
    assert!(walk.hops.len() <= 2 * (3 + 1), "{walk:?}");
    drop(scene);

    let Some(scene) =
        Scene::with_fronts("C18: clean URLs", Config { more: WEB.replace("false", "true"), ..Config::default() })
    else {
        return;
    };
    let client = Curl::new(&scene.lab);
    let walk = client.go("http://app.com/a/?b");
    assert_eq!(walk.statuses(), [302, 303, 303, 200], "{walk:?}");
    assert_eq!(walk.url, format!("http://{}.app.com/a/?b", walk.site()));
    assert_eq!(walk.shown("asked"), format!("{}.app.com/a/", walk.site()));
    let walk = Curl::new(&scene.lab).without_cookies().go("http://app.com/a/?b");
    assert_eq!((walk.statuses(), walk.shown("asked").ends_with("/a/")), (vec![302, 303, 200], true), "{walk:?}");
}

/// S4-5A-GATE: a reload keeps sessions and breaks no request; a front that is killed and started again keeps them where their key
/// is in a file, and does not where it is not.
#[test]
fn s4_5a_gate_sessions_outlive_a_reload_and_a_restart_of_the_front() {
    let without_key = config("");
    let Some(scene) = Scene::with_fronts("S4-5A-GATE: reload and restart", without_key.clone()) else { return };
    let boston = scene.lab.site("boston");
    let begin = || {
        let client = Curl::new(&scene.lab);
        let walk = client.go(&format!("http://boston.app.com/distrib={}", unix_now()));
        assert_eq!((walk.statuses(), walk.site()), (vec![200], "boston"), "{walk:?}");
        client
    };
    let client = begin();
    let changed = config("redirect = \"meta\"\n");
    let looks = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            for looks in 2..62 {
                let again = client.go("http://boston.app.com/");
                assert_eq!((again.statuses(), again.looks()), (vec![200], looks), "{again:?}");
                thread::sleep(Duration::from_millis(20));
            }
            62
        });
        for file in [&changed, &without_key, &changed] {
            boston.reload(file).expect("reload");
        }
        looking.join().expect("no request was broken")
    });
    // The new file is in force.
    let page = Curl::new(&scene.lab).ask(&["http://boston.app.com/"]).expect("curl");
    assert_eq!((page.status(), page.refresh()), (200, Some((0, "http://app.com/"))), "{page:?}");
    // A file with a mistake changes nothing.
    let broken = Config { more: "[web]\nbackends = 7\n".into(), ..without_key.clone() };
    assert!(boston.reload(&broken).is_err());
    assert_eq!(client.go("http://boston.app.com/").looks(), looks);

    without_key.write(boston.folder()).expect("write");
    boston.restart_front().expect("restart");
    let again = client.ask(&["http://boston.app.com/"]).expect("curl");
    assert_eq!((again.status(), again.hosts()), (302, vec!["app.com"]), "the key went with the process: {again:?}");

    let key = folder().expect("folder");
    let file = key.path().join("key");
    fs::write(&file, "a key of sixteen bytes, and more").expect("write");
    let with_key = config(&format!("session = {{ key = \"{}\" }}\n", file.display()));
    with_key.write(boston.folder()).expect("write");
    boston.restart_front().expect("restart");
    let client = begin();
    boston.restart_front().expect("restart");
    let again = client.go("http://boston.app.com/");
    assert_eq!((again.statuses(), again.looks()), (vec![200], 2), "the key is in a file: {again:?}");
}
