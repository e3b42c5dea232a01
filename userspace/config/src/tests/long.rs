//! Files that are read in parts.

use super::*;

/// [`BASE`] with many pools more, among the other sections, some with keys and tables of their own.
fn many(pools: usize) -> String {
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
        let of_site = if i.is_multiple_of(pools / 3) { site(i / (pools / 3)) } else { String::new() };
        format!("[pool.\"p{i}.app.com\"]\nsites = [\"s{}\", \"geneva\"]\n{more}{below}{of_site}", i % 3)
    };
    // Sites of which there are pools before.
    let last = "[pool.\"z.app.com\"]\nsites = [\"s9\"]\n";
    // Long by a comment, too.
    let long = format!("#{}\n", " ".repeat(1 << 20));
    (0..pools).map(pool).chain([BASE.to_owned(), site(2).replace("s2", "s9"), last.to_owned(), long]).collect()
}

/// A file in parts means what it does in one, its digest for a fleet included (F-DRIFT).
#[test]
fn parts_have_the_meaning_of_the_whole() {
    let text = format!("{}[fleet]\nkind = \"file\"\nfront = \"ns1\"\nfile = \"words\"\n", many(12_000));
    let parts = Parts::cut(&text);
    assert!(parts.pools.len() > 1, "{} parts", parts.pools.len());
    let loaded = parse("f", &text, &examples()).expect("valid");
    let report = report::Reporter::new("f", text.clone(), &examples());
    let model = parse_parts("f", report, Parts::whole(&text), None).expect("sound").model;
    assert_eq!(format!("{:?}", loaded.model), format!("{model:?}"));
    assert_eq!(model.pools.len(), 12_002);
    let other = text.replacen("sites = [\"s2\", \"geneva\"]", "sites = [\"s2\"]", 1);
    let other = parse("f", &other, &examples()).expect("valid").model;
    assert_ne!(other.fleet.map(|fleet| fleet.digest), model.fleet.as_ref().map(|fleet| fleet.digest.clone()));
    assert_eq!((model.pools[7_000].ttl, model.pools[700].https.as_ref().map(|https| https.port)), (7, Some(Some(701))));
    // What pools have alike is there once.
    assert!(std::sync::Arc::ptr_eq(&model.pools[1].settings, &model.pools[2].settings));
    assert_eq!(model.pools[1].sites.as_ptr(), model.pools[4].sites.as_ptr());
}

/// Places of faults are those of the file, in whichever part they are.
#[test]
fn faults_of_parts_have_their_places() {
    let text = many(12_000);
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
    let text = many(12_000);
    let told = lines(&format!("{text}[pool.\"p0.app.com\"]\nsites = [\"geneva\"]\n"));
    assert!(!told.is_empty() && told.iter().all(|told| told.contains("not TOML: duplicate key")), "{told:?}");
    let apart = format!("{text}[pool.\"p1.app.com\".https]\nport = 8443\n");
    let loaded = parse("f", &apart, &examples()).expect("valid");
    assert_eq!(loaded.model.pools[1].https.as_ref().and_then(|https| https.port), Some(8443));
}

/// A text in small parts, read after another one or alone.
fn read_after(text: &str, earlier: Option<EarlierReading<'_>>) -> Result<Loaded, ConfigError> {
    let report = report::Reporter::new("f", text.to_owned(), &examples());
    parse_parts("f", report, small_parts(text), earlier)
}

fn small_parts(text: &str) -> Parts {
    Parts::cut_by(text, 0, 1 << 12, 0x1f)
}

/// How many pools of a text an earlier reading has.
fn taken_over(text: &str, earlier: EarlierReading<'_>) -> usize {
    let parts = small_parts(text);
    let pools = parts.pools.iter().filter_map(|part| earlier.pools(&known::digest(part, text)));
    if earlier.has_rest(&known::digest(&parts.rest, text)) { pools.map(<[_]>::len).sum() } else { 0 }
}

/// A reading after another means what one alone does, says the same, and reads what has changed.
#[test]
fn what_has_not_changed_is_not_read_again() {
    let text = many(3_000);
    let first = read_after(&text, None).expect("valid");
    let earlier = EarlierReading { parts: &first.parts, model: &first.model };
    let told = |read: &Result<Loaded, ConfigError>| match read {
        Ok(loaded) => loaded.warnings.iter().map(Problem::line).collect(),
        Err(error) => error.problems().iter().map(Problem::line).collect::<Vec<_>>(),
    };
    let pool = "[pool.\"p1500.app.com\"]\n";
    let changes: [(&str, &str, bool); 9] = [
        ("", "", true),
        // Another list, a pool more, one less: parts before and behind are as they were.
        (pool, "[pool.\"more.app.com\"]\nsites = [\"s1\"]\n[pool.\"p1500.app.com\"]\n", true),
        ("[pool.\"p1500.app.com\"]\nsites = [\"s0\", \"geneva\"]\n", "", true),
        (pool, "[pool.\"p1500.app.com\"]\nttl = 99\n", true),
        // With a fleet it is no matter for a warning.
        (pool, "[pool.\"p1500.app.com\"]\nquorum = \"any\"\n", true),
        // A fault, a name twice, in a part that is read and one that is not.
        (pool, "[pool.\"p1500.app.com\"]\ntll = 9\n", true),
        (pool, "[pool.\"p2999.app.com\"]\n", true),
        (pool, "[pool.\"P2999.app.com\"]\n", true),
        // Another Site: everything is read.
        ("192.0.2.101", "192.0.2.102", false),
    ];
    for (from, to, takes_over) in changes {
        assert!(text.contains(from), "{from}");
        let edited = text.replacen(from, to, 1);
        let (read, expected) = (read_after(&edited, Some(earlier)), read_after(&edited, None));
        assert_eq!(told(&read), told(&expected), "{to}");
        assert_eq!(read.is_ok(), expected.is_ok());
        if let (Ok(read), Ok(expected)) = (read, expected) {
            let (read, expected) = (format!("{:?}", read.model), format!("{:?}", expected.model));
            let at = read.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
            let near = |text: &str| text[at.saturating_sub(300)..(at + 100).min(text.len())].to_owned();
            assert_eq!((read.len(), near(&read)), (expected.len(), near(&expected)), "{to}");
        }
        let known = taken_over(&edited, earlier);
        assert_eq!(known > 2_000, takes_over, "{known} pools of an earlier reading: {to}");
    }
}
