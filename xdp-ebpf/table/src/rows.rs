//! The rows, by concern.

mod dns;
mod edns;
mod https;
mod ip;
mod link;
mod names;
mod negative;
mod short;
mod udp;

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, ask, www, www6},
    row::{Row, answers, nxdomain, pass},
    world::{ONE, World},
};

/// All rows.
pub fn all() -> Vec<Row> {
    let concerns = [
        link::rows(),
        ip::rows(),
        udp::rows(),
        dns::rows(),
        edns::rows(),
        names::rows(),
        negative::rows(),
        https::rows(),
        short::rows(),
        states(),
    ];
    concerns.concat()
}

/// Before the first plan and without a role.
///
/// A machine without a role passes its names up, where they are referred (invariant 10).
fn states() -> Vec<Row> {
    vec![
        pass("no plan yet, A", www().v4(), Reason::PassNoPlan).on(World::NoPlan),
        pass("no plan yet, AAAA, over IPv6", www6().v6(), Reason::PassNoPlan).on(World::NoPlan),
        pass("no plan yet, another's name", ask("site-one.example", A).v4(), Reason::PassReferral)
            .on(World::NoPlan)
            .near(Reason::PassNoPlan),
        nxdomain("no plan yet, a missing name", ask("none.example", A).v4(), "example")
            .on(World::NoPlan)
            .near(Reason::PassNoPlan),
        answers("a plan", www().v4(), ONE[0]).on(World::BalanceOnly).near(Reason::PassNoPlan),
        pass("a Site Name without the failover role, A", ask("site-one.example", A).v4(), Reason::PassReferral)
            .on(World::BalanceOnly),
        pass("a Site Name without the role, TXT", ask("site-one.example", 16).v4(), Reason::PassReferral)
            .on(World::BalanceOnly),
        pass("a Site Name without the role, AAAA", ask("SITE-six.example", AAAA).v6(), Reason::PassReferral)
            .on(World::BalanceOnly),
        nxdomain("a name beside a referred one", ask("site-onf.example", A).v4(), "example")
            .on(World::BalanceOnly)
            .near(Reason::PassReferral),
        answers("a Pool Name where Site Names are referred", www().v6(), ONE[0])
            .on(World::BalanceOnly)
            .near(Reason::PassReferral),
        answers("the Site Name with the role", ask("site-one.example", A).v4(), ONE[0]).near(Reason::PassReferral),
    ]
}
