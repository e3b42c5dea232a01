//! `[pool."…"]` and `[group."…"]`, and what they make of each Site.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use domain::base::Name;
use hashbrown::{HashTable, hash_table::Entry};
use toml::Spanned;
use xdp_ebpf::layout::TABLE_SLOTS_MAX;

use super::{
    fleet,
    front::Zones,
    known::{EarlierReading, KnownParts, digest},
    load_source,
    parts::Parts,
    raw,
    readers::again,
    report::{Once, Reporter},
    safety,
    tables::{self, Unread, section},
    values::{self, Reader, site_name},
};
use zerottl_core::{
    model::{
        ALPN_LEN_MAX, AllDown, Group, GroupId, Https, LastResort, Policy, Pool, PoolId, PoolSettings, Site, SiteId,
        SiteOrder,
    },
    plan::CANDIDATES_MAX,
};

/// Seconds, at most, of a dynamic answer's TTL: a day.
const TTL_MAX: i64 = 86_400;
/// Seconds above which a TTL keeps clients on a dead Site noticeably long.
const TTL_ODD: u32 = 60;

/// Parts of the file that are read at a time.
const READERS: usize = 2;

const POLICIES: [(&str, Policy); 4] = [
    ("weighted-round-robin", Policy::WeightedRoundRobin),
    ("weighted-random", Policy::WeightedRandom),
    ("sticky", Policy::Sticky),
    ("least-load", Policy::LeastLoad),
];

/// The Sites that pools and groups refer to, as the operator wrote them.
struct SiteIndex<'a> {
    sites: HashMap<&'a str, SiteId>,
    keys_by_name: HashMap<String, &'a str>,
}

impl<'a> SiteIndex<'a> {
    fn new(sites: &'a raw::Named<raw::Site>) -> Self {
        let by_key = sites.0.iter().enumerate().map(|(i, (key, _))| (key.get_ref().as_str(), SiteId(i)));
        let by_name = sites
            .0
            .iter()
            .filter_map(|(key, site)| Some((folded(site.name.as_ref()?.get_ref()), key.get_ref().as_str())));
        Self { sites: by_key.collect(), keys_by_name: by_name.collect() }
    }
}

/// The pools that groups refer to, as the operator wrote them.
struct PoolIndex {
    pools: HashMap<String, PoolId>,
    headers: Vec<String>,
}

impl PoolIndex {
    fn new(heads: &[raw::PoolHead], list: &[Pool]) -> Self {
        let written = |(head, pool): (&raw::PoolHead, &Pool)| match &**head.key.get_ref() {
            // An earlier reading has read it, and found it to be a name.
            "" => pool.name.to_string(),
            key => key.to_owned(),
        };
        let keys: Vec<String> = heads.iter().zip(list).map(written).collect();
        let mut pools = HashMap::new();
        for (i, key) in keys.iter().enumerate() {
            pools.entry(folded(key)).or_insert(PoolId(i));
        }
        Self { pools, headers: keys.iter().map(|key| section(&["pool", key])).collect() }
    }
}

/// A name as text, for references: without regard to case and the last dot.
fn folded(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

/// Where pools are read from.
pub(super) struct PoolSource<'a> {
    /// The file's text.
    pub text: &'a str,
    /// Its parts.
    pub parts: &'a Parts,
    /// An earlier reading, of which everything but the pools was the same.
    pub earlier: Option<EarlierReading<'a>>,
}

