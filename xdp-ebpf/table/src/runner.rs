//! Running rows, on the host or in the kernel, and seeing that they cover every reason.

use std::collections::{BTreeMap, HashSet};

use xdp_ebpf::reason::Reason;

use crate::{
    row::{Ran, Row},
    verify,
    world::World,
};

/// Host or kernel.
pub trait Runner {
    /// Runs the program over a frame. `None` if this machine cannot be given such a frame. Fails unless exactly one
    /// counter moved, by one.
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran>;
}

/// Runs rows and fails with the first few that do not hold. Returns how many could not be run.
pub fn run(machine: &mut dyn Runner, rows: &[Row]) -> usize {
    const FAULTS_SHOWN: usize = 20;
    let mut skipped = 0;
    let mut faults = Vec::new();
    for row in rows {
        if faults.len() == FAULTS_SHOWN {
            break;
        }
        match machine.run(row.world, &row.frame) {
            Some(ran) => faults.extend(verify::fault(row, &ran).map(|fault| format!("{}: {fault}", row.description))),
            None => skipped += 1,
        }
    }
    assert!(faults.is_empty(), "{} rows or more do not hold:\n{}", faults.len(), faults.join("\n"));
    skipped
}

/// Every reason is hit by a row, and nearly hit by another that goes elsewhere.
pub fn check_coverage(rows: &[Row]) {
    let mut hit = BTreeMap::<&str, usize>::new();
    for row in rows {
        *hit.entry(row.reason.name()).or_default() += 1;
        assert_ne!(Some(row.reason), row.near, "{}: no near miss", row.description);
    }
    let near: HashSet<&str> = rows.iter().filter_map(|row| row.near).map(Reason::name).collect();
    // What a rate makes of an answer hangs on those before: tests/tests/kernel/limit.rs. Signatures are not made by hand:
    // tests/tests/kernel/signed.rs.
    let unreached = [
        Reason::Internal,
        Reason::PassNoRoom,
        Reason::AnswerSlip,
        Reason::AnswerOverLimit,
        Reason::DropLimited,
        Reason::AnswerSigned,
        Reason::AnswerSignedNodata,
        Reason::AnswerSignedNxdomain,
        Reason::AnswerSignedBytes,
    ];
    for reason in Reason::ALL {
        let has = (hit.contains_key(reason.name()), near.contains(reason.name()));
        let wanted = !unreached.contains(reason);
        assert_eq!(has, (wanted, wanted), "{}: hit, nearly hit", reason.name());
    }
    println!("{} rows: {hit:?}", rows.len());
}
