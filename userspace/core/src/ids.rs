//! The ids that a model's parts and the plan call each other by, and the small types that both sides of that share.
//!
//! Ids are positions in the model's own lists, so that per-round work is array indexing.

use std::net::IpAddr;

use bytes::Bytes;

/// A DNS name in wire form, lower case.
pub type Name = domain::base::Name<Bytes>;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub usize);
    };
}
id!(
    /// Position in [`Model::zones`](crate::model::Model::zones).
    ZoneId
);
id!(
    /// Position in [`Model::forwards`](crate::model::Model::forwards).
    ForwardId
);
id!(
    /// Position in [`Model::pools`](crate::model::Model::pools).
    PoolId
);
id!(
    /// Position in [`Model::groups`](crate::model::Model::groups).
    GroupId
);
id!(
    /// Position in [`Model::sites`](crate::model::Model::sites).
    SiteId
);
id!(
    /// Position in [`Model::names`](crate::model::Model::names).
    NameId
);

/// An address family, as asked for by a query type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// A, type 1.
    V4,
    /// AAAA, type 28.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Whether an address is of this family.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        matches!((self, address), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }

    /// 0 or 1, for tables by family.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A type whose answer the plan decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DynamicType {
    /// A, type 1.
    A,
    /// AAAA, type 28.
    Aaaa,
    /// HTTPS, type 65.
    Https,
}

impl DynamicType {
    /// All.
    pub const ALL: [Self; 3] = [Self::A, Self::Aaaa, Self::Https];

    /// 0 to 2, for tables by type; an address type's is its family's.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl From<Family> for DynamicType {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::A,
            Family::V6 => Self::Aaaa,
        }
    }
}
