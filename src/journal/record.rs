//! How records stand in a segment: length, checksum, kind, payload; read back from any bytes without a panic.

use std::io;

use serde::Serialize;

use super::clip;
use crate::event::{Begun, Ended, PackedBegun, PackedEnded};

/// First bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"bedgate\n";
/// The format of records. Any change of [`Begun`] or [`Ended`] (or of a type within) is a new version, and old
/// segments must still be read.
pub(super) const VERSION: u16 = 1;
/// Magic, version, and two bytes to spare.
pub(super) const HEADER_BYTES: usize = 12;
/// Largest payload; [`clip`] sees to it.
pub(super) const MAX_PAYLOAD_BYTES: usize = 16 << 10;
/// Length (4), checksum (4), kind (1).
const FRAME_BYTES: usize = 9;
/// Largest record.
pub(super) const MAX_RECORD_BYTES: usize = FRAME_BYTES + MAX_PAYLOAD_BYTES;

const KIND_BEGUN: u8 = 1;
const KIND_ENDED: u8 = 2;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A request is about to go to AWS.
    Begun(PackedBegun),
    /// Its answer is about to be whole.
    Ended(PackedEnded),
}

/// The first bytes of a segment.
pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    for (to, from) in header.iter_mut().zip(MAGIC.into_iter().chain(VERSION.to_le_bytes())) {
        *to = from;
    }
    header
}

/// Why the first bytes of a segment are not a header of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Shorter than a header: the process died while it made the file.
    Torn,
    /// Not a header at all.
    Unreadable,
    /// Written by another version of bedgate.
    OtherVersion(u16),
}

/// Checks the first bytes of a segment.
pub(super) fn check_header(bytes: &[u8]) -> Result<(), HeaderFault> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Err(HeaderFault::Torn) };
    let (Some((version, _)), true) = (rest.split_first_chunk::<2>(), rest.len() >= 4) else {
        return Err(HeaderFault::Torn);
    };
    match (*magic == MAGIC, u16::from_le_bytes(*version)) {
        (false, _) => Err(HeaderFault::Unreadable),
        (true, VERSION) => Ok(()),
        (true, other) => Err(HeaderFault::OtherVersion(other)),
    }
}

/// Writes a beginning into the buffer, in place of what was there.
pub(super) fn encode_begun(buffer: &mut Vec<u8>, salt: u32, begun: &Begun) -> io::Result<()> {
    encode(buffer, salt, KIND_BEGUN, clip::begun(begun).as_ref())
}

/// Writes an end into the buffer, in place of what was there.
pub(super) fn encode_ended(buffer: &mut Vec<u8>, salt: u32, ended: &Ended) -> io::Result<()> {
    encode(buffer, salt, KIND_ENDED, clip::ended(ended).as_ref())
}

fn encode<T: Serialize>(buffer: &mut Vec<u8>, salt: u32, kind: u8, value: &T) -> io::Result<()> {
    let mut bytes = std::mem::take(buffer);
    bytes.clear();
    bytes.extend_from_slice(&[0; FRAME_BYTES]);
    *buffer = postcard::to_extend(value, bytes).map_err(io::Error::other)?;
    let payload_bytes = buffer.len() - FRAME_BYTES;
    if payload_bytes > MAX_PAYLOAD_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "event too large for the journal"));
    }
    let length = u32::try_from(payload_bytes).unwrap_or(u32::MAX).to_le_bytes();
    let Some((frame, payload)) = buffer.split_first_chunk_mut::<FRAME_BYTES>() else { return Ok(()) };
    let checksum = checksum(salt, length, kind, payload).to_le_bytes();
    let fields = length.into_iter().chain(checksum).chain([kind]);
    frame.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    Ok(())
}

fn checksum(salt: u32, length: [u8; 4], kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&length);
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// What stands at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A record of that many bytes.
    Record(Record, usize),
    /// The beginning of one, perhaps; or nothing.
    Incomplete,
    /// So many bytes that are no record. A record may follow; if `is_followed`, one does.
    Unreadable { bytes: usize, is_followed: bool },
}

/// Reads the front of the bytes. `is_end`: no further bytes will ever follow these.
pub(super) fn step(salt: u32, bytes: &[u8], is_end: bool) -> Step {
    match front(salt, bytes) {
        Front::Record(record, length) => Step::Record(record, length),
        Front::Short if bytes.is_empty() || !is_end => Step::Incomplete,
        Front::Short | Front::Bad => resynchronise(salt, bytes, is_end),
    }
}

/// Looks for the next place where a record stands.
fn resynchronise(salt: u32, bytes: &[u8], is_end: bool) -> Step {
    for skipped in 1..bytes.len() {
        match front(salt, bytes.get(skipped..).unwrap_or_default()) {
            Front::Record(..) => return Step::Unreadable { bytes: skipped, is_followed: true },
            Front::Short if !is_end => return Step::Unreadable { bytes: skipped, is_followed: false },
            Front::Short | Front::Bad => {}
        }
    }
    Step::Unreadable { bytes: bytes.len(), is_followed: false }
}

