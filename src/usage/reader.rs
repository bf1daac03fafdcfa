//! Reads what a call used from the side of its response, chunk by chunk, and changes nothing.
//!
//! # Who is believed
//!
//! 1. The answer's own statement (`usage` of the body, of the `metadata` frame, of the model's own chunks or
//!    server-sent events): only it tells cache writes of five minutes from those of one hour.
//! 2. `amazon-bedrock-invocationMetrics` of the last chunk.
//! 3. The token-count headers `x-amzn-bedrock-*`.
//!
//! The first that says anything is taken whole; counts of two sources are never mixed. The tier is the
//! answer's own, else the header's. Where a source counts cache writes without telling their time to live,
//! they are five-minute ones unless the request asks for one hour anywhere: then usage is unknown.

use super::answer_kind::{AnswerKind, ChargedBy, Framing};
use super::chunk_frames;
use super::event_stream::{EventStreamReader, FrameVisitor};
use super::json_members::{JsonMembers, Take, Wanted};
use super::request_facts::RequestFacts;
use super::shapes::{BilledUnits, Count, InvocationMetrics, Stated, TitanResult, UsageMembers, value};
use super::sse::DataLines;
use super::{ServiceTier, Unit, Usage};

/// Whether a chunk holds what the account of the call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not yet, or nothing new.
    More,
    /// The chunk holds the end of the terminal statement of usage: record the call before passing it on.
    Terminal,
}

/// What was read of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the call used, if the answer says so to the end.
    pub usage: Option<Usage>,
    /// What had been stated when the answer broke off: a lower bound, where `usage` is `None`.
    pub partial: Option<Usage>,
    /// Whether AWS charges nothing for the call.
    pub free: bool,
    /// Whether the answer ended where an answer can end: on a frame's boundary, after a terminal event, at
    /// the end of the JSON text. True where that cannot be told.
    pub whole: bool,
    /// Type of the exception or error inside the answer, if there was one.
    pub failure: Option<String>,
    /// Why `usage` is `None` although the call was not free.
    pub unknown_reason: Option<&'static str>,
}

/// Reads one answer.
#[derive(Debug)]
pub struct UsageReader {
    kind: AnswerKind,
    request: RequestFacts,
    of_headers: Option<Stated>,
    header_tier: Option<ServiceTier>,
    header_latency_optimised: bool,
    body: Body,
    statements: Statements,
}

#[derive(Debug)]
enum Body {
    Opaque,
    Json(JsonMembers),
    Frames(EventStreamReader),
    Events(DataLines),
}

/// What the body has stated so far.
#[derive(Debug)]
struct Statements {
    framing: Framing,
    limit: usize,
    usage: Option<UsageMembers>,
    other: Option<Stated>,
    metrics: Option<InvocationMetrics>,
    tier: Option<ServiceTier>,
    latency_optimised: bool,
    terminal: bool,
    failure: Option<String>,
    /// Something that ought to have been read was too large or broken.
    missed: bool,
    /// The latest chunk's base64 text: it states the usage of some families.
    last_chunk: Vec<u8>,
    /// The last chunk did state usage.
    stated_last: bool,
}

/// Largest chunk kept for the case that it turns out to be the last.
const MAX_LAST_CHUNK_BYTES: usize = 16 * 1024;

/// Members of an answer, of a chunk and of a server-sent event.
const WANTED: &[Wanted] = &[
    ("usage", Take::Value),
    ("serviceTier", Take::Value),
    ("service_tier", Take::Value),
    ("performanceConfig", Take::Value),
    ("amazon-bedrock-invocationMetrics", Take::Value),
    ("prompt_token_count", Take::Value),
    ("generation_token_count", Take::Value),
    ("inputTextTokenCount", Take::Value),
    ("results", Take::Value),
    ("meta", Take::Value),
    ("images", Take::Count),
    ("artifacts", Take::Count),
];

/// Members of an event in a stream, beside those of an answer: usage stands one level deeper in some.
const WANTED_OF_EVENT: &[Wanted] = &[
    ("usage", Take::Value),
    ("service_tier", Take::Value),
    ("amazon-bedrock-invocationMetrics", Take::Value),
    ("type", Take::Value),
    ("message", Take::Value),
    ("response", Take::Value),
    ("metadata", Take::Value),
    ("error", Take::Value),
];

