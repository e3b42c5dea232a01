//! The parsers: each asks in its own words and says what it read.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
    str::FromStr as _,
    time::Duration,
};

use domain::{
    base::{
        Message, MessageBuilder, Name, ParsedName, Rtype,
        iana::{OptRcode, OptionCode},
        opt::UnknownOptData,
    },
    dep::octseq::OctetsBuilder as _,
    rdata::AllRecordData,
};
use serde_json::{Value, json};
use tests::lab::Lab;

use super::cases::{Case, Reading, Shape, Transport};

const SCRIPT: &str = include_str!("dnspython.py");
/// Debian's own, for which python3-dnspython is.
const PYTHON: &str = "/usr/bin/python3";
const PATIENCE: Duration = Duration::from_secs(5);
/// Words of dig and kdig about an answer that is not as it should be.
const COMPLAINTS: [&str; 7] = ["warning", "malformed", "extra bytes", "bad packet", "error:", "mismatch", "unexpected"];
/// The line of kdig when it does what it should.
const RETRY: &str = ";; WARNING: truncated reply from ";

/// A question as each parser gets it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub case: &'a Case,
    pub shape: Shape,
    pub server: SocketAddr,
}

type Readings = Vec<Result<Reading, String>>;

/// A parser's name and how it reads the answers to all of these.
pub type Reader = (&'static str, fn(&Lab, &[Asked<'_>]) -> Readings);

pub const READERS: [Reader; 4] = [("dig", dig), ("kdig", kdig), ("dnspython", dnspython), ("domain", domain)];

