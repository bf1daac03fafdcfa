//! Reads what a call used from the side of its response, chunk by chunk, and changes nothing.
//!
//! # Who is believed
//!
//! 1. The answer's own statement (`usage` of the body, of the `metadata` frame, of the model's own chunks or
//!    server-sent events): only it tells cache writes of five minutes from those of one hour.
//! 2. `amazon-bedrock-invocationMetrics` of the last chunk.
//! 3. The token-count headers `x-amzn-bedrock-*`.
//!
//! The first that says anything is taken whole; counts of two sources are never mixed. The tier, and whether
//! latency was optimised, is what the answer says, else its headers, else what the request asked for. Where a source counts cache writes without telling their time to live,
//! they are five-minute ones unless the request asks for one hour anywhere: then usage is unknown.

use std::rc::Rc;

use super::answer_kind::{AnswerKind, ChargedBy, Framing};
use super::event_stream::EventStreamReader;
use super::json_members::JsonMembers;
use super::request_facts::{BYTES_PER_TOKEN, RequestFacts};
use super::shapes::{InvocationMetrics, Stated, StatedTier, UsageMembers};
use super::sse::DataLines;
use super::statements::{self, Statements};
use super::{Unit, Usage};

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
    /// What had been stated when the answer broke off: a lower bound, where `usage` is `None`. Cache writes that may
    /// live for one hour count as such.
    pub partial: Option<Usage>,
    /// Where AWS itself ended the answer by an exception or error: as many output tokens as there usually are in what it
    /// had sent. More was made only where the model reasons and does not show it: `None` where the request speaks of
    /// reasoning.
    pub sent_tokens: Option<u64>,
    /// Whether AWS charges nothing for the call: also where it asked one model, and all that it sent is an exception or
    /// error. Agents and flows have asked models by then, which are billed.
    pub free: bool,
    /// Whether AWS may bill something beside the usage that nothing tells: that of a guardrail, of a conversation whose last
    /// statement could not be read, or of documents that count as several.
    pub hides_cost: bool,
    /// Whether the usage is what was stated so far: of an answer that was not seen to its end AWS may count more.
    pub is_so_far: bool,
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
    request: Rc<RequestFacts>,
    of_headers: Option<Stated>,
    header_tier: Option<StatedTier>,
    header_latency_optimised: Option<bool>,
    body: Body,
    statements: Statements,
    response_id_taken: bool,
}

#[derive(Debug)]
enum Body {
    Opaque,
    Json(JsonMembers),
    Frames(EventStreamReader),
    Events(DataLines),
}

impl UsageReader {
    /// A reader that keeps at most `limit` bytes of an answer at a time. What is larger is not read; the
    /// answer's bytes are not its business.
    #[must_use]
    pub fn new(kind: AnswerKind, limit: usize) -> Self {
        let body = match kind.framing {
            Framing::Opaque => Body::Opaque,
            Framing::Json => Body::Json(JsonMembers::new(&statements::WANTED, limit)),
            Framing::ConverseFrames
            | Framing::InvokeFrames
            | Framing::SpeechFrames
            | Framing::OtherFrames => Body::Frames(EventStreamReader::new(limit)),
            Framing::ServerSentEvents => Body::Events(DataLines::new(limit)),
        };
        Self {
            kind,
            request: Rc::default(),
            of_headers: None,
            header_tier: None,
            header_latency_optimised: None,
            body,
            statements: Statements::new(kind.framing, limit),
            response_id_taken: false,
        }
    }

