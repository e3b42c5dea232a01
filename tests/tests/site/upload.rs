//! Uploads to a name that is redirected, by real clients over TLS: what they send is not wanted, and the answer reaches them.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tempfile::TempDir;
use tests::{browser::Browser, config::Config, scene::Scene, scratch::folder, walk::Curl};

const SIZES: [usize; 2] = [100_000, 1_000_000];
const TIMES: usize = 50;

/// Sends bodies of these sizes, so many times each, and says what became of those that were not answered by 307.
const REQUESTS: &str = r#"
import collections, requests, sys
trusted, times, sizes = sys.argv[1], int(sys.argv[2]), [int(size) for size in sys.argv[3:]]
seen = collections.Counter()
kept = requests.Session()
for size in sizes:
    for ask in (requests, kept):
        for _ in range(times):
            try:
                answer = ask.post("https://app.com/up", data=b"a" * size, verify=trusted, allow_redirects=False)
                seen[answer.status_code] += 1
            except requests.RequestException as error:
                seen[repr(error)[:90]] += 1
print(dict(seen))
"#;

/// A folder with a certificate for all the names, which is to be trusted itself.
fn certificates() -> TempDir {
    let folder = folder().expect("folder");
    let names = ["app.com", "*.app.com"].map(str::to_owned);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
    fs::write(folder.path().join("app.com.pem"), cert.pem() + &signing_key.serialize_pem()).expect("write");
    fs::write(folder.path().join("trusted"), cert.pem()).expect("write");
    folder
}

fn by_curl(scene: &Scene, trusted: &str, folder: &TempDir, failures: &mut Vec<String>) {
    for protocol in ["--http1.1", "--http2"] {
        let client = Curl::new(&scene.lab).with(&["--cacert", trusted, protocol]);
        for size in SIZES {
            let file = folder.path().join(size.to_string());
            fs::write(&file, vec![b'a'; size]).expect("write");
            let body = format!("@{}", file.display());
            for _ in 0..TIMES {
                match client.ask(&["--data-binary", &body, "https://app.com/up"]) {
                    Ok(walk) if walk.status() == 307 => {}
                    other => failures.push(format!("curl {protocol} {size}: {other:?}")),
                }
            }
        }
    }
}

fn by_browser(scene: &Scene, options: &[&str], failures: &mut Vec<String>) {
    let options = [&["--ignore-certificate-errors"], options].concat();
    let mut page = Browser::start_with(&scene.lab.client, &options).expect("chromium");
    // A page of the Pool Name's own, from which its uploads are of the same origin.
    page.go("https://app.com/health").expect("go");
    assert_eq!(page.value("location.host").expect("a page"), "app.com");
    for size in SIZES {
        let upload = format!(
            "(async () => {{ const failed = []; for (let i = 0; i < {TIMES}; i++) {{ \
               try {{ const answer = await fetch('/up', {{ method: 'POST', body: new Uint8Array({size}), redirect: 'manual' }}); \
                 if (answer.type !== 'opaqueredirect') failed.push(answer.status) }} \
               catch (error) {{ failed.push(String(error)) }} }} return failed }})()"
        );
        let failed = page.value(&upload).expect("uploads");
        let failed = failed.as_array().map_or(&[][..], Vec::as_slice);
        failures.extend(failed.iter().map(|why: &Value| format!("chromium {options:?} {size}: {why}")));
    }
}

/// C10, RFC 9112 section 9.6: the Pool Name answers an upload by 307 before it has read it; no client loses the answer to a
/// reset. With nginx in the place of the front none does, either.
#[test]
fn s4_5a_540_an_upload_that_is_redirected_is_answered() {
    let folder = certificates();
    let tls = format!("tls = {{ certificates = \"{}\" }}\n", folder.path().display());
    let web = format!("[web]\nbackends = [\"http://127.0.0.1:8080\"]\n{tls}");
    let Some(scene) = Scene::with_fronts("S4-5A-540: uploads", Config { more: web, ..Config::default() }) else {
        return;
    };
    let trusted = folder.path().join("trusted").display().to_string();
    let mut failures = Vec::new();
    by_curl(&scene, &trusted, &folder, &mut failures);
    let sizes = SIZES.map(|size| size.to_string());
    let times = TIMES.to_string();
    let arguments = ["-c", REQUESTS, &trusted, &times, &sizes[0], &sizes[1]];
    let said = scene.lab.client.read("/usr/bin/python3", &arguments).expect("python3 and its requests");
    if said.trim() != format!("{{307: {}}}", 4 * TIMES) {
        failures.push(format!("requests: {said}"));
    }
    by_browser(&scene, &["--disable-http2"], &mut failures);
    by_browser(&scene, &[], &mut failures);
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
