//! The distributor: servers, a waiting list, deaths, restarts; what clients see of them, which is nothing.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{
    director::{DirectorScene, PATIENCE, PLACE, PLACE_V6, server, shares, who},
    lab::can_load,
    process::eventually,
    server::HttpClient,
};

/// S2-1C, S2-6, S2-4: three servers take connections directly, over both families, in turn and by weight.
#[test]
fn connections_go_to_servers_directly_and_by_weight() {
    if !can_load("a director") {
        return;
    }
    let servers =
        [("a", 3), ("b", 2), ("c", 1)].map(|(name, weight)| server(name, &format!("weight = {weight}")).unwrap());
    let scene = DirectorScene::started(&servers.concat()).unwrap();
    assert_eq!(scene.page().unwrap()["kernel"], true, "{}", scene.log());
    for _ in 0..3 {
        let shares = shares(&scene, 6).unwrap();
        for (name, share) in [("a-1", 3), ("b-1", 2), ("c-1", 1)] {
            let has = shares.get(name).copied().unwrap_or_default();
            assert!(has.abs_diff(share) <= 1, "{shares:?}");
        }
    }
    // The client's own address is what the server sees: nobody is between.
    for place in [PLACE, PLACE_V6] {
        let mut client = scene.connect_to(place).unwrap();
        let (own, said) = (client.address().unwrap(), client.get("/").unwrap());
        assert!(said.contains(&own.to_string()), "{own}: {said}");
    }
    scene.stop().unwrap();
}

/// S2-3A, S2-3B, S2-3C, S2-8: a client whom no server has a place for waits; the first that came is the first that is served, in
/// milliseconds, by hand-over, and its server sees its address.
#[test]
fn who_finds_no_place_waits_and_is_served_in_order() {
    if !can_load("a director") {
        return;
    }
    let keys = "max_connections = 2\nhandover = true";
    let scene =
        DirectorScene::started(&format!("{}{}", server("a", keys).unwrap(), server("b", keys).unwrap())).unwrap();
    let mut held: Vec<_> = (0..4).map(|_| scene.connect().unwrap()).collect();
    for client in &mut held {
        who(client).unwrap();
    }
    let mut waiting: Vec<HttpClient> = Vec::new();
    for number in 1..=5 {
        let mut client = scene.connect().unwrap();
        client.ask("/").unwrap();
        waiting.push(client);
        scene.wait_for("it waits", |page| page["waiting"]["now"] == number).unwrap();
    }
    let mut took = Vec::new();
    for (number, mut client) in waiting.into_iter().enumerate() {
        drop(held.remove(0));
        let begun = Instant::now();
        let said = client.answer().unwrap();
        took.push(begun.elapsed());
        assert!(said.contains(&client.address().unwrap().to_string()), "{said}");
        scene.wait_for("one less", |page| page["waiting"]["now"] == 4 - number).unwrap();
        held.push(client);
    }
    took.sort();
    println!("from a free place to the answer: median {:?}, longest {:?}", took[2], took[4]);
    let page = scene.page().unwrap();
    assert_eq!(
        (&page["waiting"]["served_handover"], &page["waiting"]["served_relay"]),
        (&5.into(), &0.into()),
        "{page:#}"
    );
    for server in ["a-1", "b-1"] {
        assert_eq!(scene.figure(server, "live").unwrap(), 2);
    }
    scene.stop().unwrap();
}

/// S2-3C: a server that takes no connections by message gets them by a relay, which is counted as one, and the place that it
/// takes is free again afterwards.
#[test]
fn who_waited_is_relayed_to_a_server_without_hand_over() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&server("a", "max_connections = 1").unwrap()).unwrap();
    let mut held = scene.connect().unwrap();
    assert_eq!(who(&mut held).unwrap(), "a-1");
    let mut client = scene.connect().unwrap();
    client.ask("/").unwrap();
    scene.wait_for("it waits", |page| page["waiting"]["now"] == 1).unwrap();
    drop(held);
    assert!(client.answer().unwrap().starts_with("a-1"));
    assert_eq!(who(&mut client).unwrap(), "a-1");
    let page = scene.page().unwrap();
    assert_eq!((&page["waiting"]["served_relay"], &page["waiting"]["relays"]), (&1.into(), &1.into()), "{page:#}");
    assert_eq!(scene.figure("a-1", "live").unwrap(), 1);
    drop(client);
    scene
        .wait_for("the place is free", |page| page["servers"][0]["live"] == 0 && page["waiting"]["relays"] == 0)
        .unwrap();
    assert_eq!(scene.who().unwrap(), "a-1");
    scene.stop().unwrap();
}

