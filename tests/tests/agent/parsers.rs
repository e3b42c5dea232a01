//! Other people's parsers read our answers: dig, kdig, dnspython and `domain` agree on each of a fixed set, and none of
//! them complains.
#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

mod cases;
mod readers;

use std::fmt::Write as _;

use tests::{config::Config, lab::front_addresses, scene::Scene};

use cases::{CASES, Case, MORE, RECORDS, Shape};
use readers::{Asked, READERS};

const SHAPES: [Shape; 3] = [Shape::Plain, Shape::Edns, Shape::Options];

fn config(xdp: &str) -> Config {
    let mut config =
        Config { xdp: xdp.into(), probe: None, more: format!("[edns]\nnsid = \"lab\"\n{MORE}"), ..Config::default() };
    config.records.push_str(RECORDS);
    config
}

/// S4-3A-330: rcode, flags, counts, every record and every option, over both families, with and without EDNS,
/// as each parser reads them.
fn parsers_agree(xdp: &str) {
    let Some(scene) = Scene::start("parsers beside others", config(xdp)) else { return };
    let asked: Vec<Asked<'_>> = CASES
        .iter()
        .flat_map(|case| SHAPES.map(|shape| (case, shape)))
        .flat_map(|(case, shape)| front_addresses(0).map(|server| Asked { case, shape, server }))
        .collect();
    let before = scene.kernel_answers();
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for (parser, read) in READERS {
        let readings = read(&scene.lab, &asked);
        assert_eq!(readings.len(), asked.len(), "{parser}: one reading for each question");
        let readings: Vec<_> = readings.into_iter().map(|reading| reading.map(cases::Reading::normal)).collect();
        for (asked, reading) in asked.iter().zip(&readings) {
            let fault = match reading {
                Ok(reading) => reading.fault(asked.case, asked.shape),
                Err(fault) => Some(fault.clone()),
            };
            let Asked { case, shape, server } = asked;
            faults.extend(fault.map(|fault| format!("{parser}: {case} {shape:?} @{server}: {fault}")));
        }
        all.push(readings);
    }
    println!("xdp = {xdp}\n{}", table(&asked, &all));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    for (index, asked) in asked.iter().enumerate() {
        let first = &all[0][index];
        for (readings, (parser, _)) in all.iter().zip(READERS) {
            let Asked { case, shape, server } = asked;
            assert_eq!(first, &readings[index], "dig and {parser}: {case} {shape:?} @{server}");
        }
    }
    let in_kernel = scene.kernel_answers() - before;
    println!("{} questions by each of {} parsers, {in_kernel} answers by the kernel", asked.len(), READERS.len());
    // A third of the set is the kernel's to answer.
    assert_eq!(in_kernel > (asked.len() * READERS.len() / 3) as u64, xdp != "off");
}

/// How many of a case's questions each parser could read.
fn table(asked: &[Asked<'_>], all: &[Vec<Result<cases::Reading, String>>]) -> String {
    let mut text = format!("{:<34}", "question");
    for (parser, _) in READERS {
        let _ = write!(text, "{parser:>11}");
    }
    for case in &CASES {
        let _ = write!(text, "\n{:<34}", case.to_string());
        for readings in all {
            let own = asked.iter().zip(readings).filter(|(asked, _)| std::ptr::eq::<Case>(asked.case, case));
            let (read, of) = own.fold((0, 0), |(read, of), (asked, reading)| {
                let right = reading.as_ref().is_ok_and(|reading| reading.fault(case, asked.shape).is_none());
                (read + usize::from(right), of + 1)
            });
            let _ = write!(text, "{:>11}", format!("{read}/{of}"));
        }
    }
    text
}

/// See [`parsers_agree`] (S4-3A-330).
#[test]
fn parsers_agree_on_answers_of_the_kernel() {
    parsers_agree("native");
}

/// See [`parsers_agree`] (S4-3A-330).
#[test]
fn parsers_agree_on_answers_of_the_sockets() {
    parsers_agree("off");
}