fn dig(lab: &Lab, asked: &[Asked<'_>]) -> Readings {
    let shape = |shape| match shape {
        Shape::Plain => "+noedns",
        Shape::Edns => "+edns=0 +nocookie +bufsize=1232",
        Shape::Options => "+dnssec +bufsize=1232 +nsid +cookie=0102030405060708 +subnet=198.51.100.0/24",
    };
    asked.iter().map(|asked| tool(lab, "dig", "+tries=1 +time=5", shape(asked.shape), *asked)).collect()
}

fn kdig(lab: &Lab, asked: &[Asked<'_>]) -> Readings {
    let shape = |shape| match shape {
        Shape::Plain => "+noedns",
        Shape::Edns => "+edns=0 +bufsize=1232",
        Shape::Options => "+dnssec +bufsize=1232 +nsid +cookie=0102030405060708 +subnet=198.51.100.0/24",
    };
    asked.iter().map(|asked| tool(lab, "kdig", "+retry=0 +timeout=5", shape(asked.shape), *asked)).collect()
}

fn tool(lab: &Lab, program: &str, patience: &str, shape: &str, asked: Asked<'_>) -> Result<Reading, String> {
    let transport = match asked.case.transport {
        Transport::Udp => "+notcp +ignore",
        Transport::Tcp => "+tcp",
        Transport::Fallback => "+noignore",
    };
    let mut command = Command::new(program);
    command.arg(format!("@{}", asked.server.ip())).args([asked.case.name, asked.case.kind, "+norec"]);
    command.args([patience, transport, shape].iter().flat_map(|words| words.split(' ')));
    let output = lab.client.output(command).map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let told = text.lines().filter(|line| asked.case.transport != Transport::Fallback || !line.starts_with(RETRY));
    let complaint = told.map(str::to_ascii_lowercase).find(|line| COMPLAINTS.iter().any(|word| line.contains(word)));
    if let Some(complaint) = complaint {
        return Err(format!("{complaint}\n{text}"));
    }
    shown(&text).ok_or_else(|| format!("{}\n{text}", output.status))
}

/// Reads what dig or kdig shows; they write all but the records a little differently.
fn shown(text: &str) -> Option<Reading> {
    let lower = text.to_ascii_lowercase();
    let after = |label: &str| lower.split_once(label).map(|(_, rest)| rest);
    let word = |label: &str, end: &[char]| after(label)?.split(end).next().map(|word| word.trim().to_owned());
    let count = |label: &str| word(label, &[',', ';', '\n'])?.parse().ok();
    let edns = match after("edns: version: ").or_else(|| after(";; version: ")) {
        Some(rest) => {
            let version = rest.split([',', ';']).next()?;
            let flags = rest.split_once("flags:")?.1.split(';').next()?.trim();
            let size = rest.split_once("udp: ").or_else(|| rest.split_once("udp size: "))?.1;
            Some(format!("{version} [{flags}] {}", size.split(|c: char| !c.is_ascii_digit()).next()?))
        }
        None => None,
    };
    let (mut section, mut records, mut options) = ("", Vec::new(), Vec::new());
    for line in text.lines() {
        if line.ends_with(" SECTION:") {
            section = line.trim_start_matches(";; ").trim_end_matches(" SECTION:");
        } else if !line.is_empty() && !line.starts_with(';') {
            records.push(format!("{section} {line}"));
        }
        let (name, data) = line.trim_start_matches("; ").trim_start_matches(";; ").split_once(": ").unwrap_or_default();
        match name {
            "NSID" => options.push(format!("nsid {}", data.split('"').nth(1)?)),
            "CLIENT-SUBNET" => options.push(format!("ecs {}", data.trim())),
            "COOKIE" => {
                // dig judges the server's part by what it sent.
                let data: String = data.trim_end_matches("(good)").split_whitespace().collect();
                let server = data.len().checked_sub(16)? / 2;
                options.push(format!("cookie {}+{server}", data[..16].to_ascii_lowercase()));
            }
            _ => {}
        }
    }
    let counts = [count("query: ")?, count("answer: ")?, count("authority: ")?, count("additional: ")?];
    let flags = word("\n;; flags: ", &[';'])?;
    Some(Reading { rcode: word("status: ", &[',', ';'])?.to_uppercase(), flags, counts, records, edns, options })
}

fn dnspython(lab: &Lab, asked: &[Asked<'_>]) -> Readings {
    let lines: Vec<String> = asked
        .iter()
        .map(|Asked { case, shape, server }| {
            let transport = format!("{:?}", case.transport).to_lowercase();
            let (edns, options) = (*shape != Shape::Plain, *shape == Shape::Options);
            let server = server.ip().to_string();
            let line = json!({ "name": case.name, "type": case.kind, "transport": transport, "server": server,
                           "edns": edns, "options": options });
            format!("{line}\n")
        })
        .collect();
    let mut command = Command::new(PYTHON);
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = lab.client.spawn(command).expect("python3");
    let mut input = child.stdin.take().expect("a pipe");
    // What it prints meanwhile must not fill the pipe that nobody reads.
    let writer = std::thread::spawn(move || input.write_all(lines.concat().as_bytes()));
    let output = child.wait_with_output().expect("python3");
    writer.join().expect("no panic").expect("python3 reads");
    assert!(output.status.success(), "python3: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| reading(&serde_json::from_str(line).map_err(|error| error.to_string())?)).collect()
}

fn reading(value: &Value) -> Result<Reading, String> {
    let texts = |field: &str| {
        let all = value[field].as_array().into_iter().flatten();
        all.filter_map(|text| text.as_str().map(ToOwned::to_owned)).collect::<Vec<_>>()
    };
    let text = |field: &str| value[field].as_str().map(ToOwned::to_owned);
    let counts: Vec<u16> =
        value["counts"].as_array().into_iter().flatten().filter_map(|n| n.as_u64()?.try_into().ok()).collect();
    let (Some(rcode), Some(flags), Ok(counts)) = (text("rcode"), text("flags"), counts.try_into()) else {
        return Err(text("fault").unwrap_or_else(|| value.to_string()));
    };
    Ok(Reading { rcode, flags, counts, records: texts("records"), edns: text("edns"), options: texts("options") })
}

fn domain(lab: &Lab, asked: &[Asked<'_>]) -> Readings {
    let read = |asked: &Asked<'_>| -> io::Result<Reading> {
        let query = query(asked)?;
        let mut answer = match asked.case.transport {
            Transport::Tcp => over_tcp(lab, &query, asked.server)?,
            Transport::Udp | Transport::Fallback => over_udp(lab, &query, asked.server)?,
        };
        if asked.case.transport == Transport::Fallback && answer.get(2).is_some_and(|flags| flags & 2 != 0) {
            answer = over_tcp(lab, &query, asked.server)?;
        }
        parsed(&query, &answer).map_err(io::Error::other)
    };
    asked.iter().map(|asked| read(asked).map_err(|error| error.to_string())).collect()
}

fn query(asked: &Asked<'_>) -> io::Result<Vec<u8>> {
    let name = Name::<Vec<u8>>::from_str(asked.case.name).map_err(io::Error::other)?;
    let rtype = Rtype::from_str(asked.case.kind).map_err(|error| io::Error::other(error.to_string()))?;
    let mut builder = MessageBuilder::new_vec().question();
    builder.header_mut().set_id(rand::random());
    builder.push((&name, rtype)).map_err(io::Error::other)?;
    let mut builder = builder.additional();
    let options: &[(OptionCode, &[u8])] = match asked.shape {
        Shape::Plain => return Ok(builder.finish()),
        Shape::Edns => &[],
        Shape::Options => &[
            (OptionCode::NSID, &[]),
            (OptionCode::COOKIE, &[1, 2, 3, 4, 5, 6, 7, 8]),
            (OptionCode::CLIENT_SUBNET, &[0, 1, 24, 0, 198, 51, 100]),
        ],
    };
    let fill = builder.opt(|opt| {
        opt.set_udp_payload_size(1232);
        opt.set_dnssec_ok(asked.shape == Shape::Options);
        for (code, data) in options {
            opt.push_raw_option(*code, data.len() as u16, |target| target.append_slice(data))?;
        }
        Ok(())
    });
    fill.map_err(io::Error::other)?;
    Ok(builder.finish())
}

fn over_udp(lab: &Lab, query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let socket = lab.client.udp(None, server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(query)?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn over_tcp(lab: &Lab, query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = lab.client.run(move || TcpStream::connect_timeout(&server, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[&(query.len() as u16).to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn parsed(query: &[u8], answer: &[u8]) -> Result<Reading, String> {
    let message = Message::from_octets(answer).map_err(|error| error.to_string())?;
    let asked = Message::from_octets(query).map_err(|error| error.to_string())?;
    if !message.is_answer(&asked) {
        return Err("the answer to another question".to_owned());
    }
    let (header, counts) = (message.header(), message.header_counts());
    let flags = [
        (header.qr(), "qr"),
        (header.aa(), "aa"),
        (header.tc(), "tc"),
        (header.rd(), "rd"),
        (header.ra(), "ra"),
        (header.z(), "z"),
        (header.ad(), "ad"),
        (header.cd(), "cd"),
    ];
    let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let mut records = Vec::new();
    let (_, answers, authority, additional) = message.sections().map_err(|error| error.to_string())?;
    let mut end = additional;
    for record in end.by_ref() {
        record.map_err(|error| error.to_string())?;
    }
    if end.pos() != answer.len() {
        return Err(format!("{} bytes behind the message", answer.len() - end.pos()));
    }
    for (section, of) in [("answer", answers), ("authority", authority), ("additional", additional)] {
        for record in of {
            let record = record.map_err(|error| error.to_string())?;
            if record.rtype() == Rtype::OPT {
                continue;
            }
            let data = record.to_any_record::<AllRecordData<_, ParsedName<_>>>().map_err(|error| error.to_string())?;
            let (owner, ttl) = (record.owner(), record.ttl().as_secs());
            records.push(format!("{section} {owner}. {ttl} {} {} {}", record.class(), record.rtype(), data.data()));
        }
    }
    let opt = message.opt();
    let rcode = opt.as_ref().map_or_else(|| OptRcode::from(header.rcode()), |opt| opt.rcode(header));
    let (mut edns, mut options) = (None, Vec::new());
    if let Some(opt) = opt {
        let flags = if opt.dnssec_ok() { "do" } else { "" };
        edns = Some(format!("{} [{flags}] {}", opt.version(), opt.udp_payload_size()));
        for option in opt.opt().iter::<UnknownOptData<_>>() {
            let option = option.map_err(|error| error.to_string())?;
            options.push(shown_option(option.code(), option.data()).ok_or("a short option")?);
        }
    }
    let counts = [counts.qdcount(), counts.ancount(), counts.nscount(), counts.arcount()];
    Ok(Reading { rcode: rcode.to_string(), flags: flags.join(" "), counts, records, edns, options })
}

fn shown_option(code: OptionCode, data: &[u8]) -> Option<String> {
    Some(match (code, data) {
        (OptionCode::NSID, data) => format!("nsid {}", String::from_utf8_lossy(data)),
        (OptionCode::COOKIE, data) => {
            let client = data.get(..8)?.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            format!("cookie {client}+{}", data.len() - 8)
        }
        (OptionCode::CLIENT_SUBNET, &[0, 1, source, scope, a, b, c]) => {
            format!("ecs {}/{source}/{scope}", Ipv4Addr::new(a, b, c, 0))
        }
        (code, _) => format!("option {code}"),
    })
}
