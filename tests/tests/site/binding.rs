//! The Site end to end: DNS chooses it, operation 500 binds the client to it, and its death sets the client free.

use tests::{
    config::Config,
    lab::LabSpec,
    resolver::{ResolverKind, start_on},
    scene::Scene,
    site::Serves,
    walk::{Curl, unix_now},
};

/// `[web]` of all Sites: the application behind the front.
/// Each redirect is counted, so there are none that only tidy URLs.
const WEB: &str = "[web]\nbackends = [\"http://127.0.0.1:8080\"]\nclean_url = false\n";

fn config(web: &str) -> Config {
    Config { more: format!("{WEB}{web}"), ..Config::default() }
}

/// Walks from the Pool Name until a Site is met that is as asked for.
#[track_caller]
fn bound_to<'a>(scene: &'a Scene, key: &str) -> Curl<'a> {
    for _ in 0..40 {
        let client = Curl::new(&scene.lab);
        if client.go("http://app.com/").site() == key {
            return client;
        }
    }
    panic!("{key} was never chosen");
}

/// S4-5A-BIND, S4-5A-540, S4-5A-535, S4-5B-588, S4-5A-GATE, S4-2A, S4-2B: the Pool Name leads by one redirect to the name
/// of the Site that DNS chose, where a session begins; what follows stays there and is not redirected, whatever DNS
/// would choose now. Each Site is met.
#[test]
fn s4_5a_bind_the_pool_name_leads_to_a_site_and_its_session_stays() {
    let Some(scene) = Scene::with_fronts("S4-5A-BIND: from the Pool Name", config("")) else { return };
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let client = Curl::new(&scene.lab);
        let began = unix_now();
        let walk = client.go("http://app.com/a/page?b=c%2Fd");
        assert_eq!(walk.statuses(), [302, 200], "{walk:?}");
        let site = walk.site().to_owned();
        let name = format!("{site}.app.com");
        let stamp = walk.url.strip_prefix(&format!("http://{name}/a/page/distrib=")).expect("the Site's URL");
        let at: u64 = stamp.strip_suffix("?b=c%2Fd").and_then(|at| at.parse().ok()).expect("a time alone");
        assert!((began..=unix_now()).contains(&at), "{walk:?}");
        assert_eq!(walk.hops[0].field("cache-control").collect::<Vec<_>>(), ["no-store"]);
        assert_eq!(walk.hops[1].field("set-cookie").filter(|cookie| cookie.starts_with("ZSESSION=")).count(), 1);
        // The application is asked under the Site's name, and sees no marker.
        assert_eq!((walk.shown("asked"), walk.looks()), (format!("{name}/a/page").as_str(), 1));
        let again = client.go(&format!("http://{name}/"));
        assert_eq!((again.statuses(), again.site(), again.looks()), (vec![200], site.as_str(), 2));
        if met.insert(site.clone()) {
            for looks in 3..23 {
                let again = client.go(&walk.url);
                assert_eq!((again.statuses(), again.site(), again.looks()), (vec![200], site.as_str(), looks));
                assert_eq!(again.shown("began"), walk.shown("began"));
            }
        }
        if met.len() == 3 {
            return;
        }
    }
    panic!("only {met:?} were chosen");
}