/// Reads the pools, which are in `file` and in further parts of a text. They are read some parts at a time, and of what was
/// written only their heads are kept, as there may be a million. Parts that an earlier reading has read are taken from it;
/// those of this one are noted in `known`.
pub(super) fn pools(
    report: &mut Reporter,
    file: &mut raw::File,
    zones: &Zones,
    source: &PoolSource<'_>,
    known: &mut KnownParts,
) -> Result<Vec<Pool>, Unread> {
    let here = std::mem::take(&mut file.pool).0;
    let PoolSource { text, parts: Parts { pools: parts, .. }, earlier } = *source;
    if here.is_empty() && parts.is_empty() {
        report.error(0..0, "there is no pool").help("add a section such as [pool.\"app.com\"] with its sites");
    }
    let index = SiteIndex::new(&file.site);
    // In a part of its own the parser sees to it that nothing is there twice.
    let is_one = here.is_empty() && parts.len() == 1 || parts.is_empty();
    let mut list =
        PoolList { shared: Shared::default(), seen: (!is_one).then(SeenNames::default), all: vec![], heads: vec![] };
    list.take(PartPools::new(report, here, zones, &index))?;
    thread::scope(|scope| {
        let start = |(part, mut own): (_, Reporter)| {
            let digest = digest(part, text);
            let index = &index;
            let work = match earlier.and_then(|earlier| earlier.pools(&digest)) {
                Some(pools) => Work::Known(pools),
                None => Work::Read(scope.spawn(move || {
                    let read = tables::read(&mut own, text, part);
                    (read.map(|file| PartPools::new(&mut own, file.pool.0, zones, index)), own)
                })),
            };
            (digest, work)
        };
        let mut parts = parts.iter();
        let first: Vec<_> = parts.by_ref().take(READERS).map(|part| (part, report.beside())).collect();
        let mut ahead: VecDeque<_> = first.into_iter().map(start).collect();
        while let Some((digest, work)) = ahead.pop_front() {
            let first = list.all.len();
            let told = report.told();
            let read = match work {
                Work::Known(pools) => Err(pools),
                Work::Read(reading) => Ok(reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            };
            // Before the list is gone on with, so that as many are read at a time.
            ahead.extend(parts.next().map(|part| start((part, report.beside()))));
            match read {
                Err(known) => list.take_known(known)?,
                Ok((read, own)) => {
                    report.join(own);
                    list.take(read?)?;
                }
            }
            if report.told() == told && !list.heads[first..].iter().any(raw::PoolHead::is_needed) {
                known.add(digest, first..list.all.len());
            }
        }
        Ok(())
    })?;
    file.pool_heads = list.heads;
    Ok(list.all)
}

/// The work for a part.
enum Work<'scope, 'a> {
    /// Nothing: these are its pools.
    Known(&'a [Pool]),
    /// It is being read.
    Read(thread::ScopedJoinHandle<'scope, (Result<PartPools, Unread>, Reporter)>),
}

/// The pools of a part, and their heads. Everything but what is between parts is done by the thread that reads the part, and
/// its memory for that given back there.
struct PartPools {
    pools: Vec<Pool>,
    heads: Vec<raw::PoolHead>,
}

impl PartPools {
    fn new(
        report: &mut Reporter,
        sections: Vec<(Spanned<String>, raw::Pool)>,
        zones: &Zones,
        index: &SiteIndex<'_>,
    ) -> Self {
        let (mut pools, mut heads) = (Vec::with_capacity(sections.len()), Vec::with_capacity(sections.len()));
        let mut shared = Shared::default();
        for (key, raw) in sections {
            let mut reader = Reader { report, section: section(&["pool", key.get_ref()]), header: key.span() };
            pools.push(pool(&mut reader, &key, &raw, zones, index, &mut shared));
            heads.push(raw.head(key));
        }
        share_names(&mut pools);
        Self { pools, heads }
    }
}

/// Pools so far.
struct PoolList {
    shared: Shared,
    /// Hashes of names, where they come from several parts.
    seen: Option<SeenNames>,
    all: Vec<Pool>,
    heads: Vec<raw::PoolHead>,
}

impl PoolList {
    /// Adds those of a part that was read.
    fn take(&mut self, part: PartPools) -> Result<(), Unread> {
        let mut orders = HashMap::new();
        for (mut pool, head) in part.pools.into_iter().zip(&part.heads) {
            // One that is no name is told, and stands for no other.
            let bytes = if pool.name.is_root() { head.key.get_ref().as_bytes() } else { pool.name.as_slice() };
            see(&mut self.seen, bytes)?;
            // What the part has once, all have once. All of the part's own are there, so none has the place of another.
            let order = orders.entry(pool.sites.as_ptr()).or_insert_with(|| self.shared.order(pool.sites.to_vec()));
            pool.sites = order.clone();
            pool.settings = self.shared.settings(pool.settings);
            self.all.push(pool);
        }
        self.heads.extend(part.heads);
        Ok(())
    }

    /// Adds those of an earlier reading.
    fn take_known(&mut self, pools: &[Pool]) -> Result<(), Unread> {
        for pool in pools {
            see(&mut self.seen, pool.name.as_slice())?;
        }
        self.all.extend_from_slice(pools);
        self.heads.extend(pools.iter().map(|_| raw::PoolHead::unread()));
        Ok(())
    }
}

/// Names that were seen, by their hashes.
#[derive(Default)]
struct SeenNames {
    key: RandomState,
    hashes: HashTable<u64>,
}

/// Fails where a name was seen before. Rarely, where one with the same hash was.
fn see(seen: &mut Option<SeenNames>, name: &[u8]) -> Result<(), Unread> {
    let Some(SeenNames { key, hashes }) = seen else { return Ok(()) };
    let hash = key.hash_one(name);
    match hashes.entry(hash, |other| *other == hash, |other| *other) {
        Entry::Occupied(_) => Err(Unread::Repeated),
        Entry::Vacant(entry) => {
            entry.insert(hash);
            Ok(())
        }
    }
}

/// Puts the names of pools into one allocation: each on its own takes four times the memory.
fn share_names(pools: &mut [Pool]) {
    let all: Bytes = pools.iter().flat_map(|pool| pool.name.as_slice()).copied().collect();
    let mut at = 0;
    for pool in pools {
        let end = at + pool.name.len();
        if let Ok(name) = Name::from_octets(all.slice(at..end)) {
            pool.name = name;
        }
        at = end;
    }
}

/// Reads the groups, some of which set the order of their pool.
pub(super) fn groups(report: &mut Reporter, file: &raw::File, zones: &Zones, pools: &mut [Pool]) -> Vec<Group> {
    if file.group.0.is_empty() {
        return Vec::new();
    }
    let (sites, index) = (SiteIndex::new(&file.site), PoolIndex::new(&file.pool_heads, pools));
    let one = |(key, raw): &(Spanned<String>, raw::Group)| {
        let mut reader = Reader { report, section: section(&["group", key.get_ref()]), header: key.span() };
        group(&mut reader, key, raw, zones, (&sites, &index), pools)
    };
    file.group.0.iter().map(one).collect()
}

/// The parts that pools have alike, each once.
#[derive(Default)]
struct Shared {
    orders: HashMap<Vec<SiteId>, SiteOrder>,
    settings: Option<Arc<PoolSettings>>,
}

impl Shared {
    fn order(&mut self, sites: Vec<SiteId>) -> SiteOrder {
        if let Some(order) = self.orders.get(&sites) {
            return order.clone();
        }
        let order = SiteOrder::from(sites.clone());
        self.orders.insert(sites, order.clone());
        order
    }

    fn settings(&mut self, settings: Arc<PoolSettings>) -> Arc<PoolSettings> {
        // Those of a file with very many pools are generated: most are like the one before.
        match &self.settings {
            Some(last) if *last == settings => Arc::clone(last),
            _ => Arc::clone(self.settings.insert(settings)),
        }
    }
}

fn pool(
    reader: &mut Reader<'_>,
    key: &Spanned<String>,
    raw: &raw::Pool,
    zones: &Zones,
    index: &SiteIndex<'_>,
    shared: &mut Shared,
) -> Pool {
    let name = reader.parsed(key, site_name).unwrap_or_else(values::no_name);
    let keys = raw.keys();
    let ttl = reader.seconds("ttl", &keys.ttl, 0..=TTL_MAX, 0);
    if let Some(value) = keys.ttl.as_ref().filter(|_| ttl > TTL_ODD) {
        reader
            .warn(value.span(), format!("`ttl` {ttl} keeps clients on a Site that is down for up to {ttl} seconds"))
            .help("0 makes every query a fresh decision");
    }
    let all_down = [("fail-open", AllDown::FailOpen), ("servfail", AllDown::Servfail)];
    let last_resort = [("none", LastResort::None), ("pool", LastResort::Pool)];
    let zone = zones.of(reader, &name, key.span());
    let sites = shared.order(site_list(reader, &raw.sites, index));
    let listed = raw.sites.as_ref().map_or(0, |list| list.get_ref().len());
    let settings = PoolSettings {
        policy: policy(reader, &keys.policy).unwrap_or(Policy::WeightedRoundRobin),
        ttl,
        up_threshold: up_threshold(reader, keys),
        all_down: reader.choice("all_down", &keys.all_down, &all_down, AllDown::FailOpen),
        last_resort: reader.choice("last_resort", &keys.last_resort, &last_resort, LastResort::None),
        sticky_prefix: (
            reader.number("sticky_prefix_v4", &keys.sticky_prefix_v4, 0..=32, "bits", 24),
            reader.number("sticky_prefix_v6", &keys.sticky_prefix_v6, 0..=128, "bits", 56),
        ),
        https: https(reader, keys),
        minimum: safety::minimum(reader, keys, listed),
        failback: safety::failback(reader, &keys.failback).unwrap_or_default(),
        steering: load_source::steering(reader, keys),
        quorum: fleet::quorum(reader, &keys.quorum),
    };
    Pool { name, zone, sites, settings: shared.settings(Arc::new(settings)) }
}

/// Reads what HTTPS records say besides addresses.
fn https(pool: &mut Reader<'_>, raw: &raw::PoolKeys) -> Option<Https> {
    let raw = raw.https.as_ref()?;
    let mut reader = pool.inside("https", raw.span());
    let mut once = Once::new();
    let mut alpn = Vec::new();
    for text in reader.list("alpn", &raw.get_ref().alpn).unwrap_or_default() {
        let Some(protocol) = reader.parsed(text, protocol) else { continue };
        if let Some(first) = once.see(protocol.clone(), text.span()) {
            reader
                .error(text.span(), format!("`{protocol}` stands twice in `alpn`"))
                .label("again")
                .also(first, "first here")
                .help("take one out");
        }
        alpn.push(protocol);
    }
    let len: usize = alpn.iter().map(|protocol| 1 + protocol.len()).sum();
    if let Some(list) = raw.get_ref().alpn.as_ref().filter(|_| len > ALPN_LEN_MAX) {
        reader
            .error(list.span(), format!("`alpn` takes {len} bytes, more than {ALPN_LEN_MAX}"))
            .help("have fewer protocols: an answer may only be twice its query");
    }
    let port = raw.get_ref().port.as_ref().map(|_| reader.number("port", &raw.get_ref().port, 1..=65_535, "", 443));
    Some(Https { alpn, port })
}

/// An ALPN protocol ID (RFC 7301 section 6), such as those of IANA's registry.
fn protocol(text: &str) -> Result<String, values::Fault> {
    if !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    let help = "give IDs such as \"h2\", \"h3\" or \"http/1.1\"";
    Err(values::Fault::new(format!("`{}` is not a protocol ID", text.escape_debug()), help))
}

fn up_threshold(reader: &mut Reader<'_>, raw: &raw::PoolKeys) -> f64 {
    let help = "the share of live weight below which all Sites count as up; 0 is off";
    reader.fraction("up_threshold", &raw.up_threshold, 0.0..=1.0, help).unwrap_or(0.0)
}

fn policy(reader: &mut Reader<'_>, raw: &raw::Text) -> Option<Policy> {
    let word = raw.as_ref()?;
    reader.word("policy", word, &POLICIES)
}

fn group(
    reader: &mut Reader<'_>,
    key: &Spanned<String>,
    raw: &raw::Group,
    zones: &Zones,
    (index, pool_index): (&SiteIndex<'_>, &PoolIndex),
    pools: &mut [Pool],
) -> Group {
    let errors_before = reader.report.errors();
    let name = reader.parsed(key, site_name).unwrap_or_else(values::no_name);
    let zone = zones.of(reader, &name, key.span());
    let sites = site_list(reader, &raw.sites, index);
    let pool = if let Some(text) = &raw.pool {
        pool_ref(reader, text, pool_index)
    } else {
        reader.missing("pool", "\"app.com\"");
        None
    };
    let own_policy = policy(reader, &raw.policy);
    let Some(id) = pool else {
        return Group { name, zone, pool: PoolId(0), sites: sites.into(), policy: Policy::WeightedRoundRobin };
    };
    let pool = &mut pools[id.0];
    let members: HashSet<_> = pool.sites.iter().collect();
    let pool_is_spoiled = reader.report.is_spoiled(&pool_index.headers[id.0], "sites");
    for entry in raw.sites.as_ref().map_or(&[][..], |list| list.get_ref()) {
        let site = index.sites.get(entry.get_ref().as_str());
        if !pool_is_spoiled && site.is_some_and(|site| !members.contains(site)) {
            reader
                .error(entry.span(), format!("Site `{}` is not in pool {}", entry.get_ref(), pool.name))
                .label("not in the pool")
                .help(format!("add it to the `sites` of [pool.\"{}\"], or take it out here", pool.name));
        }
    }
    if name == pool.name && !pool_is_spoiled && reader.report.errors() == errors_before {
        order_pool(reader, key, raw, &sites, pool);
    }
    Group { name, zone, pool: id, sites: sites.into(), policy: own_policy.unwrap_or(pool.policy) }
}

/// A group that bears its pool's name has the same Sites, and only sets their order.
fn order_pool(reader: &mut Reader<'_>, key: &Spanned<String>, raw: &raw::Group, sites: &[SiteId], pool: &mut Pool) {
    if let Some(policy) = &raw.policy {
        reader
            .error(policy.span(), format!("a group that bears its pool's name only sets the order of {}", pool.name))
            .help(format!("set `policy` in [pool.\"{}\"]", pool.name));
    }
    if sites.len() == pool.sites.len() {
        pool.sites = sites.to_vec().into();
    } else {
        reader
            .error(
                key.span(),
                format!("bears its pool's name but has {} of its {} Sites", sites.len(), pool.sites.len()),
            )
            .help("list every Site of the pool, or give the group a name of its own");
    }
}

fn pool_ref(reader: &mut Reader<'_>, text: &Spanned<String>, index: &PoolIndex) -> Option<PoolId> {
    let found = index.pools.get(&folded(text.get_ref())).copied();
    // With a bad Pool Name every reference to it would dangle.
    let sound = index.pools.keys().all(|name| site_name(name).is_ok());
    if found.is_none() && sound {
        let help = match reader.report.did_you_mean(text.get_ref(), index.pools.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("add [pool.\"{}\"], or name one there is", text.get_ref()),
        };
        reader.error(text.span(), format!("there is no pool `{}`", text.get_ref())).label("no such pool").help(help);
    }
    found
}

fn site_list(reader: &mut Reader<'_>, list: &raw::List<String>, index: &SiteIndex<'_>) -> Vec<SiteId> {
    if list.is_none() {
        reader.missing("sites", "[\"boston\"]");
    }
    let errors_before = reader.report.errors();
    let mut once = Once::new();
    let mut sites = Vec::new();
    for text in reader.list("sites", list).unwrap_or_default() {
        let word = text.get_ref().as_str();
        let Some(&id) = index.sites.get(word) else {
            let meant = index.keys_by_name.get(&folded(word)).copied();
            let meant = meant.or_else(|| reader.report.did_you_mean(word, index.sites.keys().copied()));
            let help = match meant {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("add {}, or name one there is", section(&["site", word])),
            };
            reader.error(text.span(), format!("there is no Site `{word}`")).label("no such Site").help(help);
            continue;
        };
        if let Some(first) = once.see(id, text.span()) {
            again(reader, text.span(), first, &format!("Site `{word}`"));
            continue;
        }
        sites.push(id);
        if sites.len() == CANDIDATES_MAX + 1 {
            reader
                .error(text.span(), format!("more than {CANDIDATES_MAX} Sites"))
                .label("one too many")
                .help(format!("a table has {TABLE_SLOTS_MAX} slots at most; split the Sites over several pools"));
        }
    }
    if list.is_none() || reader.report.errors() > errors_before {
        // Who is missing here may be missing by this fault alone.
        reader.report.spoil(&reader.section, "sites");
    }
    sites
}

/// Gives each Site its pool and its failover list.
pub(super) fn join(report: &mut Reporter, file: &raw::File, sites: &mut [Site], pools: &[Pool], groups: &[Group]) {
    let first_pool = first_listing(pools.iter().map(|p| &p.sites[..]).enumerate().map(|(i, s)| (PoolId(i), s)));
    // A group that bears its pool's name only sets an order; it makes no Site's primary group by being listed first.
    let proper = groups.iter().enumerate().filter(|(_, g)| pools.get(g.pool.0).is_none_or(|p| p.name != g.name));
    let first_group = first_listing(proper.map(|(i, g)| (GroupId(i), &g.sites[..])));
    let is_spoiled = |head: &raw::PoolHead| report.is_spoiled(&section(&["pool", head.key.get_ref()]), "sites");
    let pools_are_spoiled = report.has_spoiled() && file.pool_heads.iter().any(is_spoiled);
    let mut positions: HashMap<Result<GroupId, PoolId>, HashMap<SiteId, usize>> = HashMap::new();
    let group_headers: Vec<_> = file.group.0.iter().map(|(key, _)| section(&["group", key.get_ref()])).collect();
    for (i, (site, (key, raw))) in sites.iter_mut().zip(&file.site.0).enumerate() {
        let id = SiteId(i);
        let mut reader = Reader { report, section: section(&["site", key.get_ref()]), header: key.span() };
        match first_pool.get(&id) {
            Some(pool) => {
                site.pool = *pool;
                if raw.failback.is_none() {
                    site.failback = pools[pool.0].failback;
                }
            }
            None if file.pool_heads.is_empty() || pools_are_spoiled => {}
            None => {
                reader
                    .error(key.span(), format!("Site `{}` is in no pool", key.get_ref()))
                    .label("in no pool")
                    .help(format!("add \"{}\" to a pool's `sites`, or take the section out", key.get_ref()));
            }
        }
        let primary = match &raw.group {
            Some(text) => primary_group(&mut reader, text, id, groups, &group_headers),
            None => first_group.get(&id).copied(),
        };
        site.primary = primary;
        let list = match primary {
            Some(group) => Some((Ok(group), &groups[group.0].sites)),
            None => pools.get(site.pool.0).map(|pool| (Err(site.pool), &pool.sites)),
        };
        // From the Site onward and around (C3); it alone if it is not there. A look for each Site would take quadratic time.
        let at = list.and_then(|(whose, list)| {
            let positions = positions.entry(whose).or_insert_with(|| list.iter().copied().zip(0..).collect());
            Some(list.from_position(*positions.get(&id)?))
        });
        site.failover = at.unwrap_or_else(|| vec![id].into());
    }
}

fn first_listing<'a, T: Copy>(lists: impl Iterator<Item = (T, &'a [SiteId])>) -> HashMap<SiteId, T> {
    let mut first = HashMap::new();
    for (owner, sites) in lists {
        for site in sites {
            first.entry(*site).or_insert(owner);
        }
    }
    first
}

fn primary_group(
    reader: &mut Reader<'_>,
    text: &Spanned<String>,
    site: SiteId,
    groups: &[Group],
    headers: &[String],
) -> Option<GroupId> {
    let word = text.get_ref();
    let wanted = values::name(word).ok();
    let found = groups.iter().position(|g| Some(&g.name) == wanted.as_ref() && !g.name.is_root());
    let Some(at) = found else {
        let names: Vec<_> = groups.iter().map(|g| g.name.to_string()).collect();
        let help = match reader.report.did_you_mean(word, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("add [group.\"{word}\"], or name one there is"),
        };
        reader.error(text.span(), format!("there is no group `{word}`")).label("no such group").help(help);
        return None;
    };
    if !groups[at].sites.contains(&site) {
        if reader.report.is_spoiled(&headers[at], "sites") {
            return None;
        }
        reader
            .error(text.span(), format!("group {} does not list this Site", groups[at].name))
            .help("add the Site to the group's `sites`, or name a group that lists it");
        return None;
    }
    Some(GroupId(at))
}
