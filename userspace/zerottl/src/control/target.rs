//! The Sites that an override is for.

use glob::Pattern;

use zerottl_core::{
    model::{Model, Name, SiteId},
    overrides::{InvalidRequest, OverrideError},
};

/// The Sites that `target` means, each once, in the model's order: the Site with this key; else those of the group or pool
/// of this name; else, with `*`, `?` or `[…]` in it, those whose key it matches; else those of groups whose name it does.
/// Keys are matched as they are written, names in lower case.
pub fn find(model: &Model, target: &str) -> Result<Vec<SiteId>, OverrideError> {
    if let Some(site) = model.sites.iter().position(|site| site.key == target) {
        return Ok(vec![SiteId(site)]);
    }
    let folded = target.strip_suffix('.').unwrap_or(target).to_ascii_lowercase();
    let is_named = |name: &Name| name.to_string().trim_end_matches('.') == folded;
    let groups = model.groups.iter().map(|group| (&group.name, &group.sites));
    let pools = model.pools.iter().map(|pool| (&pool.name, &pool.sites));
    if let Some((_, sites)) = groups.clone().chain(pools).find(|(name, _)| is_named(name)) {
        return Ok(sorted(sites.to_vec()));
    }
    if !target.contains(['*', '?', '[']) {
        return Err(OverrideError::NoSuch(target.to_owned()));
    }
    let pattern =
        |text: &str| Pattern::new(text).map_err(|error| InvalidRequest::Pattern(target.to_owned(), error.msg));
    let (keys, names) = (pattern(target)?, pattern(&folded)?);
    let by_key = model.sites.iter().enumerate().filter(|(_, site)| keys.matches(&site.key));
    let by_key: Vec<SiteId> = by_key.map(|(site, _)| SiteId(site)).collect();
    if !by_key.is_empty() {
        return Ok(by_key);
    }
    let matched = groups.filter(|(name, _)| names.matches(name.to_string().trim_end_matches('.')));
    let by_group = sorted(matched.flat_map(|(_, sites)| sites.iter().copied()).collect());
    if by_group.is_empty() { Err(OverrideError::NoSuch(target.to_owned())) } else { Ok(by_group) }
}

fn sorted(mut sites: Vec<SiteId>) -> Vec<SiteId> {
    sites.sort_unstable();
    sites.dedup();
    sites
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerottl_core::fixture;

    #[track_caller]
    fn check(target: &str, expect: &str) {
        let mut model = fixture::model(&[
            ("boston", &["192.0.2.10"], None),
            ("bos-2", &["192.0.2.11"], None),
            ("Geneva", &["192.0.2.30"], None),
        ]);
        model.groups = vec![fixture::group("americas.app.com", &[1, 0]), fixture::group("europe.app.com", &[2])];
        let found = match find(&model, target) {
            Ok(sites) => sites.iter().map(|site| model.sites[site.0].key.as_str()).collect::<Vec<_>>().join(" "),
            Err(refused) => refused.to_string(),
        };
        assert_eq!(found, expect, "{target}");
    }

    #[test]
    fn keys_groups_pools_and_globs() {
        check("boston", "boston");
        check("Boston", "there is no Site, group or pool `Boston`");
        check("europe.app.com", "Geneva");
        check("Americas.App.com.", "boston bos-2");
        check("app.com", "boston bos-2 Geneva");
        check("bos*", "boston bos-2");
        check("bos-?", "bos-2");
        check("[bG]*n*", "boston Geneva");
        check("*", "boston bos-2 Geneva");
        check("*.app.com", "boston bos-2 Geneva");
        check("EU*.app.com", "Geneva");
        check("x*", "there is no Site, group or pool `x*`");
        check("bos[", "`bos[` is not a glob: invalid range pattern");
        check("", "there is no Site, group or pool ``");
    }
}
