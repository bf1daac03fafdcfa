//! Many callers at once against budgets: what is let in, and what is counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn terms(max: i64, enforcement: Enforcement) -> BudgetTerms {
    BudgetTerms {
        max: Some(NanoUsd(max)),
        soft: None,
        period: None,
        zone: Zone::default(),
        set_at: UnixMicros(0),
        enforcement,
        carried: NanoUsd::ZERO,
        reset: None,
    }
}

/// A counter whose database says that nothing was spent.
fn counter(terms: &BudgetTerms) -> BudgetCounter {
    let counter = BudgetCounter::default();
    let wanted = counter.wants_reading(terms, NOW).unwrap();
    counter.read(wanted.since, NanoUsd::ZERO, NOW, 0);
    counter
}

impl BudgetCounter {
    /// Spent in the window of this moment, as far as it is known, and when that ends.
    fn spent(&self, terms: &BudgetTerms, now: UnixMicros) -> (NanoUsd, Option<UnixMicros>) {
        let mut tally = self.tally();
        tally.turn_to(terms, now);
        (NanoUsd(tally.spent()), tally.window.end)
    }
}

fn id(number: u128) -> EventId {
    EventId(Uuid::from_u128(number))
}

#[test]
fn a_standard_budget_lets_in_while_less_than_all_of_it_is_spent_or_reserved() {
    let (counter, terms) = (BudgetCounter::default(), terms(10, Enforcement::Standard));
    assert!(counter.reserve(&terms, id(1), NOW, Some(NanoUsd(9))).is_ok());
    assert!(counter.reserve(&terms, id(2), NOW, Some(NanoUsd(9))).is_ok());
    let refused = counter.reserve(&terms, id(3), NOW, Some(NanoUsd(1))).unwrap_err();
    assert_eq!((refused.spent.0, refused.reserved.0, refused.max.0), (0, 18, 10));
    counter.settle(id(1), NanoUsd(2));
    counter.release(id(2));
    assert!(counter.reserve(&terms, id(3), NOW, None).is_ok());
}

#[test]
fn a_hard_budget_lets_in_what_fits_at_its_worst() {
    let terms = terms(10, Enforcement::Hard);
    let counter = counter(&terms);
    assert!(counter.reserve(&terms, id(1), NOW, Some(NanoUsd(6))).is_ok());
    assert!(counter.reserve(&terms, id(2), NOW, Some(NanoUsd(5))).is_err());
    assert!(counter.reserve(&terms, id(1), NOW, Some(NanoUsd(11))).is_err());
    assert!(counter.reserve(&terms, id(1), NOW, Some(NanoUsd(7))).is_ok());
    assert!(counter.reserve(&terms, id(2), NOW, Some(NanoUsd(3))).is_ok());
    assert_eq!(counter.reserve(&terms, id(3), NOW, None).unwrap_err().why, Misfit::NoBound);
}

#[test]
fn what_is_shipped_counts_once_and_what_others_spent_counts_too() {
    let (counter, terms) = (BudgetCounter::default(), terms(100, Enforcement::Standard));
    counter.reserve(&terms, id(1), NOW, Some(NanoUsd(50))).unwrap();
    counter.settle(id(1), NanoUsd(30));
    assert_eq!(counter.spent(&terms, NOW).0.0, 30);
    let start = counter.wants_reading(&terms, NOW).unwrap().since;
    counter.read(start, NanoUsd(7), NOW, 1);
    assert_eq!(counter.spent(&terms, NOW).0.0, 37);
    counter.shipped(id(1), NanoUsd(30), 2);
    assert_eq!(counter.spent(&terms, NOW).0.0, 37);
    counter.read(start, NanoUsd(41), NOW, 3);
    assert_eq!(counter.spent(&terms, NOW).0.0, 41);
    counter.shipped(id(1), NanoUsd(30), 4);
    assert_eq!(counter.spent(&terms, NOW).0.0, 41);
}

