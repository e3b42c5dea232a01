//! Questions, and what every parser must read.

use std::fmt;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP; a truncated answer is taken as it is.
    Udp,
    /// TCP from the start.
    Tcp,
    /// UDP, and TCP if the answer is truncated.
    Fallback,
}

/// EDNS options of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No OPT.
    Plain,
    /// An OPT without options.
    Edns,
    /// DO, NSID, a client's COOKIE, a client subnet.
    Options,
}

/// A question and its answer.
pub struct Case {
    pub name: &'static str,
    pub kind: &'static str,
    pub transport: Transport,
    pub rcode: &'static str,
    pub flags: &'static str,
    /// How each record begins, in order, but for that of a set's members.
    pub records: &'static [&'static str],
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.kind, self.transport)
    }
}

/// The meaning of a message, written so that only its meaning differs: no quotation marks, one space between fields, all in
/// lower case, a set's records sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub rcode: String,
    pub flags: String,
    pub counts: [u16; 4],
    /// `section owner TTL class type data`.
    pub records: Vec<String>,
    /// Version, flags and size.
    pub edns: Option<String>,
    pub options: Vec<String>,
}

impl Reading {
    /// With everything that is but a way of writing taken out.
    pub fn normal(mut self) -> Self {
        for text in self.records.iter_mut().chain([&mut self.flags]).chain(self.edns.as_mut()) {
            let plain = text.replace('"', "").to_ascii_lowercase();
            let mut words: Vec<&str> = plain.split_whitespace().collect();
            // RFC 3597 lets unknown data stand in several words.
            let unknown = words.iter().position(|word| *word == "\\#").map_or(words.len(), |at| at + 2);
            let data = words.split_off(unknown.min(words.len())).concat();
            words.extend((!data.is_empty()).then_some(data.as_str()));
            *text = words.join(" ");
        }
        self.records.sort();
        self.options.sort();
        self
    }

    /// Returns what is not as the case says.
    pub fn fault(&self, case: &Case, shape: Shape) -> Option<String> {
        let counted = |section: &str| self.records.iter().filter(|record| record.starts_with(section)).count();
        let opt = usize::from(shape != Shape::Plain);
        let counts = [1, counted("answer "), counted("authority "), counted("additional ") + opt];
        let mut expected: Vec<&str> = case.records.to_vec();
        expected.sort_unstable();
        let as_told = expected.len() == self.records.len()
            && expected.iter().zip(&self.records).all(|(start, record)| record.starts_with(start));
        let edns = match shape {
            Shape::Plain => None,
            Shape::Edns => Some("0 [] 1232"),
            Shape::Options => Some("0 [do] 1232"),
        };
        let options: &[&str] = match shape {
            Shape::Options => &["cookie 0102030405060708+16", "ecs 198.51.100.0/24/0", "nsid lab"],
            _ => &[],
        };
        let right = [
            (self.rcode == case.rcode, "rcode"),
            (self.flags == case.flags, "flags"),
            (self.counts.map(usize::from) == counts, "counts"),
            (as_told, "records"),
            (self.edns.as_deref() == edns, "EDNS"),
            (self.options == options, "options"),
        ];
        right.iter().find(|(right, _)| !right).map(|(_, what)| format!("{what}: {self:?}"))
    }
}

/// Static records beside those of the lab.
pub const RECORDS: &str = "
$TTL 300
alias   CNAME mail
chain   CNAME alias
away    CNAME host.example.net.
*.wild  A     192.0.2.77
*.wild  TXT   \"wild\" \"er\"
deep.ent TXT  \"below\"
sub     NS    ns.sub
sub     NS    ns.example.net.
ns.sub  A     192.0.2.54
ns.sub  AAAA  2001:db8::54
odd     TYPE65280 \\# 3 010203
svc     HTTPS 1 . alpn=h2
";

const SOA: &str = "authority app.com. 5 in soa ns1.app.com. hostmaster.app.com. ";

const fn case(
    name: &'static str,
    kind: &'static str,
    rcode: &'static str,
    flags: &'static str,
    records: &'static [&'static str],
) -> Case {
    Case { name, kind, transport: Transport::Udp, rcode, flags, records }
}

