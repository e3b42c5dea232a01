//! Shares by load: the rules by themselves, and in plans.
#![expect(clippy::float_cmp, reason = "sums and products of few binary digits are exact")]

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use proptest::prelude::*;

use zerottl_config as config;
use zerottl_core::plan::{
    headroom::{Taker, advance, debited, goal, headroom, keep},
    *,
};
use zerottl_core::{
    model::{Family, Model, NameId, SiteId, Steering},
    status::{Assessment, Health, Load},
};

fn taker(site: usize, weight: f64, room: Option<f64>) -> Taker {
    Taker { site: SiteId(site), weight, room }
}

/// Goals in percent, rounded, with a mark for those that are full.
fn goals(takers: &[(f64, Option<f64>)], trickle: f64) -> Vec<(i64, bool)> {
    let takers: Vec<Taker> = takers.iter().enumerate().map(|(i, (weight, room))| taker(i, *weight, *room)).collect();
    goal(&takers, trickle).iter().map(|(share, full)| ((share * 100.0).round() as i64, *full)).collect()
}

/// S4-3A-320, S4-A-LBNS: headroom is 1 up to the low watermark, 0 from the high one on.
#[test]
fn s4_a_lbns_headroom_falls_between_the_watermarks() {
    let steering = Steering { low_watermark: 0.5, high_watermark: 0.9, ..Steering::default() };
    let of = Load { current: 0.0, target: 80.0, capacity: 100.0 };
    let check = |current, expect: f64| {
        let got = headroom(current, &of, &steering);
        assert!((got - expect).abs() < 1e-9, "{current}: {got}");
    };
    check(0.0, 1.0);
    check(40.0, 1.0);
    check(65.0, 0.5);
    check(90.0, 0.0);
    check(1e15, 0.0);
}

/// S4-3A-320: what full Sites cannot take is spread over the others by their headroom; a full Site has its trickle.
#[test]
fn s4_3a_320_shares_are_filled_like_water() {
    let free = |weight| (weight, Some(1.0));
    assert_eq!(goals(&[free(1.0), free(3.0)], 0.0), [(25, false), (75, false)], "weights alone");
    let some = &[(1.0, Some(0.2)), free(1.0), (2.0, Some(0.4))];
    assert_eq!(goals(some, 0.0), [(10, false), (50, false), (40, false)], "by headroom");
    let full = &[(1.0, Some(0.0)), (1.0, Some(0.75)), (1.0, Some(0.25))];
    assert_eq!(goals(full, 0.0), [(0, true), (75, false), (25, false)], "a full one has nothing");
    assert_eq!(goals(full, 0.3), [(10, true), (68, false), (23, false)], "or its trickle: 0.3 of its third");
    let nearly = &[(1.0, Some(0.0)), (1.0, Some(0.01)), (2.0, Some(1.0))];
    assert_eq!(goals(nearly, 0.4), [(10, true), (10, false), (80, false)], "nearly full is not worse off than full");
    let all = &[(1.0, Some(0.0)), (3.0, Some(0.0))];
    assert_eq!(goals(all, 0.1), [(25, true), (75, true)], "all full: weights alone, and never nobody");
    let unknown = &[(1.0, None), (1.0, Some(0.5)), (1.0, Some(0.1))];
    assert_eq!(goals(unknown, 0.0), [(33, false), (56, false), (11, false)], "who says nothing is as the mean");
    assert_eq!(goals(&[(1.0, None), (1.0, None)], 0.0), [(50, false), (50, false)]);
    assert_eq!(goals(&[(1.0, None), (1.0, Some(0.0))], 0.0), [(100, false), (0, true)], "and not as the full ones");
}

