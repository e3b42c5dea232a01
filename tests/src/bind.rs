//! Zones signed by BIND's tools and served by its `named`: signed children of a tested zone, and what is known to be right.

use std::{
    fmt::Write as _,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    netns::Netns,
    process::{Process, eventually},
    scratch::find_tool,
};

/// A zone in a file of its own.
#[derive(Clone, Debug)]
pub struct BindZone {
    /// Its name, without a dot at the end.
    pub name: String,
    /// Its DS records, as lines of a master file; none for a zone that is not signed.
    pub ds: Vec<String>,
    file: PathBuf,
}

impl BindZone {
    /// Writes a zone as it is.
    pub fn plain(folder: &Path, name: &str, text: &str) -> io::Result<Self> {
        let file = folder.join(format!("{name}.zone"));
        fs::write(&file, text)?;
        Ok(Self { name: name.into(), ds: Vec::new(), file })
    }

    /// Signs a zone with one new key.
    pub fn signed(folder: &Path, name: &str, text: &str) -> io::Result<Self> {
        let key = run(folder, "dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", name])?;
        let ds = run(folder, "dnssec-dsfromkey", &["-2", "-T", "3600", key.trim()])?;
        let ds = ds.lines().map(str::to_owned).collect();
        let zone = Self { name: name.into(), ds, file: folder.join(format!("{name}.signed")) };
        zone.sign_again(text)?;
        Ok(zone)
    }

    /// Signs another text of a signed zone with the key that it has.
    pub fn sign_again(&self, text: &str) -> io::Result<()> {
        let folder = self.file.parent().ok_or(io::ErrorKind::NotFound)?;
        let Self { file, .. } = Self::plain(folder, &self.name, text)?;
        let (from, to) = (file.to_string_lossy(), self.file.to_string_lossy());
        // One key for all (-z), found in the folder (-S); whole records on one line each, as `break_signature` reads them.
        run(folder, "dnssec-signzone", &["-q", "-S", "-z", "-O", "full", "-o", &self.name, "-f", &to, &from])?;
        Ok(())
    }

    /// Changes the signature of one record set, so that it does not verify any more.
    pub fn break_signature(&self, owner: &str, rtype: &str) -> io::Result<()> {
        let text = fs::read_to_string(&self.file)?;
        let mut broken = 0;
        let lines = text.lines().map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_it =
                words.len() > 12 && words[0].trim_end_matches('.') == owner && words[3] == "RRSIG" && words[4] == rtype;
            if !is_it {
                return line.to_owned();
            }
            broken += 1;
            let first = words[12];
            let other = if first.starts_with('A') { "B" } else { "A" };
            line.replacen(first, &format!("{other}{}", &first[1..]), 1)
        });
        let lines: Vec<_> = lines.collect();
        fs::write(&self.file, lines.join("\n") + "\n")?;
        if broken == 1 {
            return Ok(());
        }
        Err(io::Error::other(format!("{broken} signatures of {owner} {rtype}")))
    }

    /// The file that is served.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// Runs a program in a folder, and returns what it prints.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(find_tool(program)?).args(arguments).current_dir(folder).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// Serves zones on a machine's addresses, and waits until it does.
pub fn serve(machine: &Netns, folder: &Path, addresses: &[IpAddr], zones: &[&BindZone]) -> io::Result<Process> {
    let listen = |v6: bool| {
        let own = addresses.iter().filter(|address| address.is_ipv6() == v6);
        own.fold(String::new(), |all, address| format!("{all}{address}; "))
    };
    let mut text = format!(
        "options {{ directory \"{}\"; pid-file none; session-keyfile none; listen-on {{ {}}}; listen-on-v6 {{ {}}}; \
         recursion no; dnssec-validation no; allow-transfer {{ any; }}; }};\ncontrols {{ }};\n",
        folder.display(),
        listen(false),
        listen(true)
    );
    for zone in zones {
        let (name, file) = (&zone.name, zone.file.display());
        let _ = writeln!(text, "zone \"{name}\" {{ type primary; file \"{file}\"; check-integrity no; }};");
    }
    let file = folder.join("bind.conf");
    fs::write(&file, text)?;
    let log = folder.join("bind.log");
    let output = fs::File::options().create(true).append(true).open(&log)?;
    let mut command = Command::new(find_tool("named")?);
    command.arg("-g").arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    let process = Process::new(machine.spawn(command)?);
    let (at, name) = (format!("@{}", addresses[0]), zones[0].name.clone());
    let answers = || {
        let said = machine.read("dig", &[&at, "+short", "+norec", "+tries=1", "+time=1", &name, "SOA"]);
        said.is_ok_and(|text| text.split_whitespace().count() == 7)
    };
    if eventually(Duration::from_secs(10), answers) {
        return Ok(process);
    }
    Err(io::Error::other(format!("named does not serve {name}:\n{}", fs::read_to_string(log).unwrap_or_default())))
}
