use super::*;
use crate::{
    assess::{Assessor, LoadInputs, remarks::StatementRemark},
    fixture,
    model::ProbeKind,
    statements::{health_of, parse},
    status::Assessment,
};

const SECOND: Duration = Duration::from_secs(1);

/// Boston (two addresses) and Chicago by statements alone, Geneva probed.
fn model(when_expired: WhenExpired) -> Model {
    let mut model = fixture::appendix_a();
    for site in &mut model.sites[..2] {
        site.probes[0].kind = ProbeKind::External(when_expired);
    }
    model
}

fn assessor(model: &Model, now: Instant) -> Assessor {
    Assessor::new(Arc::new(model.clone()), &SavedState::default(), None, now)
}

/// The health of all addresses, as `?`, `U` and `D`; Geneva's probes say up.
fn look(assessor: &mut Assessor, model: &Model, now: Instant) -> String {
    let mut verdicts = Assessment::unknown(model).health;
    verdicts[2][0] = Health::Up;
    let status = assessor.assess(now, &verdicts, LoadInputs::default());
    let letter = |health: &Health| match health {
        Health::Unknown => '?',
        Health::Up => 'U',
        Health::Down => 'D',
    };
    status.health.iter().map(|site| site.iter().map(letter).collect::<String>()).collect::<Vec<_>>().join(" ")
}

fn says(up: bool, at: Instant, lasts: Option<u32>) -> HealthStatement {
    HealthStatement {
        source: StatementSource::Interface,
        up,
        by: "cron".into(),
        reason: None,
        at,
        at_wall_ms: 1_763_725_200_000,
        until: lasts.map(|seconds| at + seconds * SECOND),
    }
}

fn file(model: &Model, text: &str, age: Duration) -> FileReading {
    let (statements, faults) = health_of(model, &parse(text.as_bytes()).statements, false);
    assert_eq!(faults.count, 0);
    FileReading { age, at_wall_ms: 0, name: "health".into(), statements, words: vec![] }
}

/// F-FILE: a Site of which only statements are known has the newest one's verdict, and then what `when_expired` says.
#[test]
fn f_file_statements_are_the_verdict_until_they_expire() {
    for (when_expired, after) in [(WhenExpired::Down, "DD"), (WhenExpired::Up, "UU"), (WhenExpired::Keep, "UD")] {
        let (model, start) = (model(when_expired), Instant::now());
        let mut assessor = assessor(&model, start);
        assert_eq!(look(&mut assessor, &model, start), "?? ? U", "nobody has stated anything");
        assessor.state_health(SiteId(0), &[0, 1], says(true, start, Some(5)));
        assert_eq!(look(&mut assessor, &model, start), "UU ? U");
        assessor.state_health(SiteId(0), &[1], says(false, start + SECOND, Some(10)));
        assert_eq!(look(&mut assessor, &model, start + SECOND), "UD ? U");
        assert_eq!(look(&mut assessor, &model, start + 5 * SECOND), format!("{}D ? U", &after[..1]), "one has expired");
        assert_eq!(look(&mut assessor, &model, start + 11 * SECOND), format!("{after} ? U"));
        let told: Vec<String> = assessor.take_events().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "2001:db8:1::10 is stated to be down by cron",
                "the statement that 192.0.2.10 is up has expired or was taken back",
                "the statement that 2001:db8:1::10 is down has expired or was taken back",
            ]
        );
        // Said again, it is as before.
        assessor.state_health(SiteId(0), &[0, 1], says(true, start + 12 * SECOND, None));
        assert_eq!(look(&mut assessor, &model, start + 9_999 * SECOND), "UU ? U");
    }
}

/// F-FILE: where probes look, `down` counts until it expires, and `up` changes nothing.
#[test]
fn f_file_either_says_down() {
    let (model, start) = (model(WhenExpired::Down), Instant::now());
    let mut assessor = assessor(&model, start);
    assessor.state_health(SiteId(2), &[0], says(false, start, Some(5)));
    assert_eq!(look(&mut assessor, &model, start), "?? ? D");
    let remarks = assessor.remarks(start, &Assessment::unknown(&model), true).statements;
    assert!(matches!(remarks[&(2, 0)], StatementRemark { is_expired: false, decides: true, .. }), "{remarks:?}");
    assert_eq!(look(&mut assessor, &model, start + 5 * SECOND), "?? ? U");
    assert_eq!(assessor.remarks(start, &Assessment::unknown(&model), true).statements.len(), 0, "it is forgotten");
    assessor.state_health(SiteId(2), &[0], says(true, start, None));
    let verdicts = model.sites.iter().map(|site| vec![Health::Down; site.addresses.len()]).collect();
    let status = assessor.assess(start, &verdicts, LoadInputs::default());
    assert_eq!(status.health[2], [Health::Down], "its probes say so");
}

