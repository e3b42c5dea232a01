//! `[front]` and `[zone."…"]`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    ops::{Range, RangeInclusive},
};

use toml::Spanned;
use xdp_ebpf::layout::{LISTEN_MAX, MAC_MAX, VLAN_PAIRS_MAX};

use super::{
    dnssec, raw,
    readers::{again, readable},
    report::{Once, Reporter},
    tables::section,
    values::{self, Fault, Reader},
};
use zerottl_core::model::{ApexSettings, Front, Name, Roles, Vlan, Vlans, XdpMode, ZoneConfig, ZoneId};

/// Front addresses of one family, at most.
const LISTEN_PER_FAMILY_MAX: usize = LISTEN_MAX;
/// Interfaces, at most: the program knows as many MAC addresses.
const INTERFACES_MAX: usize = MAC_MAX;
/// Zones, at most: a name says in 16 bits which it is in.
pub(super) const ZONES_MAX: usize = 1 << 16;
/// Name servers of one list, at most: the longest names of as many fit into any answer over TCP.
const NAMESERVERS_MAX: usize = 32;
/// Prefixes in `transfer_to`, at most.
const TRANSFER_TO_MAX: usize = 1024;
/// Bytes of an interface's name, at most (Linux, `IFNAMSIZ` less its last zero).
const INTERFACE_LEN_MAX: usize = 15;
/// Numbers of VLANs: 0 is none, and 4095 is reserved (IEEE 802.1Q clause 9.6).
const VLAN: RangeInclusive<u16> = 1..=4094;
/// Seconds, at most, of a TTL (RFC 2181 section 8) and of an SOA timer.
const SECONDS_MAX: i64 = i32::MAX as i64;
/// Seconds over which a negative answer's life is odd: a day.
const NEGATIVE_TTL_ODD: u32 = 86_400;

const XDP: [(&str, XdpMode); 4] =
    [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic), ("off", XdpMode::Off)];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    LoadBalance,
    Failover,
}

pub(super) fn front(report: &mut Reporter, raw: Option<&Spanned<raw::Front>>) -> Front {
    let empty = raw::Front::default();
    let (raw, header) = if let Some(raw) = raw {
        (raw.get_ref(), raw.span())
    } else {
        report.error(0..0, "there is no section [front]").help("add it, with its interfaces and addresses");
        report.spoil("[front]", "interfaces");
        report.spoil("[front]", "addresses");
        (&empty, 0..0)
    };
    let mut reader = Reader { report, section: "[front]".into(), header };
    let xdp = reader.choice("xdp", &raw.xdp, &XDP, XdpMode::Auto);
    Front {
        interfaces: interfaces(&mut reader, raw, xdp),
        listen: listen(&mut reader, raw),
        xdp,
        freebind: raw.freebind.as_ref().is_none_or(|on| *on.get_ref()),
        roles: roles(&mut reader, raw),
        vlans: vlans(&mut reader, raw),
    }
}

fn vlans(reader: &mut Reader<'_>, raw: &raw::Front) -> Vlans {
    let list = match raw.vlans.as_ref().map(|written| (written.get_ref(), written.span())) {
        None => return Vlans::Auto,
        Some((raw::Vlans::Word(word), _)) if word == "auto" => return Vlans::Auto,
        Some((raw::Vlans::Word(word), span)) => {
            reader
                .error(span, format!("`vlans` is `{word}`"))
                .help("give \"auto\", or a list such as [100, \"100.200\"]; [] is none");
            return Vlans::Auto;
        }
        Some((raw::Vlans::List(list), _)) => list,
    };
    let mut once = Once::new();
    let mut vlans = Vec::new();
    for written in list {
        let text = Spanned::new(written.span(), written.get_ref().0.clone());
        let Some(vlan) = reader.parsed(&text, vlan) else { continue };
        if let Some(first) = once.see(vlan, text.span()) {
            again(reader, text.span(), first, &format!("VLAN {vlan}"));
            continue;
        }
        vlans.push(vlan);
        if vlan.inner.is_some() && vlans.iter().filter(|vlan| vlan.inner.is_some()).count() == VLAN_PAIRS_MAX + 1 {
            reader
                .error(text.span(), format!("more than {VLAN_PAIRS_MAX} VLANs within VLANs"))
                .label("one too many")
                .help("name those with the most queries; the others take the socket path");
        }
    }
    Vlans::These(vlans)
}