/// S4-5A-REPEAT, S4-2C, C32: a Site dies in session. Its name fails over by DNS; the next Site is asked for another's
/// name, binds the client to its own, and begins a session that knows nothing of the one before. When the dead Site is back,
/// its name is its own again, and what it had in memory is gone.
#[test]
fn s4_5a_repeat_a_dead_sites_client_is_bound_to_the_next() {
    let Some(scene) = Scene::with_fronts("S4-5A-REPEAT: rebinding", config("")) else { return };
    let client = bound_to(&scene, "boston");
    for looks in 2..5 {
        assert_eq!(client.go("http://boston.app.com/").looks(), looks);
    }
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    // Boston's group is americas: chicago is next.
    let walk = client.go("http://boston.app.com/cart?item=7");
    assert_eq!((walk.statuses(), walk.hosts()), (vec![302, 200], vec!["chicago.app.com"]), "{walk:?}");
    assert!(walk.url.starts_with("http://chicago.app.com/cart/distrib=") && walk.url.ends_with("?item=7"), "{walk:?}");
    assert_eq!((walk.site(), walk.looks()), ("chicago", 1), "another session");
    let again = client.go("http://chicago.app.com/");
    assert_eq!((again.statuses(), again.looks()), (vec![200], 2));

    scene.lab.site("boston").restart().expect("restart");
    scene.wait_for(&[("boston", true)]);
    let again = client.go("http://chicago.app.com/");
    assert_eq!((again.statuses(), again.looks()), (vec![200], 3), "it stays where it is");
    // The old session was signed by a process that is gone: its name is a bookmark, and goes back to load balancing.
    let bookmark = client.go("http://boston.app.com/");
    assert_eq!((bookmark.hops[0].status, bookmark.hosts()[0]), (302, "app.com"), "{bookmark:?}");
    assert_eq!(bookmark.status(), 200);
}

/// S4-2C: a Site whose application is gone is down, although its front answers: the probe's question goes through to the
/// application. Its clients are bound to the next; and a Site that says nothing at all is left as well.
#[test]
fn s4_2c_a_site_without_its_application_is_down() {
    let Some(scene) = Scene::with_fronts("S4-2C: the application alone dies", config("")) else { return };
    let client = bound_to(&scene, "boston");
    let boston = scene.lab.site("boston");
    boston.kill_application();
    let without = client.ask(&["http://boston.app.com/"]).expect("curl");
    assert!([502, 503].contains(&without.status()), "its front answers, but with no page: {without:?}");
    scene.wait_for(&[("boston", false)]);
    let walk = client.go("http://boston.app.com/");
    assert_eq!((walk.hosts(), walk.site(), walk.looks()), (vec!["chicago.app.com"], "chicago", 1), "{walk:?}");
    boston.restart().expect("restart");
    scene.wait_for(&[("boston", true)]);
    scene.lab.site("chicago").hang(true).expect("stop");
    scene.wait_for(&[("chicago", false)]);
    let walk = client.go("http://chicago.app.com/");
    assert_eq!((walk.hosts(), walk.site(), walk.looks()), (vec!["boston.app.com"], "boston", 1), "{walk:?}");
}

/// S4-5A-545, S4-5A-515, S4-5A-520, C6: who comes to a Site Name without a session, or with a marker of long ago, has not been
/// through load balancing, and is sent there; without groups that is the Pool Name. The URL is otherwise as it was.
#[test]
fn s4_5a_545_bookmarks_go_back_through_load_balancing() {
    let Some(scene) = Scene::with_fronts("S4-5A-545: bookmarks", config("")) else { return };
    let old = unix_now() - 3600;
    for (bookmark, first) in [
        ("http://boston.app.com/a?b".to_owned(), "http://app.com/a?b".to_owned()),
        // Only the count of such redirects is left of it, in case the clocks are to blame.
        (format!("http://boston.app.com/a/distrib={old}?b"), "http://app.com/a/distrib=0+++1?b".to_owned()),
        (
            format!("http://boston.app.com/a/distrib={old}+geneva.app.com?b"),
            "http://app.com/a/distrib=0+++1?b".to_owned(),
        ),
    ] {
        let walk = Curl::new(&scene.lab).go(&bookmark);
        // Who was redirected for a marker's sake is shown a URL without one in the end (C18).
        let tidied: &[u16] = if bookmark.contains("distrib") { &[303, 303] } else { &[] };
        assert_eq!(walk.statuses(), [&[302, 302], tidied, &[200]].concat(), "{bookmark}: {walk:?}");
        assert_eq!(walk.locations()[0], first, "{bookmark}");
        let name = format!("{}.app.com", walk.site());
        assert!(
            walk.locations()[1].starts_with("http://") && walk.hosts()[1].starts_with(&name),
            "{bookmark}: {walk:?}"
        );
        assert_eq!(walk.shown("asked").split_once('/').map(|(_, path)| path), Some("a"), "{bookmark}");
    }
}