    /// Tells what the request said: needed for rerankers and embeddings, and to be sure of the time cache
    /// writes live.
    #[must_use]
    pub fn with_request(mut self, request: impl Into<Rc<RequestFacts>>) -> Self {
        self.request = request.into();
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
        self.header_tier = header("x-amzn-bedrock-service-tier").and_then(StatedTier::named);
        let latency = header("x-amzn-bedrock-performanceconfig-latency");
        self.header_latency_optimised = latency.map(|latency| latency == "optimized");
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

    /// The id of the response that the answer is or tells of, once it was read; only once.
    pub fn new_response_id(&mut self) -> Option<String> {
        if self.response_id_taken {
            return None;
        }
        let id = match &self.body {
            Body::Json(members) if members.is_complete() => statements::id_of(members),
            Body::Events(_) => self.statements.response_id.take(),
            _ => None,
        };
        self.response_id_taken = id.is_some();
        id
    }

    /// What is known now: after the terminal chunk, or at the end of the answer, whatever its end was.
    pub fn finish(&mut self) -> Reading {
        match &mut self.body {
            Body::Json(members) => self.statements.read_answer(members),
            Body::Frames(_) => self.statements.read_last_chunk(),
            Body::Events(lines) => lines.finish(|data| self.statements.read_event(data)),
            Body::Opaque => {}
        }
        let whole = self.is_whole();
        let failure = self.failure();
        let is_of_tokens = self.kind.charged_by == ChargedBy::Tokens;
        let is_refused = is_of_tokens && failure.is_some() && self.is_refusal();
        let free = self.kind.charged_by == ChargedBy::Nothing || is_refused;
        let (usage, unknown_reason) = match self.charged(whole) {
            Ok(usage) => (Some(self.with_guardrail(usage)), None),
            Err(_) if free => (None, None),
            Err(reason) => (None, Some(reason)),
        };
        let partial = if usage.is_none() && !free { self.partial() } else { None };
        let was_ended = failure.is_some() && is_of_tokens && !self.request.mentions_reasoning;
        let sent_tokens = was_ended.then(|| self.sent_bytes().div_ceil(BYTES_PER_TOKEN));
        let hides_guardrail = !free
            && (self.request.guardrail || self.statements.names_guardrail)
            && self.statements.guardrail.is_none();
        let is_so_far = self.kind.charged_by == ChargedBy::Speech;
        let hides_cost =
            hides_guardrail || (is_so_far && self.misses_speech()) || self.may_be_of_more_queries();
        Reading { usage, partial, sent_tokens, free, hides_cost, is_so_far, whole, failure, unknown_reason }
    }

    /// Whether a failure is all that was sent: the same as an error by its status, which AWS does not bill.
    fn is_refusal(&self) -> bool {
        let has_begun = match &self.body {
            Body::Frames(frames) => frames.has_event(),
            Body::Events(lines) => self.statements.has_begun || lines.overflowed(),
            Body::Opaque | Body::Json(_) => true,
        };
        !has_begun && self.stated().is_none()
    }

    /// Whether AWS may count more queries than the documents alone make.
    fn may_be_of_more_queries(&self) -> bool {
        self.kind.charged_by == ChargedBy::Queries
            && self.request.queries().is_some_and(|queries| queries < self.request.most_queries())
    }

    /// How many bytes all events have that came before a failure, the names of their members included.
    fn sent_bytes(&self) -> u64 {
        match &self.body {
            Body::Frames(frames) => frames.payload_bytes(),
            Body::Events(_) => self.statements.event_bytes,
            Body::Opaque | Body::Json(_) => 0,
        }
    }

    /// What was stated of tokens so far.
    fn partial(&self) -> Option<Usage> {
        let is_of_tokens = self.kind.charged_by == ChargedBy::Tokens;
        let mut stated = self.stated().filter(|_| is_of_tokens)?;
        if !stated.split_stated && self.request.one_hour_cache {
            let written = std::mem::take(&mut stated.usage.cache_write_5m_tokens);
            stated.usage.cache_write_1h_tokens = written;
        }
        Some(self.with_guardrail(stated.usage))
    }

    fn with_guardrail(&self, mut usage: Usage) -> Usage {
        usage.units.extend(self.statements.guardrail.iter().flatten());
        usage
    }

    /// How the answer is framed, where another frame or event may follow what was fed so far: it ends where one ends, and
    /// neither the end nor a failure was told.
    #[must_use]
    pub fn may_go_on(&self) -> Option<Framing> {
        let on_boundary = match &self.body {
            Body::Frames(frames) => frames.on_frame_boundary(),
            Body::Events(lines) => lines.on_event_boundary(),
            Body::Opaque | Body::Json(_) => false,
        };
        (on_boundary && !self.statements.terminal && self.failure().is_none()).then_some(self.kind.framing)
    }

    /// Whether the answer, as far as it has come, may end here: [`Reading::whole`] without the rest of the reading.
    pub fn may_end_here(&mut self) -> bool {
        match &self.body {
            // Its last line may be without an end.
            Body::Events(_) => self.finish().whole,
            _ => self.is_whole(),
        }
    }

    fn is_whole(&self) -> bool {
        match &self.body {
            Body::Opaque => true,
            Body::Json(members) => !members.is_broken_off(),
            Body::Frames(frames) => frames.is_malformed() || frames.on_frame_boundary(),
            Body::Events(lines) => {
                self.statements.terminal || self.statements.failure.is_some() || lines.overflowed()
            }
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
        let own = own.or_else(|| self.statements.other.clone());
        let metrics = self.statements.metrics.as_ref().and_then(InvocationMetrics::stated);
        // Of what the answer itself states, a part may have been missed.
        let of_body = if self.missed() { metrics.or(own) } else { own.or(metrics) };
        let mut stated = of_body.or_else(|| self.of_headers.clone())?;
        self.mark(&mut stated.usage);
        Some(stated)
    }

    /// Writes down how the call was served.
    fn mark(&self, usage: &mut Usage) {
        if let Some(StatedTier::Known(tier)) = self.tier() {
            usage.tier = tier;
        }
        let latency = self.statements.latency_optimised.or(self.header_latency_optimised);
        usage.latency_optimised = latency.or(self.request.latency_optimised).unwrap_or_default();
    }

    /// The tier the answer names; if it names none, the one that was asked for.
    fn tier(&self) -> Option<StatedTier> {
        let of_answer = self.statements.tier.or(self.header_tier);
        of_answer.or(self.request.tier.map(StatedTier::Known))
    }

    /// What the call is charged by, or why that is not known.
    fn charged(&self, whole: bool) -> Result<Usage, &'static str> {
        let is_unheard = self.tier() == Some(StatedTier::Unheard);
        match self.kind.charged_by {
            ChargedBy::Nothing => Err("the call is free"),
            ChargedBy::Unreported => Err("AWS does not report what this operation uses"),
            _ if is_unheard => Err("the answer names a service tier that is not known"),
            ChargedBy::Tokens => self.tokens(whole),
            ChargedBy::Speech => self.speech(),
            // The answer does not state what the request alone tells.
            _ if self.request.hides_members => Err("the request may hide what it is charged by"),
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
        let missing = if self.missed() {
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

    /// What a conversation used so far: each statement is of all of it.
    fn speech(&self) -> Result<Usage, &'static str> {
        let missing = if self.misses_speech() {
            "the statement of usage was too large, broken, or not told apart into text and speech"
        } else {
            "the answer states no usage"
        };
        let mut usage = self.statements.speech.clone().ok_or(missing)?;
        self.mark(&mut usage);
        Ok(usage)
    }

    /// Whether something may have been stated after the last statement that was understood.
    fn misses_speech(&self) -> bool {
        self.missed() || self.statements.speech_is_unclear
    }

    /// What a conversation used, where that was stated anew since this was asked last.
    pub fn new_speech_usage(&mut self) -> Option<Usage> {
        std::mem::take(&mut self.statements.speech_is_new).then(|| self.statements.speech.clone()).flatten()
    }

    /// Whether a stream without a terminal event said all that it says: it ended well, and on usage.
    fn states_all_at_end(&self) -> bool {
        let on_boundary = match &self.body {
            Body::Frames(frames) => frames.on_frame_boundary(),
            Body::Events(lines) => lines.on_event_boundary(),
            Body::Opaque | Body::Json(_) => false,
        };
        let is_of_all = !self.statements.stated_of_one
            || (self.request.output_bounds.is_for_one_answer() && !self.request.hides_members);
        on_boundary && self.failure().is_none() && self.statements.stated_last && is_of_all
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
        if !whole || !members.is_complete() {
            return Err("the answer broke off before its images were counted");
        }
        // One that a filter took away is null.
        let images = members.count_held("images").or(members.count_held("artifacts"));
        let images = images.ok_or("the answer holds no list of images")?;
        let mut usage = self.units(vec![(Unit::OutputImage, images)]);
        usage.image = self.request.image;
        Ok(usage)
    }

    fn units(&self, units: Vec<(Unit, u64)>) -> Usage {
        let mut usage = Usage { units, ..Usage::default() };
        self.mark(&mut usage);
        usage
    }

    /// Whether something that may state usage was too large or broken.
    fn missed(&self) -> bool {
        match &self.body {
            _ if self.statements.missed => true,
            Body::Opaque => false,
            Body::Json(members) => members.overflowed(),
            Body::Frames(frames) => frames.passed_over_wanted() || frames.is_malformed(),
            Body::Events(lines) => lines.overflowed(),
        }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
