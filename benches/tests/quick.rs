//! The benchmarks run, and what they say of themselves holds; their figures are not judged here.

use benches::{Arguments, BenchPart};

/// Each part measures and reports: the counts below are what a quick run makes.
#[test]
fn a_quick_run_measures_everything() {
    if !tests::lab::can_run("the benchmarks") {
        return;
    }
    let folder = tests::scratch::folder().unwrap();
    let file = folder.path().join("figures.json");
    let minimal_server = env!("CARGO_BIN_EXE_minimal-server").into();
    let counted = env!("CARGO_BIN_EXE_instructions").into();
    let signing = env!("CARGO_BIN_EXE_signing").into();
    let json = Some(file.clone());
    let arguments = Arguments { quick: true, json, counted, minimal_server, signing, ..Arguments::default() };
    benches::run(&arguments).unwrap();
    let figures: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();

    let reflector = figures["reflector"]["instructions"].as_u64().unwrap();
    assert!((1..figures["agent"]["instructions"].as_u64().unwrap()).contains(&reflector));
    assert_eq!(figures["cost"].as_array().unwrap().len(), 4, "two sizes, with and without EDNS");
    for cost in figures["cost"].as_array().unwrap() {
        assert!(cost["answer_ns"]["median"].as_f64().unwrap() > 0.0, "{cost}");
    }
    assert_eq!(figures["rate"].as_array().unwrap().len(), 2, "two generators");
    for rate in figures["rate"].as_array().unwrap() {
        assert!(rate["agent_per_s"]["median"].as_f64().unwrap() > 0.0, "{rate}");
    }
    assert_eq!(
        figures["plan"].as_array().unwrap().len(),
        2 * 4 + 2,
        "four figures for two sizes, and two of client nets"
    );
    assert_eq!(figures["changes"].as_array().unwrap().len(), 3, "three scenes of one size");
    for changes in figures["changes"].as_array().unwrap() {
        assert!(changes["us"]["status change to published plan"]["p99"].as_f64().unwrap() > 0.0, "{changes}");
    }
    for state in ["none", "all"] {
        for what in ["CPU of making a whole plan, ms", "instructions of a round's assessment", "instructions of both"] {
            assert!(figures["sites"][state][what]["median"].as_f64().unwrap() > 0.0, "{what}: {figures}");
        }
    }
    assert_eq!(figures["kinds"].as_array().unwrap().len(), 14);
    assert_eq!(figures["web"].as_array().unwrap().len(), 4, "two kinds of work, at two loads");
    for web in figures["web"].as_array().unwrap() {
        for (what, figure) in web["figures"].as_object().unwrap() {
            assert!(figure["ratio"]["median"].as_f64().unwrap() > 0.0, "{what}: {web}");
        }
    }
    assert_eq!(figures["director"].as_object().unwrap().len(), 5, "five ways to the servers");
    for (path, path_figures) in figures["director"].as_object().unwrap() {
        assert_eq!(path_figures.as_object().unwrap().len(), 7, "{path}");
        for (what, figure) in path_figures.as_object().unwrap() {
            assert!(figure["director_by_it"]["median"].as_f64().unwrap() > 0.0, "{path}, {what}: {figure}");
        }
    }
    let sessions = &figures["sessions"];
    assert_eq!(sessions["rates"].as_object().unwrap().len(), 8, "eight ways to keep sessions");
    for (keeping, keeping_figures) in sessions["rates"].as_object().unwrap() {
        assert_eq!(keeping_figures.as_object().unwrap().len(), 6, "{keeping}");
        for (what, figure) in keeping_figures.as_object().unwrap() {
            assert!(figure["by_redis"]["median"].as_f64().unwrap() > 0.0, "{keeping}, {what}: {figure}");
        }
    }
    for (death, death_figures) in sessions["takeovers"].as_object().unwrap() {
        let figure = |what: &str| death_figures[what]["median"].as_f64().unwrap();
        assert!(figure("death to served, the last, s") > 0.0, "{death}");
        assert_eq!((figure("reads by session"), figure("reads when each is asked for again")), (1.0, 0.0), "{death}");
    }
    assert_eq!(sessions["takeovers"].as_object().unwrap().len(), 2);
    assert_eq!(sessions["memory_bytes"].as_object().unwrap().len(), 4);
    are_signed_figures(&figures["signed"]);
    are_fleet_figures(&figures["fleet"]);
    are_peers_figures(&figures["peers"]);
    are_cpus_figures(&figures["cpus"]);
    are_pages_figures(&figures["pages"]);
}

