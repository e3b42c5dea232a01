//! One attempt at one address: made ready once from the configuration, run once per interval.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use crate::http_check::{Configs, Failure, Get, Progress, SetupError, connect, get::OnHeaders, grpc::GrpcCheck};
use zerottl_core::model::{Probe, ProbeKind, SiteAddress};
use zerottl_host::patience;

/// The future of [`Attempt::run`].
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// A kind of attempt, which the runner repeats.
pub(super) trait Attempt: Send + Sync {
    /// Tries once and ends by itself within the probe's timeout, of the time that this machine ran.
    fn run(&self) -> Running<'_>;
}

/// An attempt over the network.
pub(super) struct Network {
    target: SocketAddr,
    timeout: Duration,
    asks: Asks,
}

/// The part of an attempt that comes once there is a connection.
enum Asks {
    Nothing,
    Get(Box<Get>),
    Grpc(Box<GrpcCheck>),
}

impl Network {
    /// Makes one ready; none where nothing is to be attempted.
    pub(super) fn new(
        probe: &Probe,
        address: SiteAddress,
        on_headers: Option<OnHeaders>,
        configs: &mut Configs,
    ) -> Result<Option<Self>, SetupError> {
        let asks = match &probe.kind {
            ProbeKind::External(_) => return Ok(None),
            ProbeKind::Tcp => Asks::Nothing,
            ProbeKind::Http(http) => Asks::Get(Box::new(Get::new(http, configs)?.with_headers(on_headers))),
            ProbeKind::Grpc(grpc) => Asks::Grpc(Box::new(GrpcCheck::new(grpc, configs)?)),
        };
        Ok(Some(Self { target: SocketAddr::new(address.probe, probe.port), timeout: probe.timeout, asks }))
    }

    async fn steps(&self, progress: &Progress) -> Result<(), Failure> {
        let stream = connect(self.target).await?;
        match &self.asks {
            Asks::Nothing => Ok(()),
            Asks::Get(get) => get.run(stream, progress).await,
            Asks::Grpc(grpc) => grpc.run(stream, progress).await,
        }
    }
}

impl Attempt for Network {
    fn run(&self) -> Running<'_> {
        Box::pin(async {
            let progress = Progress::default();
            // One limit over connecting, TLS and the response: it is the last term of the detection bound.
            patience::within(self.timeout, self.steps(&progress))
                .await
                .unwrap_or_else(|late| Err(Failure::from_late(late, self.timeout, progress.stage())))
        })
    }
}