/// `100`, or `100.200` for one within another.
fn vlan(text: &str) -> Result<Vlan, Fault> {
    let number = |text: &str| text.parse().ok().filter(|number| VLAN.contains(number));
    let vlan = match text.split_once('.') {
        None => number(text).map(|outer| Vlan { outer, inner: None }),
        Some((outer, inner)) => {
            number(outer).zip(number(inner)).map(|(outer, inner)| Vlan { outer, inner: Some(inner) })
        }
    };
    vlan.ok_or_else(|| Fault {
        message: format!("`{text}` is no VLAN"),
        help: "give a number from 1 to 4094, or \"100.200\" for VLAN 200 within VLAN 100".into(),
    })
}

fn interfaces(reader: &mut Reader<'_>, raw: &raw::Front, xdp: XdpMode) -> Vec<String> {
    if raw.interfaces.is_none() && xdp != XdpMode::Off {
        reader.missing("interfaces", "[\"eth0\"]");
    }
    let mut once = Once::new();
    let mut interfaces = Vec::new();
    for text in reader.list("interfaces", &raw.interfaces).unwrap_or_default() {
        let name = text.get_ref();
        if name.is_empty()
            || name.len() > INTERFACE_LEN_MAX
            || matches!(name.as_str(), "." | "..")
            || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
        {
            reader
                .error(text.span(), format!("`{name}` cannot be an interface's name"))
                .help("give one of those `ip -br link` lists");
        }
        if let Some(first) = once.see(name, text.span()) {
            again(reader, text.span(), first, &format!("interface `{name}`"));
        }
        interfaces.push(name.clone());
        if interfaces.len() == INTERFACES_MAX + 1 {
            reader
                .error(text.span(), format!("more than {INTERFACES_MAX} interfaces"))
                .label("one too many")
                .help("bond them, or split them over several instances");
        }
    }
    interfaces
}

fn listen(reader: &mut Reader<'_>, raw: &raw::Front) -> Vec<SocketAddr> {
    if raw.addresses.is_none() {
        reader.missing("addresses", "[\"203.0.113.53\"]");
    }
    let mut once = Once::new();
    let mut listen: Vec<SocketAddr> = Vec::new();
    for text in reader.list("addresses", &raw.addresses).unwrap_or_default() {
        let Some(address) = reader.parsed(text, values::listen_address) else { continue };
        warn_of_port(reader, text);
        if let Some(first) = once.see(address, text.span()) {
            again(reader, text.span(), first, &format!("address {address}"));
            continue;
        }
        listen.push(address);
        let family = listen.iter().filter(|a| a.is_ipv4() == address.is_ipv4()).count();
        if family == LISTEN_PER_FAMILY_MAX + 1 {
            let version = if address.is_ipv4() { 4 } else { 6 };
            reader
                .error(text.span(), format!("more than {LISTEN_PER_FAMILY_MAX} IPv{version} addresses"))
                .label("one too many")
                .help(format!("give at most {LISTEN_PER_FAMILY_MAX} of each family"));
        }
    }
    listen
}

/// Warns of an IPv6 address that ends in what looks like a port.
pub(super) fn warn_of_port(reader: &mut Reader<'_>, text: &Spanned<String>) {
    if let Some((address, port)) = values::unbracketed_port(text.get_ref()) {
        let whole = text.get_ref();
        reader
            .warn(text.span(), format!("`{whole}` is an address as a whole, and has port 53"))
            .label("no port")
            .help(format!("write \"[{address}]:{port}\" for port {port}, or \"[{whole}]:53\" if it is meant so"));
    }
}

fn roles(reader: &mut Reader<'_>, raw: &raw::Front) -> Roles {
    let both = Roles { load_balance: true, failover: true };
    let words = reader.list("roles", &raw.roles).unwrap_or_default();
    if words.is_empty() {
        return both;
    }
    let mut once = Once::new();
    let mut roles = Roles { load_balance: false, failover: false };
    for text in words {
        let words = [("load-balance", Role::LoadBalance), ("failover", Role::Failover)];
        let Some(role) = reader.word("roles", text, &words) else {
            // Otherwise the role that was misspelt would be missed below.
            roles = both;
            continue;
        };
        if let Some(first) = once.see(role, text.span()) {
            again(reader, text.span(), first, &format!("role `{}`", text.get_ref()));
        }
        match role {
            Role::LoadBalance => roles.load_balance = true,
            Role::Failover => roles.failover = true,
        }
    }
    roles
}

