//! The reports of Sites on their load.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use zerottl_config as config;
use zerottl_core::{
    assess::{Assessor, LoadInputs},
    model::{Model, SiteId},
    plan::Planner,
    saved_state::SavedState,
    status::Assessment,
};
use zerottl_inputs::load::{BadReport, LoadStore, Report, agent_check, body, orca, push};

use super::bytes::split;

/// Two Sites whose load is pushed.
static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let site = |key: &str, last: u8| {
        format!(
            "[site.{key}]\nname = \"{key}.app.com\"\naddresses = [\"192.0.2.{last}\"]\n\
             load = {{ kind = \"push\", capacity = 100 }}\n"
        )
    };
    let text = format!(
        "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\n\
         [zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"h@app.com\"\n\
         [pool.\"app.com\"]\nsites = [\"a\", \"b\"]\npolicy = \"least-load\"\n{}{}",
        site("a", 1),
        site("b", 2)
    );
    Arc::new(config::parse("fuzz.toml", &text, Path::new("")).unwrap_or_else(|e| panic!("{e:?}")).model)
});

/// A report in one of its forms: a body, a line of words, a header, or a push. What is taken makes a plan of shares.
pub fn load(data: &[u8]) {
    let (form, bytes) = split(data);
    let store = LoadStore::new(&MODEL);
    let now = Instant::now();
    let single: fn(&[u8]) -> Result<Report, BadReport> = match form % 4 {
        0 => body::read,
        1 => agent_check::line,
        2 => orca::header,
        _ => {
            match push::push(&store, &MODEL, now, bytes) {
                Ok(_) => plans(&store, now),
                Err(error) => assert!(!error.to_string().is_empty(), "no reason"),
            }
            return;
        }
    };
    match single(bytes) {
        Ok(report) => {
            let figures = [report.current, report.target, report.capacity, report.sessions, report.at, report.factor];
            assert!(figures.into_iter().flatten().all(|figure| figure.is_finite() && figure >= 0.0), "{report:?}");
            store.report(SiteId(0), now, Ok(report));
            plans(&store, now);
        }
        Err(error) => assert!((1..1000).contains(&error.to_string().len()), "{error}"),
    }
}

/// Whatever was taken, somebody is answered.
fn plans(store: &LoadStore, now: Instant) {
    let mut assessor = Assessor::new(Arc::clone(&MODEL), &SavedState::default(), None, now);
    let verdicts = Assessment::unknown(&MODEL).health;
    let planner = Planner::new(Arc::clone(&MODEL));
    for answers in [[0, 0], [u64::from(u32::MAX), 1]] {
        let loads = LoadInputs { entries: &store.read(), answers: &answers };
        let status = assessor.assess(now + Duration::from_secs(1), &verdicts, loads);
        let plan = planner.plan(&status, 1);
        let sum: f64 = plan.shares.of[&0][0].iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{:?}", plan.shares);
    }
}

/// One input of each form and a few of their odd ones.
pub(super) fn made() -> BTreeMap<String, Vec<u8>> {
    let inputs: [(&str, u8, &str); 10] = [
        ("json", 0, r#"{"current": 412, "target": 800, "capacity": 1000, "sessions": 390, "at": 1763725200.5}"#),
        ("json-zero", 0, r#"{"current": 0, "capacity": 1e-6}"#),
        ("body-words", 0, "0%"),
        ("words", 1, "up 75% maxconn:100 # fine\n"),
        ("words-drain", 1, "drain, 0"),
        ("orca-text", 2, "TEXT cpu_utilization=0.3, application_utilization=1.2,named_metrics.q=3"),
        ("orca-json", 2, r#"JSON {"cpu_utilization": 0.3, "mem_utilization": 0.5}"#),
        ("push-one", 3, r#"{"site": "a", "current": 3, "sessions": 2}"#),
        ("push-many", 3, r#"[{"site": "a", "current": 3, "at": 7}, {"site": "b", "current": 9e14, "capacity": 1e15}]"#),
        ("push-stranger", 3, r#"{"site": "c", "current": 3}"#),
    ];
    let input = |(name, form, text): &(&str, u8, &str)| ((*name).to_owned(), [&[*form], text.as_bytes()].concat());
    inputs.iter().map(input).collect()
}