/// A pool with HTTPS records.
pub const MORE: &str =
    "[pool.\"secure.app.com\"]\nsites = [\"boston\"]\nhttps = { alpn = [\"h2\", \"h3\"], port = 443 }\n";

/// The fixed set. Every name has one answer, whatever the cursor.
pub const CASES: [Case; 25] = [
    case("geneva.app.com", "A", "NOERROR", "qr aa", &["answer geneva.app.com. 0 in a 198.51.100.10"]),
    case("geneva.app.com", "AAAA", "NOERROR", "qr aa", &["answer geneva.app.com. 0 in aaaa 2001:db8:2::10"]),
    case("europe.app.com", "A", "NOERROR", "qr aa", &["answer europe.app.com. 0 in a 198.51.100.10"]),
    case("europe.app.com", "TXT", "NOERROR", "qr aa", &[SOA]),
    case("europe.app.com", "HTTPS", "NOERROR", "qr aa", &[SOA]),
    case(
        "secure.app.com",
        "HTTPS",
        "NOERROR",
        "qr aa",
        &["answer secure.app.com. 0 in https 1 . alpn=h2,h3 port=443 ipv4hint=192.0.2.10 ipv6hint=2001:db8:1::10"],
    ),
    case("ent.app.com", "A", "NOERROR", "qr aa", &[SOA]),
    case("none.app.com", "A", "NXDOMAIN", "qr aa", &[SOA]),
    case("a.b.none.app.com", "TYPE65280", "NXDOMAIN", "qr aa", &[SOA]),
    case("other.net", "A", "REFUSED", "qr", &[]),
    case(
        "host.sub.app.com",
        "A",
        "NOERROR",
        "qr",
        &[
            "additional ns.sub.app.com. 300 in a 192.0.2.54",
            "additional ns.sub.app.com. 300 in aaaa 2001:db8::54",
            "authority sub.app.com. 300 in ns ns.example.net.",
            "authority sub.app.com. 300 in ns ns.sub.app.com.",
        ],
    ),
    case("app.com", "ANY", "NOERROR", "qr aa", &["answer app.com. 5 in hinfo rfc8482"]),
    case("mail.app.com", "ANY", "NOERROR", "qr aa", &["answer mail.app.com. 300 in a 192.0.2.200"]),
    case(
        "chain.app.com",
        "A",
        "NOERROR",
        "qr aa",
        &[
            "answer alias.app.com. 300 in cname mail.app.com.",
            "answer chain.app.com. 300 in cname alias.app.com.",
            "answer mail.app.com. 300 in a 192.0.2.200",
        ],
    ),
    case("away.app.com", "A", "NOERROR", "qr aa", &["answer away.app.com. 300 in cname host.example.net."]),
    case("a.b.wild.app.com", "A", "NOERROR", "qr aa", &["answer a.b.wild.app.com. 300 in a 192.0.2.77"]),
    case("x.wild.app.com", "TXT", "NOERROR", "qr aa", &["answer x.wild.app.com. 300 in txt wild er"]),
    case("x.wild.app.com", "MX", "NOERROR", "qr aa", &[SOA]),
    case("app.com", "MX", "NOERROR", "qr aa", &["answer app.com. 300 in mx 10 mail.app.com."]),
    case("odd.app.com", "TYPE65280", "NOERROR", "qr aa", &["answer odd.app.com. 300 in type65280 \\# 3 010203"]),
    case("svc.app.com", "HTTPS", "NOERROR", "qr aa", &["answer svc.app.com. 300 in https 1 . alpn=h2"]),
    case("app.com", "SOA", "NOERROR", "qr aa", &["answer app.com. "]),
    case("big.app.com", "TXT", "NOERROR", "qr aa tc", &[]),
    Case { transport: Transport::Tcp, ..WHOLE },
    Case { transport: Transport::Fallback, ..WHOLE },
];

/// A record set that does not fit a datagram.
const WHOLE: Case = case("big.app.com", "TXT", "NOERROR", "qr aa", &["answer big.app.com. 300 in txt 0000"]);