#[test]
fn what_is_shipped_while_a_reading_is_under_way_is_never_forgotten() {
    let terms = terms(100, Enforcement::Standard);
    let counter = counter(&terms);
    let start = counter.window_start();
    for (number, cost) in [(1, 30), (2, 20)] {
        counter.reserve(&terms, id(number), NOW, Some(NanoUsd(cost))).unwrap();
        counter.settle(id(number), NanoUsd(cost));
    }
    // Readings begin at the steps 1, 3 and 5; the first event is shipped at step 2, the second at step 4.
    counter.shipped(id(1), NanoUsd(30), 2);
    counter.read(start, NanoUsd(30), NOW, 1);
    assert_eq!(
        counter.spent(&terms, NOW).0.0,
        80,
        "the first counts twice: too strict, until the next reading"
    );
    counter.shipped(id(2), NanoUsd(20), 4);
    counter.read(start, NanoUsd(50), NOW, 5);
    assert_eq!(counter.spent(&terms, NOW).0.0, 50);
    counter.read(start, NanoUsd(30), NOW, 3);
    assert_eq!(counter.spent(&terms, NOW).0.0, 50, "a reading that took long takes nothing back");
}

#[test]
fn a_window_that_has_ended_does_not_come_back() {
    let terms = BudgetTerms { period: Period::parse("1h"), ..terms(10, Enforcement::Hard) };
    let counter = counter(&terms);
    let later = UnixMicros(NOW.0 + 3_600_000_000);
    counter.reserve(&terms, id(1), NOW, Some(NanoUsd(2))).unwrap();
    counter.reserve(&terms, id(2), later, Some(NanoUsd(9))).unwrap();
    let late = counter.reserve(&terms, id(3), NOW, Some(NanoUsd(1))).unwrap_err();
    assert_eq!(
        late.why,
        Misfit::TryAgain,
        "its window has ended, and what was spent in it is not known any more"
    );
    assert!(counter.reserve(&terms, id(1), NOW, Some(NanoUsd(2))).is_ok(), "it holds as much already");
    assert!(counter.reserve(&terms, id(1), NOW, Some(NanoUsd(3))).is_err());
    assert!(counter.reserve(&terms, id(4), later, Some(NanoUsd(2))).is_err(), "the new window still counts");
    assert!(counter.reserve(&terms, id(4), later, Some(NanoUsd(1))).is_ok());
}

#[test]
fn what_is_lost_counts_until_its_window_ends_and_no_reading_takes_it_away() {
    let counter = BudgetCounter::default();
    let terms = BudgetTerms { period: Period::parse("1h"), ..terms(100, Enforcement::Hard) };
    let wanted = counter.wants_reading(&terms, NOW).unwrap();
    assert_eq!(wanted, WantedReading { since: wanted.since, is_first: true, is_known: false });
    let early = counter.reserve(&terms, id(1), NOW, Some(NanoUsd(60))).unwrap_err();
    assert_eq!(early.why, Misfit::TryAgain, "nobody knows yet what is left");
    counter.read(wanted.since, NanoUsd(0), NOW, 0);
    counter.reserve(&terms, id(1), NOW, Some(NanoUsd(60))).unwrap();
    counter.settle(id(1), NanoUsd(50));
    counter.lost(id(1));
    counter.read(wanted.since, NanoUsd(7), NOW, 1);
    assert_eq!(counter.spent(&terms, NOW).0.0, 57);
    assert!(counter.has_pending(), "to forget the counter would be to forget the money");
    assert!(counter.reserve(&terms, id(2), NOW, Some(NanoUsd(44))).is_err());
    let later = UnixMicros(NOW.0 + 3_600_000_000);
    assert_eq!(counter.spent(&terms, later).0.0, 0);
    assert!(!counter.has_pending());
}

#[test]
fn a_new_window_starts_at_nothing_and_late_ends_count_in_theirs() {
    let terms = BudgetTerms { period: Period::parse("1h"), ..terms(10, Enforcement::Hard) };
    let counter = counter(&terms);
    let later = UnixMicros(NOW.0 + 3_600_000_000);
    counter.reserve(&terms, id(1), NOW, Some(NanoUsd(10))).unwrap();
    assert!(counter.check(&terms, NOW).is_err());
    counter.reserve(&terms, id(2), later, Some(NanoUsd(10))).unwrap();
    counter.settle(id(1), NanoUsd(10));
    counter.settle(id(2), NanoUsd(4));
    counter.shipped(id(1), NanoUsd(10), 1);
    counter.shipped(id(2), NanoUsd(4), 2);
    assert_eq!(counter.spent(&terms, later).0.0, 4);
}

