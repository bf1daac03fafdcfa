//! Gathers what an answer states of its usage, from its body, its frames, its chunks or its events.

use super::answer_kind::Framing;
use super::count::{Count, value};
use super::event_stream::FrameVisitor;
use super::json_members::{JsonMembers, Take, WantedMembers};
use super::shapes::{BilledUnits, InvocationMetrics, Stated, StatedTier, TitanResult, UsageMembers};
use super::speech::{self, Said};
use super::{Unit, Usage, chunk_frames, guardrail, sse};

/// What the body has stated so far.
#[derive(Debug)]
pub(super) struct Statements {
    framing: Framing,
    limit: usize,
    pub(super) usage: Option<UsageMembers>,
    pub(super) other: Option<Stated>,
    pub(super) metrics: Option<InvocationMetrics>,
    pub(super) tier: Option<StatedTier>,
    pub(super) latency_optimised: Option<bool>,
    /// What a guardrail beside the model used, where a trace tells it.
    pub(super) guardrail: Option<Vec<(Unit, u64)>>,
    /// The answer says that a guardrail was there.
    pub(super) names_guardrail: bool,
    /// What a conversation in speech used so far; whether that was not asked for since it was stated; and whether
    /// something was stated after it that is not understood.
    pub(super) speech: Option<Usage>,
    pub(super) speech_is_new: bool,
    pub(super) speech_is_unclear: bool,
    pub(super) terminal: bool,
    pub(super) failure: Option<String>,
    /// Something that ought to have been read was too large or broken.
    pub(super) missed: bool,
    /// The latest chunk's base64 text: it states the usage of some families.
    last_chunk: Vec<u8>,
    /// The id of the response that events speak of, until it is taken.
    pub(super) response_id: Option<String>,
    /// The last chunk did state usage, or the last event the usage of the whole answer.
    pub(super) stated_last: bool,
    /// It says so of one alternative, and more may follow where there are others.
    pub(super) stated_of_one: bool,
    /// A server-sent event came that is a part of an answer.
    pub(super) has_begun: bool,
    /// Bytes of data of all server-sent events that are a part of an answer, before a failure.
    pub(super) event_bytes: u64,
}

/// Largest chunk kept for the case that it turns out to be the last.
const MAX_LAST_CHUNK_BYTES: usize = 16 * 1024;

/// Members of an answer, of a chunk and of a server-sent event.
pub(super) static WANTED: WantedMembers = WantedMembers::of(&[
    ("id", Take::Value),
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
    ("trace", Take::Value),
    ("amazon-bedrock-trace", Take::Value),
    ("amazon-bedrock-guardrailAction", Take::Count),
    ("stopReason", Take::Value),
]);

/// Members of an event in a stream, beside those of an answer: usage stands one level deeper in some.
static WANTED_OF_EVENT: WantedMembers = WantedMembers::of(&[
    ("usage", Take::Value),
    ("service_tier", Take::Value),
    ("amazon-bedrock-invocationMetrics", Take::Value),
    ("type", Take::Value),
    ("message", Take::Value),
    ("response", Take::Value),
    ("metadata", Take::Value),
    ("error", Take::Value),
    ("amazon-bedrock-trace", Take::Value),
    ("amazon-bedrock-guardrailAction", Take::Count),
]);

/// Members of an error inside an event.
static WANTED_OF_ERROR: WantedMembers = WantedMembers::of(&[("type", Take::Value)]);

impl Statements {
    pub(super) fn new(framing: Framing, limit: usize) -> Self {
        Self {
            framing,
            limit,
            usage: None,
            other: None,
            metrics: None,
            tier: None,
            latency_optimised: None,
            guardrail: None,
            names_guardrail: false,
            speech: None,
            speech_is_new: false,
            speech_is_unclear: false,
            terminal: false,
            failure: None,
            missed: false,
            last_chunk: Vec::new(),
            response_id: None,
            stated_last: false,
            stated_of_one: false,
            has_begun: false,
            event_bytes: 0,
        }
    }

    /// Reads an answer that is one JSON text, or the payload of a `metadata` frame.
    pub(super) fn read_answer(&mut self, members: &JsonMembers) {
        // May be read again once more of it is there.
        self.guardrail = None;
        self.read_statement(members);
        if self.usage.is_none() {
            self.other = other_statement(members);
        }
        #[derive(serde::Deserialize)]
        struct PerformanceConfig {
            latency: Option<String>,
        }
        let performance: Option<PerformanceConfig> = parse(members.value("performanceConfig"));
        let latency = performance.and_then(|config| config.latency);
        self.latency_optimised = latency.map(|latency| latency == "optimized").or(self.latency_optimised);
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
        self.tier = tier.as_deref().and_then(StatedTier::named).or(self.tier);
        if let Some(metrics) = parse(members.value("amazon-bedrock-invocationMetrics")) {
            self.metrics = Some(metrics);
        }
        self.read_guardrail(members);
    }

