//! Sites that are up only if others are: `depends_on`. Pure.

use crate::{
    model::{Model, SiteId},
    status::{AdminState, Assessment},
};

/// The Sites of one model that depend on others.
#[derive(Clone, Debug, Default)]
pub struct Dependencies {
    /// Each after those that it depends on.
    order: Vec<SiteId>,
}

impl Dependencies {
    /// Those of a model, in which no Site depends on itself.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let mut seen = vec![false; model.sites.len()];
        let mut order = Vec::new();
        // By hand and not by recursion: a chain may be as long as there are Sites.
        for first in (0..model.sites.len()).filter(|site| !model.sites[*site].depends_on.is_empty()) {
            let mut open = vec![(first, 0)];
            if std::mem::replace(&mut seen[first], true) {
                continue;
            }
            while let Some((site, next)) = open.pop() {
                let Some(on) = model.sites[site].depends_on.get(next) else {
                    order.extend((!model.sites[site].depends_on.is_empty()).then_some(SiteId(site)));
                    continue;
                };
                open.push((site, next + 1));
                if !std::mem::replace(&mut seen[on.0], true) {
                    open.push((on.0, 0));
                }
            }
        }
        Self { order }
    }

    /// Notes of each Site the first that it depends on and that is down: by its health, by what it says of itself, by
    /// `maint`, or because of another in turn.
    pub fn apply(&self, model: &Model, status: &mut Assessment) {
        for site in &self.order {
            let is_down =
                |on: &&SiteId| status.sites[on.0].admin_state == AdminState::Maint || !status.site_is_up(model, **on);
            status.sites[site.0].needs = model.sites[site.0].depends_on.iter().find(is_down).copied();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, status::Health};

    /// Chains, and two ways to the same: the first Site in the way is named, and maint counts as down.
    #[test]
    fn a_site_is_down_with_what_it_depends_on() {
        let mut model = fixture::model(&[
            ("front", &["192.0.2.1"], Some(fixture::http(80))),
            ("middle", &["192.0.2.2"], Some(fixture::http(80))),
            ("other", &["192.0.2.3"], None),
            ("base", &["192.0.2.4"], Some(fixture::http(80))),
        ]);
        model.sites[0].depends_on = vec![SiteId(2), SiteId(1)];
        model.sites[1].depends_on = vec![SiteId(3)];
        model.sites[2].depends_on = vec![SiteId(3)];
        let dependencies = Dependencies::new(&model);
        let mut order = dependencies.order.clone();
        assert_eq!(order.pop(), Some(SiteId(0)), "after those it depends on");
        order.sort_unstable();
        assert_eq!(order, [SiteId(1), SiteId(2)]);
        let look = |change: &dyn Fn(&mut Assessment)| {
            let mut status = Assessment::unknown(&model);
            for site in [0, 1, 3] {
                status.health[site].fill(Health::Up);
            }
            change(&mut status);
            dependencies.apply(&model, &mut status);
            let up = |site: usize| if status.site_is_up(&model, SiteId(site)) { 'U' } else { 'D' };
            let needs: Vec<Option<usize>> = status.sites.iter().map(|site| site.needs.map(|needs| needs.0)).collect();
            ((0..4).map(up).collect::<String>(), needs)
        };
        assert_eq!(look(&|_| {}), ("UUUU".into(), vec![None; 4]));
        let down = |site: usize| move |status: &mut Assessment| status.health[site].fill(Health::Down);
        assert_eq!(look(&down(0)), ("DUUU".into(), vec![None; 4]));
        assert_eq!(look(&down(1)), ("DDUU".into(), vec![Some(1), None, None, None]));
        assert_eq!(look(&down(3)), ("DDDD".into(), vec![Some(2), Some(3), Some(3), None]));
        let in_maint = |status: &mut Assessment| status.sites[3].admin_state = AdminState::Maint;
        assert_eq!(look(&in_maint), ("DDDU".into(), vec![Some(2), Some(3), Some(3), None]));
    }

    /// A chain as long as there are Sites costs no stack.
    #[test]
    fn long_chains_are_followed() {
        let keys: Vec<String> = (0..2_000).map(|i| format!("s{i}")).collect();
        let sites: Vec<(&str, &[&str], _)> = keys.iter().map(|key| (key.as_str(), &["192.0.2.1"][..], None)).collect();
        let mut model = fixture::model(&sites);
        for site in 0..1_999 {
            model.sites[site].depends_on = vec![SiteId(site + 1)];
        }
        let mut status = Assessment::unknown(&model);
        status.sites[1_999].admin_state = AdminState::Maint;
        Dependencies::new(&model).apply(&model, &mut status);
        assert!((0..1_999).all(|site| status.sites[site].needs == Some(SiteId(site + 1))));
    }
}
