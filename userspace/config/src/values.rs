//! Single values: names, addresses, durations, choices, ranges.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::{Range, RangeInclusive},
    time::Duration,
};

use bytes::Bytes;
use ipnet::IpNet;
use toml::Spanned;

use super::{raw, report::Reporter};
use zerottl_core::model::Name;

/// Bytes of a name in wire form, at most (RFC 1035 section 2.3.4).
const NAME_LEN_MAX: usize = 255;
/// Bytes of a label, at most (the same).
const LABEL_LEN_MAX: usize = 63;

/// A fault of a value, and its fix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub message: String,
    pub help: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Stands where a bad name was reported; never in a model that is given out.
pub(super) fn no_name() -> Name {
    Name::root_bytes()
}

/// As [`name`], and the root, which is a dot.
pub(super) fn name_or_root(text: &str) -> Result<Name, Fault> {
    if text == "." { Ok(Name::root_bytes()) } else { name(text) }
}

/// A name in presentation form, with or without the last dot. The root is none.
pub(super) fn name(text: &str) -> Result<Name, Fault> {
    let fault = |message: &str, help: &str| Err(Fault::new(format!("{message} in name `{text}`"), help));
    let relative = text.strip_suffix('.').unwrap_or(text);
    if relative.is_empty() {
        return Err(Fault::new(format!("`{text}` is not a name"), "give a name such as \"app.com\""));
    }
    if !text.is_ascii() {
        return fault("a letter that is not ASCII", "write the name in its ASCII form (xn--…)");
    }
    if text.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control()) {
        return fault("white space", "take it out");
    }
    let mut lengths = vec![0_usize];
    let mut chars = relative.chars();
    while let Some(c) = chars.next() {
        match c {
            '.' => lengths.push(0),
            // `\.` is one byte and so is `\046`; what is no escape at all is left to the parser below.
            '\\' if chars.next().is_some_and(|c| c.is_ascii_digit()) => {
                chars.nth(1);
                *lengths.last_mut().expect("starts with one and only grows") += 1;
            }
            _ => *lengths.last_mut().expect("starts with one and only grows") += 1,
        }
    }
    if lengths.contains(&0) {
        return fault("an empty label", "take out the surplus dot");
    }
    if let Some(length) = lengths.iter().find(|&&l| l > LABEL_LEN_MAX) {
        let help = format!("between two dots there are at most {LABEL_LEN_MAX} bytes");
        return fault(&format!("a label of {length} bytes"), &help);
    }
    let wire = lengths.iter().sum::<usize>() + lengths.len() + 1;
    if wire > NAME_LEN_MAX {
        return Err(Fault::new(
            format!("a name of {wire} bytes in wire form"),
            format!("a DNS name has at most {NAME_LEN_MAX}"),
        ));
    }
    let mut name = domain::base::Name::vec_from_str(relative)
        .map_err(|e| Fault::new(format!("`{text}` is not a name: {e}"), "give a name such as \"app.com\""))?;
    name.make_canonical();
    Name::from_octets(Bytes::from(name.into_octets()))
        .map_err(|e| Fault::new(format!("`{text}` is not a name: {e}"), "give a name such as \"app.com\""))
}

/// A name that is looked up whole. Wildcards stand in records files only.
pub(super) fn site_name(text: &str) -> Result<Name, Fault> {
    let site = name(text)?;
    if site.iter().any(|label| label.as_slice() == b"*") {
        return Err(Fault {
            message: format!("`{text}` is a wildcard"),
            help: "name each Pool, Group and Site in full; wildcards belong in the zone's `records`".into(),
        });
    }
    Ok(site)
}

/// A mail address, or the name form of one, as SOA RNAME (RFC 1035 section 8).
pub(super) fn contact(text: &str) -> Result<Name, Fault> {
    let Some((local, host)) = text.rsplit_once('@') else { return name_or_root(text) };
    if local.is_empty() || host.is_empty() {
        let part = if local.is_empty() { "before" } else { "after" };
        return Err(Fault::new(
            format!("contact `{text}` has nothing {part} the @"),
            "give a mail address such as \"hostmaster@app.com\"",
        ));
    }
    let mut escaped = String::with_capacity(text.len());
    for c in local.chars() {
        if matches!(c, '.' | '\\' | '"' | ';' | '(' | ')') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    name(&format!("{escaped}.{host}"))
}

/// A whole number and its unit: `500ms`, `1s`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(ms_per_unit).map(Duration::from_millis)
}