/// Of many that wait, no more are relayed to a server at a time than it has places, although it counts each only once it is
/// there.
#[test]
fn a_relay_passes_no_cap() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&server("a", "max_connections = 2").unwrap()).unwrap();
    let mut held: Vec<HttpClient> = (0..2).map(|_| scene.connect().unwrap()).collect();
    for client in &mut held {
        who(client).unwrap();
    }
    let mut waiting: Vec<HttpClient> = (0..8).map(|_| scene.connect().unwrap()).collect();
    scene.wait_for("they wait", |page| page["waiting"]["now"] == 8).unwrap();
    for left in [6, 4, 2] {
        held.clear();
        scene.wait_for("two are served", |page| page["waiting"]["now"] == left).unwrap();
        // Whoever was let in too early would be counted by now.
        std::thread::sleep(Duration::from_millis(300));
        let page = scene.page().unwrap();
        let figures = [&page["waiting"]["now"], &page["waiting"]["relays"], &page["servers"][0]["live"]];
        assert_eq!(figures.map(|figure| figure.as_u64().unwrap()), [left, 2, 2], "{page:#}");
        held.extend(waiting.drain(..2));
        for client in &mut held {
            assert_eq!(who(client).unwrap(), "a-1");
        }
    }
    scene.stop().unwrap();
}

/// S2-3X: the list is bounded, time runs out with a Busy answer, and a client that leaves, leaves the list.
#[test]
fn the_waiting_list_is_bounded() {
    if !can_load("a director") {
        return;
    }
    let director = "waiting = { max = 2, timeout = \"2s\" }\n";
    let servers = server("a", "max_connections = 1\nhandover = true").unwrap();
    let scene = DirectorScene::started(&format!("{director}{servers}")).unwrap();
    let mut held = scene.connect().unwrap();
    who(&mut held).unwrap();
    let waits = |count: usize| scene.wait_for("they wait", |page| page["waiting"]["now"] == count).unwrap();
    let busy = |stream: &mut TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: "), "{text}");
    };
    let (gone, mut stays) = (scene.raw().unwrap(), scene.raw().unwrap());
    waits(2);
    // Full: told at once. It has sent its request, which does not become a reset.
    let mut third = scene.raw().unwrap();
    third.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    busy(&mut third);
    drop(gone);
    waits(1);
    let begun = Instant::now();
    busy(&mut stays);
    assert!(begun.elapsed() < Duration::from_secs(20));
    waits(0);
    let page = scene.page().unwrap();
    let counts = ["full", "left", "timeouts"].map(|count| page["waiting"][count].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1], "{page:#}");
    // Who held the place all the time still does.
    assert_eq!(who(&mut held).unwrap(), "a-1");
    scene.stop().unwrap();
}

/// Drained is without new connections, those that are there go on; maintenance stops the process; ready brings it back.
#[test]
fn verbs_do_what_they_say() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&server("a", "count = 2").unwrap()).unwrap();
    let mut on_one = loop {
        let mut client = scene.connect().unwrap();
        if who(&mut client).unwrap() == "a-1" {
            break client;
        }
    };
    scene.act("a-1", "drain").unwrap();
    assert_eq!(shares(&scene, 6).unwrap(), BTreeMap::from([("a-2".to_owned(), 6)]));
    assert_eq!(who(&mut on_one).unwrap(), "a-1");
    scene.act("a-1", "ready").unwrap();
    assert_eq!(shares(&scene, 6).unwrap().len(), 2);
    scene.act("a-2", "maint").unwrap();
    scene.wait_for("it has stopped", |page| page["servers"][1]["pid"].is_null()).unwrap();
    assert_eq!(shares(&scene, 4).unwrap(), BTreeMap::from([("a-1".to_owned(), 4)]));
    scene.act("a", "ready").unwrap();
    scene.wait_for("it is back", |page| page["servers"][1]["state"] == "ready").unwrap();
    let (status, body) = scene.ask("POST", "/v1/director/servers/nobody/drain").unwrap();
    assert_eq!(status, 404, "{body}");
    let (status, body) = scene.ask("POST", "/v1/director/servers/a/explode").unwrap();
    assert_eq!(status, 404, "{body}");
    scene.stop().unwrap();
}

/// A load report says without further configuration how many connections there are, and how many the servers take.
#[test]
fn its_load_is_the_sites() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&server("a", "count = 2\nmax_connections = 10").unwrap()).unwrap();
    let _held: Vec<_> = (0..5).map(|_| scene.connect().unwrap()).collect();
    scene
        .wait_for("five", |page| {
            page["servers"].as_array().unwrap().iter().filter_map(|server| server["live"].as_u64()).sum::<u64>() == 5
        })
        .unwrap();
    let report = scene.machine.read("curl", &["-sS", "http://127.0.0.1:8054/load"]).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["current"], &report["capacity"]), (&5.into(), &20.into()), "{report}");
    let metrics = scene.machine.read("curl", &["-sS", "http://127.0.0.1:8054/metrics"]).unwrap();
    assert!(metrics.contains("zerottl_director_server_state{server=\"a-1\",state=\"ready\"} 1"), "{metrics}");
    let changes = scene
        .machine
        .read(
            "curl",
            &[
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-X",
                "POST",
                "-H",
                "Content-Type: application/json",
                "http://127.0.0.1:8054/v1/director/restart",
            ],
        )
        .unwrap();
    assert_eq!(changes, "404", "who only may read changes nothing");
    scene.stop().unwrap();
}

