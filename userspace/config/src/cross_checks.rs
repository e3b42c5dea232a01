//! The model as a whole: who bears which name, and what only shows when all parts are there.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
    ops::Range,
};

use hashbrown::HashTable;

use toml::Spanned;

use super::{
    raw,
    report::{Once, Reporter},
    tables::section,
    values::Reader,
};
use zerottl_core::{
    model::{
        AllDown, DynamicName, Group, GroupId, LastResort, Model, Name, NameKind, Pool, PoolId, Roles, Site, SiteId,
        ZoneConfig, ZoneId,
    },
    plan::binding_count,
};

/// Pool, Group and Site Names: pools, groups, Sites, each in the file's order. Reports names borne twice.
pub(super) fn names(
    report: &mut Reporter,
    file: &raw::File,
    pools: &[Pool],
    groups: &[Group],
    sites: &[Site],
    roles: Roles,
) -> Vec<DynamicName> {
    let count = pools.len() + groups.len() + sites.len();
    let (places, names) = (HashTable::with_capacity(count), Vec::with_capacity(count));
    let mut register = Register { report, file, places, state: RandomState::new(), names };
    for (i, pool) in pools.iter().enumerate() {
        register.add(&pool.name, pool.zone, NameKind::Pool(PoolId(i)), roles.load_balance);
    }
    let mut orders = Once::new();
    for (i, (group, (key, _))) in groups.iter().zip(&file.group.0).enumerate() {
        if pools.get(group.pool.0).is_some_and(|pool| pool.name == group.name && !group.name.is_root()) {
            if let Some(first) = orders.see(group.pool, key.span()) {
                let what = section(&["group", key.get_ref()]);
                let message = format!("{what}: pool {} has its order from another group already", group.name);
                register.report.error(key.span(), message).also(first, "first here").help("keep one of the two groups");
            }
            continue;
        }
        register.add(&group.name, group.zone, NameKind::Group(GroupId(i)), roles.load_balance);
    }
    for (i, site) in sites.iter().enumerate() {
        register.add(&site.name, site.zone, NameKind::Site(SiteId(i)), roles.failover);
    }
    register.names
}

struct Register<'a> {
    report: &'a mut Reporter,
    file: &'a raw::File,
    /// Positions in `names`, by the names' hashes.
    places: HashTable<usize>,
    state: RandomState,
    names: Vec<DynamicName>,
}

impl Register<'_> {
    fn add(&mut self, name: &Name, zone: ZoneId, kind: NameKind, served: bool) {
        if name.is_root() {
            return;
        }
        let (names, state) = (&self.names, &self.state);
        // In lower case as they are, their bytes do.
        let hash = state.hash_one(name.as_slice());
        if let Some(first) = self.places.find(hash, |at| names[*at].name.as_slice() == name.as_slice()) {
            let ((what, span), (other, first)) = (self.written(kind), self.written(names[*first].kind));
            self.report
                .error(span, format!("{what}: {name} is the name of {other} already"))
                .label("again")
                .also(first, "first here")
                .help("give each Pool, Group and Site a name of its own");
            return;
        }
        self.places.insert_unique(hash, names.len(), |at| state.hash_one(names[*at].name.as_slice()));
        self.names.push(DynamicName { name: name.clone(), zone, kind, served });
    }

    /// The section that a name is of, and the place where it is given.
    fn written(&self, kind: NameKind) -> (String, Range<usize>) {
        match kind {
            NameKind::Pool(PoolId(i)) => {
                let key = &self.file.pool_heads[i].key;
                (section(&["pool", key.get_ref()]), key.span())
            }
            NameKind::Group(GroupId(i)) => {
                let key = &self.file.group.0[i].0;
                (section(&["group", key.get_ref()]), key.span())
            }
            NameKind::Site(SiteId(i)) => {
                let (key, raw) = &self.file.site.0[i];
                (section(&["site", key.get_ref()]), raw.name.as_ref().map_or(key.span(), Spanned::span))
            }
        }
    }
}

pub(super) fn check(report: &mut Reporter, file: &raw::File, model: &Model) {
    nameservers(report, file, model);
    missing_roles(report, file, model);
    forwarded_names(report, file, model);
    transfers(report, file, model);
    // With errors, entries were left out that these would miss.
    if report.errors() == 0 {
        shared_addresses(report, file, model);
        lonely_sites(report, file, model);
        bindings(report, file, model);
    }
}

