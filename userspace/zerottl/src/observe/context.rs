//! The surroundings of the plan: the program on its interfaces, and the machine.

use super::signing::{SignedZoneState, SigningAlarm};
use zerottl_kernel::attachments::{AttachmentAlarm, AttachmentState};

/// The program on its interfaces, and the machine around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingContext {
    /// One per interface.
    pub attachments: Vec<AttachmentState>,
    /// Alarms that somebody should look at.
    pub alarms: Vec<AttachmentAlarm>,
    /// The signed zones.
    pub signed: Vec<SignedZoneState>,
    /// Alarms about them.
    pub signing_alarms: Vec<SigningAlarm>,
    /// Warnings: what of `[front]` does not fit this machine, or should be known of an interface.
    pub warnings: Vec<String>,
}

impl ServingContext {
    /// The alarms, each with its kind and its sentence.
    #[must_use]
    pub(crate) fn all_alarms(&self) -> Vec<(&'static str, String)> {
        let of_program = self.alarms.iter().map(|alarm| (alarm.kind, alarm.message.clone()));
        of_program.chain(self.signing_alarms.iter().map(|alarm| (alarm.kind, alarm.message.clone()))).collect()
    }
}