/// The zones, and which of them a name lies in.
pub(super) struct Zones {
    pub list: Vec<ZoneConfig>,
    by_apex: HashMap<Name, ZoneId>,
    sound: bool,
}

impl Zones {
    pub(super) fn read(report: &mut Reporter, raw: &raw::Named<raw::Zone>, roles: Roles) -> Self {
        if raw.0.is_empty() {
            report
                .error(0..0, "there is no zone")
                .help("add a section such as [zone.\"app.com\"] with its nameservers and contact");
        }
        let mut zones = Self { list: Vec::new(), by_apex: HashMap::new(), sound: !raw.0.is_empty() };
        let mut once = Once::new();
        for (key, zone) in &raw.0 {
            let mut reader = Reader { report, section: section(&["zone", key.get_ref()]), header: key.span() };
            let apex = reader.parsed(key, values::name_or_root).unwrap_or_else(|| {
                zones.sound = false;
                values::no_name()
            });
            let id = ZoneId(zones.list.len());
            if let Some(first) = once.see(apex.clone(), key.span()) {
                again(&mut reader, key.span(), first, &format!("zone `{apex}`"));
            }
            zones.by_apex.entry(apex.clone()).or_insert(id);
            if zones.list.len() == ZONES_MAX {
                reader
                    .error(key.span(), format!("more than {ZONES_MAX} zones"))
                    .label("one too many")
                    .help("split the zones over several instances");
            }
            dnssec::check_roles(&mut reader, zone.dnssec.as_ref(), roles);
            zones.list.push(read_zone(&mut reader, apex, zone));
        }
        zones
    }

    /// The innermost zone a name lies in; reported where there is none.
    pub(super) fn of(&self, reader: &mut Reader<'_>, name: &Name, span: Range<usize>) -> ZoneId {
        let found = name.iter_suffixes().map(|s| name_of(&s)).find_map(|suffix| self.by_apex.get(&suffix));
        // With a bad zone name, or none at all, every name would be reported for the zone's fault.
        if found.is_none() && self.sound && !name.is_root() {
            let zones: Vec<_> = self.list.iter().take(8).map(|z| z.apex.to_string()).collect();
            reader
                .error(span, format!("`{name}` lies in no zone"))
                .label("in no zone")
                .help(format!("the zones are {}: rename it, or add a zone for it", zones.join(", ")));
        }
        found.copied().unwrap_or(ZoneId(0))
    }
}

fn name_of(suffix: &domain::base::Name<impl AsRef<[u8]>>) -> Name {
    Name::from_octets(bytes::Bytes::copy_from_slice(suffix.as_slice())).expect("a suffix of a name is a name")
}

fn read_zone(reader: &mut Reader<'_>, apex: Name, raw: &raw::Zone) -> ZoneConfig {
    // A records file may bring its own; it is missed once that has been read.
    if raw.nameservers.is_none() && raw.records.is_none() {
        reader.missing("nameservers", &format!("[\"ns1.{apex}\"]"));
    }
    if raw.contact.is_none() && raw.records.is_none() {
        reader.missing("contact", &format!("\"hostmaster@{apex}\""));
    }
    let rname = raw.contact.as_ref().and_then(|text| {
        let rname = reader.parsed(text, values::contact)?;
        if rname == apex && !apex.is_root() {
            reader
                .error(text.span(), format!("contact `{}` has no local part: it is the zone itself", text.get_ref()))
                .help(format!("give a mail address such as \"hostmaster@{apex}\""));
        }
        Some(rname)
    });
    let primary = raw.primary.as_ref().and_then(|text| {
        let name = reader.parsed(text, values::name_or_root)?;
        warn_of_one_label(reader, text, &name, &apex);
        Some(name)
    });
    let seconds = |reader: &mut Reader<'_>, key: &str, value: &raw::Seconds, default: u32| {
        reader.seconds(key, value, 0..=SECONDS_MAX, default)
    };
    let negative_ttl = seconds(reader, "negative_ttl", &raw.negative_ttl, 5);
    if let Some(value) = raw.negative_ttl.as_ref().filter(|_| negative_ttl > NEGATIVE_TTL_ODD) {
        reader
            .warn(value.span(), format!("`negative_ttl` is over a day ({NEGATIVE_TTL_ODD} seconds)"))
            .label("a long time for a name not to be there")
            .help("most resolvers keep it for less (RFC 2308 section 5), and a new name is not seen for as long");
    }
    let (serial, auto_serial) = serial(reader, &raw.serial);
    ZoneConfig {
        apex_settings: apex_settings(raw, auto_serial),
        nameservers: name_servers(reader, &apex, "nameservers", &raw.nameservers),
        balance_nameservers: name_servers(reader, &apex, "balance_nameservers", &raw.balance_nameservers),
        failover_nameservers: name_servers(reader, &apex, "failover_nameservers", &raw.failover_nameservers),
        transfer_to: reader.prefixes("transfer_to", &raw.transfer_to, TRANSFER_TO_MAX),
        rname: rname.unwrap_or_else(values::no_name),
        primary,
        serial,
        auto_serial,
        refresh: seconds(reader, "refresh", &raw.refresh, 3600),
        retry: seconds(reader, "retry", &raw.retry, 600),
        expire: seconds(reader, "expire", &raw.expire, 604_800),
        negative_ttl,
        soa_ttl: seconds(reader, "soa_ttl", &raw.soa_ttl, negative_ttl),
        ns_ttl: seconds(reader, "ns_ttl", &raw.ns_ttl, 3600),
        records: raw.records.as_ref().and_then(|path| readable(reader, "records", path)),
        dnssec: dnssec::dnssec(reader, &apex, raw.dnssec.as_ref()),
        apex,
    }
}

