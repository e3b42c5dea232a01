//! The dashboard, in a real browser, of a real agent in the lab.

mod fleet;

use std::{
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    thread,
    time::Duration,
};

use serde_json::json;
use tests::{
    agent::Agent,
    browser::{Browser, Look},
    config::Config,
    lab::{Lab, LabSpec, can_run},
    many,
    process::eventually,
    scene::Scene,
};

const PAGE: &str = "http://127.0.0.1:8053/";

const DESKTOP: Look = Look { width: 1280, height: 900, dark: false };
const PHONE: Look = Look { width: 360, height: 780, dark: false };

fn browser(lab: &Lab) -> Browser {
    Browser::start(&lab.fronts[0]).unwrap_or_else(|e| panic!("browser: {e}"))
}

fn ask(scene: &Scene, count: usize) {
    let client = scene.client(false);
    for _ in 0..count {
        client.lookup("app.com", false).expect("an answer");
    }
}

/// A user sees Sites with their states, shares as answered, the reason of a Site's absence, and, once the agent
/// has gone, that it has, since when, and that the rest is old. Nothing is fetched from elsewhere, no policy is broken.
#[test]
fn the_dashboard_shows_what_the_agent_knows() {
    let Some(scene) = Scene::start("the dashboard in a browser", Config::default()) else { return };
    let mut page = browser(&scene.lab);
    page.look(DESKTOP).expect("a window");
    page.go(PAGE).expect("the page");
    page.wait_for("#alerts", |text| text.contains("All 3 Sites are up")).unwrap_or_else(|e| panic!("{e}"));
    for key in ["geneva", "boston", "chicago"] {
        let row = page.text(&format!("tr[data-site={key}]")).expect("a row");
        assert!(row.contains(key) && row.contains("● up"), "{row}");
        assert!(row.contains(&scene.address(key, false).to_string()), "{row}");
    }
    let shares = page.text("article[data-name='app.com'] .legend").expect("a legend");
    for (site, share) in scene.agent.status().expect("a status").shares("app.com") {
        assert!(shares.contains(&format!("{site} {:.1}%", share * 100.0)), "{site} {share}: {shares}");
    }
    assert!(page.text("#tiles").expect("tiles").contains("eth0 native"));
    assert_eq!(page.text("#fleet").expect("hidden"), "", "a front that is alone has no fleet");
    ask(&scene, 50);
    page.wait_for("#reasons", |text| text.contains("answer-a")).unwrap_or_else(|e| panic!("{e}"));
    page.wait_for("#traffic", |text| !text.contains("at most 1 in")).expect("answers are counted by the second");

    // A Site dies: its state, why, and where its share and its name went.
    scene.lab.site("boston").kill();
    page.wait_for("tr[data-site=boston]", |text| text.contains("▼ down")).unwrap_or_else(|e| panic!("{e}"));
    let row = page.wait_for("tr[data-site=boston]", |text| text.contains("connection refused")).expect("a reason");
    assert!(row.contains(&format!("{}: connect: connection refused", scene.address("boston", false))), "{row}");
    page.wait_for("#alerts", |text| text.contains("1 of 3 Sites is down: boston")).unwrap_or_else(|e| panic!("{e}"));
    page.wait_for("article[data-name='app.com'] .legend", |text| text.contains("boston 0.0%")).expect("its share went");
    let name = page.text("#failover tr[data-name='boston.app.com']").expect("a row");
    assert!(name.contains("chicago 100.0%"), "{name}");
    // The past is there, not only the moment: both shares are drawn.
    let drawn = page.value("document.querySelectorAll(\"article[data-name='app.com'] svg.area path\").length");
    assert_eq!(drawn.expect("a number"), json!(6), "A and AAAA of three Sites");
    let states = "[...document.querySelectorAll('tr[data-site=boston] svg.strip rect')].map((rect) => rect.className.baseVal).join(' ')";
    // The past is asked for every other second.
    let drawn = || {
        let classes = page.value(states).expect("classes");
        classes.as_str().is_some_and(|text| text.contains("f-up") && text.ends_with("f-down"))
    };
    assert!(eventually(Duration::from_secs(20), drawn), "{:?}", page.value(states));

    // At a phone's width nothing sticks out, in either taste.
    for dark in [false, true] {
        page.look(Look { dark, ..PHONE }).expect("a window");
        let wide = page.value("document.documentElement.scrollWidth").expect("a number");
        assert_eq!(wide, json!(PHONE.width), "it scrolls sideways");
    }
    let contrast = page.value(CONTRAST).expect("a number");
    assert!(contrast.as_f64().is_some_and(|ratio| ratio >= 4.5), "the poorest text has a contrast of {contrast}");
    page.look(DESKTOP).expect("a window");
    let contrast = page.value(CONTRAST).expect("a number");
    assert!(contrast.as_f64().is_some_and(|ratio| ratio >= 4.5), "the poorest text has a contrast of {contrast}");
    assert_eq!(page.complaints(), Vec::<String>::new(), "nothing was refused and nothing threw");

    let Scene { agent, lab, .. } = scene;
    drop(agent);
    let gone = page.wait_for("#gone", |text| text.contains("has not answered since")).unwrap_or_else(|e| panic!("{e}"));
    assert!(gone.contains("The agent does not answer") && gone.contains("What is below is from then"), "{gone}");
    assert!(
        page.value("document.querySelector('#content').classList.contains('old')").expect("a value") == json!(true)
    );
    drop(lab);
}