/// Whole seconds: numbers each followed by a unit (w, d, h, m, s), as in a master file.
fn seconds(text: &str) -> Option<u32> {
    zerottl_dns::ttl_seconds(text.as_bytes())
}

/// A duration as it would be written.
pub(super) fn written(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// An address that one host can have.
pub(super) fn address(text: &str) -> Result<IpAddr, Fault> {
    let Ok(ip) = text.parse::<IpAddr>() else {
        return Err(Fault::new(
            format!("`{text}` is neither an IPv4 nor an IPv6 address"),
            "give an address such as \"192.0.2.10\" or \"2001:db8::10\", without a port or a prefix length",
        ));
    };
    unicast(ip)
}

/// An address with or without a port; 53 unless given.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Fault> {
    let address = text.parse::<SocketAddr>().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)));
    let Some(address) = address else {
        return Err(Fault::new(
            format!("`{text}` is neither an address nor an address and a port"),
            "give \"203.0.113.53\", \"203.0.113.53:5353\", \"2001:db8::53\" or \"[2001:db8::53]:5353\"",
        ));
    };
    if address.port() == 0 {
        return Err(Fault::new(format!("`{text}` has port 0"), "give the port queries arrive at; 53 unless given"));
    }
    unicast(address.ip())?;
    Ok(address)
}

/// Returns what was probably meant where an IPv6 address without brackets ends like a port: the address and the port.
pub(super) fn unbracketed_port(text: &str) -> Option<(Ipv6Addr, u16)> {
    let whole: Ipv6Addr = text.parse().ok()?;
    let (address, port) = text.rsplit_once(':')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && (port.len() == 4 || matches!(port, "53" | "853"));
    (is_port && address != whole).then_some((address, port.parse().ok()?))
}

/// An address prefix, its host bits zero; an address alone is that host.
pub(super) fn prefix(text: &str) -> Result<IpNet, Fault> {
    let Some(net) = text.parse::<IpNet>().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into())) else {
        return Err(Fault::new(
            format!("`{text}` is not an address prefix"),
            "give a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\", or an address",
        ));
    };
    if net.trunc() != net {
        return Err(Fault::new(
            format!("`{text}` has bits set after its length"),
            format!("write \"{}\"", net.trunc()),
        ));
    }
    if let IpNet::V6(v6) = net
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err(Fault::new(format!("{net} is an IPv4 prefix in IPv6 form"), "write it as an IPv4 prefix"));
    }
    Ok(net)
}

/// An address that is one host's.
pub(super) fn unicast(ip: IpAddr) -> Result<IpAddr, Fault> {
    if ip.is_unspecified() {
        return Err(Fault::new(format!("{ip} is the unspecified address"), "give the host's own address"));
    }
    if ip.is_multicast() {
        return Err(Fault::new(format!("{ip} is a multicast address"), "give the host's own address"));
    }
    if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Fault::new(format!("{ip} is the broadcast address"), "give the host's own address"));
    }
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(Fault::new(format!("{ip} is an IPv4 address in IPv6 form"), format!("write \"{v4}\"")));
    }
    Ok(ip)
}

/// Reads values of one section, reporting what is bad and going on with the default.
pub(super) struct Reader<'a> {
    pub report: &'a mut Reporter,
    /// The header, as `[pool."app.com"]`.
    pub section: String,
    /// Where the header stands.
    pub header: Range<usize>,
}

