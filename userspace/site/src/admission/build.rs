//! How a configuration becomes an admission, and how one follows another.

use std::sync::Arc;

use zerottl_core::model::{MarkerMode, Model, SiteId};
use zerottl_host::key_file::{KeyFileError, read_key};

use super::{Admission, LogPace};
use crate::{
    clients::ClientShares,
    decide::Rules,
    exempt::Exempts,
    group::Groups,
    marker::{MarkerCarrier, Markers},
    overload::{Overload, OverloadLimits},
    peers::PeerHealth,
    session::{CookieSessions, SessionEpochs, SessionError, Sessions},
    topology::Topology,
    waiting_room::Deferrals,
};

/// Why a configuration admits nobody.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// It says nothing of Sites.
    #[error("the configuration has no [web]")]
    NoWeb,
    /// There can be no sessions.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The key file of markers is at fault.
    #[error(transparent)]
    MarkerKey(#[from] KeyFileError),
}

impl Admission {
    /// As a configuration has it, with sessions by cookie and the default limits. Reads the key files.
    pub fn new(model: &Model, site: SiteId, peers: PeerHealth) -> Result<Self, AdmissionError> {
        Self::hosting(model, site, peers, None)
    }

    /// Creates one as [`Self::new`] does, with cookies that carry the epochs of those who host sessions.
    pub fn hosting(
        model: &Model,
        site: SiteId,
        peers: PeerHealth,
        epochs: Option<Arc<dyn SessionEpochs>>,
    ) -> Result<Self, AdmissionError> {
        let web = model.web.get(site.0).ok_or(AdmissionError::NoWeb)?;
        let mut sessions = CookieSessions::new(&web.session, &model.sites[site.0].name.to_string())?;
        if let Some(epochs) = &epochs {
            sessions = sessions.with_epochs(Arc::clone(epochs));
        }
        let mut admission =
            Self::with(model, site, peers, Arc::new(sessions), Arc::new(OverloadLimits::new(&web.busy)))?;
        admission.epochs = epochs;
        Ok(admission)
    }

    /// By another configuration of the same Site. Sessions, requests under way and keys go on where what they are
    /// configured by has not changed.
    pub fn renewed(&self, model: &Model, site: SiteId, peers: PeerHealth) -> Result<Self, AdmissionError> {
        let web = model.web.get(site.0).ok_or(AdmissionError::NoWeb)?;
        let mut next = Self::hosting(model, site, peers, self.epochs.clone())?;
        next.metrics = Arc::clone(&self.metrics);
        if web.session == self.web.session && next.topology.own_name() == self.topology.own_name() {
            next.sessions = Arc::clone(&self.sessions);
        }
        if web.busy == self.web.busy {
            next.overload = Arc::clone(&self.overload);
            next.deferrals = Arc::clone(&self.deferrals);
        }
        Ok(next)
    }

    /// Creates one with another idea of what a session is, and of when the Site is too busy.
    pub fn with(
        model: &Model,
        site: SiteId,
        peers: PeerHealth,
        sessions: Arc<dyn Sessions>,
        overload: Arc<dyn Overload>,
    ) -> Result<Self, AdmissionError> {
        let web = model.web.get(site.0).ok_or(AdmissionError::NoWeb)?;
        let key = web.marker.key.as_deref().map(read_key).transpose()?;
        let (mode, domain) = match &web.marker.mode {
            MarkerMode::Path => (MarkerCarrier::Path, None),
            MarkerMode::Query => (MarkerCarrier::Query, None),
            MarkerMode::Cookie { domain } => (MarkerCarrier::Cookie, Some(domain.clone())),
        };
        let topology = Topology::of(model, site);
        Ok(Self {
            topology,
            rules: Rules { lifetime: web.marker.lifetime, skew: web.marker.skew, overflow: web.overflow },
            markers: Markers::new(mode, key.as_deref()),
            domain,
            groups: Groups::new(model, site, web),
            sessions,
            overload,
            deferrals: Arc::new(Deferrals::new(web.busy.retry)),
            peers,
            metrics: Arc::default(),
            hop_limit: LogPace::default(),
            share_full: LogPace::default(),
            malformed: LogPace::default(),
            exempts: Exempts::new(&model.sites[site.0], web),
            shares: ClientShares::new(&web.busy),
            web: Arc::clone(web),
            epochs: None,
        })
    }
}