    fn read_guardrail(&mut self, members: &JsonMembers) {
        for trace in ["trace", "amazon-bedrock-trace"] {
            if let Some(units) = members.value(trace).and_then(guardrail::units_in_trace) {
                self.guardrail.get_or_insert_default().extend(units);
            }
        }
        self.names_guardrail |= members.count("amazon-bedrock-guardrailAction").is_some()
            || members.value("stopReason").is_some_and(|text| text == b"\"guardrail_intervened\"");
    }

    /// Reads the data of one server-sent event, if it is one that says something of interest.
    pub(super) fn read_event(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.terminal = true;
            return;
        }
        self.stated_last = self.stated_last && sse::is_ping(data);
        if sse::may_tell(data) {
            self.read_event_members(data);
        }
        if self.failure.is_none() {
            self.has_begun = self.has_begun || !sse::is_before_answer(data);
            let bytes = if self.has_begun { u64::try_from(data.len()).unwrap_or(u64::MAX) } else { 0 };
            self.event_bytes = self.event_bytes.saturating_add(bytes);
        }
    }

    /// Reads one event of a stream, in OpenAI's, Anthropic's or Nova's shape.
    fn read_event_members(&mut self, data: &[u8]) {
        let mut members = JsonMembers::new(&WANTED_OF_EVENT, self.limit);
        members.feed(data);
        self.missed |= members.overflowed();
        self.read_statement(&members);
        for nested in ["message", "metadata", "response"] {
            if let Some(text) = members.value(nested) {
                let members = JsonMembers::of(&WANTED, text);
                self.read_statement(&members);
                if nested == "response" {
                    self.response_id = id_of(&members);
                }
            }
        }
        let event_type: String = parse(members.value("type")).unwrap_or_default();
        let states_usage = members.value("usage").is_some_and(|text| !is_null(text));
        let ends_all = (event_type == "message_delta" && sse::tells_stop(data)) || sse::has_no_choices(data);
        let ends_one = !ends_all && sse::ends_choice(data);
        self.stated_last = states_usage && (ends_all || ends_one) && !self.missed;
        self.stated_of_one = ends_one;
        if matches!(
            event_type.as_str(),
            "message_stop" | "response.completed" | "response.incomplete" | "response.failed"
        ) {
            self.terminal = true;
        }
        let error = members.value("error").filter(|text| !is_null(text));
        if event_type == "error" || event_type == "response.failed" || error.is_some() {
            let named = error.map(|text| JsonMembers::of(&WANTED_OF_ERROR, text));
            let name = named.and_then(|named| parse::<String>(named.value("type")));
            let name = name.unwrap_or(event_type);
            self.failure.get_or_insert(if name.is_empty() { "error".to_owned() } else { name });
        }
    }

    /// Reads a `chunk` event.
    fn read_chunk(&mut self, payload: &[u8]) {
        let Some(text) = chunk_frames::base64_text(payload) else {
            self.missed = true;
            return;
        };
        self.last_chunk.clear();
        self.stated_last = false;
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
    pub(super) fn read_last_chunk(&mut self) {
        let text = std::mem::take(&mut self.last_chunk);
        if let Some(json) = chunk_frames::decode(&text).filter(|json| !json.is_empty() && !self.terminal) {
            let earlier = self.usage.take();
            self.read_event_members(&json);
            // Nova's last event tells no end: it is known by what it holds.
            let is_of_nova = || {
                let members = JsonMembers::of(&WANTED_OF_EVENT, &json);
                let metadata = members.value("metadata").map(|text| JsonMembers::of(&WANTED, text));
                metadata.is_some_and(|metadata| metadata.value("usage").is_some())
            };
            let is_end = self.stated_last || self.stated_of_one || sse::tells_stop(&json) || is_of_nova();
            self.stated_last = is_end && self.usage.is_some() && !self.missed;
            self.usage = self.usage.take().or(earlier);
        }
    }
}

impl FrameVisitor for Statements {
    fn wants(&self, event_type: &[u8]) -> bool {
        match self.framing {
            Framing::ConverseFrames => event_type == b"metadata",
            Framing::InvokeFrames | Framing::SpeechFrames => event_type == b"chunk",
            _ => false,
        }
    }

    fn payload(&mut self, _event_type: &[u8], payload: &[u8]) {
        match self.framing {
            Framing::InvokeFrames => self.read_chunk(payload),
            Framing::SpeechFrames => match speech::read(payload) {
                Said::Nothing => {}
                Said::Used(usage) => {
                    // It is of all that was used, also of what was not understood before.
                    (self.speech, self.speech_is_new, self.speech_is_unclear) = (Some(usage), true, false);
                }
                Said::Unclear => self.speech_is_unclear = true,
            },
            _ => {
                let members = JsonMembers::of(&WANTED, payload);
                self.read_answer(&members);
                self.terminal |= self.usage.is_some();
            }
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

/// The id of what the members belong to.
pub(super) fn id_of(members: &JsonMembers) -> Option<String> {
    parse(members.value("id"))
}

fn parse<'a, T: serde::Deserialize<'a>>(text: Option<&'a [u8]>) -> Option<T> {
    serde_json::from_slice(text?).ok()
}

fn is_null(text: &[u8]) -> bool {
    text.trim_ascii() == b"null"
}
