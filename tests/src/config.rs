//! The configuration given to the agent: Appendix A's, with what a test changes.

use std::{
    fmt::Write as _,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use domain::base::Rtype;
use zerottl_config::{Loaded, load};

use crate::{
    addresses::{front_v4, front_v6},
    checker::CheckTarget,
    query::{ClientEdns, ClientQuestion},
    scratch::folder,
};

/// A Site, as the lab builds it and the agent is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteConfig {
    /// Its key in the file.
    pub key: String,
    /// Its Site Name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its weight.
    pub weight: u32,
}

impl SiteConfig {
    /// A Site called `key`, named `key.app.com`, with the `number`th pair of addresses.
    #[must_use]
    pub fn new(key: &str, number: u8, weight: u32) -> Self {
        let v4 = IpAddr::from([192, 0, 2, 10 * number]);
        let v6 = IpAddr::from([0x2001, 0xdb8, u16::from(number), 0, 0, 0, 0, 0x10]);
        Self { key: key.into(), name: format!("{key}.app.com"), addresses: vec![v4, v6], weight }
    }

    /// Geneva, Boston with twice the weight, Chicago: as in examples/appendix-a.toml.
    #[must_use]
    pub fn appendix_a() -> Vec<Self> {
        let (mut geneva, mut chicago) = (Self::new("geneva", 2, 1), Self::new("chicago", 3, 1));
        geneva.addresses[0] = IpAddr::from([198, 51, 100, 10]);
        chicago.addresses[0] = IpAddr::from([192, 0, 2, 20]);
        vec![geneva, Self::new("boston", 1, 2), chicago]
    }

    /// Its first address of a family.
    #[must_use]
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv6() == v6)
    }
}

/// How Sites are probed in the lab: quick enough for a test, slow enough for a busy machine.
pub const PROBE: ProbeConfig = ProbeConfig { interval_ms: 500, timeout_ms: 400, rise: 2, fall: 3 };

/// The numbers of a `probe` key.
#[derive(Clone, Copy, Debug)]
pub struct ProbeConfig {
    /// From one start to the next, milliseconds.
    pub interval_ms: u64,
    /// Until an attempt has failed, milliseconds.
    pub timeout_ms: u64,
    /// Successes in a row that make an address up.
    pub rise: u64,
    /// Failures in a row that make it down.
    pub fall: u64,
}

impl ProbeConfig {
    /// No answer later than this after a Site's death may bear its address: `fall` × interval + timeout + 100 ms.
    #[must_use]
    pub fn dead_after(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.fall * self.interval_ms + self.timeout_ms + 100)
    }

    fn toml(&self) -> String {
        let Self { interval_ms, timeout_ms, rise, fall } = self;
        format!(
            "probe = {{ kind = \"http\", port = 80, path = \"/health\", interval = \"{interval_ms}ms\", \
             timeout = \"{timeout_ms}ms\", rise = {rise}, fall = {fall} }}"
        )
    }
}

/// A configuration file in the making; the fields that are TOML text are inserted as they are.
#[derive(Clone, Debug)]
pub struct Config {
    /// `front.interfaces`.
    pub interfaces: Vec<String>,
    /// `front.addresses`.
    pub addresses: Vec<IpAddr>,
    /// `front.xdp`.
    pub xdp: String,
    /// More lines for `[front]`.
    pub front: String,
    /// `front.roles`.
    pub roles: Vec<String>,
    /// The lines of `[admin]`.
    pub admin: String,
    /// More sections of what is each front's own, with their headings. `{front}` in it stands for the front's name and `{endpoints}`
    /// for a list of etcd's URLs: see [`crate::fleet`].
    pub fleet: String,
    /// More lines for `[zone."app.com"]`.
    pub zone: String,
    /// Master-file text for app.com.
    pub records: String,
    /// `policy` of the pool.
    pub policy: String,
    /// More lines for `[pool."app.com"]`.
    pub pool: String,
    /// The pool's Sites.
    pub sites: Vec<SiteConfig>,
    /// Group Names and their Sites' keys, in order.
    pub groups: Vec<(String, Vec<String>)>,
    /// More lines for the groups' sections, in their order.
    pub group_keys: Vec<String>,
    /// More lines for every Site's section.
    pub site_keys: String,
    /// How the Sites are probed; none for Sites that are always up.
    pub probe: Option<ProbeConfig>,
    /// `state.directory`; one of its own beside the file unless given.
    pub state: Option<PathBuf>,
    /// More tables at the end.
    pub more: String,
}

impl Default for Config {
    fn default() -> Self {
        let group = |name: &str, sites: &[&str]| (name.into(), sites.iter().map(ToString::to_string).collect());
        Self {
            interfaces: vec!["eth0".into()],
            addresses: vec![front_v4(0).into(), front_v6(0).into()],
            xdp: "native".into(),
            front: String::new(),
            roles: vec!["load-balance".into(), "failover".into()],
            admin: "listen = \"127.0.0.1:8053\"".into(),
            fleet: String::new(),
            zone: String::new(),
            records: RECORDS.into(),
            policy: "weighted-round-robin".into(),
            pool: String::new(),
            sites: SiteConfig::appendix_a(),
            groups: vec![group("europe.app.com", &["geneva"]), group("americas.app.com", &["boston", "chicago"])],
            group_keys: Vec::new(),
            site_keys: String::new(),
            probe: Some(PROBE),
            state: None,
            more: String::new(),
        }
    }
}