impl UsageReader {
    /// A reader that keeps at most `limit` bytes of an answer at a time. What is larger is not read; the
    /// answer's bytes are not its business.
    #[must_use]
    pub fn new(kind: AnswerKind, limit: usize) -> Self {
        let body = match kind.framing {
            Framing::Opaque => Body::Opaque,
            Framing::Json => Body::Json(JsonMembers::new(WANTED, limit)),
            Framing::ConverseFrames | Framing::InvokeFrames | Framing::OtherFrames => {
                Body::Frames(EventStreamReader::new(limit))
            }
            Framing::ServerSentEvents => Body::Events(DataLines::new(limit)),
        };
        Self {
            kind,
            request: RequestFacts::default(),
            of_headers: None,
            header_tier: None,
            header_latency_optimised: false,
            body,
            statements: Statements::new(kind.framing, limit),
        }
    }

    /// Tells what the request said: needed for rerankers and embeddings, and to be sure of the time cache
    /// writes live.
    #[must_use]
    pub fn with_request(mut self, request: RequestFacts) -> Self {
        self.request = request;
        self
    }

    /// Reads the token-count headers. `header` gets lower-case names.
    pub fn read_head<'h>(&mut self, header: impl Fn(&str) -> Option<&'h str>) {
        let count = |name: &str| header(name).and_then(|text| text.trim().parse::<u64>().ok());
        let input = count("x-amzn-bedrock-input-token-count");
        let output = count("x-amzn-bedrock-output-token-count");
        if input.or(output).is_some() {
            let read = count("x-amzn-bedrock-cache-read-input-token-count").unwrap_or_default();
            let written = count("x-amzn-bedrock-cache-write-input-token-count").unwrap_or_default();
            let stated = Stated::tokens(input.unwrap_or_default(), output.unwrap_or_default());
            self.of_headers = Some(stated.with_cache(read, written));
        }
        self.header_tier = header("x-amzn-bedrock-service-tier").and_then(ServiceTier::from_name);
        self.header_latency_optimised =
            header("x-amzn-bedrock-performanceconfig-latency") == Some("optimized");
    }

    /// Reads on.
    pub fn feed(&mut self, chunk: &[u8]) -> Progress {
        let was_terminal = self.statements.terminal;
        match &mut self.body {
            Body::Opaque => {}
            Body::Json(members) => {
                let was_complete = members.is_complete();
                members.feed(chunk);
                self.statements.terminal |= !was_complete && members.is_complete();
            }
            Body::Frames(frames) => frames.feed(chunk, &mut self.statements),
            Body::Events(lines) => lines.feed(chunk, |data| self.statements.read_event(data)),
        }
        if self.statements.terminal && !was_terminal { Progress::Terminal } else { Progress::More }
    }

    /// What is known now: after the terminal chunk, or at the end of the answer, whatever its end was.
    pub fn finish(&mut self) -> Reading {
        if let Body::Json(members) = &self.body {
            self.statements.read_answer(members);
        }
        self.statements.read_last_chunk();
        let whole = self.is_whole();
        let failure = self.failure();
        let free = self.kind.charged_by == ChargedBy::Nothing;
        let (usage, unknown_reason) = match self.charged(whole) {
            Ok(usage) => (Some(usage), None),
            Err(_) if free => (None, None),
            Err(reason) => (None, Some(reason)),
        };
        let partial = if usage.is_none() { self.stated().map(|stated| stated.usage) } else { None };
        Reading { usage, partial, free, whole, failure, unknown_reason }
    }

    fn is_whole(&self) -> bool {
        match &self.body {
            Body::Opaque => true,
            Body::Json(members) => members.is_complete(),
            Body::Frames(frames) => frames.is_malformed() || frames.on_frame_boundary(),
            Body::Events(lines) => self.statements.terminal || lines.overflowed(),
        }
    }

    fn failure(&self) -> Option<String> {
        let of_frames = match &self.body {
            Body::Frames(frames) => frames.failure().map(str::to_owned),
            _ => None,
        };
        of_frames.or_else(|| self.statements.failure.clone())
    }

    /// The best statement there is, by the order of belief.
    fn stated(&self) -> Option<Stated> {
        let own = self.statements.usage.as_ref().and_then(UsageMembers::stated);
        let metrics = || self.statements.metrics.as_ref().and_then(InvocationMetrics::stated);
        let mut stated = own
            .or_else(|| self.statements.other.clone())
            .or_else(metrics)
            .or_else(|| self.of_headers.clone())?;
        let own_tier = self.statements.tier;
        stated.usage.tier = own_tier.or(self.header_tier).unwrap_or_default();
        stated.usage.latency_optimised = self.statements.latency_optimised || self.header_latency_optimised;
        Some(stated)
    }

    /// What the call is charged by, or why that is not known.
    fn charged(&self, whole: bool) -> Result<Usage, &'static str> {
        match self.kind.charged_by {
            ChargedBy::Nothing => Err("the call is free"),
            ChargedBy::Unreported => Err("AWS does not report what this operation uses"),
            ChargedBy::Tokens => self.tokens(whole),
            ChargedBy::Embedding => self.embedding(whole),
            ChargedBy::Queries => {
                let queries = self.request.queries().ok_or("the request's documents were not counted")?;
                Ok(self.units(vec![(Unit::Query, queries)]))
            }
            ChargedBy::Marengo => match self.request.input_type.as_deref() {
                Some("text") => Ok(self.units(vec![(Unit::Query, 1)])),
                Some("image") => Ok(self.units(vec![(Unit::InputImage, 1)])),
                _ => Err("AWS does not report how much was embedded"),
            },
            ChargedBy::OutputImages => self.output_images(whole),
        }
    }

    fn tokens(&self, whole: bool) -> Result<Usage, &'static str> {
        let missed = self.statements.missed || self.over_limit();
        let missing = if missed {
            "the statement of usage was too large or broken"
        } else if whole {
            "the answer states no usage"
        } else {
            "the answer broke off before it stated its usage"
        };
        let stated = self.stated().ok_or(missing)?;
        let is_stream = !matches!(self.body, Body::Json(_) | Body::Opaque);
        if is_stream && !self.statements.terminal && !self.states_all_at_end() {
            return Err("the answer broke off before it stated its usage");
        }
        if !stated.split_stated && self.request.one_hour_cache {
            return Err("cache writes were not told apart by their time to live");
        }
        Ok(stated.usage)
    }

    /// Whether a stream without a terminal event said all that it says: it ended well, and on usage.
    fn states_all_at_end(&self) -> bool {
        let on_boundary = matches!(&self.body, Body::Frames(frames) if frames.on_frame_boundary());
        on_boundary && self.failure().is_none() && self.statements.stated_last
    }

    fn embedding(&self, whole: bool) -> Result<Usage, &'static str> {
        if self.request.timed_media {
            return Err("AWS does not report how much was embedded");
        }
        match (self.tokens(whole), self.request.input_images) {
            (tokens, 0) => tokens,
            (tokens, images) => {
                // A picture alone has no tokens to report.
                let mut usage = tokens.unwrap_or_default();
                usage.units.push((Unit::InputImage, images));
                Ok(usage)
            }
        }
    }

    fn output_images(&self, whole: bool) -> Result<Usage, &'static str> {
        let Body::Json(members) = &self.body else { return Err("the images were not counted") };
        if !whole {
            return Err("the answer broke off before its images were counted");
        }
        let images = members.count("images").or(members.count("artifacts"));
        let images = images.ok_or("the answer holds no list of images")?;
        let mut usage = self.units(vec![(Unit::OutputImage, images)]);
        usage.image = self.request.image;
        Ok(usage)
    }

    fn units(&self, units: Vec<(Unit, u64)>) -> Usage {
        Usage { units, tier: self.header_tier.unwrap_or_default(), ..Usage::default() }
    }

    fn over_limit(&self) -> bool {
        match &self.body {
            Body::Opaque => false,
            Body::Json(members) => members.overflowed(),
            Body::Frames(frames) => frames.passed_over_wanted() || frames.is_malformed(),
            Body::Events(lines) => lines.overflowed(),
        }
    }
}