/// A name server's address cannot come from a plan: it must not move, nor live zero seconds.
fn nameservers(report: &mut Reporter, file: &raw::File, model: &Model) {
    let lists = |zone: &'_ ZoneConfig| {
        [&zone.nameservers, &zone.balance_nameservers, &zone.failover_nameservers].map(Clone::clone).concat()
    };
    let servers: HashSet<Name> = model.zones.iter().flat_map(lists).collect();
    let dynamic: HashSet<&Name> = model.names.iter().map(|n| &n.name).filter(|name| servers.contains(*name)).collect();
    for (zone, (key, raw)) in model.zones.iter().zip(&file.zone.0) {
        let mut reader = Reader { report, section: section(&["zone", key.get_ref()]), header: key.span() };
        let lists = [
            ("nameservers", &raw.nameservers, &zone.nameservers),
            ("balance_nameservers", &raw.balance_nameservers, &zone.balance_nameservers),
            ("failover_nameservers", &raw.failover_nameservers, &zone.failover_nameservers),
        ];
        for (list, texts, names) in lists {
            let texts = texts.as_ref().map_or(&[][..], |t| &t.get_ref()[..]);
            // Where an entry was bad the two lists do not pair up, and the file is refused anyway.
            for (text, name) in texts.iter().zip(names).filter(|_| texts.len() == names.len()) {
                if dynamic.contains(name) {
                    reader
                        .error(text.span(), format!("name server {name} is a Pool, Group or Site Name too"))
                        .help("give the name server a name of its own");
                } else if list != "nameservers" && name.ends_with(&zone.apex) && zone.records.is_none() {
                    reader
                        .warn(text.span(), format!("the address of {name} is not known here"))
                        .label("referred to without glue")
                        .help("give its address in a `records` file");
                }
            }
        }
    }
}

/// Reports dynamic names at or below a forward name: what is forwarded is another server's to answer, so nothing may be
/// configured there.
fn forwarded_names(report: &mut Reporter, file: &raw::File, model: &Model) {
    if model.forwards.is_empty() {
        return;
    }
    let forwards = model.forwards.iter().zip(&file.forward.0);
    let forwards: HashMap<&[u8], _> =
        forwards.map(|(forward, (key, _))| (forward.name.as_slice(), (&forward.name, key))).collect();
    for dynamic in &model.names {
        let suffixes = dynamic.name.iter_suffixes().filter(|suffix| !suffix.is_root());
        for suffix in suffixes {
            let Some((forward, key)) = forwards.get(suffix.as_slice()) else { continue };
            let header = section(&["forward", key.get_ref()]);
            report
                .error(key.span(), format!("{header}: {} lies at or below {forward}, and is configured", dynamic.name))
                .label("hides a configured name")
                .help("rename the one, or forward another name");
        }
    }
}

/// A plan is not data that another server could hold.
fn transfers(report: &mut Reporter, file: &raw::File, model: &Model) {
    let dynamic: HashSet<ZoneId> = model.names.iter().map(|name| name.zone).collect();
    for (i, (zone, (key, raw))) in model.zones.iter().zip(&file.zone.0).enumerate() {
        if let Some(list) = raw.transfer_to.as_ref().filter(|_| dynamic.contains(&ZoneId(i))) {
            let header = section(&["zone", key.get_ref()]);
            report
                .warn(
                    list.span(),
                    format!("{header}: {} has Pool, Group or Site Names and is never transferred", zone.apex),
                )
                .label("has no effect")
                .help("take `transfer_to` out, or keep static records in a zone of their own");
        }
    }
}

