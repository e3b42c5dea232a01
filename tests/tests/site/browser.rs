//! A real browser: Chromium, which finds the Sites by DNS from the front and follows what it is told.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use tests::{browser::Browser, config::Config, scene::Scene, walk::Held};

const WEB: &str = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\n";

/// Chromium keeps an address for a minute, whatever its TTL.
const KEPT: Duration = Duration::from_mins(1);

fn host(page: &mut Browser) -> String {
    page.value("location.host").expect("a page").as_str().unwrap_or_default().to_owned()
}

/// S4-5A-540, S4-5A-BIND, S4-5B-588, S4-5A-REPEAT, S4-2A, S4-2B: the Pool Name is opened; the browser is bound to a Site, whose links
/// and forms stay there; the Site is killed, and once the browser looks for its name again it is bound to the next.
#[test]
fn s4_5a_540_a_browser_is_bound_and_rebound() {
    let config = Config { groups: vec![], more: WEB.into(), ..Config::default() };
    let Some(scene) = Scene::with_fronts("S4-5A-540: a browser", config) else { return };
    let mut page = Browser::start(&scene.lab.client).expect("chromium");
    page.go("http://app.com/").expect("go");
    let key = page.wait_for("#site", |text| !text.is_empty()).expect("the application").to_lowercase();
    assert_eq!(host(&mut page), format!("{key}.app.com"));
    assert_eq!(page.value("location.pathname").expect("a page"), "/", "a URL to keep");
    assert_eq!(page.text("#asked").expect("text"), format!("{key}.app.com/"));
    for looks in 2..5 {
        page.value("document.querySelector('a').click()").expect("a link");
        page.wait_for("#looks", |text| text == looks.to_string()).expect("one more look");
    }
    page.value("document.querySelector('input').value = 'seven tickets'").expect("a field");
    page.value("document.querySelector('form').submit()").expect("a form");
    page.wait_for("#looks", |text| text == "5").expect("one more look");
    assert_eq!(page.value("document.querySelector('input').value").expect("a field"), "seven tickets");
    assert_eq!(host(&mut page), format!("{key}.app.com"));

    scene.lab.site(&key).kill();
    scene.wait_for(&[(&key, false)]);
    let begun = Instant::now();
    let url = format!("http://{key}.app.com/");
    // As a user would, who is shown that the server is not there.
    while page.go(&url).is_err() {
        assert!(begun.elapsed() < KEPT + Duration::from_secs(30), "{url}");
        thread::sleep(Duration::from_secs(1));
    }
    let next = page.wait_for("#site", |text| !text.is_empty() && text.to_lowercase() != key).expect("another");
    eprintln!("Chromium left the dead Site {:?} after DNS had", begun.elapsed());
    let next = next.to_lowercase();
    assert_eq!(host(&mut page), format!("{next}.app.com"));
    page.wait_for("#looks", |text| text == "1" || text == "2").expect("C32: a new session");
    assert_eq!(
        page.value("document.querySelector('input').value").expect("a field"),
        "",
        "which knows nothing of the other"
    );
    // The application's page has no icon: Chromium would ask for one in its own time, of a Site that may be dead by then.
    assert_eq!(page.complaints(), Vec::<String>::new());
}

/// A page is read while it is left for the next one: no reading fails by that.
#[test]
fn a_page_is_read_while_it_is_left() -> io::Result<()> {
    let config = Config { groups: vec![], more: WEB.into(), ..Config::default() };
    let Some(scene) = Scene::with_fronts("a browser between pages", config) else { return Ok(()) };
    let mut page = Browser::start(&scene.lab.client)?;
    page.go("http://app.com/")?;
    for looks in 2..20 {
        page.value("setTimeout(() => location.reload(), 0)")?;
        page.wait_for("#looks", |text| text == looks.to_string())?;
    }
    Ok(())
}

/// S4-5B-570, S4-5B-DEFER: the page of busy Sites needs no scripts to go on by itself, with its key, to where there is room.
#[test]
fn s4_5b_570_the_busy_page_goes_on_by_itself() -> io::Result<()> {
    let busy = "busy = { in_flight = 1, client_share = 1.0, retry = \"3s\" }\n";
    let config = Config { more: format!("{WEB}{busy}"), ..Config::default() };
    let Some(scene) = Scene::with_fronts("S4-5B-570: a browser", config) else { return Ok(()) };
    let mut held = ["geneva", "boston", "chicago"].map(|key| (key, Held::new(&scene.lab, scene.lab.site(key), 1)));
    let mut page = Browser::start(&scene.lab.client)?;
    page.scripts(false)?;
    page.go("http://app.com/a/page?b=c")?;
    page.wait_for("h1", |text| text == "All sites are busy")?;
    // The page itself waits; nobody touches it from here on.
    let at = host(&mut page);
    for (key, held) in &mut held {
        held.end_one(scene.lab.site(key));
    }
    page.wait_for("#site", |text| !text.is_empty())?;
    assert_eq!(host(&mut page), at, "the Site that gave the key");
    assert_eq!(page.text("#asked")?, format!("{at}/a/page"));
    Ok(())
}
