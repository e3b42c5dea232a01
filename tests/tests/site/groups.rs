//! Proper groups end to end: who comes to a Site of another group is sent on to the right one.

use tests::{
    config::Config,
    scene::Scene,
    walk::{Curl, Walk},
};

/// Each redirect is counted, so there are none that only tidy URLs.
const WEB: &str = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\nclean_url = false\n";

/// Goes to a URL as a new client, again and again, until DNS has sent one to a Site of the wrong group; each ends at
/// geneva, which is all of europe.
#[track_caller]
fn all_end_in_europe(scene: &Scene, url: &str, options: &[&str]) -> Walk {
    let mut sent_on = None;
    for _ in 0..12 {
        let walk = Curl::new(&scene.lab).with(options).go(url);
        assert_eq!(
            (walk.status(), walk.site(), walk.host()),
            (200, "geneva", "geneva.app.com"),
            "{options:?}: {walk:?}"
        );
        match walk.hosts()[..] {
            ["geneva.app.com"] => {}
            ["europe.app.com", "geneva.app.com"] => {
                assert!(!walk.locations()[0].contains("distrib"), "{walk:?}");
                sent_on = Some(walk);
            }
            _ => panic!("{options:?}: {walk:?}"),
        }
    }
    sent_on.unwrap_or_else(|| panic!("{options:?}: DNS never chose another group"))
}

/// S4-5A-530, S4-5A-545, S4-4C: a Site of the wrong group sends a client to the Group Name of its own, by header, cookie and
/// path, and the Group Name's Site binds it; who matches no rule stays where DNS sent him.
#[test]
fn s4_5a_530_rules_lead_to_the_right_group() {
    let rules = "[[web.rule]]\ngroup = \"europe.app.com\"\nheader = \"x-region: eu\"\n\
                 [[web.rule]]\ngroup = \"europe.app.com\"\ncookie = \"region=eu\"\n\
                 [[web.rule]]\ngroup = \"europe.app.com\"\npath = \"/eu\"\n";
    let config = Config { more: format!("{WEB}{rules}"), ..Config::default() };
    let Some(scene) = Scene::with_fronts("S4-5A-530: rules", config) else { return };
    all_end_in_europe(&scene, "http://app.com/a", &["-H", "x-region: eu"]);
    all_end_in_europe(&scene, "http://app.com/a", &["-b", "theme=dark; region=eu"]);
    let walk = all_end_in_europe(&scene, "http://app.com/eu/a?b=c", &[]);
    assert_eq!(walk.locations()[0], "http://europe.app.com/eu/a?b=c");
    assert_eq!(walk.shown("asked"), "geneva.app.com/eu/a");
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let walk = Curl::new(&scene.lab).with(&["-H", "x-region: us"]).go("http://app.com/europe");
        assert_eq!(walk.statuses(), [302, 200], "{walk:?}");
        met.insert(walk.site().to_owned());
    }
    assert_eq!(met.len(), 3, "{met:?}");
}

/// S4-5A-530 by client nets: DNS knows only the address that a query comes from, here another than the one that the request
/// comes from; the Site knows the client's own. A bookmark goes to the Group Name at once (S4-5A-545), and a group of which no
/// Site is up counts as none.
#[test]
fn s4_5a_530_client_nets_lead_to_the_right_group() {
    // The client's interface to the Sites; it asks DNS from 198.51.100.200 and 2001:db8:c::200.
    let nets = "clients = [\"192.0.2.200/32\", \"2001:db8:f::200/128\"]\n".to_owned();
    let config = Config { more: WEB.into(), group_keys: vec![nets], ..Config::default() };
    let Some(scene) = Scene::with_fronts("S4-5A-530: client nets", config) else { return };
    all_end_in_europe(&scene, "http://app.com/", &["-4"]);
    all_end_in_europe(&scene, "http://app.com/", &["-6"]);
    let bookmark = Curl::new(&scene.lab).go("http://boston.app.com/a");
    assert_eq!(bookmark.locations()[0], "http://europe.app.com/a");
    assert_eq!((bookmark.hosts(), bookmark.site()), (vec!["europe.app.com", "geneva.app.com"], "geneva"));
    scene.lab.site("geneva").kill();
    scene.wait_for(&[("geneva", false)]);
    // Each Site has to find out for itself that geneva is down.
    let stays = tests::process::eventually(std::time::Duration::from_secs(15), || {
        let walk = Curl::new(&scene.lab).ask(&["-L", "http://app.com/"]).unwrap_or_default();
        walk.statuses() == [302, 200] && ["boston", "chicago"].contains(&walk.site())
    });
    assert!(stays, "{:?}", Curl::new(&scene.lab).ask(&["-L", "http://app.com/"]));
}

/// S4-4C-FLAG: who was in a group has a cookie that says so, of a domain above all Sites; it leads a later request for the Pool
/// Name back to that group and, as long as it lasts, to the session there.
#[test]
fn s4_4c_flag_the_group_is_remembered() {
    let flag = "flag = { cookie = \"ZGROUP\", domain = \"app.com\", lifetime = \"1h\" }\n";
    let config = Config { more: format!("{WEB}{flag}"), ..Config::default() };
    let Some(scene) = Scene::with_fronts("S4-4C-FLAG", config) else { return };
    let client = Curl::new(&scene.lab);
    let first = client.go("http://europe.app.com/");
    assert_eq!((first.statuses(), first.site()), (vec![302, 200], "geneva"), "{first:?}");
    let flags: Vec<_> = first.hops[1].field("set-cookie").filter(|cookie| cookie.starts_with("ZGROUP=")).collect();
    assert!(matches!(flags[..], [flag] if flag.starts_with("ZGROUP=europe.app.com; Domain=app.com;")), "{flags:?}");
    let mut sent_on = 0;
    for looks in 2..14 {
        let walk = client.go("http://app.com/");
        assert_eq!((walk.status(), walk.site(), walk.looks()), (200, "geneva", looks), "{walk:?}");
        sent_on += u32::from(walk.hosts()[0] == "europe.app.com");
        let flags =
            walk.hops.iter().flat_map(|hop| hop.field("set-cookie")).filter(|cookie| cookie.starts_with("ZGROUP="));
        assert_eq!(flags.count(), 0, "it is told once");
    }
    assert!(sent_on > 0, "DNS never chose another group");
    // A later visit of a browser that was closed meanwhile: the flag alone is left.
    let later = Curl::new(&scene.lab).with(&["-b", "ZGROUP=europe.app.com"]).go("http://boston.app.com/");
    assert_eq!((later.hosts(), later.looks()), (vec!["europe.app.com", "geneva.app.com"], 1), "{later:?}");
}
