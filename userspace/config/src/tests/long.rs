//! Files that are read in parts.

use super::*;

/// [`BASE`] with many pools more, among the other sections, some with keys and tables of their own.
fn many(pools: std::ops::Range<usize>) -> String {
    let site = |i: usize| {
        format!(
            "[site.s{i}]\nname = \"s{i}.app.com\"\naddresses = [\"192.0.2.{}\"]\nprobe = {{ kind = \"http\" }}\n",
            100 + i
        )
    };
    let pool = |i: usize| {
        let more = if i.is_multiple_of(1_000) { "ttl = 7\n" } else { "" };
        let below = if i.is_multiple_of(700) {
            format!("[pool.\"p{i}.app.com\".https]\nport = {}\n", 1 + i)
        } else {
            String::new()
        };
        let of_site = if i.is_multiple_of(4_000) { site(i / 4_000) } else { String::new() };
        format!("[pool.\"p{i}.app.com\"]\nsites = [\"s{}\", \"geneva\"]\n{more}{below}{of_site}", i % 3)
    };
    // Sites of which there are pools before.
    let last = "[pool.\"z.app.com\"]\nsites = [\"s9\"]\n";
    // Long by a comment, too.
    let long = format!("#{}\n", " ".repeat(1 << 20));
    pools.map(pool).chain([BASE.to_owned(), site(2).replace("s2", "s9"), last.to_owned(), long]).collect()
}

/// A file in parts means what it does in one.
#[test]
fn parts_have_the_meaning_of_the_whole() {
    let text = many(0..12_000);
    let parts = Parts::cut(&text);
    assert!(parts.pools.len() > 1, "{} parts", parts.pools.len());
    let loaded = parse("f", &text, &examples()).expect("valid");
    let mut report = report::Reporter::new("f", text.clone(), &examples());
    let whole = Parts::whole(&text);
    let mut file = tables::read(&mut report, &text, &whole.rest).expect("TOML");
    let model = resolve(&mut report, &mut file, &text, &whole.pools).expect("sound");
    assert_eq!(report.errors(), 0);
    assert_eq!(format!("{:?}", loaded.model), format!("{model:?}"));
    assert_eq!(model.pools.len(), 12_002);
    assert_eq!((model.pools[7_000].ttl, model.pools[700].https.as_ref().map(|https| https.port)), (7, Some(Some(701))));
    // What pools have alike is there once.
    assert!(std::sync::Arc::ptr_eq(&model.pools[1].settings, &model.pools[2].settings));
    assert_eq!(model.pools[1].sites.as_ptr(), model.pools[4].sites.as_ptr());
}

/// Places of faults are those of the file, in whichever part they are.
#[test]
fn faults_of_parts_have_their_places() {
    let text = many(0..12_000);
    let line = |text: &str, of: &str| 1 + text[..text.find(of).expect("there")].matches('\n').count();
    let (late, key) = ("[pool.\"p11999.app.com\"]\nsites = [\"s2\"", "[pool.\"p11998.app.com\"]\n");
    let text = text.replacen(late, "[pool.\"p11999.app.com\"]\nsites = [\"nobody\"", 1);
    let text = text.replacen(key, &format!("{key}tll = 1\n"), 1);
    let at = line(&text, "nobody");
    assert_eq!(
        lines(&text),
        [
            format!("f:{}:1: error: [pool.\"p11998.app.com\"]: unknown key `tll` (did you mean `ttl`?)", at - 3),
            format!(
                "f:{at}:10: error: [pool.\"p11999.app.com\"]: there is no Site `nobody` (add [site.nobody], or name one there is)"
            ),
        ]
    );
    let torn = text.replacen("[\"nobody\"", "[\"nobody", 1);
    let told = lines(&torn);
    assert!(told.iter().all(|told| told.starts_with(&format!("f:{at}:")) && told.contains("not TOML")), "{told:?}");
    assert!(!told.is_empty());
    // A lost section is told, and nothing that hangs on it.
    let lost = text.replacen("[pool.\"p3.app.com\"]", "[pool.p3.app.com]", 1);
    let told = lines(&lost);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("[pool.p3.app.com] is a table in a table, not a name"), "{told:?}");
}

/// A name that stands in two parts is told as TOML has it, and tables of one pool may stand apart.
#[test]
fn what_stands_in_two_parts_is_read_in_one() {
    let text = many(0..12_000);
    let told = lines(&format!("{text}[pool.\"p0.app.com\"]\nsites = [\"geneva\"]\n"));
    assert!(!told.is_empty() && told.iter().all(|told| told.contains("not TOML: duplicate key")), "{told:?}");
    let apart = format!("{text}[pool.\"p1.app.com\".https]\nport = 8443\n");
    let loaded = parse("f", &apart, &examples()).expect("valid");
    assert_eq!(loaded.model.pools[1].https.as_ref().and_then(|https| https.port), Some(8443));
}
