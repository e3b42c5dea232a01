//! `[[web.rule]]` and `[[web.class]]`: what is wrong with them, each message whole.

use super::{lines, web::with, web_messages::told};

#[test]
fn rules_and_classes() {
    let rule = |lines: &str, expect: &str| {
        let text = format!("[[web.rule]]\ngroup = \"all.app.com\"\n{lines}\n");
        (text, format!("error: {expect}"))
    };
    let many = "\n[[web.rule]]\ngroup = \"all.app.com\"\npath = \"/x\"".repeat(65);
    let many_clients: Vec<_> = (0..65).map(|i| format!("\"10.0.0.{i}\"")).collect();
    let rows = [
        rule("path = \"eu\"", "[web.rule]: `eu` is not a path (give one that begins with / and has no query, such as \"/eu\")"),
        rule("path = \"/eu?x\"", "[web.rule]: `/eu?x` is not a path (give one that begins with / and has no query, such as \"/eu\")"),
        rule("path = \"/\"", "[web.rule]: `/` is every path (take `path` out)"),
        rule("header = \"a b: c\"", "[web.rule]: `a b: c` is not a header (give \"name: value\", or \"name\" for any value, in ASCII)"),
        rule("header = \"a: \"", "[web.rule]: `a: ` is not a header (give \"name: value\", or \"name\" for any value, in ASCII)"),
        rule("header = \"a: é\"", "[web.rule]: `a: é` is not a header (give \"name: value\", or \"name\" for any value, in ASCII)"),
        rule("cookie = \"a=\"", "[web.rule]: `a=` is not a cookie (give \"name=value\", or \"name\" for any value; no spaces, quotes, commas and semicolons)"),
        rule("cookie = \"a=b c\"", "[web.rule]: `a=b c` is not a cookie (give \"name=value\", or \"name\" for any value; no spaces, quotes, commas and semicolons)"),
        rule("host = \"app.com:80\"", "[web.rule]: `app.com:80` cannot be the host of a URL (give a name of letters, digits, - and _, such as \"www.app.com\", without a port)"),
        rule("clients = [\"x\"]", "[web.rule]: `x` is not an address prefix (give a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\", or an address)"),
        rule("clients = []", "[web.rule]: `clients` is empty (name at least one)"),
        rule(&format!("clients = [{}]", many_clients.join(",")), "[web.rule]: `clients` has more than 64 prefixes (give fewer, shorter ones)"),
        rule("[[web.rule]]\ngroup = \"all.app.com\"", "[web]: this rule never matches, as the one before it always does (say which requests the rule before is for, or put it last)"),
        (many, "error: [web]: more than 64 rules (have fewer: each request is held against them)".to_owned()),
        ("[[web.rule]]\npath = \"/x\"\n".to_owned(), "error: [web.rule] has no `group` (add `group = \"europe.app.com\"`)".to_owned()),
        ("[[web.boston.rule]]\ngroup = \"al.app.com\"\n".to_owned(), "error: [web.boston.rule]: there is no group `al.app.com` (did you mean \"all.app.com\"?)".to_owned()),
        ("[[web.rule]]\ngroup = \"atlantis.example\"\n".to_owned(), "error: [web.rule]: there is no group `atlantis.example` (add [group.\"atlantis.example\"], or name one there is)".to_owned()),
        ("[[web.class]]\nname = \"a b\"\nshare = 1\n".to_owned(), "error: [web.class]: `a b` cannot be a class's name (give 1 to 32 letters, digits, - and _, such as \"gold\")".to_owned()),
        ("[[web.class]]\nname = \"a\"\nshare = 0\n".to_owned(), "error: [web.class]: `share` is 0, out of range (give 0.01 to 1, the part of each limit of `busy` that they may fill)".to_owned()),
        ("[[web.class]]\nname = \"a\"\n".to_owned(), "error: [web.class] has no `share` (add `share = 0.5`)".to_owned()),
        ("[[web.class]]\nshare = 1\n".to_owned(), "error: [web.class] has no `name` (add `name = \"gold\"`)".to_owned()),
        ("[[web.class]]\nname = \"a\"\npath = \"/a\"\nshare = 1\n[[web.class]]\nname = \"a\"\nshare = 1\n".to_owned(), "error: [web.class]: class `a` is listed twice (take one out)".to_owned()),
        ("[[web.class]]\nname = \"a\"\nshare = 1\n[[web.class]]\nname = \"b\"\nshare = 1\n".to_owned(), "error: [web]: this class never matches, as the one before it always does (say which requests the class before is for, or put it last)".to_owned()),
    ];
    let rows = rows.each_ref().map(|(text, expect)| (text.as_str(), [expect.as_str()]));
    told(&rows.each_ref().map(|(text, expect)| (*text, &expect[..])));
}

/// A rule sends to a part of the Site's own pool.
#[test]
fn groups_that_rules_cannot_name() {
    let pool = "[pool.\"two.app.com\"]\nsites = [\"paris\"]\n[group.\"part.two.app.com\"]\npool = \"two.app.com\"\n\
                sites = [\"paris\"]\n[site.paris]\nname = \"paris.two.app.com\"\naddresses = [\"203.0.113.1\"]\n\
                probe = { kind = \"http\" }\n";
    let order = "[group.\"app.com\"]\npool = \"app.com\"\nsites = [\"geneva\", \"boston\"]\n";
    told(&[
        (
            &format!("{pool}[[web.boston.rule]]\ngroup = \"part.two.app.com\"\n"),
            &[
                "error: [web.boston]: group part.two.app.com is not of pool app.com, whose Site this is (name a group of the Site's pool)",
            ],
        ),
        (
            &format!("{order}[[web.rule]]\ngroup = \"app.com\"\n"),
            &[
                "error: [web.rule]: group app.com bears its pool's name and has all its Sites (name a group that is a part of its pool)",
            ],
        ),
    ]);
}

/// A fault that many Sites share is told once; one that their tables share in a pool's name, too.
#[test]
fn a_shared_fault_is_told_once() {
    let lines =
        lines(&with("[web]\nlisten = [\"0.0.0.0\"]\nadmin = \"127.0.0.1:80\"\nflag = { domain = \"x.example\" }\n"));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with("f:33:9: error: [web]: 0.0.0.0:80 and 127.0.0.1:80 overlap"), "{lines:#?}");
    assert!(lines[1].starts_with("f:34:8: error: [web]: app.com is not below x.example, "), "{lines:#?}");
}