/// A connection can be asked about.
#[test]
fn a_connection_is_explained() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&server("a", "").unwrap()).unwrap();
    let mut client = scene.connect().unwrap();
    who(&mut client).unwrap();
    let (status, body) =
        scene.ask("GET", &format!("/v1/director/explain?client={}", client.address().unwrap())).unwrap();
    let page: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &page["server"]), (200, &"a-1".into()), "{page:#}");
    let (status, body) = scene.ask("GET", "/v1/director/explain?client=10.7.0.2:1").unwrap();
    assert_eq!(status, 404, "{body}");
    let (status, body) = scene.ask("GET", "/v1/director/explain?client=me").unwrap();
    assert_eq!(status, 400, "{body}");
    scene.stop().unwrap();
}

/// A connection that waited is explained by the server that it was given to, by message and by relay.
#[test]
fn a_connection_that_waited_is_explained() {
    if !can_load("a director") {
        return;
    }
    for (keys, how) in [("handover = true", "handed over to a-1"), ("", "relayed to a-1")] {
        let servers = server("a", &format!("max_connections = 1\n{keys}")).unwrap();
        let scene = DirectorScene::started(&servers).unwrap();
        let mut held = scene.connect().unwrap();
        who(&mut held).unwrap();
        let mut client = scene.connect().unwrap();
        client.ask("/").unwrap();
        scene.wait_for("it waits", |page| page["waiting"]["now"] == 1).unwrap();
        let explained = |client: &HttpClient| {
            let path = format!("/v1/director/explain?client={}", client.address().unwrap());
            let (status, body) = scene.ask("GET", &path).unwrap();
            assert_eq!(status, 200, "{body}");
            serde_json::from_str::<serde_json::Value>(&body).unwrap()
        };
        let page = explained(&client);
        assert!(page["server"].is_null() && page.to_string().contains("0 wait before it"), "{page:#}");
        drop(held);
        client.answer().unwrap();
        let page = explained(&client);
        let last = page["why"].as_array().and_then(|why| why.last()).unwrap().as_str().unwrap();
        assert!(page["server"] == "a-1" && last.contains(how), "{page:#}");
        scene.stop().unwrap();
    }
}

/// A reload changes numbers at once, replaces what has to be another process, and takes in and out what came and went.
#[test]
fn a_reload_changes_what_it_must() {
    if !can_load("a director") {
        return;
    }
    let mut scene =
        DirectorScene::started(&format!("{}{}", server("a", "").unwrap(), server("b", "").unwrap())).unwrap();
    let (a, b) = (scene.pid("a-1").unwrap(), scene.pid("b-1").unwrap());
    let changed = [
        server("a", "weight = 3").unwrap(),
        server("b", "environment = { OTHER = \"1\" }").unwrap(),
        server("c", "").unwrap(),
    ];
    scene.write(&changed.concat()).unwrap();
    let worker = scene.worker().unwrap();
    scene.keeper().signal(Signal::HUP).unwrap();
    scene
        .wait_for("c serves and b is another", |page| {
            let servers = page["servers"].as_array().unwrap();
            let ready = servers.len() == 3 && servers.iter().all(|server| server["state"] == "ready");
            ready && servers[1]["pid"].as_i64() != Some(b.as_raw_nonzero().get().into())
        })
        .unwrap();
    assert_eq!((scene.pid("a-1").unwrap(), scene.worker().unwrap()), (a, worker), "only its weight is another");
    scene.wait_for("weight", |page| page["servers"][0]["weight"] == 3).unwrap();
    scene.write("policy = \"no-such\"\n").unwrap();
    scene.keeper().signal(Signal::HUP).unwrap();
    assert!(eventually(PATIENCE, || scene.log().contains("the configuration in force stays")), "{}", scene.log());
    scene.write(&server("c", "").unwrap()).unwrap();
    scene.keeper().signal(Signal::HUP).unwrap();
    scene.wait_for("a and b have gone", |page| page["servers"].as_array().unwrap().len() == 1).unwrap();
    assert_eq!(scene.who().unwrap(), "c-1");
    scene.stop().unwrap();
}