impl Statements {
    fn new(framing: Framing, limit: usize) -> Self {
        Self {
            framing,
            limit,
            usage: None,
            other: None,
            metrics: None,
            tier: None,
            latency_optimised: false,
            terminal: false,
            failure: None,
            missed: false,
            last_chunk: Vec::new(),
            stated_last: false,
        }
    }

    /// Reads an answer that is one JSON text, or the payload of a `metadata` frame.
    fn read_answer(&mut self, members: &JsonMembers) {
        self.read_statement(members);
        if self.usage.is_none() {
            self.other = other_statement(members);
        }
        #[derive(serde::Deserialize)]
        struct PerformanceConfig {
            latency: Option<String>,
        }
        let performance: Option<PerformanceConfig> = parse(members.value("performanceConfig"));
        self.latency_optimised |=
            performance.and_then(|config| config.latency).is_some_and(|latency| latency == "optimized");
    }

    /// Takes in `usage`, the tier and the metrics, wherever they stand.
    fn read_statement(&mut self, members: &JsonMembers) {
        #[derive(serde::Deserialize)]
        struct TierObject {
            #[serde(rename = "type")]
            name: String,
        }
        if let Some(text) = members.value("usage").filter(|text| !is_null(text)) {
            match serde_json::from_slice::<UsageMembers>(text) {
                Ok(usage) => {
                    self.tier = usage.tier().or(self.tier);
                    match &mut self.usage {
                        _ if usage.stated().is_none() => {}
                        Some(earlier) => earlier.update(usage),
                        None => self.usage = Some(usage),
                    }
                }
                Err(_) => self.missed = true,
            }
        }
        let tier = parse::<TierObject>(members.value("serviceTier")).map(|tier| tier.name);
        let tier = tier.or_else(|| parse(members.value("service_tier")));
        self.tier = tier.as_deref().and_then(ServiceTier::from_name).or(self.tier);
        if let Some(metrics) = parse(members.value("amazon-bedrock-invocationMetrics")) {
            self.metrics = Some(metrics);
        }
    }