proptest! {
    /// S4-3A-320: whatever the loads, shares add up to 1, none is negative, and on their way they stay so; in the end
    /// they are there.
    #[test]
    fn s4_3a_320_shares_are_whole_and_arrive(
        takers in prop::collection::vec((0.01_f64..1000.0, prop::option::of(0.0_f64..=1.0)), 1..8),
        before in prop::collection::vec(0.0_f64..1.0, 8),
        trickle in 0.0_f64..=1.0,
        part in 0.001_f64..=1.0,
    ) {
        let takers: Vec<Taker> =
            takers.iter().enumerate().map(|(i, (weight, room))| taker(i, *weight, *room)).collect();
        let goal = goal(&takers, trickle);
        prop_assert!((goal.iter().map(|(share, _)| share).sum::<f64>() - 1.0).abs() < 1e-9, "{goal:?}");
        let sum: f64 = before.iter().sum::<f64>() + 1e-3;
        let mut shares: Vec<(SiteId, f64)> =
            before.iter().enumerate().map(|(i, share)| (SiteId(i), share / sum)).collect();
        let mut moving = true;
        for _ in 0..20_000 {
            let (after, moves) = advance(&shares, &takers, &goal, Some(part));
            prop_assert!((after.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{after:?}");
            prop_assert!(after.iter().all(|share| *share >= 0.0), "{after:?}");
            shares = takers.iter().map(|taker| taker.site).zip(after).collect();
            moving = moves;
            if !moving {
                break;
            }
        }
        prop_assert!(!moving, "still moving: {shares:?} to {goal:?}");
        for ((_, share), (due, _)) in shares.iter().zip(&goal) {
            prop_assert_eq!(share, due);
        }
    }
}

/// S4-3A-320: a share goes a part of its way; what a dead Site had goes to the others at once, by what is due to them.
#[test]
fn s4_3a_320_shares_move_by_steps_and_a_dead_sites_at_once() {
    let before = [(SiteId(0), 0.5), (SiteId(1), 0.25), (SiteId(2), 0.25)];
    let three = [taker(0, 1.0, None), taker(1, 1.0, None), taker(2, 2.0, None)];
    let due = [(0.25, false), (0.25, false), (0.5, false)];
    assert_eq!(advance(&before, &three, &due, Some(0.5)), (vec![0.375, 0.25, 0.375], true));
    assert_eq!(advance(&before, &three, &due, None), (vec![0.25, 0.25, 0.5], false), "without a bound");
    assert_eq!(advance(&[], &three, &due, Some(0.5)), (vec![0.25, 0.25, 0.5], false), "nothing to move from");
    // Site 0 is dead: 0.5 is free, of which 3/4 are due to Site 1; no step has been made yet.
    let due = [(0.75, false), (0.25, false)];
    assert_eq!(advance(&before, &three[1..], &due, Some(0.0)), (vec![0.625, 0.375], true));
    // A full Site's share falls twice as fast as the others move.
    let due = [(0.0, true), (0.5, false), (0.5, false)];
    assert_eq!(advance(&before, &three, &due, Some(0.25)), (vec![0.25, 0.375, 0.375], true));
}

/// S4-3A-320: what has been handed out since the newest reports is held against its Site, and all alike are as before.
#[test]
fn s4_3a_320_debits_are_in_force_at_once() {
    assert_eq!(debited(&[0.5, 0.5], &[1.0, 1.0]), [0.5, 0.5]);
    assert_eq!(debited(&[0.5, 0.5], &[0.0, 1.0]), [0.0, 1.0]);
    assert_eq!(debited(&[0.5, 0.25, 0.25], &[0.5, 1.0, 1.0]), [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]);
    assert_eq!(debited(&[0.5, 0.5], &[0.0, 0.0]), [0.5, 0.5], "never nobody");
}

/// Sticky: slots are given away above the bound, taken back below its middle, and rest in between.
#[test]
fn slots_are_given_away_and_taken_back() {
    let steering = Steering { balance_factor: 1.5, max_step: 0.5, ..Steering::default() };
    let second = Duration::from_secs(1);
    let of = |before, utilisation| keep(before, utilisation, 0.4, &steering, second);
    assert_eq!(of(1.0, 0.7), (0.95, true), "over 0.6");
    assert_eq!(of(0.8, 0.55), (0.8, false), "rests");
    assert_eq!(of(0.75, 0.45), (0.8, true), "below 0.5");
    assert_eq!(of(1.0, 0.1), (1.0, false));
    assert_eq!(of(0.02, 9.0), (1.0 / 64.0, false), "never all of them");
}

/// Four Sites alike.
fn world(pool: &str) -> Arc<Model> {
    let mut text = format!(
        "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\n\
         [zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"h@app.com\"\n\
         [pool.\"app.com\"]\nsites = [\"a\", \"b\", \"c\", \"d\"]\n{pool}\n"
    );
    for (i, key) in ["a", "b", "c", "d"].iter().enumerate() {
        let _ = write!(
            text,
            "[site.{key}]\nname = \"{key}.app.com\"\naddresses = [\"192.0.2.{i}\"]\nload = {{ kind = \"push\" }}\n\
             probe = {{ kind = \"tcp\", port = 1 }}\n"
        );
    }
    Arc::new(config::parse("world", &text, Path::new("")).map_err(|error| error.plain()).unwrap().model)
}

/// All up, with these utilisations; NaN for a Site that says nothing.
fn status(model: &Model, loads: [f64; 4]) -> Assessment {
    let mut status = Assessment::unknown(model);
    status.health.iter_mut().flatten().for_each(|health| *health = Health::Up);
    for (site, current) in status.sites.iter_mut().zip(loads) {
        site.load = (!current.is_nan()).then_some(Load { current, target: 1.0, capacity: 1.0 });
    }
    status
}

fn table(plan: &Plan) -> &[u16] {
    match plan.choice(NameId(0), Family::V4) {
        Choice::Table(table) => &table.slots,
        Choice::NoData | Choice::Servfail => &[],
    }
}

/// Per cent of the pool's slots, rounded.
fn shares(plan: &Plan) -> [usize; 4] {
    let slots = table(plan);
    [0, 1, 2, 3]
        .map(|site| (slots.iter().filter(|slot| **slot == site).count() * 200 + slots.len()) / (2 * slots.len()))
}

/// S4-A-LBNS, S4-3A-320: least-load in plans; the kernel's table is one of weighted round robin.
#[test]
fn s4_a_lbns_least_load_plans() {
    let model = world("policy = \"least-load\"");
    let planner = Planner::new(Arc::clone(&model));
    let plan = |status: &Assessment| planner.plan(status, 1);
    assert!(planner.goes_by_load());
    assert_eq!(shares(&plan(&status(&model, [0.1, 0.2, 0.3, 0.4]))), [25, 25, 25, 25], "all free");
    assert_eq!(shares(&plan(&status(&model, [0.1, 0.1, 0.75, 1.0]))), [40, 40, 20, 0], "by headroom");
    assert_eq!(shares(&plan(&status(&model, [1.0, 1.5, 2.0, 9.0]))), [25, 25, 25, 25], "all full");
    let mut one_dead = status(&model, [0.1, 0.1, 0.75, 1.0]);
    one_dead.health[0][0] = Health::Down;
    assert_eq!(shares(&plan(&one_dead)), [0, 67, 33, 0]);
    let mut small = status(&model, [0.1; 4]);
    small.sites[0].ramp = 0.05;
    small.sites[1].self_report.factor = 0.0;
    assert_eq!(shares(&plan(&small)), [2, 0, 49, 49], "starts slowly; wants no clients");
    let trickle = world("policy = \"least-load\"\ntrickle = 0.1");
    let plan = Planner::new(Arc::clone(&trickle)).plan(&status(&trickle, [0.1, 0.1, 0.1, 1.0]), 1);
    assert_eq!(shares(&plan), [33, 33, 33, 2]);
}

/// S4-3A-320: shares of one plan move on from the one before's, and debits are in force beside them.
#[test]
fn s4_3a_320_plans_follow_one_another() {
    let model = world("policy = \"least-load\"\nmax_step = 0.1");
    let planner = Planner::new(Arc::clone(&model));
    let mut plan = planner.plan(&status(&model, [0.1; 4]), 1);
    let now = status(&model, [0.1, 0.1, 0.1, 0.75]);
    let second = Duration::from_secs(1);
    let follow = |plan: &Plan, status: &Assessment| {
        planner.follow(
            status,
            plan.generation + 1,
            Some(Before { shares: &plan.shares, plan: Some(plan), elapsed: second }),
        )
    };
    plan = follow(&plan, &now);
    // From 25 to 14 in all, of which a tenth.
    assert_eq!(shares(&plan), [25, 25, 25, 24]);
    assert!(plan.shares.moving);
    for _ in 0..100 {
        plan = follow(&plan, &now);
    }
    assert!(!plan.shares.moving);
    assert_eq!(shares(&plan), [29, 29, 29, 14]);
    // Half of what room there was has been handed out since: in force at once, and gone with the next report.
    let mut debited = now.clone();
    debited.sites[0].self_report.debit = 0.65;
    debited.sites[0].load.as_mut().unwrap().current += 0.65;
    let with = follow(&plan, &debited);
    assert_eq!(shares(&with), [17, 33, 33, 17]);
    assert_eq!(shares(&follow(&with, &now)), [29, 29, 29, 14]);
}

/// Reload: shares move on from where they were, by the names' and the Sites' own names.
#[test]
fn shares_are_carried_over() {
    let old = world("policy = \"least-load\"\nmax_step = 0.1");
    let before = Planner::new(Arc::clone(&old));
    let plan = before.plan(&status(&old, [0.1, 0.1, 0.1, 0.75]), 1);
    let mut model = (*old).clone();
    model.sites.swap(0, 3);
    let planner = Planner::new(Arc::new(model));
    let carried = planner.carry_over(&old, &plan);
    let by_site: Vec<(SiteId, f64)> = carried.of[&0][0].clone();
    assert_eq!(by_site.iter().find(|(site, _)| *site == SiteId(0)).unwrap().1, plan.shares.of[&0][0][3].1);
    assert!(carried.moving);
}

/// Weighted policies heed what Sites want and slow starts as well, and never come to nobody.
#[test]
fn s4_a_lbns_wishes_under_every_policy() {
    for policy in ["weighted-round-robin", "weighted-random", "sticky", "least-load"] {
        let model = world(&format!("policy = \"{policy}\""));
        let planner = Planner::new(Arc::clone(&model));
        let mut now = status(&model, [f64::NAN; 4]);
        now.sites[0].self_report.factor = 0.5;
        now.sites[1].self_report.factor = 0.0;
        let [a, b, c, d] = shares(&planner.plan(&now, 1));
        assert!(b == 0 && a * 17 / 10 < c.min(d) && a > 8, "{policy}: {a} {b} {c} {d}");
        now.sites.iter_mut().for_each(|site| site.self_report.factor = 0.0);
        assert!(shares(&planner.plan(&now, 1)).iter().all(|share| *share > 20), "{policy}: nobody's wish is heard");
    }
}

/// Sticky with a bounded load: a Site over the bound gives slots away step by step, only its own move, and they return.
#[test]
fn sticky_with_a_bounded_load() {
    let model = world("policy = \"sticky\"\nbalance_factor = 1.2\nmax_step = 1.0");
    let planner = Planner::new(Arc::clone(&model));
    let follow = |plan: &Plan, loads| {
        let before = Before { shares: &plan.shares, plan: Some(plan), elapsed: Duration::from_secs(1) };
        planner.follow(&status(&model, loads), plan.generation + 1, Some(before))
    };
    let even = planner.plan(&status(&model, [0.5; 4]), 1);
    let mut plan = even.clone();
    let over = [0.9, 0.5, 0.5, 0.5];
    for kept in [18, 16, 14] {
        let after = follow(&plan, over);
        for (was, is) in table(&plan).iter().zip(table(&after)) {
            assert!(was == is || *was == 0, "only slots of the Site over the bound move");
        }
        let due = shares(&even)[0] * kept * 5 / 100;
        assert!(shares(&after)[0].abs_diff(due) <= 1 && after.shares.moving, "{:?}", shares(&after));
        plan = after;
    }
    let rest = follow(&plan, [0.6, 0.5, 0.5, 0.5]);
    assert_eq!((table(&rest) == table(&plan), rest.shares.moving), (true, false), "within the bound it rests");
    for _ in 0..3 {
        plan = follow(&plan, [0.4, 0.5, 0.5, 0.5]);
    }
    assert_eq!(table(&plan), table(&even), "all are back where they were");
}