enum Front {
    Record(Record, usize),
    /// Could be a record if more bytes followed.
    Short,
    Bad,
}

fn front(salt: u32, bytes: &[u8]) -> Front {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Front::Short };
    let payload_bytes = u32::from_le_bytes(*length) as usize;
    if payload_bytes == 0 || payload_bytes > MAX_PAYLOAD_BYTES {
        return Front::Bad;
    }
    let Some((sum, rest)) = rest.split_first_chunk::<4>() else { return Front::Short };
    let Some((kind, rest)) = rest.split_first() else { return Front::Short };
    if !matches!(*kind, KIND_BEGUN | KIND_ENDED) {
        return Front::Bad;
    }
    let Some((payload, _)) = rest.split_at_checked(payload_bytes) else { return Front::Short };
    if checksum(salt, *length, *kind, payload) != u32::from_le_bytes(*sum) {
        return Front::Bad;
    }
    let record = match *kind {
        KIND_BEGUN => PackedBegun::read(payload).map(Record::Begun),
        _ => PackedEnded::read(payload).map(Record::Ended),
    };
    record.map_or(Front::Bad, |record| Front::Record(record, FRAME_BYTES + payload_bytes))
}

#[cfg(test)]
pub(crate) mod samples {
    //! Events for tests.

    use uuid::Uuid;

    use crate::domain::{EventId, KeyHash, NanoUsd, Service, UnixMicros};
    use crate::event::{Attempt, Begun, CostBasis, Ended, Outcome, Payer};
    use crate::pricing::Price;
    use crate::usage::{Unit, Usage};

    /// An event as most are; its id, time and cost follow from the number.
    pub(crate) fn usual(number: u64) -> (Begun, Ended) {
        let id = EventId(Uuid::from_u128(u128::from(number) | 0x0198_0000_0000_7000_8000 << 48));
        let deployment = "claude-sonnet-us-west-2".to_owned();
        let begun = Begun {
            id,
            started_at: UnixMicros(1_760_000_000_000_000 + i64::try_from(number).unwrap()),
            payer: Payer::Key(KeyHash([7; 32])),
            team_id: Some("research".to_owned()),
            user_id: None,
            end_user: None,
            tags: vec!["nightly".to_owned()],
            session_id: None,
            call_id: None,
            service: Service::BedrockRuntime,
            operation: "ConverseStream".to_owned(),
            requested_model: Some("claude-sonnet".to_owned()),
            deployment: deployment.clone(),
            model_id: Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0".to_owned()),
            region: "us-west-2".to_owned(),
            estimate: Some(NanoUsd(9_000_000)),
        };
        let usage = Usage { input_tokens: 1_200, output_tokens: 350, ..Usage::default() };
        let rate = |name: &'static str, picodollars| (name.into(), picodollars);
        let ended = Ended {
            id,
            outcome: Outcome::Complete,
            status: 200,
            attempts: vec![Attempt { deployment, status: 200 }],
            model_id: None,
            region: None,
            usage: Some(usage),
            basis: CostBasis::Exact,
            price: Some(Price {
                entry: "anthropic.claude-sonnet-4-5-20250929-v1:0".into(),
                rates: vec![
                    rate("input_cost_per_token", 3_000_000),
                    rate("output_cost_per_token", 15_000_000),
                ],
            }),
            cost: Some(NanoUsd(i64::try_from(number).unwrap())),
            latency_us: 4_200_000,
            time_to_first_byte_us: Some(800_000),
            aws_request_id: Some("3f1c2d4e-5a6b-4c7d-8e9f-0a1b2c3d4e5f".to_owned()),
        };
        (begun, ended)
    }

