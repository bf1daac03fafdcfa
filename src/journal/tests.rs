//! The journal as its users see it: writers, the reader, death in between.

use std::path::Path;
use std::time::Duration;

use super::record::samples;
use super::*;

fn options() -> JournalOptions {
    JournalOptions { ballast_bytes: 0, segment_bytes: 4_000, ..JournalOptions::default() }
}

fn open(path: &Path) -> Journal {
    Journal::open(DataDir::open(path).unwrap(), options()).unwrap()
}

fn write(writer: &mut JournalWriter, numbers: std::ops::Range<u64>) -> Vec<Record> {
    let write = |number| {
        let (begun, ended) = samples::usual(number);
        writer.begin(&begun).unwrap();
        writer.end(&ended).unwrap();
        [Record::Begun((&begun).into()), Record::Ended((&ended).into())]
    };
    numbers.flat_map(write).collect()
}

fn records(reading: &Reading) -> Vec<Record> {
    let record = |entry: &Entry| match entry {
        Entry::Record(_, record) => Some(record.clone()),
        _ => None,
    };
    reading.entries.iter().filter_map(record).collect()
}

fn finished(reading: &Reading) -> Vec<(SegmentId, bool)> {
    let finished = |entry: &Entry| match entry {
        Entry::SegmentFinished { segment, is_damaged } => Some((*segment, *is_damaged)),
        _ => None,
    };
    reading.entries.iter().filter_map(finished).collect()
}

fn overs(reading: &Reading) -> usize {
    reading.entries.iter().filter(|entry| matches!(entry, Entry::WriterOver(_))).count()
}

fn files(journal: &Journal) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(journal.dir()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Leaves the files of a process that died with these records, one segment of 4 kB after the other.
fn die_after(path: &Path, numbers: std::ops::Range<u64>) -> Vec<Record> {
    let journal = open(path);
    write(&mut journal.writer(), numbers)
}

#[test]
fn the_reader_follows_every_writer_as_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut reader = journal.reader().unwrap();
    let (mut first, mut second) = (journal.writer(), journal.writer());
    assert_eq!(reader.read(10).entries, []);
    let mut written = write(&mut first, 0..1);
    written.extend(write(&mut second, 1..2));
    let reading = reader.read(10);
    assert_eq!((records(&reading), reading.is_caught_up), (written, true));
    let written = write(&mut first, 2..3);
    assert_eq!(records(&reader.read(10)), written);
    drop(first);
    let reading = reader.read(10);
    assert_eq!((finished(&reading).len(), overs(&reading)), (1, 1));
    assert_eq!(journal.ended_written(), 3);
}

#[test]
fn a_reading_is_as_long_as_asked_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut reader = journal.reader().unwrap();
    let mut writer = journal.writer();
    let written = write(&mut writer, 0..50);
    let mut read = Vec::new();
    while read.len() < written.len() {
        let reading = reader.read(7);
        let got = records(&reading);
        assert!(!got.is_empty() && got.len() <= 7);
        read.extend(got);
    }
    assert_eq!(read, written);
    assert!(reader.read(7).is_caught_up);
}

#[test]
fn segments_rotate_by_size_and_go_when_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut reader = journal.reader().unwrap();
    let mut writer = journal.writer();
    write(&mut writer, 0..50);
    let segments = files(&journal);
    assert!(segments.len() > 3, "{}", segments.len());
    let size: u64 = segments.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert_eq!(journal.space().on_disk(), size);
    drop(writer);
    let reading = reader.read(1_000);
    assert_eq!(finished(&reading).len(), segments.len());
    for (segment, is_damaged) in finished(&reading) {
        journal.remove_segment(segment, is_damaged).unwrap();
    }
    assert_eq!((journal.space().on_disk(), files(&journal).len()), (0, 0));
}

#[test]
fn segments_rotate_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_age: Duration::ZERO, ..options() };
    let journal = Journal::open(DataDir::open(dir.path()).unwrap(), options).unwrap();
    write(&mut journal.writer(), 0..3);
    assert_eq!(files(&journal).len(), 6, "each record is in a segment of its own");
    let mut reader = journal.reader().unwrap();
    let reading = reader.read(100);
    assert_eq!((records(&reading).len(), finished(&reading).len()), (6, 6));
}

#[test]
fn the_next_process_reads_what_the_last_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = die_after(dir.path(), 0..20);
    written.extend(die_after(dir.path(), 20..40));
    let journal = open(dir.path());
    assert!(journal.space().on_disk() > 10_000);
    let mut reader = journal.reader().unwrap();
    assert!(reader.is_recovering());
    let mut own = journal.writer();
    written.extend(write(&mut own, 40..41));
    let reading = reader.read(1_000);
    assert_eq!(records(&reading), written);
    assert_eq!(overs(&reading), 2);
    assert!(!reader.is_recovering());
    assert!(finished(&reading).iter().all(|(segment, is_damaged)| !is_damaged && !journal.is_own(*segment)));
}

