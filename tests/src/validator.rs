//! Validating resolvers and BIND's verifiers: whether an answer is what its zone's keys have signed.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    str::FromStr as _,
    time::Duration,
};

use domain::{
    base::{Message, Rtype, iana::Rcode},
    rdata::AllRecordData,
};

use crate::{
    lab::Lab,
    netns::Netns,
    process::{Process, eventually},
    query::{ClientEdns, ClientQuestion},
    resolver::{ResolverKind, ResolverSetup, launch, named_anchors, said},
    scratch::find_tool,
};

/// Where each of the three listens, so that all run on one machine.
const LISTEN: [(ResolverKind, &str); 3] =
    [(ResolverKind::Unbound, "127.0.0.2"), (ResolverKind::Named, "127.0.0.3"), (ResolverKind::Recursor, "127.0.0.4")];

/// How long an answer may take: a resolver that is given bad ones tries the other server, and again, before it says SERVFAIL.
const PATIENCE: Duration = Duration::from_secs(8);

/// A validating resolver on the lab's resolver machine.
#[derive(Debug)]
pub struct Validator<'a> {
    /// Which program it is.
    pub kind: ResolverKind,
    address: SocketAddr,
    machine: &'a Netns,
    folder: PathBuf,
    _process: Process,
}

impl<'a> Validator<'a> {
    /// Starts all three, with the zones that they ask front 0 for and the DS records that they trust, and waits until they
    /// answer.
    ///
    /// # Panics
    /// If they do not come to that.
    #[must_use]
    pub fn all(lab: &'a Lab, zones: &[&str], anchors: &[String]) -> Vec<Self> {
        let machine = lab.resolver.as_ref().expect("the lab has a resolver");
        let start = |(kind, listen)| {
            // named listens only where an interface has the address; who started them before has left it there.
            machine.ip(&format!("addr replace {listen}/8 dev lo")).expect("ip");
            let setup = ResolverSetup { listen, zones, anchors, more: "" };
            let (process, folder) = launch(lab, machine, kind, &setup);
            let address = SocketAddr::new(listen.parse().expect("an address"), 53);
            Self { kind, address, machine, folder, _process: process }
        };
        let all: Vec<_> = LISTEN.into_iter().map(start).collect();
        for resolver in &all {
            // Any answer is one: whether it is a good one is what tests are about.
            let answers = eventually(Duration::from_secs(15), || resolver.try_ask(zones[0], Rtype::SOA).is_ok());
            assert!(answers, "{} does not answer:\n{}", resolver.kind.name(), resolver.log());
        }
        all
    }

    /// Returns what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        said(&self.folder)
    }

    /// Asks it with DO.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn ask(&self, name: &str, rtype: &str) -> Validated {
        let parsed = Rtype::from_str(rtype).expect("a type");
        let answer = self.try_ask(name, parsed).unwrap_or_else(|e| panic!("{}: {name} {rtype}: {e}", self.kind.name()));
        Validated { what: format!("{}: {name} {rtype}", self.kind.name()), bytes: answer }
    }

    /// Asks for what has to be there and validate: NOERROR, AD, and records of the type asked for.
    ///
    /// # Panics
    /// If it is not so.
    #[must_use]
    pub fn secure(&self, name: &str, rtype: &str) -> Validated {
        let answer = self.ask(name, rtype);
        self.expect(&answer, answer.rcode() == Rcode::NOERROR && answer.has(rtype) && answer.is_authentic());
        answer
    }

    /// Asks for a type that a name has not: NOERROR, AD, no record of that type.
    ///
    /// # Panics
    /// If it is not so.
    pub fn no_data(&self, name: &str, rtype: &str) {
        let answer = self.ask(name, rtype);
        self.expect(&answer, answer.rcode() == Rcode::NOERROR && !answer.has(rtype) && answer.is_authentic());
    }

    /// Asks for a name that does not exist: NXDOMAIN, AD.
    ///
    /// # Panics
    /// If it is not so.
    pub fn no_name(&self, name: &str, rtype: &str) {
        let answer = self.ask(name, rtype);
        self.expect(&answer, answer.rcode() == Rcode::NXDOMAIN && !answer.has(rtype) && answer.is_authentic());
    }

    /// Asks for what is not signed and proven not to be: NOERROR and records, without AD.
    ///
    /// # Panics
    /// If it is not so.
    pub fn insecure(&self, name: &str, rtype: &str) {
        let answer = self.ask(name, rtype);
        self.expect(&answer, answer.rcode() == Rcode::NOERROR && answer.has(rtype) && !answer.is_authentic());
    }

    /// Asks for what has a signature that does not verify: SERVFAIL.
    ///
    /// # Panics
    /// If it is not so.
    pub fn refuses(&self, name: &str, rtype: &str) {
        let answer = self.ask(name, rtype);
        self.expect(&answer, answer.rcode() == Rcode::SERVFAIL);
    }

    /// Panics with the answer and the log unless `right`.
    ///
    /// # Panics
    /// Unless `right`.
    pub fn expect(&self, answer: &Validated, right: bool) {
        let log = self.log();
        let from = log.len().saturating_sub(3000);
        let tail = log.get(log.ceil_char_boundary(from)..).unwrap_or_default();
        assert!(right, "{}\n{}\nlog:\n{tail}", answer.what, answer.text());
    }

    fn try_ask(&self, name: &str, rtype: Rtype) -> io::Result<Vec<u8>> {
        let query = ClientQuestion::new(name, rtype, Some(ClientEdns::USUAL))?.query(rand::random(), rand::random());
        exchange(self.machine, self.address, &query)
    }
}

