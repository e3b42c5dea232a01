//! A session's data as an application in Rust has it: names and values, which all requests of the session share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use zerottl_core::session_id::SessionId;

use crate::version::Tag;

/// A session's data: values by their names.
pub type SessionMap = BTreeMap<String, Value>;

/// A value is of another type, or cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("the session's `{name}`: {source}")]
pub struct SessionDataError {
    /// The value's name.
    name: Box<str>,
    source: serde_json::Error,
}

/// The data of a request's session: in the extensions of each request that has one. Clones are the same, and so are those of
/// all requests of the session that are under way at once: they share one map.
///
/// What was changed is found when the response's head is ready, by comparing digests; then it is written, and the head goes out
/// once as many copies are acknowledged as `write` says. What a response's body changes later is not written with it.
#[derive(Clone, Debug)]
pub struct SessionData(pub(crate) Arc<SharedData>);

/// The data that all requests of a session share.
#[derive(Debug)]
pub(crate) struct SharedData {
    pub(crate) id: SessionId,
    working: Mutex<Working>,
    /// Held while the data is read or written.
    pub(crate) saved: tokio::sync::Mutex<Saved>,
}

/// The data as requests see it.
#[derive(Debug, Default)]
struct Working {
    map: SessionMap,
    /// Somebody has asked for the session's end.
    ends: bool,
}

/// The data as the store has it.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Its tag; none without data.
    pub(crate) tag: Option<Tag>,
    /// The digest of the map that was read or written last.
    pub(crate) digest: Digest,
    /// It was read.
    pub(crate) is_read: bool,
    /// The session has ended.
    pub(crate) has_ended: bool,
    /// The store has something else by now: whoever changes this is refused.
    pub(crate) is_stale: bool,
}

/// A SHA-256.
pub(crate) type Digest = [u8; 32];

impl SharedData {
    /// Makes one that was not read yet.
    pub(crate) fn new(id: SessionId) -> Self {
        Self { id, working: Mutex::default(), saved: tokio::sync::Mutex::default() }
    }

    fn working(&self) -> MutexGuard<'_, Working> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the map as it is kept, and its digest.
    pub(crate) fn written(&self) -> Result<(Bytes, Digest), serde_json::Error> {
        let bytes = serde_json::to_vec(&self.working().map)?;
        let digest = digest_of(&bytes);
        Ok((bytes.into(), digest))
    }

    /// Puts another map in the place of what is there. Returns its digest.
    pub(crate) fn replace(&self, map: SessionMap) -> Result<Digest, serde_json::Error> {
        let bytes = serde_json::to_vec(&map)?;
        self.working().map = map;
        Ok(digest_of(&bytes))
    }

    /// Whether somebody has asked for the session's end.
    pub(crate) fn ends(&self) -> bool {
        self.working().ends
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut copy = Digest::default();
    copy.copy_from_slice(digest(&SHA256, bytes).as_ref());
    copy
}

impl SessionData {
    /// Returns the session's ID.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// Returns a value; none if there is none of this name.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionDataError> {
        let working = self.0.working();
        let read = working.map.get(name).map(T::deserialize).transpose();
        read.map_err(|source| SessionDataError { name: name.into(), source })
    }

    /// Keeps a value.
    pub fn insert<T: Serialize>(&self, name: &str, value: T) -> Result<(), SessionDataError> {
        let value = serde_json::to_value(value);
        let value = value.map_err(|source| SessionDataError { name: name.into(), source })?;
        self.0.working().map.insert(name.to_owned(), value);
        Ok(())
    }

    /// Takes a value out.
    pub fn remove(&self, name: &str) {
        self.0.working().map.remove(name);
    }

    /// Changes the data in one step: no other request of the session changes it meanwhile. `change` must be quick, as the others
    /// wait for it.
    pub fn update<R>(&self, change: impl FnOnce(&mut SessionMap) -> R) -> R {
        change(&mut self.0.working().map)
    }

    /// Ends the session for good (logout), with the end of this request.
    pub fn end(&self) {
        let mut working = self.0.working();
        working.ends = true;
        working.map.clear();
    }

    /// Whether the session has ended: nothing can be kept in it any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.working().ends
    }
}
