//! Markers, byte for byte.

use proptest::prelude::*;

use super::*;

const AT: Marker<'_> = Marker { at: 1_763_748_000, initial: None, group: None, hops: 0, key: None };

fn path() -> Markers {
    Markers::new(MarkerCarrier::Path, None)
}

/// S4-5A-535: for every kind of target, `find` takes off what `add` put there, and nothing else.
#[test]
fn s4_5a_535_added_and_taken_off() {
    let check = |target: &str, in_path: &str, in_query: &str| {
        for (mode, wanted) in [(MarkerCarrier::Path, in_path), (MarkerCarrier::Query, in_query)] {
            let markers = Markers::new(mode, None);
            let marked = markers.add(target, &AT);
            assert_eq!(marked, wanted, "{mode:?}");
            let found = markers.find(&marked, None);
            assert_eq!((found.clean.as_ref(), found.marker), (target, Some(AT)), "{marked}");
        }
    };
    check("/", "/distrib=1763748000", "/?distrib=1763748000");
    check("/a", "/a/distrib=1763748000", "/a?distrib=1763748000");
    check("/a/", "/a/distrib=1763748000,", "/a/?distrib=1763748000");
    check("//", "//distrib=1763748000,", "//?distrib=1763748000");
    check("//a//b", "//a//b/distrib=1763748000", "//a//b?distrib=1763748000");
    check("/a%2Fb", "/a%2Fb/distrib=1763748000", "/a%2Fb?distrib=1763748000");
    check("/a;v=1", "/a;v=1/distrib=1763748000", "/a;v=1?distrib=1763748000");
    check("/?", "/distrib=1763748000?", "/?&distrib=1763748000");
    check("/a?b=c&d", "/a/distrib=1763748000?b=c&d", "/a?b=c&d&distrib=1763748000");
    check("/a?b=?&/c", "/a/distrib=1763748000?b=?&/c", "/a?b=?&/c&distrib=1763748000");
    check("/a?distrib", "/a/distrib=1763748000?distrib", "/a?distrib&distrib=1763748000");
    check("/%64istrib=1", "/%64istrib=1/distrib=1763748000", "/%64istrib=1?distrib=1763748000");
    check("/distrib=1/a", "/distrib=1/a/distrib=1763748000", "/distrib=1/a?distrib=1763748000");
}

/// S4-5A-TERM: percent-encoded in part or whole, it is the same marker; what is no marker stays as it is.
#[test]
fn s4_5a_535_read_in_any_encoding() {
    let check = |mode: MarkerCarrier, target: &str, wanted: &str| {
        let markers = Markers::new(mode, None);
        let plain = markers.plain(target);
        assert_eq!(plain, wanted, "{mode:?} {target}");
        assert_eq!(markers.plain(&plain), plain, "{target}");
    };
    for (encoded, plain) in [
        ("distrib%3d17", "distrib=17"),
        ("distrib%3D17%2C", "distrib=17,"),
        ("%64istrib=17%2Bboston.app.com%2b%2b1", "distrib=17+boston.app.com++1"),
        ("%44%49STRIB=17%21c", "DISTRIB=17!c"),
        ("distrib=%31%37", "distrib=17"),
        // What ends a segment is none of ours.
        ("distrib%3d17%2Fb", "distrib="),
        ("distrib%3d17%3Fb", "distrib="),
        ("distrib%3d%ff", "distrib="),
    ] {
        check(MarkerCarrier::Path, &format!("/{encoded}"), &format!("/{plain}"));
        check(MarkerCarrier::Path, &format!("/a%2Fb/{encoded}?c=%3d"), &format!("/a%2Fb/{plain}?c=%3d"));
        check(MarkerCarrier::Path, &format!("/a/{encoded}/distrib=18"), &format!("/a/{plain}/distrib=18"));
        check(MarkerCarrier::Query, &format!("/a%2Fb?c=%3d&{encoded}"), &format!("/a%2Fb?c=%3d&{plain}"));
        check(MarkerCarrier::Query, &format!("/a?{encoded}"), &format!("/a?{plain}"));
        check(MarkerCarrier::Cookie, &format!("/a?{encoded}&{encoded}"), &format!("/a?{plain}&{plain}"));
    }
    for same in
        ["/", "/a%20b", "/distrib%3", "/distrib%3d17/a", "/a?distrib%3d17", "%64istrib=17", "/a/xdistrib%3d1", "*"]
    {
        check(MarkerCarrier::Path, same, same);
    }
    for same in ["/distrib%3d17", "/a?distrib%3d17&b", "/a?b=distrib%3d17", "/a?"] {
        check(MarkerCarrier::Query, same, same);
    }
    assert_eq!(Markers::plain_value("17%2Bboston.app.com%2B%2B1"), "17+boston.app.com++1");
}