/// With 200 Sites and 500 names the page still fits three screens, at a desk and on a phone, those in trouble come first, and
/// everything can be found. It was 29,567 pixels high once, 75,142 on a phone.
#[test]
fn two_hundred_sites_fit_three_screens() {
    if !can_run("the dashboard with 200 Sites") {
        return;
    }
    let lab = Lab::start(&LabSpec::default()).expect("lab");
    let agent = Agent::start(&lab, 0, &many::config()).unwrap_or_else(|e| panic!("{e}"));
    agent.post("/v1/sites/word", r#"{"sites":"site150","word":"drain","reason":"a disk","by":"eve"}"#).expect("said");
    let mut page = browser(&lab);
    for look in [Look { width: 1400, height: 900, dark: false }, Look { width: 400, height: 800, dark: false }] {
        page.look(look).expect("a window");
        page.go(PAGE).expect("the page");
        page.wait_for("#alerts", |text| text.contains("site150: Drained")).unwrap_or_else(|e| panic!("{e}"));
        page.wait_for("#traffic", |text| !text.is_empty()).expect("drawn");
        let height =
            page.value("document.documentElement.scrollHeight").expect("a number").as_u64().unwrap_or(u64::MAX);
        println!("{} × {}: {height} pixels high", look.width, look.height);
        assert!(height <= 3 * u64::from(look.height), "{height} pixels at {look:?}");
        assert_eq!(page.value("document.documentElement.scrollWidth").expect("a number"), json!(look.width));
        assert_eq!(page.value("document.querySelector('#sites-body tr').dataset.site").expect("a row"), "site150");
    }
    // What is not on the first page is found, by turning or by searching.
    page.value("document.querySelector('#sites-pager button:last-child').click()").expect("turned");
    page.wait_for("#sites-pager", |text| text.contains("of 200") && !text.contains("1–"))
        .unwrap_or_else(|e| panic!("{e}"));
    let search =
        "const f = document.querySelector('#filter'); f.value = 'site177'; f.dispatchEvent(new Event('input'))";
    page.value(search).expect("searched");
    page.wait_for("tr[data-site=site177]", |text| text.contains("10.0.0.178")).unwrap_or_else(|e| panic!("{e}"));
    // A large pool is drawn by its largest shares and the rest, both families.
    page.value("document.querySelector('#filter').value = ''; document.querySelector('#filter').dispatchEvent(new Event('input'))").expect("cleared");
    let card = page.wait_for("article[data-name='app.com']", |text| text.contains("the other")).expect("a card");
    assert!(card.lines().count() < 20, "{card}");
    let charts = page.value("document.querySelectorAll(\"article[data-name='app.com'] svg.area\").length");
    assert_eq!(charts.expect("a number"), json!(2), "A and AAAA");
    assert_eq!(page.complaints(), Vec::<String>::new());
}

/// The poorest contrast (WCAG 2, 1.4.3) of any text on the page against what is behind it.
const CONTRAST: &str = r"(() => {
  const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let poorest = 21;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest('svg, script, noscript')) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    poorest = Math.min(poorest, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return poorest;
})()";

