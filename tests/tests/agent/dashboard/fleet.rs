//! The panel of the fleet on the dashboard, in a real browser.

use serde_json::{Map, Value, json};
use tests::{
    browser::{Browser, Look},
    config::Config,
    fleet::{BY_ETCD, FleetScene},
};

use super::{CONTRAST, DESKTOP, PAGE, PHONE};

/// Waits for words in an element.
fn has(page: &mut Browser, selector: &str, words: &[&str]) {
    let fits = |text: &str| words.iter().all(|word| text.contains(word));
    page.wait_for(selector, fits).unwrap_or_else(|e| panic!("{words:?}: {e}"));
}

fn is_readable(page: &mut Browser) {
    let contrast = page.value(CONTRAST).expect("a number");
    assert!(contrast.as_f64().is_some_and(|ratio| ratio >= 4.5), "the poorest text has a contrast of {contrast}");
}

/// A user sees the fronts and that all is well with them; then which has another file, which refuses what, which is cut off; and
/// that the engine is away, and what that makes of the rest.
#[test]
fn the_dashboard_shows_the_fleet() {
    let config = Config { fleet: BY_ETCD.into(), ..Config::default() };
    let Some(scene) = FleetScene::start("the fleet on the dashboard", 3, 3, &config) else { return };
    let mut page = Browser::start(&scene.lab.fronts[0]).unwrap_or_else(|e| panic!("browser: {e}"));
    page.look(DESKTOP).expect("a window");
    page.go(PAGE).expect("the page");
    has(&mut page, "#fleet-engine", &["● connected", "etcd: 10.53.0.", "words of 0 Sites"]);
    for front in ["ns1", "ns2", "ns3"] {
        let row = format!("tr[data-front={front}]");
        has(&mut page, &row, &[front, "● lives", "● has all", env!("CARGO_PKG_VERSION"), "● alike"]);
    }
    let this_one = page.text("tr[data-front=ns1]").expect("a row");
    assert!(
        this_one.contains("this\u{a0}one")
            && !page.text("tr[data-front=ns2]").expect("a row").contains("this\u{a0}one")
    );

    let careful = Config { pool: "min_sites = 3".into(), ..scene.configs[2].clone() };
    careful.write(scene.agents[2].folder()).expect("written");
    scene.agents[2].zerottl(&["reload"]).expect("reloaded");
    has(&mut page, "tr[data-front=ns3]", &["▼ another"]);
    scene.agents[0].zerottl(&["drain", "boston"]).expect("drained");
    has(&mut page, "tr[data-front=ns3]", &["boston: ", "min_sites", "● has all"]);
    has(&mut page, "#fleet-engine", &["words of 1 Site, the newest at revision "]);
    scene.lab.join_front_to_sites(1, false).expect("cut");
    has(&mut page, "tr[data-front=ns2]", &["▼ cut off"]);
    assert!(page.text("tr[data-front=ns1]").expect("a row").contains("● lives"));
    for (look, dark) in [(DESKTOP, false), (DESKTOP, true), (PHONE, false), (PHONE, true)] {
        page.look(Look { dark, ..look }).expect("a window");
        let wide = page.value("document.documentElement.scrollWidth").expect("a number");
        assert_eq!(wide, json!(look.width), "it scrolls sideways");
        is_readable(&mut page);
    }

    scene.lab.join_front_to_peers(0, false).expect("cut");
    has(&mut page, "#fleet-engine", &["▼ away for ", "goes by its own probes", "as they were last seen"]);
    has(&mut page, "tr[data-front=ns3]", &["? last seen"]);
    is_readable(&mut page);
    scene.lab.join_front_to_peers(0, true).expect("joined");
    scene.lab.join_front_to_sites(1, true).expect("joined");
    has(&mut page, "#fleet-engine", &["● connected"]);
    has(&mut page, "tr[data-front=ns2]", &["● lives", "● has all", "● alike"]);
    assert_eq!(page.complaints(), Vec::<String>::new(), "nothing was refused and nothing threw");

    // What passes too quickly to be seen, or is too much to be made here.
    let refused: Map<String, Value> = (0..9).map(|site| (format!("s{site}"), json!("too few are left"))).collect();
    let front = |name: String, revision: u64, refused: &Map<String, Value>| {
        json!({ "front": name, "version": "9", "digest": "d", "is_same": true, "generation": 1, "cut_off": false,
            "revision": revision, "is_current": revision == 12, "refused": refused })
    };
    let mut fronts: Vec<Value> = (0..20).map(|number| front(format!("f{number}"), 12, &Map::default())).collect();
    fronts.push(front("late".into(), 7, &Map::default()));
    fronts.push(front("stubborn".into(), 12, &refused));
    let status = json!({ "version": "9", "sites": [], "names": [], "fleet": {
        "front": "f0", "engine": "displaced", "detail": "another front is called f0, too", "votes_count": true,
        "cut_off": false, "digest": "d", "revision": 12, "words": 3, "pending": 2, "faults": { "word/x": "garbage" },
        "fronts": fronts,
    }});
    page.look(DESKTOP).expect("a window");
    // In one turn of the script, before the next round of the real agent's.
    let look = format!("(() => {{ draw({status}, {{}}); return document.querySelector('#fleet').innerText; }})()");
    let text = page.value(&look).unwrap_or_else(|e| panic!("{e}"));
    let text = text.as_str().expect("text");
    for words in
        ["▼ its name is taken", "2 still to be told", "1 values ignored", "◆ at 7 of 12", "and 6 more", "1–6 of 22"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}