/// C11, C6: read in any case, emitted in one form, all taken off.
#[test]
fn s4_5a_535_read_in_any_case_and_never_two() {
    let check = |target: &str, clean: &str, at: Option<u64>| {
        let found = path().find(target, None);
        assert_eq!((found.clean.as_ref(), found.marker.map(|m| m.at)), (clean, at), "{target}");
    };
    check("/a/Distrib=17", "/a", Some(17));
    check("/a/DISTRIB=17?q", "/a?q", Some(17));
    check("/a/distrib=17/distrib=18", "/a", Some(18));
    check("/a/distrib=17,/distrib=18", "/a/", Some(18));
    // One that makes no sense counts for nothing, and goes all the same.
    for broken in ["", "x", "-1", "1763748000000", "1+a b", "1+a..b", "1+a+b+x", "1+a+b+1+1", "1!short", "+17"] {
        check(&format!("/a/distrib={broken}"), "/a", None);
    }
    check("/a/distrib=17/", "/a/distrib=17/", None);
    check("/a/xdistrib=17", "/a/xdistrib=17", None);
    check("distrib=17", "distrib=17", None);
    let long = format!("/a/distrib=17+{}", "a".repeat(LEN_MAX));
    check(&long, "/a", None);
}

/// All fields come back as they went in.
#[test]
fn s4_5b_590_fields_are_kept() {
    let full = Marker {
        initial: Some("boston.app.com"),
        group: Some("americas.app.com"),
        hops: 2,
        key: Some("0123456789abcdefghij-_"),
        ..AT
    };
    assert_eq!(
        path().add("/a", &full),
        "/a/distrib=1763748000+boston.app.com+americas.app.com+2!0123456789abcdefghij-_"
    );
    let some =
        [full, AT, Marker { initial: None, ..full }, Marker { group: None, hops: 0, ..full }, Marker { hops: 3, ..AT }];
    for markers in
        [path(), Markers::new(MarkerCarrier::Query, Some(b"key")), Markers::new(MarkerCarrier::Path, Some(b"key"))]
    {
        for marker in some {
            let text = markers.add("/a/?b", &marker);
            assert_eq!(markers.find(&text, None).marker, Some(marker), "{text}");
        }
    }
}

/// C19: with a key, what is not signed with it is not believed; it is taken off all the same.
#[test]
fn s4_5a_520_forged_markers_are_not_believed() {
    let ours = Markers::new(MarkerCarrier::Path, Some(b"a key"));
    let text = ours.add("/a", &AT);
    assert_eq!(ours.find(&text, None).marker, Some(AT));
    let others = Markers::new(MarkerCarrier::Path, Some(b"another")).add("/a", &AT);
    let later = text.replace("1763748000", "1763748001");
    for forged in [&others, &later, &path().add("/a", &AT), &text[..text.len() - 1].to_owned(), &format!("{text}A")] {
        let found = ours.find(forged, None);
        assert_eq!((found.clean.as_ref(), found.marker, found.was_marked), ("/a", None, true), "{forged}");
    }
}

/// In mode `cookie` the cookie says it, and the query what a client without cookies must carry.
#[test]
fn a_cookie_and_a_count() {
    let markers = Markers::new(MarkerCarrier::Cookie, None);
    let value = markers.cookie(&Marker { initial: Some("boston.app.com"), ..AT });
    assert_eq!(value, "1763748000+boston.app.com");
    let counted = markers.add("/a?b", &Marker { hops: 2, ..Marker::default() });
    assert_eq!(counted, "/a?b&distrib=0+++2");
    let found = markers.find(&counted, Some(&value));
    assert_eq!(found.marker, Some(Marker { initial: Some("boston.app.com"), hops: 2, ..AT }));
    assert_eq!(found.clean, "/a?b");
    assert_eq!(markers.find("/a", None), MarkedTarget { marker: None, was_marked: false, clean: "/a".into() });
    // Elsewhere a cookie is not looked at.
    assert_eq!(path().find("/a", Some(&value)).marker, None);
}

proptest! {
    /// S4-5A-535: strip(add(uri)) == uri, for whatever is left once markers are off.
    #[test]
    fn s4_5a_535_any_target(text in "/[a-zA-Z0-9/%;:@&=+$,.~!*'()?-]{0,40}(/distrib=[0-9+a-z,]{0,8})?(\\?[a-z&=?]{0,9}(&distrib=[0-9]{0,3})?)?", signed: bool) {
        for mode in [MarkerCarrier::Path, MarkerCarrier::Query, MarkerCarrier::Cookie] {
            let markers = Markers::new(mode, signed.then_some(&b"key"[..]));
            let clean = markers.find(&text, None).clean.into_owned();
            prop_assert!(!markers.find(&clean, None).was_marked);
            let marked = markers.add(&clean, &AT);
            let found = markers.find(&marked, None);
            prop_assert_eq!((found.clean.as_ref(), found.marker), (&*clean, Some(AT)));
        }
    }
}