/// Without the rights to load programs the director hands connections over itself, and says so.
#[test]
fn without_the_kernel_connections_are_handed_over() {
    if !can_load("a director") {
        return;
    }
    // No bpffs there: as good as no right to load.
    let mut scene = DirectorScene::new("").unwrap();
    let servers = format!(
        "{}{}",
        server("a", "count = 2\nmax_connections = 1\nhandover = true\ncheck = { path = \"/\" }").unwrap(),
        server("b", "max_connections = 1\ncheck = { path = \"/\" }").unwrap(),
    );
    scene.write(&format!("pins = \"/run/zerottl-no-bpffs\"\n{servers}")).unwrap();
    scene.start().unwrap();
    let page = scene.page().unwrap();
    assert_eq!(page["kernel"], false);
    assert!(page["note"].as_str().is_some_and(|note| note.contains("/run/zerottl-no-bpffs")), "{page:#}");
    let mut held: Vec<_> = (0..3).map(|_| scene.connect().unwrap()).collect();
    let mut by: Vec<_> = held.iter_mut().map(|client| who(client).unwrap()).collect();
    let of_a = by.iter().position(|name| name == "a-1").unwrap();
    by.sort();
    assert_eq!(by, ["a-1", "a-2", "b-1"], "the last by a relay");
    let mut client = scene.connect().unwrap();
    client.ask("/").unwrap();
    scene.wait_for("it waits", |page| page["waiting"]["now"] == 1).unwrap();
    drop(held.remove(of_a));
    let said = client.answer().unwrap();
    assert!(said.contains(&client.address().unwrap().to_string()), "{said}");
    scene.stop().unwrap();
}

/// A program that is not there is said, and tried again.
#[test]
fn a_program_that_is_not_there_is_said() {
    if !can_load("a director") {
        return;
    }
    let servers =
        format!("{}[[director.server]]\nname = \"gone\"\ncommand = [\"/no/such/program\"]\n", server("a", "").unwrap());
    let mut scene = DirectorScene::new(&servers).unwrap();
    scene.launch().unwrap();
    scene
        .wait_for("the reason is shown", |page| {
            let gone = &page["servers"][1];
            gone["why"].as_str().is_some_and(|why| why.contains("/no/such/program"))
                && page["servers"][0]["state"] == "ready"
        })
        .unwrap();
    assert_eq!(scene.who().unwrap(), "a-1");
    scene.stop().unwrap();
}

/// A connection that a server gives to any other does not come back to it: it waits until another has a place, and lets those
/// behind it go first meanwhile.
#[test]
fn a_connection_given_to_any_does_not_come_back() {
    if !can_load("a director") {
        return;
    }
    let (a, b) =
        (server("a", "handover = true").unwrap(), server("b", "handover = true\nmax_connections = 1").unwrap());
    let scene = DirectorScene::started(&format!("{a}{b}")).unwrap();
    let mut held: Vec<HttpClient> = (0..4).map(|_| scene.connect().unwrap()).collect();
    let servers: Vec<String> = held.iter_mut().map(|client| who(client).unwrap()).collect();
    let at_b = servers.iter().position(|name| name == "b-1").unwrap();
    assert_eq!(scene.figure("b-1", "live").unwrap(), 1);
    // All further ones go to a, which has any number of places.
    let mut given = scene.connect().unwrap();
    given.ask("/give?to=").unwrap();
    scene.wait_for("it waits for b", |page| page["waiting"]["now"] == 1).unwrap();
    assert_eq!(scene.who().unwrap(), "a-1", "it holds up nobody");
    drop(held.remove(at_b));
    assert!(given.answer().unwrap().starts_with("b-1 "));
    let path = format!("/v1/director/explain?client={}", given.address().unwrap());
    let (_, page) = scene.ask("GET", &path).unwrap();
    assert!(page.contains("given away by a-1; ") && page.contains("handed over to b-1"), "{page}");
    scene.stop().unwrap();
}

/// A server gives a connection that is another's to it, with all that the client has sent.
#[test]
fn a_connection_is_given_to_another_server() {
    if !can_load("a director") {
        return;
    }
    let scene = DirectorScene::started(&format!(
        "{}{}",
        server("a", "handover = true").unwrap(),
        server("b", "handover = true").unwrap()
    ))
    .unwrap();
    for to in ["a-1", "b", "a", "b-1"] {
        let mut client = scene.connect().unwrap();
        let said = client
            .get(&format!("/give?to={to}"))
            .unwrap_or_else(|error: io::Error| panic!("{to}: {error}\n{}", scene.log()));
        let server = said.split(' ').next().unwrap();
        assert!(server.starts_with(to), "{to}: {said}");
        assert!(said.contains(&client.address().unwrap().to_string()), "{said}");
    }
    scene
        .wait_for("all are counted off", |page| {
            page["servers"].as_array().unwrap().iter().all(|server| server["live"] == 0)
        })
        .unwrap();
    scene.stop().unwrap();
}
