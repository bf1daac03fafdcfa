//! The table of operations, read once from `operations.tsv`.

use std::sync::LazyLock;

use super::{Access, BodyKind, Operation};
use crate::domain::Service;

/// Written by `integration/generate_operations.py`; a test counts that no row is lost in reading.
pub(super) const TABLE: &str = include_str!("../operations.tsv");

/// Every operation, in the order of the table.
pub(super) static OPERATIONS: LazyLock<Vec<Operation>> =
    LazyLock::new(|| TABLE.lines().skip(1).filter_map(parse_row).collect());

/// The name of operations that the table does not know.
pub(super) const UNKNOWN: &str = "Unknown";

static UNKNOWN_OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let unknown = |service| Operation {
        service,
        name: UNKNOWN,
        method: "",
        uri: "",
        access: Access::Write,
        request_body: BodyKind::Bytes,
        response_body: BodyKind::Bytes,
        target: None,
        headers: Vec::new(),
        model_label: None,
        slash_segments: 0,
        body_models: Vec::new(),
    };
    Service::ALL.into_iter().map(unknown).collect()
});

/// What an operation that the table does not know is taken for.
pub(super) fn unknown(service: Service) -> Option<&'static Operation> {
    UNKNOWN_OPERATIONS.get(service as usize)
}

fn parse_row(line: &'static str) -> Option<Operation> {
    let mut fields = line.split('\t').map(|field| if field == "-" { "" } else { field });
    let mut next = || fields.next();
    let service = Service::from_host_prefix(next()?)?;
    let name = next()?;
    let method = next()?;
    let uri = next()?;
    let access = parse_access(next()?)?;
    let request_body = parse_body_kind(next()?)?;
    let response_body = parse_body_kind(next()?)?;
    let target = next().filter(|target| !target.is_empty());
    let headers = next()?.split_ascii_whitespace().collect();
    let slash_segments = segments_of(uri, next()?);
    let model_label = next().filter(|label| !label.is_empty());
    let body_models = next()?.split_ascii_whitespace().map(|path| path.split('.').collect()).collect();
    Some(Operation {
        service,
        name,
        method,
        uri,
        access,
        request_body,
        response_body,
        target,
        headers,
        model_label,
        slash_segments,
        body_models,
    })
}

fn parse_access(text: &str) -> Option<Access> {
    Some(match text {
        "inference" => Access::Inference,
        "retrieval" => Access::Retrieval,
        "read" => Access::Read,
        "write" => Access::Write,
        _ => return None,
    })
}

fn parse_body_kind(text: &str) -> Option<BodyKind> {
    Some(match text {
        "body" => BodyKind::Document,
        "bytes" => BodyKind::Bytes,
        "events" => BodyKind::Events,
        _ => return None,
    })
}

/// The segments of a template that are one of these labels, as bits.
fn segments_of(uri: &str, labels: &str) -> u32 {
    segments(uri)
        .enumerate()
        .filter(|(_, segment)| label(segment).is_some_and(|name| labels.split(' ').any(|one| one == name)))
        .fold(0, |bits, (index, _)| bits | segment_bit(index))
}

/// The segments of a path or template; a trailing slash makes a last, empty one.
pub(super) fn segments(path: &str) -> std::str::Split<'_, char> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The name of the label that is this segment of a template.
pub(super) fn label(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The bit that stands for a segment; past the 32nd there is none, and no template is that long.
pub(super) fn segment_bit(index: usize) -> u32 {
    u32::try_from(index).ok().and_then(|shift| 1_u32.checked_shl(shift)).unwrap_or(0)
}