/// Which keys a records file must not contradict.
fn apex_settings(raw: &raw::Zone, auto_serial: bool) -> ApexSettings {
    let soa = [
        ("contact", raw.contact.is_some()),
        ("primary", raw.primary.is_some()),
        ("serial", raw.serial.is_some() && !auto_serial),
        ("refresh", raw.refresh.is_some()),
        ("retry", raw.retry.is_some()),
        ("expire", raw.expire.is_some()),
        ("negative_ttl", raw.negative_ttl.is_some()),
        ("soa_ttl", raw.soa_ttl.is_some()),
    ];
    ApexSettings {
        contact: raw.contact.is_some(),
        soa: soa.iter().find(|(_, is_given)| *is_given).map(|(key, _)| *key),
        nameservers: raw.nameservers.is_some().then_some("nameservers"),
        serial: raw.serial.is_some(),
    }
}

/// A serial, and whether it makes itself.
fn serial(reader: &mut Reader<'_>, value: &Option<Spanned<raw::NumberOrText>>) -> (u32, bool) {
    let Some(spanned) = value else { return (1, false) };
    match spanned.get_ref() {
        raw::NumberOrText::Number(number) => {
            let number = Some(Spanned::new(spanned.span(), *number));
            (reader.number("serial", &number, 0..=u32::MAX.into(), "", 1), false)
        }
        raw::NumberOrText::Text(text) if text == "auto" => (1, true),
        raw::NumberOrText::Text(text) => {
            reader
                .error(spanned.span(), format!("`serial` is \"{text}\""))
                .help("give a number, or \"auto\": the time of the newest of the zone's files, never going back");
            (1, false)
        }
    }
}

fn name_servers(reader: &mut Reader<'_>, apex: &Name, key: &str, list: &raw::List<String>) -> Vec<Name> {
    let names = reader.names(key, list);
    if let Some(name) = names.get(NAMESERVERS_MAX) {
        reader
            .error(name.span(), format!("`{key}` has more than {NAMESERVERS_MAX} name servers"))
            .label("one too many")
            .help("name fewer");
    }
    let texts = list.as_ref().map_or(&[][..], |list| &list.get_ref()[..]);
    for text in texts {
        if let Some(name) = names.iter().find(|name| name.span() == text.span()) {
            warn_of_one_label(reader, text, name.get_ref(), apex);
        }
    }
    names.into_iter().map(Spanned::into_inner).collect()
}

/// Warns of a name of one label without a dot, which a master file would take as relative.
fn warn_of_one_label(reader: &mut Reader<'_>, text: &Spanned<String>, name: &Name, apex: &Name) {
    // Root and label.
    if name.label_count() == 2 && !text.get_ref().ends_with('.') && !apex.is_root() && name != apex {
        let word = text.get_ref();
        reader
            .warn(text.span(), format!("`{word}` is the name {name}. as a whole, not one in the zone"))
            .label("names here are never relative")
            .help(format!("write \"{word}.{apex}\", or \"{word}.\" if it is meant so"));
    }
}
