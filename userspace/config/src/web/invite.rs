//! `[web.invite]`: application servers by invitation.

use std::{
    net::SocketAddr,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml::Spanned;

use super::{
    files::file,
    values::{agent, backend},
};
use crate::{
    raw,
    readers::{duration, each},
    values::{Reader, written},
};
use zerottl_core::model::{Backend, InviteConfig};

/// Where invitations are taken unless a port is given.
const INVITE: u16 = 8055;
const WORKERS_MAX: usize = 64;
const BEAT: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_mins(1);
const STALL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);
const WAITING: RangeInclusive<i64> = 0..=10_000;
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);

/// The table as it was read.
pub(super) struct Invite {
    pub config: InviteConfig,
    /// Where the place to listen at stands.
    pub listen: Range<usize>,
    /// Where the table stands.
    pub span: Range<usize>,
}

pub(super) fn invite(reader: &mut Reader<'_>, raw: &Spanned<raw::Invite>) -> Option<Invite> {
    let span = raw.span();
    let reader = &mut reader.inside("invite", raw.span());
    let raw = raw.get_ref();
    let Some(text) = &raw.listen else {
        reader.missing("listen", "\"10.0.0.1:8055\"");
        return None;
    };
    let listen: SocketAddr = reader.parsed(text, |text| agent(text, INVITE))?;
    let default = InviteConfig::at(listen);
    let token = file(reader, "token", &raw.token);
    if raw.token.is_none() && !listen.ip().is_loopback() {
        reader
            .error(text.span(), format!("`{listen}` can be reached from other machines, and there is no `token`"))
            .help("name a file with a token, as `openssl rand -hex 32` makes it, or listen on loopback");
    }
    let beat = duration(reader, "beat", &raw.beat, default.beat, BEAT).unwrap_or(default.beat);
    let stall = duration(reader, "stall", &raw.stall, default.stall.max(beat * 3), STALL).unwrap_or(default.stall);
    if stall < beat * 2 {
        let (at, both) = (raw.stall.as_ref().or(raw.beat.as_ref()), (written(stall), written(beat)));
        reader
            .error(
                at.map_or(text.span(), Spanned::span),
                format!("`stall` {} is below twice `beat` {}", both.0, both.1),
            )
            .help(format!("give at least \"{}\": one beat may be late", written(beat * 2)));
    }
    let config = InviteConfig {
        token,
        workers: workers(reader, &raw.workers),
        beat,
        stall,
        waiting: reader.number("waiting", &raw.waiting, WAITING, "requests", default.waiting),
        patience: duration(reader, "patience", &raw.patience, default.patience, PATIENCE).unwrap_or(default.patience),
        ..default
    };
    Some(Invite { config, listen: text.span(), span })
}

/// The workers; this one may stand among them, so that one list does for all.
fn workers(reader: &mut Reader<'_>, raw: &raw::List<String>) -> Vec<Backend> {
    let Some(list) = reader.list("workers", raw) else { return Vec::new() };
    let workers = each(reader, list, ("workers", WORKERS_MAX), |reader, text| {
        let worker = reader.parsed(text, |text| backend("worker", text))?;
        let shown = format!("http://{}", worker.authority);
        Some((worker, shown))
    });
    workers.into_iter().map(Spanned::into_inner).collect()
}