    /// Reads the data of one server-sent event, if it is one that says something of interest.
    fn read_event(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.terminal = true;
            return;
        }
        const TELLING: [&[u8]; 5] =
            [b"\"usage\"", b"\"message_stop\"", b"\"error\"", b"\"response.failed\"", b"invocationMetrics"];
        let is_telling = TELLING.iter().any(|needle| memchr::memmem::find(data, needle).is_some());
        if is_telling {
            self.read_event_members(data);
        }
    }

    /// Reads one event of a stream, in OpenAI's, Anthropic's or Nova's shape.
    fn read_event_members(&mut self, data: &[u8]) {
        let mut members = JsonMembers::new(WANTED_OF_EVENT, self.limit);
        members.feed(data);
        self.missed |= members.overflowed();
        self.read_statement(&members);
        for nested in ["message", "metadata", "response"] {
            if let Some(text) = members.value(nested) {
                self.read_statement(&JsonMembers::of(WANTED, text));
            }
        }
        let event_type: String = parse(members.value("type")).unwrap_or_default();
        if matches!(
            event_type.as_str(),
            "message_stop" | "response.completed" | "response.incomplete" | "response.failed"
        ) {
            self.terminal = true;
        }
        let error = members.value("error").filter(|text| !is_null(text));
        if event_type == "error" || event_type == "response.failed" || error.is_some() {
            let named = error.map(|text| JsonMembers::of(&[("type", Take::Value)], text));
            let name = named.and_then(|named| parse::<String>(named.value("type")));
            self.failure.get_or_insert(name.unwrap_or(event_type));
        }
    }

    /// Reads a `chunk` event.
    fn read_chunk(&mut self, payload: &[u8]) {
        let Some(text) = chunk_frames::base64_text(payload) else {
            self.missed = true;
            return;
        };
        self.last_chunk.clear();
        if !chunk_frames::states_usage(text) {
            if text.len() <= MAX_LAST_CHUNK_BYTES {
                self.last_chunk.extend_from_slice(text);
            }
            return;
        }
        let Some(json) = chunk_frames::decode(text) else {
            self.missed = true;
            return;
        };
        self.read_event_members(&json);
        if self.metrics.is_some() {
            self.terminal = true;
        }
    }

    /// A stream without invocation metrics may state its usage in the last chunk.
    fn read_last_chunk(&mut self) {
        let text = std::mem::take(&mut self.last_chunk);
        if let Some(json) = chunk_frames::decode(&text).filter(|json| !json.is_empty() && !self.terminal) {
            self.read_event_members(&json);
            self.stated_last = self.usage.is_some();
        }
    }
}

impl FrameVisitor for Statements {
    fn wants(&self, event_type: &[u8]) -> bool {
        match self.framing {
            Framing::ConverseFrames => event_type == b"metadata",
            Framing::InvokeFrames => event_type == b"chunk",
            _ => false,
        }
    }

    fn payload(&mut self, _event_type: &[u8], payload: &[u8]) {
        if self.framing == Framing::InvokeFrames {
            self.read_chunk(payload);
        } else {
            let members = JsonMembers::of(WANTED, payload);
            self.read_answer(&members);
            self.terminal |= self.usage.is_some();
        }
    }
}

/// Usage of the families that state it outside of `usage`: Llama, Titan, Cohere.
fn other_statement(members: &JsonMembers) -> Option<Stated> {
    let count = |name: &str| parse::<Count>(members.value(name));
    let (prompt, generation) = (count("prompt_token_count"), count("generation_token_count"));
    if prompt.or(generation).is_some() {
        return Some(Stated::tokens(value(prompt), value(generation)));
    }
    if let Some(Count(input)) = count("inputTextTokenCount") {
        let results: Vec<TitanResult> = parse(members.value("results")).unwrap_or_default();
        let output = results.iter().map(|result| value(result.token_count)).fold(0, u64::saturating_add);
        return Some(Stated::tokens(input, output));
    }
    #[derive(serde::Deserialize)]
    struct Meta {
        billed_units: Option<BilledUnits>,
    }
    parse::<Meta>(members.value("meta"))?.billed_units?.stated()
}

fn parse<'a, T: serde::Deserialize<'a>>(text: Option<&'a [u8]>) -> Option<T> {
    serde_json::from_slice(text?).ok()
}

fn is_null(text: &[u8]) -> bool {
    text.trim_ascii() == b"null"
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