/// Sends a query to a server, by TCP if the answer does not fit UDP; the answer.
pub fn exchange(machine: &Netns, server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = machine.udp(None, server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(query)?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    let truncated = answer.get(2).is_some_and(|flags| flags & 2 != 0);
    if !truncated {
        return Ok(answer);
    }
    let mut stream = machine.run(move || TcpStream::connect(server))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A resolver's answer to a question with DO.
#[derive(Clone, Debug)]
pub struct Validated {
    what: String,
    bytes: Vec<u8>,
}

impl Validated {
    fn message(&self) -> Message<&[u8]> {
        Message::from_octets(self.bytes.as_slice()).expect("longer than a header")
    }

    /// The response code.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        self.message().header().rcode()
    }

    /// AD: whether the resolver has validated all of it.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        self.message().header().ad()
    }

    /// The answer's records but for signatures: owner, type and data, in lower case and without a dot at the end.
    ///
    /// # Panics
    /// If the message is not whole.
    #[must_use]
    pub fn records(&self) -> BTreeSet<(String, String, String)> {
        let message = self.message();
        let section = message.answer().expect("an answer section");
        let records = section.flatten().filter(|record| record.rtype() != Rtype::RRSIG).map(|record| {
            let data = record.to_any_record::<AllRecordData<_, _>>().map(|r| r.data().to_string());
            (plain(&record.owner().to_string()), record.rtype().to_string(), plain(&data.unwrap_or_default()))
        });
        records.collect()
    }

    /// Whether the answer has a record of a type.
    #[must_use]
    pub fn has(&self, rtype: &str) -> bool {
        self.records().iter().any(|(_, each, _)| rtype == "ANY" || each == rtype)
    }

    /// The answer's addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.records().iter().filter_map(|(_, _, data)| data.parse().ok()).collect()
    }

    /// The authority section's records but for signatures: owner and type.
    ///
    /// # Panics
    /// If the message is not whole.
    #[must_use]
    pub fn authority(&self) -> BTreeSet<(String, String)> {
        let message = self.message();
        let section = message.authority().expect("an authority section");
        let records = section.flatten().filter(|record| record.rtype() != Rtype::RRSIG);
        records.map(|record| (plain(&record.owner().to_string()), record.rtype().to_string())).collect()
    }

    /// The message as dig would show it.
    #[must_use]
    pub fn text(&self) -> String {
        self.message().display_dig_style().to_string()
    }
}

/// Returns a name as tests write it.
fn plain(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// `delv`, asking a server itself and validating from DS records.
#[derive(Debug)]
pub struct Delv<'a> {
    machine: &'a Netns,
    server: IpAddr,
    zone: String,
    anchors: PathBuf,
}

impl<'a> Delv<'a> {
    /// Prepares it for one zone, on a machine that reaches the server.
    ///
    /// # Panics
    /// If its file cannot be written.
    #[must_use]
    pub fn new(lab: &Lab, machine: &'a Netns, server: IpAddr, zone: &str, anchors: &[String]) -> Self {
        let file = lab.folder("delv").expect("folder").join("anchors");
        fs::write(&file, named_anchors(anchors)).expect("write");
        Self { machine, server, zone: zone.into(), anchors: file }
    }

    /// Asks; what it prints, its verdict on each set in comments.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn ask(&self, name: &str, rtype: &str) -> String {
        let mut command = Command::new(find_tool("delv").unwrap_or_else(|e| panic!("{e}")));
        command.arg(format!("@{}", self.server)).arg("-a").arg(&self.anchors).arg(format!("+root={}", self.zone));
        command.args(["-q", name, "-t", rtype]);
        let output = self.machine.output(command).expect("delv");
        // Its complaints are on the other channel.
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    }

    /// Asks for what has to be there and validate.
    ///
    /// # Panics
    /// If it is not so.
    #[must_use]
    pub fn secure(&self, name: &str, rtype: &str) -> String {
        let said = self.ask(name, rtype);
        let whole = said.starts_with("; fully validated") && !said.contains("unsigned");
        assert!(whole, "delv: {name} {rtype}:\n{said}");
        said
    }

    /// Asks for a type or a name that is not there, and is proven not to be.
    ///
    /// # Panics
    /// If it is not so.
    pub fn negative(&self, name: &str, rtype: &str) {
        let said = self.ask(name, rtype);
        assert!(said.contains("; negative response, fully validated"), "delv: {name} {rtype}:\n{said}");
    }
}

/// Transfers a zone from a server and has BIND's `dnssec-verify` check every signature and the chain of proofs.
pub fn verify_transfer(lab: &Lab, machine: &Netns, server: IpAddr, zone: &str) -> io::Result<String> {
    let file = lab.folder("transfer")?.join("zone");
    let arguments = [&format!("@{server}"), zone, "AXFR", "+onesoa", "+nocomments", "+nocmd", "+nostats", "+time=5"];
    fs::write(&file, machine.read("dig", &arguments)?)?;
    verify_zone(&file, zone)
}

/// Has BIND's `dnssec-verify` check a zone in a file, whose one key signs all.
pub fn verify_zone(file: &Path, zone: &str) -> io::Result<String> {
    let output = Command::new(find_tool("dnssec-verify")?).args(["-z", "-o", zone]).arg(file).output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() {
        return Ok(said);
    }
    Err(io::Error::other(format!("{said}\n{}", fs::read_to_string(file).unwrap_or_default())))
}
