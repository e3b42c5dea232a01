//! Loads at one moment, as configurations and Sites' reports give them.
#![expect(clippy::float_cmp, reason = "sums and products of few binary digits are exact")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use zerottl_config as config;
use zerottl_core::{
    assess::{Assessor, LoadInputs},
    model::SiteId,
    saved_state::SavedState,
    status::{AdminState, Assessment, Health, Verdicts},
};
use zerottl_inputs::load::{LoadStore, Report, agent_check};

/// Three Sites: one whose load is pushed, with `load` for the rest of its table; one by agent check; one that says nothing.
struct Scene {
    load_store: LoadStore,
    assessor: Assessor,
    begin: Instant,
    answers: Vec<u64>,
    verdicts: Verdicts,
}

impl Scene {
    fn new(pool: &str, load: &str) -> Self {
        Self::with(pool, load, "")
    }

    /// With boston's `load_per_answer` set.
    fn set(per_answer: f64) -> Self {
        Self::with("", "", &format!(", load_per_answer = {per_answer:?}"))
    }

    fn with(pool: &str, load: &str, of_boston: &str) -> Self {
        let text = format!(
            r#"
[front]
interfaces = ["eth0"]
addresses = ["203.0.113.53"]
[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "h@app.com"
[pool."app.com"]
sites = ["boston", "chicago", "geneva"]
{pool}
[site.boston]
name = "boston.app.com"
addresses = ["192.0.2.1"]
probe = {{ kind = "tcp", port = 1 }}
load = {{ kind = "push", capacity = 100, stale_after = "10s"{load}{of_boston} }}
[site.chicago]
name = "chicago.app.com"
addresses = ["192.0.2.2"]
load = {{ kind = "agent-check", port = 9, stale_after = "10s"{load} }}
[site.geneva]
name = "geneva.app.com"
addresses = ["192.0.2.3"]
"#
        );
        let loaded = config::parse("test", &text, Path::new("")).map_err(|error| error.plain()).unwrap();
        let model = Arc::new(loaded.model);
        let verdicts = [[Health::Up]; 3].into_iter().collect();
        let begin = Instant::now();
        let (load_store, assessor) =
            (LoadStore::new(&model), Assessor::new(model, &SavedState::default(), None, begin));
        Self { load_store, assessor, begin, answers: vec![0; 3], verdicts }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.begin + Duration::from_secs(seconds)
    }

    fn says(&self, seconds: u64, current: f64) {
        let report = Report { current: Some(current), ..Report::default() };
        self.load_store.report(SiteId(0), self.at(seconds), Ok(report));
    }

    fn line(&self, seconds: u64, line: &str) {
        self.load_store.report(SiteId(1), self.at(seconds), agent_check::line(line.as_bytes()));
    }

    fn assess(&mut self, seconds: u64) -> Assessment {
        let now = self.at(seconds);
        let loads = LoadInputs { entries: &self.load_store.read(), answers: &self.answers };
        self.assessor.assess(now, &self.verdicts, loads)
    }

    /// boston's load, debits included, and what one answer is thought to add.
    fn boston(&mut self, seconds: u64) -> (Option<f64>, f64) {
        let boston = self.assess(seconds).sites[0];
        (boston.load.map(|load| load.current), boston.self_report.per_answer)
    }
}

/// S4-3A-320: answers are debited until the next report, which knows better; and only then.
#[test]
fn s4_3a_320_answers_are_debited_until_the_next_report() {
    let mut scene = Scene::set(0.5);
    scene.says(0, 10.0);
    assert_eq!(scene.boston(0), (Some(10.0), 0.5));
    scene.answers[0] = 100;
    assert_eq!(scene.boston(1), (Some(60.0), 0.5));
    scene.answers[0] = 120;
    assert_eq!(scene.boston(2), (Some(70.0), 0.5));
    scene.says(3, 12.0);
    assert_eq!(scene.boston(3), (Some(12.0), 0.5), "the report has them");
    // The program was loaded anew: counts begin at 0, and nothing is debited twice.
    scene.answers[0] = 5;
    assert_eq!(scene.boston(3), (Some(12.0), 0.5));
    scene.answers[0] = 25;
    assert_eq!(scene.boston(3), (Some(22.0), 0.5));
}

/// Only answers beyond the usual are debited, and beyond what chance makes of that: as many sessions end meanwhile.
#[test]
fn s4_3a_320_the_usual_answers_are_no_burden() {
    let mut scene = Scene::set(0.5);
    for second in 0..100 {
        scene.says(second, 60.0);
        let (load, _) = scene.boston(second);
        assert_eq!(load, Some(60.0));
        scene.answers[0] += 100;
    }
    // 100 a second are usual now; the report at 99 s has all but the newest 100. The root of 100 is 10.
    let check = |scene: &mut Scene, expect: f64, what: &str| {
        let load = scene.boston(100).0.expect("a load");
        assert!((load - expect).abs() < 0.1, "{what}: {load}, not {expect}");
    };
    check(&mut scene, 60.0, "as usual");
    scene.answers[0] += 20;
    check(&mut scene, 60.0, "chance");
    scene.answers[0] += 1_000;
    check(&mut scene, 60.0 + 0.5 * 1_000.0, "what it was just handed");
    scene.answers[0] = 100 * 101;
    scene.says(101, 4.0);
    scene.boston(101);
    scene.answers[0] += 100;
    let load = scene.boston(102).0.expect("a load");
    assert!((load - (4.0 + 50.0 - 4.0)).abs() < 0.1, "{load}: no more ends than there was");
}

/// Checks that what an answer adds is learned from one report to the next: growth by answers beyond the usual, within
/// bounds, and older lessons count less.
#[test]
fn what_an_answer_adds_is_learned() {
    let mut scene = Scene::new("", "");
    scene.says(0, 10.0);
    assert_eq!(scene.boston(0), (Some(10.0), 0.0), "nothing is known yet");
    scene.answers[0] = 20;
    assert_eq!(scene.boston(1), (Some(10.0), 0.0));
    scene.says(2, 20.0);
    assert_eq!(scene.boston(2), (Some(20.0), 0.5), "10 by 20 answers");
    // 20 in 2 s were new, and so little is usual yet; of 20 in the next 2 s that much is not beyond it.
    let part = |seconds: f64| 1.0 - (-seconds / 10.0_f64).exp();
    let usual = 10.0 * part(2.0);
    scene.answers[0] = 40;
    scene.says(4, 40.0);
    let beyond = 20.0 - 2.0 * usual;
    let (growth, squares) = (0.9 * 10.0 * 20.0 + 20.0 * beyond, 0.9 * 20.0 * 20.0 + beyond * beyond);
    assert!((scene.boston(4).1 - growth / squares).abs() < 1e-9, "and of the 10 by 20 before nine tenths");
    let usual = usual + (10.0 - usual) * part(2.0);
    scene.says(10, 20.0);
    let beyond = -usual * 6.0;
    let fewer = (0.9 * growth - 20.0 * beyond) / (0.9 * squares + beyond * beyond);
    let (_, learned) = scene.boston(10);
    assert!((learned - fewer).abs() < 1e-9, "fewer answers and less load teach the same: {learned}, not {fewer}");
    scene.answers[0] += 7;
    scene.says(11, 100.0);
    assert_eq!(scene.boston(11).1, learned, "a few answers tell nothing");
    scene.answers[0] += 1_000;
    scene.says(12, 1e9);
    let (_, more) = scene.boston(12);
    assert!((more - 10.0).abs() < 1e-9, "a tenth of the capacity at most: {more}");
    scene.answers[0] += 100_000;
    scene.says(13, 0.0);
    assert_eq!(scene.boston(13).1, 0.0, "and never less than nothing");
}

/// Loads that come and go by chance teach nothing that lasts.
#[test]
fn chance_is_not_learned() {
    let mut scene = Scene::new("", "");
    for (second, wobble) in (0..200).zip([3.0, -4.0, 1.0, 5.0, -5.0, 0.0, -2.0, 2.0].into_iter().cycle()) {
        scene.says(second, 50.0 + wobble);
        let (_, learned) = scene.boston(second);
        assert!(second < 10 || learned < 0.1, "{learned} at {second}");
        scene.answers[0] += [100, 130, 70, 110, 90][second as usize % 5];
    }
}

/// `stale_after` and `when_stale`, by the monotonic clock; a figure that comes again counts again.
#[test]
fn s4_3a_320_stale_figures_count_as_configured() {
    let check = |when: &str, expect: (Option<f64>, AdminState, f64)| {
        let mut scene = Scene::new("", &format!(", when_stale = \"{when}\""));
        scene.says(0, 40.0);
        scene.line(0, "30%");
        let fresh = scene.assess(10);
        assert_eq!(fresh.sites[0].load.map(|load| load.current), Some(40.0));
        assert!(!fresh.sites[0].self_report.stale && !fresh.sites[2].self_report.stale);
        scene.answers[0] = 50;
        let stale = scene.assess(11);
        let (boston, chicago) = (&stale.sites[0], &stale.sites[1]);
        assert!(boston.self_report.stale && chicago.self_report.stale && !stale.sites[2].self_report.stale);
        let got = (boston.load.map(|load| load.current), boston.self_report.admin_state, chicago.self_report.factor);
        assert_eq!(got, expect, "{when}");
        scene.says(12, 41.0);
        assert_eq!(scene.assess(12).sites[0].load.map(|load| load.current), Some(41.0));
    };
    check("hold", (Some(40.0), AdminState::Ready, 0.3));
    check("equal", (None, AdminState::Ready, 1.0));
    check("drain", (Some(40.0), AdminState::Drain, 0.3));
}

/// A Site that never says anything is stale `stale_after` from the start on.
#[test]
fn silence_from_the_start_is_stale() {
    let mut scene = Scene::new("", ", when_stale = \"drain\"");
    assert_eq!(scene.assess(0).sites[0].self_report.admin_state, AdminState::Ready);
    assert_eq!(scene.assess(10).sites[0].self_report.admin_state, AdminState::Ready);
    assert_eq!(scene.assess(11).sites[0].self_report.admin_state, AdminState::Drain);
}

/// Time in which this machine could not ask makes nothing stale; what counts from the next report on is the clock again.
#[test]
fn what_could_not_be_asked_makes_nothing_stale() {
    let mut scene = Scene::new("", ", when_stale = \"drain\"");
    scene.says(0, 40.0);
    scene.load_store.not_tried(SiteId(0), Duration::from_secs(3), &"no descriptor");
    scene.load_store.not_tried(SiteId(0), Duration::from_secs(2), &"no descriptor");
    assert_eq!(scene.assess(15).sites[0].self_report.admin_state, AdminState::Ready);
    assert_eq!(scene.assess(16).sites[0].self_report.admin_state, AdminState::Drain);
    scene.says(17, 41.0);
    assert_eq!(scene.assess(27).sites[0].self_report.admin_state, AdminState::Ready);
    assert_eq!(scene.assess(28).sites[0].self_report.admin_state, AdminState::Drain);
    let entry = scene.load_store.read().remove(0);
    assert_eq!((entry.failures, entry.untried), (0, Duration::ZERO));
}

/// S4-3B-BACK: a Site that returns starts slowly; one that is there from the agent's start on does not.
#[test]
fn s4_3b_back_a_site_that_returns_starts_slowly() {
    let mut scene = Scene::new("slow_start = \"20s\"", "");
    let ramp = |scene: &mut Scene, seconds| scene.assess(seconds).sites[0].ramp;
    scene.verdicts[0][0] = Health::Unknown;
    assert_eq!(ramp(&mut scene, 0), 1.0);
    scene.verdicts[0][0] = Health::Up;
    assert_eq!(ramp(&mut scene, 1), 1.0, "not at the agent's start");
    scene.verdicts[0][0] = Health::Down;
    scene.assess(2);
    scene.verdicts[0][0] = Health::Up;
    assert_eq!(ramp(&mut scene, 5), 0.05);
    assert_eq!(ramp(&mut scene, 6), 0.1);
    assert_eq!(ramp(&mut scene, 15), 0.55);
    // Down again on the way: from the beginning.
    scene.verdicts[0][0] = Health::Down;
    scene.assess(16);
    scene.verdicts[0][0] = Health::Up;
    assert_eq!(ramp(&mut scene, 17), 0.05);
    assert_eq!(ramp(&mut scene, 37), 1.0);
    // Its own drain is an absence too.
    scene.line(38, "drain");
    assert_eq!(scene.assess(38).sites[1].ramp, 1.0);
    scene.line(39, "ready");
    assert_eq!(scene.assess(39).sites[1].ramp, 0.05);
}

/// Without `slow_start` a Site is back at once.
#[test]
fn without_slow_start_a_site_is_back_at_once() {
    let mut scene = Scene::new("", "");
    scene.assess(0);
    scene.verdicts[0][0] = Health::Down;
    scene.assess(1);
    scene.verdicts[0][0] = Health::Up;
    assert_eq!(scene.assess(2).sites[0].ramp, 1.0);
}

/// A new configuration goes on where the old one was: what is learned, what is debited, and who is on the way back.
#[test]
fn what_is_known_is_carried_over() {
    let mut scene = Scene::new("slow_start = \"20s\"", "");
    scene.says(0, 10.0);
    scene.assess(0);
    scene.answers[0] = 20;
    scene.says(1, 20.0);
    scene.verdicts[0][0] = Health::Down;
    scene.assess(1);
    scene.verdicts[0][0] = Health::Up;
    scene.assess(2);
    scene.answers[0] = 100;
    let model = Arc::new((**scene.load_store.model()).clone());
    scene.assessor = scene.assessor.carried(Arc::clone(&model), scene.at(2), &scene.verdicts);
    scene.load_store = scene.load_store.carry_over(&model);
    let boston = scene.assess(7).sites[0];
    // 80 answers in the 6 s since the report, of which some are usual.
    let usual = 6.0 * 20.0 * (1.0 - (-0.1_f64).exp());
    let debited = 20.0 + 0.5 * (80.0 - usual - 2.0 * usual.sqrt());
    let load = boston.load.expect("a load").current;
    assert!((load - debited).abs() < 1e-9 && boston.self_report.per_answer == 0.5, "{load}, not {debited}");
    assert!((boston.ramp - 0.3).abs() < 1e-9, "{}", boston.ramp);
}
