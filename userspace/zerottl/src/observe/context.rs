//! The surroundings of the plan: the program on its interfaces, and the machine.

use zerottl_kernel::attachments::{AttachmentAlarm, AttachmentState};

/// The program on its interfaces, and the machine around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingContext {
    /// One per interface.
    pub attachments: Vec<AttachmentState>,
    /// Alarms that somebody should look at.
    pub alarms: Vec<AttachmentAlarm>,
    /// Warnings: what of `[front]` does not fit this machine, or should be known of an interface.
    pub warnings: Vec<String>,
}
