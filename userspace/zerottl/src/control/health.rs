//! Statements of health from outside on their way to the assessments.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use thiserror::Error;

use zerottl_core::{
    assess::Assessor,
    model::{Model, UnknownSite},
    overrides::InvalidRequest,
    statements::{FileReading, HealthStatement},
};

/// The reason why a statement was not taken.
#[derive(Clone, Debug, PartialEq, Error)]
pub(crate) enum HealthError {
    /// No Site has this key.
    #[error(transparent)]
    NoSuchSite(#[from] UnknownSite),
    /// The Site does not have this address.
    #[error("Site `{0}` does not have the address {1}; it has {has}", has = .2.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NoSuchAddress(String, IpAddr, Vec<IpAddr>),
    /// The statement itself is at fault.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The agent is stopping, or has just taken another configuration.
    #[error("the agent is stopping, or has just been reloaded: state it again")]
    Stopping,
}

/// Where statements are handed in; cheap to clone. The next planning round goes by them.
#[derive(Clone, Debug)]
pub(crate) struct HealthHandle(Arc<Mutex<Assessor>>);

impl HealthHandle {
    /// Hands statements to what makes assessments.
    #[must_use]
    pub fn new(assessor: Arc<Mutex<Assessor>>) -> Self {
        Self(assessor)
    }

    /// States the health of a Site's addresses, or of one of them; returns which.
    pub fn state(
        &self,
        model: &Model,
        site: &str,
        address: Option<IpAddr>,
        statement: HealthStatement,
    ) -> Result<Vec<IpAddr>, HealthError> {
        let id = model.known_site(site)?;
        let all = model.sites[id.0].addresses.iter().map(|address| address.answer);
        let (positions, addresses): (Vec<usize>, Vec<IpAddr>) =
            all.clone().enumerate().filter(|(_, of)| address.is_none_or(|address| address == *of)).unzip();
        if let (Some(address), true) = (address, addresses.is_empty()) {
            return Err(HealthError::NoSuchAddress(site.to_owned(), address, all.collect()));
        }
        let mut assessor = self.assessor();
        if assessor.has_left() {
            return Err(HealthError::Stopping);
        }
        assessor.state_health(id, &positions, statement);
        Ok(addresses)
    }

    /// Hands in all that the file states now; not where another configuration has taken over, which reads its own.
    pub fn read_file(&self, reading: &FileReading) {
        let mut assessor = self.assessor();
        if !assessor.has_left() {
            assessor.read_health_file(Instant::now(), reading);
        }
    }

    fn assessor(&self) -> MutexGuard<'_, Assessor> {
        // Every change leaves it whole, so one cut short by a panic is still good to read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
