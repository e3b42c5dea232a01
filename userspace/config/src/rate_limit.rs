//! `[rate_limit]`.

use toml::Spanned;

use super::{raw, report::Reporter, values::Reader};
use zerottl_core::model::RateLimit;

/// Answers a second, at most: what two ticks of the kernel's clock can still tell apart.
const PER_SECOND_MAX: i64 = 100_000;
const SLIP_MAX: i64 = 100;

pub(super) fn rate_limit(report: &mut Reporter, raw: Option<&Spanned<raw::RateLimit>>) -> Option<RateLimit> {
    let raw = raw?;
    let mut reader = Reader { report, section: "[rate_limit]".into(), header: raw.span() };
    let raw = raw.get_ref();
    Some(RateLimit {
        per_second: reader.number("per_second", &raw.per_second, 1..=PER_SECOND_MAX, "answers", 1000),
        slip: reader.number("slip", &raw.slip, 0..=SLIP_MAX, "", 2),
        prefix: (
            reader.number("prefix_v4", &raw.prefix_v4, 8..=32, "bits", 24),
            // No network is smaller than a /64.
            reader.number("prefix_v6", &raw.prefix_v6, 16..=64, "bits", 56),
        ),
        dry_run: raw.dry_run.as_ref().is_some_and(|on| *on.get_ref()),
    })
}
