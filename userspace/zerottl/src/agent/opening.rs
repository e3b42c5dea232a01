//! Everything needed before anything serves: the folder of the pins, and everything that is listened on.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::error::AgentError;
use crate::{admin::listen::Listener, machine};
use zerottl_core::model::{Front, Model, XdpMode};
use zerottl_dns::{self as dns, TcpAdmission};
use zerottl_kernel::pins::{PinError, Pins};

/// How long an agent that has left may take to close what it listened on.
pub(crate) const HANDOVER: Duration = Duration::from_secs(3);

/// Takes the folder of the pins; with `xdp = "off"` only what has been left, to be taken off.
pub fn own(model: &Model, take_over: bool) -> Result<Option<Pins>, AgentError> {
    let folder: &Path = &model.life.pins;
    if model.front.xdp != XdpMode::Off {
        return Pins::own(folder, take_over).map(Some).map_err(AgentError::Pin);
    }
    match Pins::own_existing(folder, take_over) {
        // Whoever runs without any rights has no program to begin with.
        Err(PinError::Folder(path, error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            warn!("whether a program was left in {} cannot be told: {error}", path.display());
            Ok(None)
        }
        owned => owned.map_err(AgentError::Pin),
    }
}

/// Takes off what was left, for `xdp = "off"`.
pub(crate) fn take_off(pins: Pins) {
    let folder = pins.folder().display().to_string();
    match pins.clear() {
        Ok(interfaces) => info!(?interfaces, "xdp = \"off\": detached what was left"),
        Err(error) => error!("xdp = \"off\", but removing {folder} failed: {error}; try `zerottl detach`"),
    }
}

/// Returns what of the configuration does not fit this machine; none where that cannot be told.
pub fn misfits(front: &Front) -> Option<Vec<String>> {
    machine::look(front).map(|seen| machine::warnings(front, &seen)).ok()
}

/// Sockets that are listened on: for queries, and for who asks the agent.
type Listening = (Vec<(SocketAddr, dns::Sockets)>, Vec<Listener>);

/// Binds everything, with patience where another agent may still be closing it.
pub async fn listen(model: &Model, admission: &Arc<TcpAdmission>, patience: Duration) -> Result<Listening, AgentError> {
    let end = Instant::now() + patience;
    loop {
        match try_listen(model, admission).await {
            Err(error) if error.is_in_use() && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

async fn try_listen(model: &Model, admission: &Arc<TcpAdmission>) -> Result<Listening, AgentError> {
    let bound = bind(&model.front.listen, admission, model.front.freebind)?;
    let mut admin = Vec::new();
    for place in &model.admin.listen {
        admin.push(Listener::bind(place).await.map_err(|error| AgentError::Admin(place.clone(), error))?);
    }
    Ok((bound, admin))
}

/// Binds addresses.
pub fn bind(
    listen: &[SocketAddr],
    admission: &Arc<TcpAdmission>,
    freebind: bool,
) -> Result<Vec<(SocketAddr, dns::Sockets)>, AgentError> {
    let bind =
        |address: &SocketAddr| Ok((*address, dns::Sockets::bind_with(&[*address], Arc::clone(admission), freebind)?));
    listen.iter().map(bind).collect::<io::Result<_>>().map_err(AgentError::Bind)
}