/// Markup in whatever the agent says is shown as text; so are words of the operator that this page has never seen.
#[test]
fn markup_is_text() {
    let Some(scene) = Scene::start("hostile texts on the dashboard", Config::default()) else { return };
    let mut page = browser(&scene.lab);
    page.go(PAGE).expect("the page");
    page.wait_for("#alerts", |text| text.contains("All 3 Sites are up")).unwrap_or_else(|e| panic!("{e}"));
    let evil = "</td><script>window.evil=1</script><img src=x onerror=window.evil=1>'\"&amp;";
    let status = json!({
        "version": evil, "uptime_s": 1, "front": { "attach": [{ "interface": evil, "mode": evil, "note": evil }], "roles": [evil] },
        "plan": { "generation": 1, "age_s": 1 },
        "sites": [{
            "key": evil, "name": evil, "up": true, "state": evil, "weight": 1, "word": { "what": "drain", "by": evil, "reason": evil, "age_s": 5 },
            "addresses": [{ "answer": evil, "probe": evil, "health": evil, "live": false, "since_s": 1, "last_error": evil }],
        }],
        "names": [{ "name": evil, "kind": "pool", "served": true, "policy": evil,
            "a": { "choice": "table", "from": evil, "shares": { evil: 1.0 } }, "aaaa": { "choice": evil, "from": evil, "shares": {} } }],
        "reasons": { evil: { "action": evil, "count": 1 } }, "alarms": [{ "message": evil }],
        "fleet": {
            "front": evil, "engine": evil, "detail": evil, "votes_count": true, "digest": evil, "words": 1, "revision": 1,
            "fronts": [{ "front": evil, "version": evil, "digest": evil, "generation": 1, "is_current": false, "revision": evil, "refused": { evil: evil } }],
        },
        "refusal": { "age_s": 1, "message": evil },
    });
    let history = json!({
        "step_s": 1, "span_s": 600, "sites": [evil], "names": [{ "name": evil, "kind": evil }], "traffic": [],
        "runs": [{ "steps": 1, "began_s": 1, "states": [evil], "shares": [{ evil: 1.0 }] }],
    });
    // Drawn and looked at in one turn of the script, before the next round of the real agent's.
    let look = format!(
        "(() => {{ draw({status}, {history}); return {{ text: document.body.innerText, evil: window.evil || 0, \
         elements: document.querySelectorAll('td script, td img, p script, p img, main script, main img').length }}; }})()"
    );
    let seen = page.value(&look).unwrap_or_else(|e| panic!("{e}"));
    let text = seen["text"].as_str().unwrap_or_default();
    assert!(text.matches(evil).count() >= 18, "shown as it is: {text}");
    assert!(text.contains(&format!("Drained by {evil} 5 s ago: {evil}")), "{text}");
    assert_eq!((&seen["evil"], &seen["elements"]), (&json!(0), &json!(0)));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(page.value("window.evil || 0").expect("a value"), json!(0));
}

/// Where the agent asks for a token the page does, and without scripts it says where else to look.
#[test]
fn the_page_asks_for_the_token_and_works_without_scripts() {
    if !can_run("the dashboard with a token") {
        return;
    }
    let lab = Lab::start(&LabSpec { sites: vec![], ..LabSpec::default() }).expect("lab");
    let folder = lab.folder("token").expect("a folder");
    let file = folder.join("token");
    std::fs::write(&file, "correct-horse-battery\n").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("set");
    let config = Config {
        probe: None,
        admin: format!("listen = \"0.0.0.0:8053\"\ntoken_file = {:?}", file.display().to_string()),
        ..Config::default()
    };
    let _agent = Agent::start(&lab, 0, &config).unwrap_or_else(|e| panic!("{e}"));
    // From the client's machine: not loopback.
    let front = tests::lab::front_v4(0);
    assert_ne!(IpAddr::from(front), IpAddr::from(Ipv4Addr::LOCALHOST));
    let url = format!("http://{front}:8053/");
    let refused = lab.client.read("curl", &["-sS", "--max-time", "5", &format!("{url}v1/status")]).expect("an answer");
    assert!(refused.contains("asks for its token"), "{refused}");
    let mut page = Browser::start(&lab.client).unwrap_or_else(|e| panic!("browser: {e}"));
    page.go(&url).expect("the page");
    page.wait_for("#token", |text| text.contains("This agent asks for its token")).unwrap_or_else(|e| panic!("{e}"));
    let say = |word: &str| {
        format!(
            "document.querySelector('#token-word').value = '{word}'; document.querySelector('#token-form').requestSubmit()"
        )
    };
    page.value(&say("another-horse-battery")).expect("said");
    page.wait_for("#token-wrong", |text| text == "That is not the token.").unwrap_or_else(|e| panic!("{e}"));
    page.value(&say("correct-horse-battery")).expect("said");
    page.wait_for("#alerts", |text| text.contains("All 3 Sites are up")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(page.text("#token").expect("hidden"), "");

    page.scripts(false).expect("off");
    page.go(&url).expect("the page");
    page.wait_for("noscript", |text| text.contains("zerottl status")).unwrap_or_else(|e| panic!("{e}"));
}
