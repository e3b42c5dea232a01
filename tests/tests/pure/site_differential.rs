//! S4-B-DIFF: operation 500 against a literal transcription of Appendix B, over requests made by chance.
//!
//! The pseudo code is given the request as it is; then with what the C rows change of it (`pure/site_differential/rows.rs`). The
//! decision must be the second, to the byte. Where the two differ, a row whose being left out would change the result is a
//! reason for it: reasons are counted, and each must have been one.
//!
//! `ZEROTTL_SITE_DIFFERENTIAL=1000000 cargo test --release --package tests --test pure site_differential::` asks more.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod case;
mod rows;

use std::{collections::BTreeMap, env};

use case::{Case, LIFETIME, Mark, NOW};
use rand::{SeedableRng, rngs::SmallRng};
use rows::{End, ROWS, Sent};
use zerottl_core::model::BusyConfig;
use zerottl_site::{
    decide::{Decision, Facts, Rules, decide},
    marker::{MarkerCarrier, Markers},
    respond::redirect_status,
};

/// Requests in the normal run.
const REQUESTS: u64 = 20_000;
const SEED: u64 = 0x7a65_726f_7474_6c04;

/// The decision, in the same words.
fn decided(case: &Case) -> End {
    let place = case.place();
    let markers = Markers::new(MarkerCarrier::Path, None);
    let target = case.target();
    let found = markers.find(&target, None);
    let rules = Rules { lifetime: LIFETIME, skew: case.skew, overflow: case.overflow };
    let facts = Facts {
        in_session: false,
        version: case.version,
        authority: case.authority(),
        server_name: case.server_name.as_deref(),
        found: &found,
        by_cookie: false,
        now: NOW,
        proper: case.proper,
        busy: case.busy,
        waiting: case.waiting,
        up: &case.up,
    };
    match decide(&place, &rules, &facts).0 {
        Decision::Bypass => panic!("there is no session"),
        Decision::Admit { despite } => End::Admit { despite },
        Decision::Busy => End::Busy { status: BusyConfig::default().status },
        Decision::Refuse(refusal) => End::Refuse(refusal.status()),
        Decision::Redirect(redirect) => {
            let target =
                redirect.marker.map_or_else(|| found.clean.to_string(), |marker| markers.add(&found.clean, &marker));
            let again = markers.find(&target, None);
            let status = redirect_status(&case.method.parse().unwrap()).as_u16();
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let marker = again.marker;
            let marker =
                marker.map(|m| Sent { at: m.at, initial: owned(m.initial), group: owned(m.group), hops: m.hops });
            assert_eq!(redirect.marker.is_some(), marker.is_some(), "a marker that cannot be read: {target}");
            End::Redirect {
                status,
                scheme: case.scheme,
                host: redirect.host.into(),
                target: again.clean.into(),
                marker,
            }
        }
    }
}

/// S4-B-DIFF: only documented differences, and every one of them.
#[test]
fn s4_b_diff_equals_appendix_b_but_for_the_c_rows() {
    let requests = env::var("ZEROTTL_SITE_DIFFERENTIAL").map_or(REQUESTS, |count| count.parse().unwrap());
    let mut reasons: BTreeMap<&str, u64> = ROWS.iter().map(|row| (row.name, 0)).collect();
    let (mut alike, mut carried, mut ends) = (0_u64, 0_u64, BTreeMap::<&str, u64>::new());
    for number in 0..requests {
        let mut random = SmallRng::seed_from_u64(SEED.wrapping_add(number));
        let case = Case::by_chance(&mut random);
        let (literal, expected, decided) =
            (rows::expected(&case, |_| false), rows::expected(&case, |_| true), decided(&case));
        let input = || format!("request {number}: {} {:#?}\nas printed {literal:?}", case.target(), case);
        assert_eq!(decided, expected, "no row explains {}", input());
        *ends.entry(kind(&decided)).or_default() += 1;
        // C1: the last branch carries Initial and the first timestamp on, in the pseudo code as in the decision.
        if let (End::Redirect { marker: Some(sent), .. }, Some(Mark::Sound { at, initial, .. })) =
            (&decided, &case.mark)
        {
            carried += u64::from(initial.is_some() && sent.initial == *initial && sent.at == *at);
        }
        if literal == expected {
            alike += 1;
            continue;
        }
        for row in ROWS {
            let without = rows::expected(&case, |other| other.name != row.name);
            if without != expected {
                *reasons.get_mut(row.name).unwrap() += 1;
            }
        }
    }
    println!("{requests} requests from seed {SEED:#x}: {alike} decided on as Appendix B prints it, C1 in {carried}");
    for (end, count) in ends {
        println!("{count:>9} {end}");
    }
    for (row, count) in &reasons {
        println!("{count:>9} differ for {row}");
    }
    assert!(alike > 0 && carried > 0, "nothing is as printed");
    let never: Vec<&&str> = reasons.iter().filter(|(_, count)| **count == 0).map(|(row, _)| row).collect();
    assert!(never.is_empty(), "never a reason: {never:?}");
}

fn kind(end: &End) -> &'static str {
    match end {
        End::Redirect { .. } => "redirects",
        End::Busy { .. } => "busy pages",
        End::Admit { despite: false } => "admitted",
        End::Admit { despite: true } => "admitted for having been sent round too often",
        End::Refuse(_) => "refused",
    }
}