    /// An event every part of which is beyond its bound.
    pub(crate) fn largest() -> (Begun, Ended) {
        let (begun, ended) = usual(1);
        let long = || "\u{10ffff}".repeat(5_000);
        let begun = Begun {
            id: EventId(Uuid::max()),
            started_at: UnixMicros(i64::MIN),
            team_id: Some(long()),
            user_id: Some(long()),
            end_user: Some(long()),
            tags: vec![long(); 100],
            session_id: Some(long()),
            call_id: Some(long()),
            operation: long(),
            requested_model: Some(long()),
            deployment: long(),
            model_id: Some(long()),
            region: long(),
            estimate: Some(NanoUsd(i64::MIN)),
            ..begun
        };
        let most = u64::MAX;
        let ended = Ended {
            id: begun.id,
            status: u16::MAX,
            attempts: vec![Attempt { deployment: long(), status: u16::MAX }; 100],
            model_id: Some(long()),
            region: Some(long()),
            usage: Some(Usage {
                input_tokens: most,
                output_tokens: most,
                cache_read_tokens: most,
                cache_write_5m_tokens: most,
                cache_write_1h_tokens: most,
                reasoning_tokens: most,
                units: vec![(Unit::GuardrailTextUnit, most); 100],
                ..Usage::default()
            }),
            price: Some(Price { entry: long().into(), rates: vec![(long().into(), i64::MIN); 100] }),
            cost: Some(NanoUsd(i64::MIN)),
            latency_us: most,
            time_to_first_byte_us: Some(most),
            aws_request_id: Some(long()),
            ..ended
        };
        (begun, ended)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: u32 = 42;

    fn records(count: u64) -> (Vec<u8>, Vec<(usize, Record)>) {
        let (mut bytes, mut ends, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let (begun, ended) = samples::usual(number);
            encode_begun(&mut buffer, SALT, &begun).unwrap();
            bytes.extend_from_slice(&buffer);
            ends.push((bytes.len(), Record::Begun((&begun).into())));
            encode_ended(&mut buffer, SALT, &ended).unwrap();
            bytes.extend_from_slice(&buffer);
            ends.push((bytes.len(), Record::Ended((&ended).into())));
        }
        (bytes, ends)
    }

    fn read_all(mut bytes: &[u8]) -> (Vec<Record>, usize) {
        let (mut records, mut unreadable) = (Vec::new(), 0);
        loop {
            let read = match step(SALT, bytes, true) {
                Step::Record(record, length) => {
                    records.push(record);
                    length
                }
                Step::Incomplete => return (records, unreadable),
                Step::Unreadable { bytes, .. } => {
                    assert!(bytes > 0);
                    unreadable += bytes;
                    bytes
                }
            };
            bytes = &bytes[read..];
        }
    }

    #[test]
    fn recovery_from_any_truncation_point_yields_exactly_the_prefix() {
        let (bytes, ends) = records(3);
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|(end, _)| *end <= cut);
            let expected: Vec<_> = whole.map(|(_, record)| record.clone()).collect();
            let (read, torn) = read_all(&bytes[..cut]);
            assert_eq!(read, expected, "cut at {cut}");
            let last_end = ends.iter().map(|(end, _)| *end).filter(|end| *end <= cut).max().unwrap_or(0);
            assert_eq!(torn, cut - last_end, "cut at {cut}");
        }
    }

    #[test]
    fn one_bad_byte_costs_one_record() {
        let (bytes, ends) = records(3);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            let hit = ends.iter().position(|(end, _)| place < *end).unwrap();
            let expected: Vec<_> =
                ends.iter().enumerate().filter(|(at, _)| *at != hit).map(|(_, (_, r))| r.clone()).collect();
            assert_eq!(read_all(&damaged).0, expected, "damaged at {place}");
        }
    }

    #[test]
    fn a_record_within_a_clients_text_is_none() {
        let (begun, _) = samples::usual(1);
        let mut smuggled = Vec::new();
        encode_begun(&mut smuggled, 7, &begun).unwrap();
        assert_eq!(read_all(&smuggled).0, []);
    }

    #[test]
    fn the_format_of_version_1_stays_readable() {
        let (begun, ended) = samples::usual(1);
        let mut hash = crc32fast::Hasher::new();
        let mut buffer = Vec::new();
        encode_begun(&mut buffer, SALT, &begun).unwrap();
        hash.update(&buffer);
        encode_ended(&mut buffer, SALT, &ended).unwrap();
        hash.update(&buffer);
        assert_eq!(
            hash.finalize(),
            2_499_232_006,
            "the bytes of an event changed: raise VERSION, keep reading the old one, then change this number"
        );
    }

    #[test]
    fn a_header_tells_its_version() {
        let header = header();
        assert_eq!(check_header(&header), Ok(()));
        assert_eq!(check_header(&header[..HEADER_BYTES - 1]), Err(HeaderFault::Torn));
        assert_eq!(check_header(b"something else"), Err(HeaderFault::Unreadable));
        let mut other = header;
        other[8] = 9;
        assert_eq!(check_header(&other), Err(HeaderFault::OtherVersion(9)));
    }

    proptest! {
        #[test]
        fn random_damage_never_panics_and_never_invents(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            is_end: bool,
        ) {
            let (mut bytes, ends) = records(3);
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            let (read, _) = read_all(&bytes);
            let _also = step(SALT, &bytes, is_end);
            prop_assert!(read.iter().all(|record| ends.iter().any(|(_, written)| written == record)));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000), is_end: bool) {
            let _any = step(SALT, &bytes, is_end);
            prop_assert_eq!(read_all(&bytes).0, vec![]);
        }
    }
}
