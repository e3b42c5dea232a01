//! A plan that follows another is what would have been made anew, and so is a bank that is written only where they differ.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use xdp_ebpf::layout::BLOCK_SLOTS;

use zerottl_core::plan::*;

use super::compile::{status, world_with_nets};
use zerottl_core::status::{AdminState, Assessment, Health};
use zerottl_kernel::image::{Bank, Layout};

/// Everything that a Site's part in a plan without loads depends on, from the bits of a number.
fn arbitrary_state(status: &mut Assessment, site: usize, bits: u32) {
    let bit = |i: u32| bits >> i & 1 == 1;
    for (address, health) in status.health[site].iter_mut().enumerate() {
        *health = [Health::Up, Health::Down, Health::Unknown, Health::Up][(bits >> (2 * address) & 3) as usize];
    }
    let state = &mut status.sites[site];
    let words = [AdminState::Ready, AdminState::Drain, AdminState::Maint, AdminState::Ready];
    state.admin_state = words[(bits >> 4 & 3) as usize];
    state.self_report.admin_state = words[(bits >> 6 & 3) as usize];
    (state.held, state.overridden) = (bit(8), bit(9));
    state.weight = 1 + (bits >> 10 & 3);
    state.ramp = if bit(12) { 0.25 } else { 1.0 };
    state.self_report.factor = [1.0, 0.5, 0.0, 1.0][(bits >> 13 & 3) as usize];
}

proptest! {
    /// A plan keeps of the one before only what it would have made anew, and a bank that is written only where plans
    /// differ holds what one written whole does, also if plans in between went to other banks.
    #[test]
    fn following_plans_are_as_new(
        moments in prop::collection::vec(prop::collection::vec((0..4_usize, 0..1_u32 << 15), 0..3), 1..12),
        policy in prop::sample::select(vec!["weighted-round-robin", "weighted-random", "sticky"]),
        rest in prop::sample::select(vec!["", "last_resort = \"pool\"", "up_threshold = 0.6\nhttps = {}", "all_down = \"servfail\""]),
    ) {
        let model = world_with_nets(&format!("policy = '{policy}'\n{rest}"));
        let planner = Planner::new(Arc::clone(&model));
        let layout = Layout::new(&planner);
        let mut status = status(&model, &[]);
        let mut before = planner.plan(&status, 1);
        let mut banks = vec![(before.services.clone(), Bank::new(&layout, &before)); 3];
        for (i, moment) in moments.into_iter().enumerate() {
            for (site, bits) in moment {
                arbitrary_state(&mut status, site, bits);
            }
            let from = Before { shares: &before.shares, plan: Some(&before), elapsed: Duration::from_secs(1) };
            let plan = planner.follow(&status, i as u64 + 2, Some(from));
            prop_assert_eq!(&plan, &planner.plan(&status, i as u64 + 2));
            for (service, slots) in plan.services.iter().zip(planner.slot_counts()) {
                for (choice, slots) in service.choice.iter().zip(slots) {
                    if let Choice::Table(table) = choice {
                        prop_assert_eq!(table.slots.len(), slots);
                    }
                }
            }
            let (held, bank) = &mut banks[i % 3];
            bank.apply(layout.changes(held, &plan));
            *held = plan.services.clone();
            let whole = Bank::new(&layout, &plan);
            prop_assert_eq!(&bank.services, &whole.services);
            for change in layout.changes(&Services::default(), &plan) {
                for (home, slots) in change.tables.into_iter().flatten() {
                    let lies_in = |bank: &Bank| -> Vec<[u16; BLOCK_SLOTS]> {
                        bank.blocks[home..].iter().take(slots.len().div_ceil(BLOCK_SLOTS)).map(|block| block.0).collect()
                    };
                    prop_assert_eq!(lies_in(bank), lies_in(&whole));
                }
            }
            before = plan;
        }
    }
}