#[test]
fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let written = die_after(dir.path(), 0..2);
    let path = files(&open(dir.path())).remove(0);
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).rev() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let reading = open(dir.path()).reader().unwrap().read(100);
        let read = records(&reading);
        assert_eq!(read, written[..read.len()], "torn at {length}");
        assert!(read.len() < written.len());
        assert!(matches!(finished(&reading)[..], [(_, false)]), "torn at {length}");
        assert_eq!(overs(&reading), 1);
    }
}

#[test]
fn damage_in_the_middle_costs_what_it_hits_and_the_segment_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let written = die_after(dir.path(), 0..20);
    let path = files(&open(dir.path())).remove(1);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let journal = open(dir.path());
    let reading = journal.reader().unwrap().read(1_000);
    assert_eq!(records(&reading).len(), written.len() - 1);
    assert!(reading.unreadable_bytes > 0);
    let damaged: Vec<_> = finished(&reading).into_iter().filter(|(_, is_damaged)| *is_damaged).collect();
    let [(segment, true)] = damaged[..] else { panic!("one segment is damaged: {damaged:?}") };
    journal.remove_segment(segment, true).unwrap();
    assert!(journal.dir().join(format!("damaged-{segment}")).exists());
}

#[test]
fn a_segment_without_a_readable_header_still_gives_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let written = die_after(dir.path(), 0..3);
    let path = files(&open(dir.path())).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..8].fill(0);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(records(&open(dir.path()).reader().unwrap().read(100)), written);
}

#[test]
fn a_segment_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    die_after(dir.path(), 0..3);
    let path = files(&open(dir.path())).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 99;
    std::fs::write(&path, bytes).unwrap();
    let reading = open(dir.path()).reader().unwrap().read(100);
    assert_eq!((records(&reading).len(), finished(&reading).len()), (0, 0));
    assert!(path.exists());
}

#[test]
fn a_failed_write_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut reader = journal.reader().unwrap();
    let mut writer = journal.writer();
    let (begun, ended) = samples::usual(0);
    writer.begin(&begun).unwrap();
    // Half a record, as a full disk leaves it, then the room is back.
    let segment = files(&journal).remove(0);
    let length = std::fs::metadata(&segment).unwrap().len();
    writer.fail_next_write_after(10);
    assert!(writer.end(&ended).is_err());
    assert_eq!(std::fs::metadata(&segment).unwrap().len(), length);
    writer.end(&ended).unwrap();
    assert_eq!(records(&reader.read(10)), [Record::Begun((&begun).into()), Record::Ended((&ended).into())]);
    assert_eq!(journal.ended_written(), 1);
}

#[test]
fn on_a_full_disk_the_ballast_lets_ends_through_and_new_work_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        JournalOptions { ballast_bytes: 10_000, sync_interval: Duration::from_secs(3_600), ..options() };
    let journal = Journal::open(DataDir::open(dir.path()).unwrap(), options).unwrap();
    let mut writer = journal.writer();
    let (begun, ended) = samples::usual(0);
    let _permit = journal.reserve().unwrap();
    writer.begin(&begun).unwrap();
    writer.fail_next_write_after(0);
    writer.end(&ended).unwrap();
    assert_eq!(journal.reserve().unwrap_err(), JournalFull);
}

#[test]
fn a_second_process_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::open(dir.path()).unwrap();
    let refused = DataDir::open(dir.path()).unwrap_err();
    assert!(matches!(refused, DataDirError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    drop(first);
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let error = DataDir::open(Path::new("/dev/null/data")).unwrap_err();
    assert!(error.to_string().contains("/dev/null/data"), "{error}");
}

#[test]
fn what_is_set_aside_stays_readable_and_counts_as_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.set_aside("one\n").unwrap();
    journal.set_aside("two\n").unwrap();
    let [file] = &files(&journal)[..] else { panic!("one file") };
    assert_eq!(std::fs::read_to_string(file).unwrap(), "one\ntwo\n");
    assert_eq!(journal.space().on_disk(), 8);
}

#[test]
fn writers_and_readers_can_be_moved_into_their_threads() {
    fn check<T: Send>() {}
    check::<(JournalWriter, JournalReader, JournalPermit)>();
}

#[test]
fn the_least_journal_always_has_room_for_one_more_request_once_what_is_closed_has_been_shipped() {
    for workers in [1, 2, 7, 64] {
        let directory = tempfile::tempdir().unwrap();
        let max_bytes = least_bytes(workers);
        let options = JournalOptions { max_bytes, ballast_bytes: 0, ..JournalOptions::default() };
        let journal = Journal::open(DataDir::open(directory.path()).unwrap(), options).unwrap();
        let mut writers: Vec<_> = (0..workers).map(|_| journal.writer()).collect();
        let mut reader = journal.reader().unwrap();
        // The worst: each writer's open segment is as full as it gets, with the largest records there are.
        for round in 0..40 {
            for writer in &mut writers {
                let Ok(permit) = journal.reserve() else { continue };
                let (begun, ended) = samples::largest();
                writer.begin(&begun).unwrap();
                writer.end(&ended).unwrap();
                drop(permit);
            }
            for (segment, is_damaged) in finished(&reader.read(10_000)) {
                journal.remove_segment(segment, is_damaged).unwrap();
            }
            assert!(journal.reserve().is_ok(), "{workers} workers, round {round}");
        }
    }
}
