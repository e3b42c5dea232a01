//! The names that `[web]` may refer to.

use std::collections::HashMap;

use zerottl_core::model::{GroupId, Model, Name, NameKind};

/// The names that `[web]` may refer to, and those that it must not.
pub(super) struct Names<'a> {
    /// Pool, Group and Site Names, and in words what each is.
    pub all: HashMap<&'a Name, &'static str>,
    pub groups: HashMap<&'a Name, GroupId>,
    pub groups_are_sound: bool,
    pub model: &'a Model,
}

impl<'a> Names<'a> {
    pub(super) fn of(model: &'a Model) -> Self {
        let what = |kind| match kind {
            NameKind::Pool(_) => "a Pool Name",
            NameKind::Group(_) => "a Group Name",
            NameKind::Site(_) => "a Site Name",
        };
        let groups = model.groups.iter().enumerate().map(|(i, group)| (&group.name, GroupId(i)));
        Self {
            all: model.names.iter().map(|name| (&name.name, what(name.kind))).collect(),
            groups: groups.collect(),
            groups_are_sound: model.groups.iter().all(|group| !group.name.is_root()),
            model,
        }
    }

    /// Whether a group only sets its pool's order.
    pub(super) fn is_pools_own(&self, GroupId(group): GroupId) -> bool {
        let group = &self.model.groups[group];
        self.model.pools.get(group.pool.0).is_some_and(|pool| pool.name == group.name)
    }
}