/// All that the packages of `cargo xtask setup` have must have been measured: only NSD by `AF_XDP` may be missing.
fn are_peers_figures(peers: &serde_json::Value) {
    let servers = peers["servers"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = servers.iter().filter_map(|server| server["server"].as_str()).collect();
    let expected = ["reflector", "reflector as", "zerottl", "gdnsd", "Knot", "Knot", "NSD", "PowerDNS"];
    assert!(names.len() >= expected.len(), "{peers:#}");
    for name in expected {
        assert!(names.iter().any(|server| server.starts_with(name)), "{name}: {peers:#}");
    }
    for absent in peers["absent"].as_array().into_iter().flatten() {
        assert_eq!(absent["server"], "NSD, fixed answers, AF_XDP", "{peers:#}");
    }
    for server in servers {
        for tool in ["dnsperf", "kxdpgun"] {
            for figure in ["answered_per_s", "cpu_ns_per_answer", "by_reflector", "zerottl_by_it"] {
                assert!(server["rates"][tool][figure]["median"].as_f64() > Some(0.0), "{tool}, {figure}: {server:#}");
            }
        }
        let latency = |of: &str| server["latency_us"][of]["median"].as_f64();
        assert!(latency("p50") > Some(0.0) && latency("p50") <= latency("p99"), "{server:#}");
        // TTL 0 wherever there is one.
        assert_eq!(server["ttl"].as_u64().unwrap_or(0), 0, "{server:#}");
    }
}

fn are_cpus_figures(cpus: &serde_json::Value) {
    let rows = cpus.as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(rows.len(), 4, "the reflector and zerottl, in the test run and at queues: {cpus:#}");
    for row in rows {
        assert!(row["ratio"]["median"].as_f64() > Some(0.0), "{row:#}");
    }
}

fn are_pages_figures(pages: &serde_json::Value) {
    let look_ups = pages["look_ups"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(look_ups.len(), 10, "five maps of two sizes: {pages:#}");
    for cost in look_ups {
        for figure in ["chained_ns", "free_ns", "fill_s"] {
            assert!(cost[figure]["median"].as_f64() > Some(0.0), "{figure}: {cost:#}");
        }
    }
    assert!(pages["outer_update_ms"]["median"].as_f64() > Some(0.0), "{pages:#}");
}

fn are_fleet_figures(fleet: &serde_json::Value) {
    let sites = fleet[0]["sites"].as_f64().unwrap_or_else(|| panic!("no Sites: {fleet}"));
    let modes = &fleet[0]["modes"];
    let figure =
        |mode: &str, what: &str| modes[mode][what]["median"].as_f64().unwrap_or_else(|| panic!("{what}: {fleet}"));
    for mode in ["alone", "fleet", "shared"] {
        assert!(figure(mode, "memory of an agent at rest, MiB") > 0.0, "{fleet}");
    }
    for storm in ["every Site fails", "every Site returns", "the engine returns"] {
        // Each of three fronts says something of each Site.
        assert!(figure("fleet", &format!("{storm}: keys written")) >= 3.0 * sites, "{storm}: {fleet}");
    }
    let probes = figure("shared", "probes of a target in an interval");
    assert!(probes < figure("fleet", "probes of a target in an interval"), "{fleet}");
}

fn are_signed_figures(signed: &serde_json::Value) {
    let list = |name: &str| signed[name].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(list("kinds").len(), 14);
    assert_eq!(list("rates").len(), 4, "two generators, plain and signed");
    for figures in list("kinds").iter().chain(list("rates")) {
        assert!(figures["ratio"]["median"].as_f64() > Some(0.0), "{figures}");
    }
    assert_eq!(list("signings").len(), 1);
    // Of a name: its NSEC, two that lack a type, and two addresses of three Sites.
    let signatures = 1_000.0 * (3.0 + 6.0);
    for (what, least) in
        [("signatures", signatures), ("own_bytes", 64.0 * signatures), ("map_bytes", 64.0 * signatures)]
    {
        assert!(list("signings")[0][what].as_f64() > Some(least), "{what}: {signed}");
    }
    assert_eq!(list("changes").len(), 2, "two percentiles");
}

#[test]
fn parts_are_chosen_by_name() {
    use clap::Parser as _;
    let arguments = Arguments::parse_from(["bench", "--bench", "--only", "cost", "--only", "plan"]);
    assert_eq!(arguments.only, [BenchPart::Cost, BenchPart::Plan]);
    assert!(Arguments::try_parse_from(["bench", "--only", "nothing"]).is_err());
    assert!(Arguments::parse_from(["bench", "--peers"]).peers);
    let nic = Arguments::parse_from(["bench", "--nic", "eth1", "--nic-seconds", "5"]).nic;
    assert_eq!((nic.interface.as_deref(), nic.nic_seconds, nic.yes_this_interface), (Some("eth1"), 5, false));
    assert!(Arguments::try_parse_from(["bench", "--yes-this-interface"]).is_err());
}
