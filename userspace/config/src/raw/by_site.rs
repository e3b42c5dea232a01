//! A section that stands once for all Sites, with a table in it for each Site that has keys of its own: `[web]` and
//! `[web.SITE]`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Spanned;

use crate::fields::fields_of;

/// Keys for all Sites, and a table of them for each Site that has some of its own, in the file's order.
#[derive(Debug, Default)]
pub(crate) struct BySite<K> {
    pub shared: K,
    pub sites: Vec<(Spanned<String>, K)>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for BySite<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape<K>(PhantomData<K>);

        impl<'de, K: DeserializeOwned> Visitor<'de> for Shape<K> {
            type Value = BySite<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BySite<K>, A::Error> {
                let mut sites = Vec::new();
                let split = Split { map, keys: fields_of::<K>(), sites: &mut sites };
                let shared = K::deserialize(MapAccessDeserializer::new(split))?;
                // The parser's table may be sorted by key.
                sites.sort_by_key(|(key, _)| key.span().start);
                Ok(BySite { shared, sites })
            }
        }

        // The names of the shared keys, for who asks for them.
        deserializer.deserialize_struct("BySite", fields_of::<K>(), Shape(PhantomData))
    }
}

/// Hands the known keys on and keeps the others, which are Sites'.
struct Split<'a, A, K> {
    map: A,
    keys: &'static [&'static str],
    sites: &'a mut Vec<(Spanned<String>, K)>,
}

impl<'de, A: MapAccess<'de>, K: DeserializeOwned> MapAccess<'de> for Split<'_, A, K> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<Spanned<String>>()? {
            if self.keys.contains(&key.get_ref().as_str()) {
                return seed.deserialize(key.into_inner().into_deserializer()).map(Some);
            }
            let own = self.map.next_value()?;
            self.sites.push((key, own));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