/// F-FILE: time counts from the file's last change on, a line that has gone is taken back, and of file and interface the
/// newest statement counts.
#[test]
fn f_file_time_counts_from_the_last_change() {
    let (model, start) = (model(WhenExpired::Down), Instant::now() + 1_000 * SECOND);
    let mut assessor = assessor(&model, start);
    assessor.read_health_file(start, &file(&model, "boston => UP/30\nchicago => UP\ngeneva => DOWN", 20 * SECOND));
    assert_eq!(look(&mut assessor, &model, start + 9 * SECOND), "UU U D");
    assert_eq!(look(&mut assessor, &model, start + 10 * SECOND), "DD U D", "30 s after its change");
    assessor.state_health(SiteId(1), &[0], says(false, start + 10 * SECOND, Some(5)));
    assert_eq!(look(&mut assessor, &model, start + 10 * SECOND), "DD D D", "the newest counts");
    assert_eq!(look(&mut assessor, &model, start + 15 * SECOND), "DD U D", "the file's still holds");
    let revision = assessor.revision();
    let changed = file(&model, "boston => UP/30\nchicago => UP", Duration::ZERO);
    assessor.read_health_file(start + 16 * SECOND, &changed);
    assert_eq!(look(&mut assessor, &model, start + 16 * SECOND), "UU U U", "a line has gone");
    assert!(assessor.revision() > revision);
    // Older than it lasts when it is read.
    assessor.read_health_file(start + 17 * SECOND, &file(&model, "boston => UP/30", 31 * SECOND));
    assert_eq!(look(&mut assessor, &model, start + 17 * SECOND), "DD D U");
}

/// F-FILE: statements outlive a reload, by key and address, and a restart, with what is left of their time.
#[test]
fn f_file_statements_outlive_reload_and_restart() {
    let (model, start) = (model(WhenExpired::Keep), Instant::now() + 1_000 * SECOND);
    let mut assessor = assessor(&model, start);
    assessor.state_health(SiteId(0), &[0, 1], says(true, start, Some(100)));
    assessor.state_health(SiteId(1), &[0], says(false, start, Some(1)));
    assessor.state_health(SiteId(2), &[0], says(false, start, None));
    assert_eq!(look(&mut assessor, &model, start + 10 * SECOND), "UU D D");
    let unknown = Assessment::unknown(&model).health;
    let memory = assessor.saved_state(start + 10 * SECOND, &unknown);

    let later = start + 500 * SECOND;
    let mut after = Assessor::new(Arc::new(model.clone()), &memory, Some(30 * SECOND), later);
    assert_eq!(look(&mut after, &model, later), "UU D D");
    let left = after.remarks(later, &Assessment::unknown(&model), true).statements[&(0, 0)].statement.until;
    assert_eq!(left, Some(later + 60 * SECOND), "100 s, less 10 before and 30 after");

    let mut other = model.clone();
    other.sites.swap(0, 1);
    other.sites[1].addresses.swap(0, 1);
    let mut carried = assessor.carried(Arc::new(other.clone()), start + 11 * SECOND, &unknown);
    assert_eq!(look(&mut carried, &other, start + 11 * SECOND), "D UU D");
    other.sites[1].addresses.truncate(1);
    other.sites.remove(0);
    let mut carried = assessor.carried(Arc::new(other.clone()), start + 11 * SECOND, &unknown);
    let mut verdicts = Assessment::unknown(&other).health;
    verdicts[1][0] = Health::Up;
    let status = carried.assess(start + 11 * SECOND, &verdicts, LoadInputs::default());
    assert_eq!((&status.health[0], &status.health[1]), (&[Health::Up][..], &[Health::Down][..]));
}