/// Static records beside the balanced names: text too big for UDP, so that a client has to come by TCP, and an alias.
const RECORDS: &str = "\
$TTL 300
@     TXT   \"zerottl lab\"
@     MX    10 mail
mail  A     192.0.2.200
www   CNAME app.com.
big   TXT   ( \"0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\"
              \"1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\"
              \"2222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222\"
              \"3333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333\"
              \"4444444444444444444444444444444444444444444444444444444444444444444444444444444444444444444444444444444\" )
";

impl Config {
    /// The file's text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let keys: Vec<_> = self.sites.iter().map(|site| &site.key).collect();
        let mut text = format!(
            "[front]\ninterfaces = {:?}\naddresses = {}\nxdp = {:?}\nroles = {:?}\n{}\n\
             [admin]\n{}\n\n[state]\ndirectory = \"{}\"\n\n\
             [zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"hostmaster@app.com\"\nnegative_ttl = 5\n\
             records = \"app.com.zone\"\n{}\n\n\
             [pool.\"app.com\"]\nsites = {keys:?}\npolicy = {:?}\n{}\n",
            self.interfaces,
            list(&self.addresses),
            self.xdp,
            self.roles,
            self.front,
            self.admin,
            self.state.as_deref().unwrap_or(Path::new("state")).display(),
            self.zone,
            self.policy,
            self.pool
        );
        for (i, (name, sites)) in self.groups.iter().enumerate() {
            let keys = self.group_keys.get(i).map_or("", String::as_str);
            let _ = write!(text, "\n[group.\"{name}\"]\npool = \"app.com\"\nsites = {sites:?}\n{keys}\n");
        }
        let probe = self.probe.as_ref().map(ProbeConfig::toml).unwrap_or_default();
        let more = &self.site_keys;
        for SiteConfig { key, name, addresses, weight } in &self.sites {
            let addresses = list(addresses);
            let _ = write!(
                text,
                "\n[site.{key}]\nname = \"{name}\"\naddresses = {addresses}\nweight = {weight}\n{probe}\n{more}\n"
            );
        }
        text + "\n" + &self.fleet + "\n" + &self.more
    }

    /// Loads the file, as the agent reads it.
    pub fn check(&self) -> io::Result<Loaded> {
        let folder = folder()?;
        load(&self.write(folder.path())?).map_err(|e| io::Error::other(format!("{e:?}")))
    }

    /// Every balanced name with its right answers for one family, whatever the Sites' health.
    ///
    /// # Panics
    /// If a name is not a legal DNS name.
    #[must_use]
    pub fn targets(&self, v6: bool) -> Vec<CheckTarget> {
        let rtype = if v6 { Rtype::AAAA } else { Rtype::A };
        let keys = |keys: &[String]| -> Vec<&SiteConfig> {
            keys.iter().filter_map(|key| self.sites.iter().find(|site| site.key == *key)).collect()
        };
        let mut names = vec![("app.com".to_owned(), self.sites.iter().collect())];
        names.extend(self.groups.iter().map(|(name, sites)| (name.clone(), keys(sites))));
        for site in &self.sites {
            // A Site Name may have any address of its primary group, the first that lists it.
            let group = self.groups.iter().find(|(_, sites)| sites.contains(&site.key));
            names
                .push((site.name.clone(), group.map_or_else(|| self.sites.iter().collect(), |(_, sites)| keys(sites))));
        }
        let target = |(name, sites): (String, Vec<&SiteConfig>)| CheckTarget {
            question: ClientQuestion::new(&name, rtype, Some(ClientEdns::USUAL)).expect("a legal name"),
            allowed: sites.iter().filter_map(|site| site.address(v6)).collect(),
            name,
        };
        names.into_iter().map(target).collect()
    }

    /// A query file for dnsperf: every balanced name, A and AAAA.
    ///
    /// # Panics
    /// If a name is not a legal DNS name.
    #[must_use]
    pub fn dnsperf_queries(&self) -> String {
        self.targets(false)
            .iter()
            .fold(String::new(), |all, CheckTarget { name, .. }| format!("{all}{name} A\n{name} AAAA\n"))
    }

    /// Writes the file and its records into `folder`; returns the file's path.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::write(folder.join("app.com.zone"), &self.records)?;
        let path = folder.join("zerottl.toml");
        fs::write(&path, self.to_toml())?;
        Ok(path)
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use zerottl_core::model::{Model, SiteAddress};

    use super::*;

    fn essence(model: &Model) -> impl PartialEq + std::fmt::Debug + use<> {
        let names: Vec<_> = model.names.iter().map(|name| (name.name.to_string(), name.kind, name.served)).collect();
        let members: Vec<_> = model.names.iter().map(|name| model.sites_of(name.kind).to_vec()).collect();
        let sites = model.sites.iter().map(|site| {
            let answers: Vec<IpAddr> = site.addresses.iter().map(|SiteAddress { answer, .. }| *answer).collect();
            (site.key.clone(), answers, site.weight)
        });
        let sites: Vec<_> = sites.collect();
        (names, members, sites, model.front.listen.clone(), model.admin.listen.clone())
    }

    /// S4-A-NAMES: the lab shows the example that is shipped, not one of its own.
    #[test]
    fn the_lab_is_appendix_a() {
        let example = crate::scratch::root().join("examples/appendix-a.toml");
        let example = load(&example).expect("the example is valid");
        let ours = Config::default().check().expect("the lab's configuration is valid");
        assert_eq!(essence(&ours.model), essence(&example.model));
    }
}