#[test]
fn a_reset_by_hand_begins_a_window_of_its_own() {
    let counter = BudgetCounter::default();
    let before = BudgetTerms { carried: NanoUsd(3), ..terms(10, Enforcement::Standard) };
    counter.read(counter.wants_reading(&before, NOW).unwrap().since, NanoUsd(7), NOW, 1);
    assert!(counter.check(&before, NOW).is_err());
    let reset = SpendReset { at: NOW, to: NanoUsd(2) };
    let after = BudgetTerms { reset: Some(reset), ..before };
    assert_eq!(counter.spent(&after, NOW).0.0, 2);
    assert_eq!(counter.wants_reading(&after, NOW).unwrap().since, NOW);
}

#[test]
fn a_soft_budget_is_noted_once_a_window() {
    let counter = BudgetCounter::default();
    let terms = BudgetTerms { soft: Some(NanoUsd(5)), max: None, ..terms(0, Enforcement::Hard) };
    counter.reserve(&terms, id(1), NOW, None).unwrap();
    assert_eq!(counter.soft_exceeded(&terms), None);
    counter.settle(id(1), NanoUsd(5));
    assert_eq!(counter.soft_exceeded(&terms), Some(true));
    assert_eq!(counter.soft_exceeded(&terms), Some(false));
}

#[test]
fn under_threads_a_hard_budget_is_never_exceeded_by_a_nano_dollar() {
    for (enforcement, most) in [(Enforcement::Hard, 1_000), (Enforcement::Standard, 1_000 + 93)] {
        let counter = Arc::new(counter(&terms(1_000, enforcement)));
        let spent = Arc::new(AtomicI64::new(0));
        let threads: Vec<_> = (0..8_u128)
            .map(|thread| {
                let (counter, spent, terms) = (counter.clone(), spent.clone(), terms(1_000, enforcement));
                std::thread::spawn(move || {
                    for round in 0..500_u128 {
                        let id = id(thread * 1_000 + round);
                        let worst = 7 + i64::try_from(round % 87).unwrap();
                        if counter.reserve(&terms, id, NOW, Some(NanoUsd(worst))).is_ok() {
                            spent.fetch_add(worst, Ordering::SeqCst);
                            counter.settle(id, NanoUsd(worst));
                            counter.shipped(id, NanoUsd(worst), 1);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let spent = spent.load(Ordering::SeqCst);
        assert!(spent <= most && spent > 900, "{enforcement:?}: {spent}");
        assert_eq!(counter.spent(&terms(1_000, enforcement), NOW).0.0, spent);
    }
}

proptest! {
    #[test]
    fn the_sum_is_that_of_a_plain_model_and_never_negative(
        steps in prop::collection::vec((0_u8..5, 0_u128..6, 0_i64..40), 1..120)
    ) {
        let terms = terms(100, Enforcement::Hard);
        let counter = counter(&terms);
        let mut open: HashMap<u128, i64> = HashMap::new();
        let mut ended: HashMap<u128, i64> = HashMap::new();
        let mut stored = 0;
        for (step, number, amount) in steps {
            let amount_open = open.values().sum::<i64>() + ended.values().sum::<i64>() + stored;
            match step {
                0 | 1 if !ended.contains_key(&number) => {
                    let held = open.get(&number).copied().unwrap_or_default();
                    let wanted = amount.max(held);
                    let fits = amount_open - held + wanted <= 100;
                    prop_assert_eq!(counter.reserve(&terms, id(number), NOW, Some(NanoUsd(amount))).is_ok(), fits);
                    if fits { open.insert(number, wanted); }
                }
                2 => if let Some(held) = open.remove(&number) {
                    let cost = amount.min(held);
                    counter.settle(id(number), NanoUsd(cost));
                    if cost > 0 { ended.insert(number, cost); }
                },
                3 => if let Some(cost) = ended.remove(&number) {
                    counter.shipped(id(number), NanoUsd(cost), 1);
                    stored += cost;
                },
                _ => if open.remove(&number).is_some() { counter.release(id(number)); },
            }
            let spent = counter.spent(&terms, NOW).0.0;
            prop_assert_eq!(spent, ended.values().sum::<i64>() + stored);
            prop_assert!(spent >= 0 && spent + open.values().sum::<i64>() <= 100);
        }
    }
}
