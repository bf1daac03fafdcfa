//! The batcher against stores that fail in every way, without any of them being there.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::journal::record::samples;

const SECOND: Duration = Duration::from_secs(1);

fn segment(sequence: u32) -> SegmentId {
    SegmentId { writer: WriterId { run: 1, writer: 0 }, sequence }
}

fn begun(number: u64, sequence: u32) -> Entry {
    Entry::Record(segment(sequence), Record::Begun((&samples::usual(number).0).into()))
}

fn ended(number: u64, sequence: u32) -> Entry {
    Entry::Record(segment(sequence), Record::Ended((&samples::usual(number).1).into()))
}

fn finished(sequence: u32) -> Entry {
    Entry::SegmentFinished { segment: segment(sequence), is_damaged: false }
}

fn take_in(batcher: &mut Batcher, entries: impl IntoIterator<Item = Entry>) {
    for entry in entries {
        assert_eq!(batcher.take_in(entry), None);
    }
}

fn events(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Entry> {
    numbers.flat_map(|number| [begun(number, 0), ended(number, 0)])
}

fn small() -> Batcher {
    Batcher::new(BatchOptions { max_rows: 4, max_held: 10, ..BatchOptions::default() })
}

fn unavailable() -> Result<(), ShipError> {
    Err(ShipError::Unavailable("away".to_owned()))
}

fn numbers(batch: &[PackedEvent]) -> Vec<i64> {
    batch.iter().map(|event| event.view().unwrap().ended.cost.unwrap_or_default().0).collect()
}

#[test]
fn a_batch_is_due_when_full_or_when_flushed() {
    let mut batcher = small();
    take_in(&mut batcher, events(0..3));
    assert_eq!(batcher.next_batch(SECOND, false), None);
    take_in(&mut batcher, events(3..6));
    assert_eq!(numbers(&batcher.next_batch(SECOND, false).unwrap()), [0, 1, 2, 3]);
    assert_eq!(batcher.next_batch(SECOND, true), None, "one in flight at a time");
    batcher.settle(Ok(()), SECOND, 0.5);
    assert_eq!(batcher.next_batch(SECOND, false), None);
    assert_eq!(numbers(&batcher.next_batch(SECOND, true).unwrap()), [4, 5]);
}

#[test]
fn invariant_8_no_more_is_held_than_the_bound() {
    let mut batcher = small();
    take_in(&mut batcher, events(0..4));
    assert_eq!(batcher.room(), 6);
    let _in_flight = batcher.next_batch(SECOND, true);
    take_in(&mut batcher, events(4..10));
    assert_eq!((batcher.room(), batcher.held()), (0, 10));
    batcher.settle(unavailable(), SECOND, 0.5);
    assert_eq!(batcher.room(), 0);
}

#[test]
fn waits_double_up_to_the_longest_and_a_success_forgets_them() {
    let mut batcher = small();
    take_in(&mut batcher, events(0..4));
    let mut now = SECOND;
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert!(batcher.next_batch(now, true).is_some());
        batcher.settle(unavailable(), now, 1.0);
        waits.push((batcher.not_before - now).as_millis());
        assert_eq!(batcher.next_batch(batcher.not_before - Duration::from_nanos(1), true), None);
        now = batcher.not_before;
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]);
    assert!(batcher.next_batch(now, true).is_some());
    batcher.settle(Ok(()), now, 1.0);
    take_in(&mut batcher, events(4..8));
    assert!(batcher.next_batch(now, true).is_some());
    batcher.settle(unavailable(), now, 0.0);
    assert_eq!((batcher.not_before - now).as_millis(), 50, "and jitter halves it at the most");
}

#[test]
fn a_failed_batch_is_tried_again_as_it_was() {
    let mut batcher = small();
    take_in(&mut batcher, events(0..8));
    let first = batcher.next_batch(SECOND, true);
    batcher.settle(unavailable(), SECOND, 0.0);
    assert_eq!(batcher.next_batch(2 * SECOND, true), first);
}

