//! `[state]`, minimum, capacity and damping.

use std::{path::Path, time::Duration};

use super::*;
use zerottl_core::model::{Damping, Minimum};

fn model(from: &str, to: &str) -> Model {
    parse("f", &changed(from, to), &examples()).expect("valid").model
}

#[test]
fn defaults() {
    let model = model("ttl = 0", "ttl = 0");
    assert_eq!(model.state, Path::new("/var/lib/zerottl"));
    assert_eq!(model.pools[0].minimum, Minimum { sites: 1, capacity: 0.0 });
    let ten =
        Damping { hold_down: Duration::from_secs(10), max: Duration::from_mins(5), window: Duration::from_mins(2) };
    assert_eq!((model.sites[0].damping, model.sites[0].capacity), (ten, None));
}

#[test]
fn values_are_taken() {
    let model = model("ttl = 0", "ttl = 0\nmin_sites = 2\nmin_capacity = 0.5");
    assert_eq!(model.pools[0].minimum, Minimum { sites: 2, capacity: 0.5 });
    let site =
        self::model("weight = 2", "capacity = 400\nhold_down = \"0s\"\nhold_down_max = \"1h\"\nflap_window = \"5m\"");
    let damping = Damping { hold_down: Duration::ZERO, max: Duration::from_hours(1), window: Duration::from_mins(5) };
    assert_eq!((site.sites[0].damping, site.sites[0].capacity), (damping, Some(400.0)));
    // A long hold_down alone is its own maximum.
    let site = self::model("weight = 2", "hold_down = \"1h\"\nhold_down_max = \"1h\"");
    assert_eq!(site.sites[0].damping.max, Duration::from_hours(1));
    let relative = parse("f", &format!("{BASE}\n[state]\ndirectory = \"kept\""), &examples()).expect("valid").model;
    assert_eq!(relative.state, examples().join("kept"));
}

#[test]
fn what_is_out_of_range_is_told() {
    let pool = "f:15:1: error: [pool.\"app.com\"]: ";
    check(
        "ttl = 0",
        "min_sites = 3",
        &[
            "f:15:13: error: [pool.\"app.com\"]: `min_sites` is 3, and the pool has 2 Sites (give 0 to 2; 0 is no minimum)",
        ],
    );
    check(
        "ttl = 0",
        "min_sites = -1",
        &["f:15:13: error: [pool.\"app.com\"]: `min_sites` is -1, out of range (give 0 to 4294967295 Sites)"],
    );
    let share = "(give 0 to 1, the share of the pool's capacity that must be left; 0 is no minimum)";
    for bad in ["1.5", "nan"] {
        let line = format!(
            "{}`min_capacity` is {}, out of range {share}",
            pool.replace("15:1", "15:16"),
            bad.replace("nan", "NaN")
        );
        check("ttl = 0", &format!("min_capacity = {bad}"), &[&line]);
    }
    let capacity = "(give a number over 0: how much load the Site can take, in any unit that all Sites share)";
    for bad in ["0", "-2", "inf"] {
        let line = format!("f:25:12: error: [site.boston]: `capacity` is {bad}, out of range {capacity}");
        check("weight = 2", &format!("capacity = {bad}"), &[&line]);
    }
    check(
        "weight = 2",
        "hold_down = \"10m\"",
        &["f:21:7: error: [site.boston]: `hold_down_max` 5m is below `hold_down` 10m (give at least \"10m\")"],
    );
    check(
        "weight = 2",
        "hold_down = \"25h\"",
        &[
            "f:25:13: error: [site.boston]: `hold_down` is 25h, out of range (give \"0s\" to \"24h\", with the unit ms, s, m or h)",
        ],
    );
    check(
        "weight = 2",
        "flap_window = \"0s\"",
        &[
            "f:25:15: error: [site.boston]: `flap_window` is 0s, out of range (give \"1s\" to \"24h\", with the unit ms, s, m or h)",
        ],
    );
    check(
        "weight = 2",
        "hold_down = 5",
        &[
            "f:25:13: error: [site.boston]: `hold_down` is of a wrong type: integer `5`, expected a string (a duration is a text with its unit: \"500ms\", \"1s\", \"2m\")",
        ],
    );
    check(
        "listen = \"127.0.0.1:8053\"",
        "listen = \"127.0.0.1:8053\"\n[state]\ndirectory = \"\"",
        &[
            "f:9:13: error: [state]: `directory` is not a path (give a directory that the agent may write to, such as \"/var/lib/zerottl\")",
        ],
    );
}