/// Invariant 10: what this machine has not the role for is referred, so there must be someone to refer to.
fn missing_roles(report: &mut Reporter, file: &raw::File, model: &Model) {
    let roles_span = file.front.as_ref().and_then(|f| f.get_ref().roles.as_ref()).map(Spanned::span);
    let roles = [
        (model.front.roles.load_balance, "load-balance", "balance_nameservers", "Pool and Group Names"),
        (model.front.roles.failover, "failover", "failover_nameservers", "Site Names"),
    ];
    for (_, role, list, kinds) in roles.into_iter().filter(|(has_role, ..)| !has_role) {
        let is_site = role == "failover";
        let zones: HashSet<ZoneId> =
            model.names.iter().filter(|n| matches!(n.kind, NameKind::Site(_)) == is_site).map(|n| n.zone).collect();
        for (i, (zone, (key, raw))) in model.zones.iter().zip(&file.zone.0).enumerate() {
            let named = if is_site { &raw.failover_nameservers } else { &raw.balance_nameservers };
            let header = section(&["zone", key.get_ref()]);
            if named.is_some() || !zones.contains(&ZoneId(i)) || report.is_spoiled(&header, list) {
                continue;
            }
            let message = format!("{header}: this machine does not have the role `{role}`, and no `{list}` are named");
            let problem = report.error(key.span(), message);
            problem.label(format!("has {kinds}"));
            problem.help(format!("add `{list} = [\"ns2.{}\"]`, the servers that have the role", zone.apex));
            if let Some(span) = roles_span.clone() {
                problem.also(span, "this machine's roles");
            }
        }
    }
}

fn shared_addresses(report: &mut Reporter, file: &raw::File, model: &Model) {
    let mut told = HashSet::new();
    // Of the same Sites all is told at the first pool.
    let mut seen = HashSet::new();
    for pool in &model.pools {
        if !seen.insert(pool.sites.as_ptr()) {
            continue;
        }
        let mut once = Once::new();
        for &SiteId(i) in &pool.sites {
            let (key, raw) = &file.site.0[i];
            let entries = raw.addresses.as_ref().map_or(&[][..], |list| &list.get_ref()[..]);
            for (entry, address) in entries.iter().zip(&model.sites[i].addresses) {
                let Some(first) = once.see(address.answer, entry.span()) else { continue };
                if told.insert((first.start, entry.span().start)) {
                    let header = section(&["site", key.get_ref()]);
                    let message = format!("{header}: {} stands twice in pool {}", address.answer, pool.name);
                    let problem = report.warn(entry.span(), message);
                    problem.label("again").also(first, "first here");
                    problem.help("it gets the weight of both; give each Site addresses of its own");
                }
            }
        }
    }
}

/// HTTPS records that a pool's Sites can come to, at most, all pools' together with the zones: a slot names one in 16 bits.
const BINDINGS_MAX: usize = 65_536;

/// One record for each pair of a Site's addresses: too many only where Sites have very many.
fn bindings(report: &mut Reporter, file: &raw::File, model: &Model) {
    let mut left = BINDINGS_MAX.saturating_sub(model.zones.len());
    for (pool, head) in model.pools.iter().zip(&file.pool_heads).filter(|(pool, _)| pool.https.is_some()) {
        let key = &head.key;
        let of_site = |site: &SiteId| binding_count(&model.sites[site.0]);
        let Some(rest) = left.checked_sub(pool.sites.iter().map(of_site).sum()) else {
            let header = section(&["pool", key.get_ref()]);
            report
                .error(key.span(), format!("{header}: more than {BINDINGS_MAX} HTTPS records in all"))
                .help("give Sites of pools with `https` fewer addresses: each pair of IPv4 and IPv6 makes a record");
            return;
        };
        left = rest;
    }
}

/// Appendix A has a group of one Site and no last resort. That is allowed, and worth knowing.
fn lonely_sites(report: &mut Reporter, file: &raw::File, model: &Model) {
    for (site, (key, _)) in model.sites.iter().zip(&file.site.0) {
        let Some(pool) = model.pools.get(site.pool.0) else { continue };
        if site.failover.len() > 1 || pool.sites.len() < 2 || pool.last_resort == LastResort::Pool {
            continue;
        }
        let rule = match pool.all_down {
            AllDown::FailOpen => "fail-open",
            AllDown::Servfail => "servfail",
        };
        let header = section(&["site", key.get_ref()]);
        let message =
            format!("{header}: if {} is down, {} falls to the all-down rule ({rule})", key.get_ref(), site.name);
        report
            .warn(key.span(), message)
            .label("alone in its group")
            .help(format!("set `last_resort = \"pool\"` in [pool.\"{}\"], or give its group more Sites", pool.name));
    }
}