#[test]
fn one_poison_event_does_not_block_the_rest() {
    let mut batcher = Batcher::new(BatchOptions::default());
    take_in(&mut batcher, events(0..1_000));
    let (mut shipped, mut transactions) = (Vec::new(), 0);
    while let Some(batch) = batcher.next_batch(SECOND, true) {
        transactions += 1;
        if numbers(&batch).contains(&613) {
            batcher.settle(Err(ShipError::Rejected("poison".to_owned())), SECOND, 0.5);
        } else {
            shipped.extend(numbers(&batch));
            batcher.settle(Ok(()), SECOND, 0.5);
        }
    }
    assert_eq!(shipped.len(), 999);
    assert!(transactions <= 21, "{transactions}");
    let rejected: Vec<_> =
        batcher.rejected().map(|(event, reason)| (event.id(), reason.to_owned())).collect();
    assert_eq!(rejected, [(samples::usual(613).0.id, "poison".to_owned())]);
    assert_eq!(batcher.held(), 1);
    batcher.rejected_are_aside();
    assert_eq!(batcher.held(), 0);
}

#[test]
fn a_store_that_refuses_everything_gets_time_and_nothing_is_set_aside() {
    let mut batcher = Batcher::new(BatchOptions { max_suspects: 4, ..BatchOptions::default() });
    take_in(&mut batcher, events(0..100));
    let mut now = SECOND;
    for _ in 0..1_000 {
        if batcher.next_batch(now, true).is_some() {
            batcher.settle(Err(ShipError::Rejected("no such table".to_owned())), now, 0.5);
        } else {
            now += SECOND;
        }
    }
    assert!(now > 60 * SECOND, "it is asked seldom: {now:?}");
    assert_eq!((batcher.rejected().count(), batcher.held()), (0, 100));
    let mut shipped = 0;
    now += 60 * SECOND;
    while let Some(batch) = batcher.next_batch(now, true) {
        shipped += batch.len();
        batcher.settle(Ok(()), now, 0.5);
    }
    assert_eq!(shipped + batcher.rejected().count(), 100);
}

#[test]
fn a_lone_beginning_becomes_interrupted_when_its_writer_is_over() {
    let mut batcher = small();
    take_in(&mut batcher, [begun(1, 0), begun(2, 0), ended(1, 1), finished(0), finished(1)]);
    assert_eq!((batcher.open(), batcher.held()), (1, 1));
    take_in(&mut batcher, [Entry::WriterOver(WriterId { run: 0, writer: 9 })]);
    assert_eq!(batcher.open(), 1);
    take_in(&mut batcher, [Entry::WriterOver(segment(0).writer)]);
    assert_eq!(batcher.open(), 0);
    let batch = batcher.next_batch(SECOND, true).unwrap();
    let (begun, end) = samples::usual(1);
    let interrupted = PackedEvent::interrupted((&samples::usual(2).0).into());
    assert_eq!(*batch, [PackedEvent::whole((&begun).into(), (&end).into()), interrupted]);
    assert_eq!(batcher.take_done_segments(), []);
    batcher.settle(Ok(()), SECOND, 0.5);
    assert_eq!(batcher.take_done_segments(), [(segment(0), false), (segment(1), false)]);
}

#[test]
fn a_segment_stays_while_an_open_beginning_lives_in_it() {
    let mut batcher = small();
    take_in(&mut batcher, [begun(1, 0), begun(2, 0), ended(1, 0), finished(0)]);
    let _batch = batcher.next_batch(SECOND, true);
    batcher.settle(Ok(()), SECOND, 0.5);
    assert_eq!(batcher.take_done_segments(), []);
    take_in(&mut batcher, [ended(2, 1), finished(1)]);
    assert_eq!(batcher.take_done_segments(), []);
    let _batch = batcher.next_batch(SECOND, true);
    batcher.settle(Ok(()), SECOND, 0.5);
    assert_eq!(batcher.take_done_segments(), [(segment(0), false), (segment(1), false)]);
}

#[test]
fn an_end_without_a_beginning_is_handed_back() {
    let mut batcher = small();
    assert_eq!(batcher.take_in(ended(1, 3)), Some((segment(3), (&samples::usual(1).1).into())));
    batcher.mark_damaged(segment(3));
    take_in(&mut batcher, [finished(3)]);
    assert_eq!(batcher.take_done_segments(), [(segment(3), true)]);
}