/// S4-5A-NOGROUPS: without Group Names every Site is of the proper group, and the Pool Name stands for the groups'.
#[test]
fn s4_5a_nogroups_the_pool_name_stands_for_the_groups() {
    let config = Config { groups: vec![], ..config("") };
    let Some(scene) = Scene::with_fronts("S4-5A-NOGROUPS", config) else { return };
    for key in ["geneva", "boston", "chicago"] {
        let client = bound_to(&scene, key);
        let again = client.go(&format!("http://{key}.app.com/"));
        assert_eq!((again.statuses(), again.looks()), (vec![200], 2));
        let bookmark = Curl::new(&scene.lab).go(&format!("http://{key}.app.com/"));
        assert_eq!((bookmark.statuses(), bookmark.hosts()[0]), (vec![302, 302, 200], "app.com"), "{bookmark:?}");
    }
    // The pool's order: geneva, boston, chicago, and round.
    let client = bound_to(&scene, "chicago");
    scene.lab.site("chicago").kill();
    scene.wait_for(&[("chicago", false)]);
    let walk = client.go("http://chicago.app.com/");
    assert_eq!((walk.hosts(), walk.site()), (vec!["geneva.app.com"], "geneva"), "{walk:?}");
}

/// S4-C15 and S4-C30: with a resolver between that keeps answers whatever their TTL, who is bound stays bound, and lookups of the Pool Name
/// that all give one Site do no harm to whoever is bound to another.
#[test]
fn s4_c15_a_resolver_that_keeps_answers_leaves_clients_bound() {
    let Some(scene) = Scene::with_fronts("S4-C15: bound, whatever a resolver keeps", config("")) else { return };
    let bound = bound_to(&scene, "boston");
    let other = bound_to(&scene, "geneva");
    let folder = scene.lab.folder("resolv").expect("folder");
    let _unbound = start_on(&scene.lab, &scene.lab.client, ResolverKind::Unbound, "cache-min-ttl: 4");
    scene.lab.client.resolve_by(&[[127, 0, 0, 1].into()], &folder).expect("resolv.conf");
    for looks in 2..42 {
        for (client, key) in [(&bound, "boston"), (&other, "geneva")] {
            let again = client.go(&format!("http://{key}.app.com/"));
            assert_eq!((again.statuses(), again.site(), again.looks()), (vec![200], key, looks));
        }
    }
    // The Pool Name is one Site's for seconds; each client that comes is bound to it, by its own name.
    let first = Curl::new(&scene.lab).go("http://app.com/");
    assert_eq!(first.statuses(), [302, 200]);
    // Boston dies; while the resolver keeps its address nobody is there, and then the client is bound to the next.
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let moved = tests::process::eventually(std::time::Duration::from_secs(15), || {
        bound.ask(&["-L", "http://boston.app.com/"]).is_ok_and(|walk| walk.site() == "chicago")
    });
    assert!(moved, "{:?}", bound.ask(&["-L", "http://boston.app.com/"]));
}

/// S4-B-FORM: the same as a layer in the application's own process, which says itself what a session is.
#[test]
fn s4_b_form_operation_500_as_a_layer_in_the_example() {
    let config = config("");
    let serves = Serves::Layer(Box::new(config.clone()));
    let spec = LabSpec { serves, ..LabSpec::default() };
    let Some(scene) = Scene::in_lab("S4-B-FORM: the example application", &spec, config) else { return };
    let client = bound_to(&scene, "boston");
    let again = client.go("http://boston.app.com/");
    assert_eq!((again.statuses(), again.shown("asked")), (vec![200], "boston.app.com/"));
    let looks = again.looks();
    assert_eq!(client.go("http://boston.app.com/").looks(), looks + 1);
    assert_eq!(
        client.ask(&["http://unknown.example/", "--connect-to", "::boston.app.com:"]).expect("curl").status(),
        421
    );
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let walk = client.go("http://boston.app.com/");
    assert_eq!((walk.site(), walk.host()), ("chicago", "chicago.app.com"), "{walk:?}");
    // The application is not shown the marker that the URL has.
    assert!(walk.url.starts_with("http://chicago.app.com/distrib="), "{walk:?}");
    assert_eq!((walk.shown("asked"), walk.looks()), ("chicago.app.com/", 1));
}