impl Reader<'_> {
    /// Returns a reader of a table within this one.
    pub(super) fn inside(&mut self, key: &str, header: Range<usize>) -> Reader<'_> {
        let section = format!("{}.{key}]", self.section.trim_end_matches(']'));
        Reader { report: self.report, section, header }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl AsRef<str>) -> &mut super::report::Problem {
        self.report.error(span, format!("{}: {}", self.section, message.as_ref()))
    }

    pub(super) fn warn(&mut self, span: Range<usize>, message: impl AsRef<str>) -> &mut super::report::Problem {
        self.report.warn(span, format!("{}: {}", self.section, message.as_ref()))
    }

    pub(super) fn missing(&mut self, key: &str, example: &str) {
        self.report.missing(&self.section, key, self.header.clone(), example);
    }

    /// Returns what `parse` makes of a text, or reports its fault.
    pub(super) fn parsed<T>(
        &mut self,
        text: &Spanned<String>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        match parse(text.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.error(text.span(), fault.message).help(fault.help);
                None
            }
        }
    }

    /// A whole number within a range.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        value: &raw::Number,
        range: RangeInclusive<i64>,
        unit: &str,
        default: T,
    ) -> T {
        let Some(value) = value else { return default };
        let number = *value.get_ref();
        if range.contains(&number)
            && let Ok(number) = T::try_from(number)
        {
            return number;
        }
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        let help = format!("give {} to {}{unit}", range.start(), range.end());
        self.error(value.span(), format!("`{key}` is {number}, out of range")).help(help);
        default
    }

    /// Seconds within a range: a number, or a text with units.
    pub(super) fn seconds(&mut self, key: &str, value: &raw::Seconds, range: RangeInclusive<i64>, default: u32) -> u32 {
        let Some(spanned) = value else { return default };
        let number = match spanned.get_ref() {
            raw::NumberOrText::Number(number) => *number,
            raw::NumberOrText::Text(text) => {
                let Some(seconds) = seconds(text) else {
                    self.error(spanned.span(), format!("`{key}` is \"{text}\", which is no number of seconds"))
                        .help("give whole seconds, as a number or as a text with units: 30, \"30s\", \"5m\", \"1h30m\", \"1d\"");
                    return default;
                };
                seconds.into()
            }
        };
        self.number(key, &Some(Spanned::new(spanned.span(), number)), range, "seconds", default)
    }

    /// A number within a range, which need not be whole; not a number lies in none.
    pub(super) fn fraction(
        &mut self,
        key: &str,
        value: &raw::Fraction,
        range: RangeInclusive<f64>,
        help: &str,
    ) -> Option<f64> {
        let value = value.as_ref()?;
        if range.contains(value.get_ref()) {
            return Some(*value.get_ref());
        }
        let (from, to) = (range.start(), range.end());
        self.error(value.span(), format!("`{key}` is {}, out of range", value.get_ref()))
            .help(format!("give {from} to {to}, {help}"));
        None
    }

    /// One word out of a few.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, value: &raw::Text, allowed: &[(&str, T)], default: T) -> T {
        value.as_ref().and_then(|value| self.word(key, value, allowed)).unwrap_or(default)
    }

    /// One word out of a few.
    pub(super) fn word<T: Copy>(&mut self, key: &str, word: &Spanned<String>, allowed: &[(&str, T)]) -> Option<T> {
        if let Some((_, value)) = allowed.iter().find(|(name, _)| name == word.get_ref()) {
            return Some(*value);
        }
        let names: Vec<_> = allowed.iter().map(|(name, _)| *name).collect();
        let mut help = format!("{key} is one of {}", names.join(", "));
        if let Some(meant) = self.report.did_you_mean(word.get_ref(), names) {
            help = format!("did you mean `{meant}`? {help}");
        }
        self.error(word.span(), format!("`{}` is not a value of `{key}`", word.get_ref())).help(help);
        None
    }

    /// A list's entries; reported where the list is there and empty.
    pub(super) fn list<'r, T>(&mut self, key: &str, list: &'r raw::List<T>) -> Option<&'r [Spanned<T>]> {
        let list = list.as_ref()?;
        if list.get_ref().is_empty() {
            self.error(list.span(), format!("`{key}` is empty")).label("no entries").help("name at least one");
        }
        Some(list.get_ref())
    }

    /// A list of address prefixes, at most `max`, each once.
    pub(super) fn prefixes(&mut self, key: &str, list: &raw::List<String>, max: usize) -> Vec<IpNet> {
        let mut once = super::report::Once::new();
        let mut prefixes = Vec::new();
        for text in self.list(key, list).unwrap_or_default() {
            let Some(net) = self.parsed(text, prefix) else { continue };
            if let Some(first) = once.see(net, text.span()) {
                self.error(text.span(), format!("`{net}` stands twice in `{key}`"))
                    .label("again")
                    .also(first, "first here")
                    .help("take one out");
                continue;
            }
            prefixes.push(net);
            if prefixes.len() == max + 1 {
                self.error(text.span(), format!("`{key}` has more than {max} prefixes"))
                    .label("one too many")
                    .help("give fewer, shorter ones");
            }
        }
        prefixes
    }

    /// A list of host names, each once.
    pub(super) fn names(&mut self, key: &str, list: &raw::List<String>) -> Vec<Spanned<Name>> {
        let mut once = super::report::Once::new();
        let mut names = Vec::new();
        for text in self.list(key, list).unwrap_or_default() {
            let Some(name) = self.parsed(text, name_or_root) else { continue };
            if let Some(first) = once.see(name.clone(), text.span()) {
                self.error(text.span(), format!("`{}` stands twice in `{key}`", text.get_ref()))
                    .label("again")
                    .also(first, "first here")
                    .help("take one out");
            }
            names.push(Spanned::new(text.span(), name));
        }
        names
    }
}