#[test]
fn a_beginning_written_twice_holds_its_segments_once() {
    let mut batcher = small();
    take_in(&mut batcher, [begun(1, 0), begun(1, 1), ended(1, 1), finished(0), finished(1)]);
    let _batch = batcher.next_batch(SECOND, true);
    batcher.settle(Ok(()), SECOND, 0.5);
    assert_eq!(batcher.take_done_segments().len(), 2);
    assert_eq!(batcher.take_in(ended(1, 1)).map(|(at, _)| at), Some(segment(1)));
}

#[test]
fn the_oldest_event_is_found_wherever_it_waits() {
    let mut batcher = small();
    let at = |number: i64| Some(UnixMicros(1_760_000_000_000_000 + number + 4_200_000));
    assert_eq!(batcher.oldest_ended_at(), None);
    take_in(&mut batcher, events(0..6));
    let _batch = batcher.next_batch(SECOND, true);
    assert_eq!(batcher.oldest_ended_at(), at(0));
    batcher.settle(unavailable(), SECOND, 0.5);
    assert_eq!(batcher.oldest_ended_at(), at(0));
    let _batch = batcher.next_batch(2 * SECOND, true);
    batcher.settle(Ok(()), SECOND, 0.5);
    assert_eq!(batcher.oldest_ended_at(), at(4));
}

/// What a store does with one batch.
#[derive(Clone, Debug)]
enum Mood {
    Takes,
    Away,
    TakesButTheAnswerIsLost,
}

proptest! {
    #[test]
    fn invariant_5_nothing_is_lost_and_nothing_counted_twice_whatever_the_store_does(
        moods in prop::collection::vec(
            prop_oneof![Just(Mood::Takes), Just(Mood::Away), Just(Mood::TakesButTheAnswerIsLost)], 0..60),
        poison in prop::collection::hash_set(0_i64..40, 0..4),
        segment_of in prop::collection::vec(0_u32..5, 40),
        max_rows in 1_usize..12,
    ) {
        let mut batcher = Batcher::new(BatchOptions { max_rows, max_held: 1_000, ..BatchOptions::default() });
        for number in 0..40_u64 {
            let place = segment_of[usize::try_from(number).unwrap()];
            take_in(&mut batcher, [begun(number, place), ended(number, 5)]);
        }
        take_in(&mut batcher, (0..5).map(finished));
        let (mut now, mut moods) = (SECOND, moods.into_iter());
        let (mut store, mut aside, mut sum) = (HashSet::new(), HashSet::new(), 0);
        let mut held_back = HashSet::new();
        for turn in 0..2_000 {
            if turn == 1_500 {
                // One good event after them all shows that the store is well, should the last have been poison.
                take_in(&mut batcher, [begun(40, 5), ended(40, 5), finished(5)]);
            }
            for (event, _) in batcher.rejected() {
                aside.insert(numbers(std::slice::from_ref(event))[0]);
            }
            batcher.rejected_are_aside();
            for (gone, _) in batcher.take_done_segments() {
                for number in 0..40_i64 {
                    let at = segment_of[usize::try_from(number).unwrap()];
                    let is_in_it = gone.sequence == 5 || at == gone.sequence;
                    prop_assert!(!is_in_it || store.contains(&number) || aside.contains(&number));
                }
                held_back.insert(gone.sequence);
            }
            let Some(batch) = batcher.next_batch(now, true) else { now += SECOND; continue };
            let mood = moods.next().unwrap_or(Mood::Takes);
            let batch = numbers(&batch);
            let result = match mood {
                Mood::Away => unavailable(),
                _ if batch.iter().any(|number| poison.contains(number)) => {
                    Err(ShipError::Rejected("poison".to_owned()))
                }
                _ => {
                    sum += batch.into_iter().filter(|number| store.insert(*number)).sum::<i64>();
                    if matches!(mood, Mood::Takes) { Ok(()) } else { unavailable() }
                }
            };
            batcher.settle(result, now, 0.5);
        }
        prop_assert_eq!(&aside, &poison);
        prop_assert_eq!(store.len() + aside.len(), 41);
        prop_assert_eq!(sum, (0..=40).filter(|number| !poison.contains(number)).sum::<i64>());
        prop_assert_eq!((batcher.held(), held_back.len()), (0, 6));
    }
}
