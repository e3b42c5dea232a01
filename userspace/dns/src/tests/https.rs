//! HTTPS records of dynamic names (RFC 9460).

use std::{net::IpAddr, sync::Arc};

use super::{BALANCER, BOTH, Bench, ask};
use zerottl_core::{
    model::{DynamicType, Https, PoolId, Roles},
    plan::{Basis, Binding, Choice, Table},
};

const SOA: &str = "app.com 5 SOA ns1.app.com. hostmaster.app.com. 7 3600 600 86400 5";

/// app.com and boston have Boston's record, europe and geneva Geneva's, chicago SERVFAIL.
fn bench(roles: Roles, https: Https) -> Bench {
    Bench::with(roles, |model, plan| {
        model.pools[0].https = Some(https);
        let pool = PoolId(0);
        let v4 = |last| Some([192, 0, 2, last].into());
        plan.bindings = Arc::new([
            Binding { pool, v4: v4(10), v6: Some("2001:db8:1::10".parse().unwrap()) },
            Binding { pool, v4: v4(1), v6: None },
        ]);
        let table = |slot| Choice::Table(Table { slots: Arc::new([slot]), basis: Basis::Live });
        let of = DynamicType::Https.index();
        plan.services[0].choice[of] = table(0);
        plan.services[1].choice[of] = table(1);
        plan.services[2].choice[of] = Choice::Servfail;
    })
}

/// S4-3A-330: with what the pool says and the chosen Site's addresses, keys in ascending order (RFC 9460 section 2.2);
/// every other type stays as it is.
#[test]
fn records_say_what_the_pool_and_the_site_have() {
    let all = Https { alpn: vec!["h2".into(), "http/1.1".into()], port: Some(8443) };
    let full = bench(BOTH, all);
    let boston = "0 HTTPS 1 . alpn=h2,http/1.1 port=8443 ipv4hint=192.0.2.10 ipv6hint=2001:db8:1::10";
    full.check("Pool Name", "app.com HTTPS", &format!("NOERROR aa | app.com {boston} |  | "));
    full.check("Site Name, any case", "Boston.app.com HTTPS", &format!("NOERROR aa | Boston.app.com {boston} |  | "));
    let geneva = "0 HTTPS 1 . alpn=h2,http/1.1 port=8443 ipv4hint=192.0.2.1";
    full.check("Group Name", "europe.app.com HTTPS", &format!("NOERROR aa | europe.app.com {geneva} |  | "));
    full.check("all down", "chicago.app.com HTTPS", "SERVFAIL |  |  | ");
    full.check(
        "through an alias",
        "www.app.com HTTPS",
        &format!("NOERROR aa | www.app.com 300 CNAME app.com., app.com {boston} |  | "),
    );
    full.check("SVCB is another type", "app.com SVCB", &format!("NOERROR aa |  | {SOA} | "));
    full.check("a static name", "mail.app.com HTTPS", &format!("NOERROR aa |  | {SOA} | "));
    full.check("A", "app.com A", "NOERROR aa | app.com 0 A 192.0.2.10 |  | ");

    let hints = bench(BOTH, Https::default());
    let only = "NOERROR aa | europe.app.com 0 HTTPS 1 . ipv4hint=192.0.2.1 |  | ";
    hints.check("hints alone", "europe.app.com HTTPS", only);
}

/// The bytes, once: RFC 9460 section 2.2 by hand.
#[test]
fn the_wire_form() {
    let bench = bench(BOTH, Https { alpn: vec!["h3".into()], port: Some(443) });
    let answer = bench.udp(&ask("app.com HTTPS +o=65001:00000000000000000000000000000000000000000000")).unwrap();
    let rdata = b"\0\x01\0\0\x01\0\x03\x02h3\0\x03\0\x02\x01\xbb\0\x04\0\x04\xc0\0\x02\x0a\0\x06\0\x10";
    let at = answer.windows(rdata.len()).position(|window| window == rdata).expect("the RDATA");
    let v6: [u8; 16] = answer[at + rdata.len()..][..16].try_into().unwrap();
    assert_eq!(IpAddr::from(v6), "2001:db8:1::10".parse::<IpAddr>().unwrap());
}

/// Invariant 8: at most twice the query, else truncated; TCP has it whole.
#[test]
fn what_is_over_twice_its_query_is_truncated() {
    let bench = bench(BOTH, Https { alpn: vec!["h2".into(), "http/1.1".into()], port: Some(8443) });
    let query = ask("app.com HTTPS");
    let (udp, tcp) = (bench.udp(&query).unwrap(), bench.tcp(&query).unwrap());
    assert_eq!((udp[2] & 2, udp.len()), (2, query.len()));
    assert_eq!((tcp[2] & 2, tcp[7]), (0, 1));
}

/// Invariant 10: whoever has the role answers HTTPS too.
#[test]
fn without_the_role_it_is_referred() {
    let bench = bench(BALANCER, Https::default());
    let referral = bench.shown(&ask("boston.app.com HTTPS"), "198.51.100.9", super::NOW);
    assert!(referral.starts_with("NOERROR |  | boston.app.com "), "{referral}");
    assert_eq!(referral, bench.shown(&ask("boston.app.com A"), "198.51.100.9", super::NOW));
}
