//! What a request's body says about the cost to come: how long the answer may get, what it asks to be
//! counted by.

use serde::Deserialize;

use super::count::{Count, value};
use super::json_members::{JsonMembers, Take, WantedMembers};
use super::mentions::{self, Mentions};
use super::output_bound::OutputBounds;
use super::{ImageShape, ServiceTier};

/// How much of a request's body is kept at the most while it is read: the members that hold settings are small.
const MAX_KEPT_BYTES: usize = 16 * 1024;

/// Bytes of JSON that usually make a token.
pub(super) const BYTES_PER_TOKEN: u64 = 4;

/// Documents that one query of a reranker may hold.
/// <https://aws.amazon.com/bedrock/pricing/>
pub const DOCUMENTS_PER_QUERY: u64 = 100;

/// Tokens that a document and the query may have together; a longer one counts as several.
/// <https://aws.amazon.com/bedrock/pricing/>
const TOKENS_PER_DOCUMENT: u64 = 512;

/// Documents that AWS takes in one request, at the most.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_Rerank.html>
const MOST_DOCUMENTS: u64 = 1_000;
/// Bytes of the shortest element of a list, with the comma behind it.
const LEAST_BYTES_OF_DOCUMENT: u64 = 2;

static WANTED: WantedMembers = WantedMembers::of(&[
    ("inferenceConfig", Take::Value),
    ("textGenerationConfig", Take::Value),
    ("imageGenerationConfig", Take::Value),
    ("max_tokens", Take::Value),
    ("max_completion_tokens", Take::Value),
    ("max_output_tokens", Take::Value),
    ("max_tokens_to_sample", Take::Value),
    ("max_gen_len", Take::Value),
    ("max_new_tokens", Take::Value),
    ("maxTokens", Take::Value),
    ("n", Take::Value),
    ("num_generations", Take::Value),
    ("additionalModelRequestFields", Take::Value),
    ("guardrailConfig", Take::Count),
    ("amazon-bedrock-guardrailConfig", Take::Count),
    ("serviceTier", Take::Value),
    ("service_tier", Take::Value),
    ("performanceConfig", Take::Value),
    ("steps", Take::Value),
    ("width", Take::Value),
    ("height", Take::Value),
    ("inputType", Take::Value),
    ("documents", Take::Count),
    ("sources", Take::Count),
    ("query", Take::Value),
    ("queries", Take::Value),
    ("images", Take::Count),
    ("inputs", Take::Count),
    ("inputImage", Take::Count),
    ("user", Take::Value),
    ("metadata", Take::Value),
    ("litellm_metadata", Take::Value),
    ("requestMetadata", Take::Value),
    ("singleEmbeddingParams", Take::Count),
    ("segmentedEmbeddingParams", Take::Count),
]);

/// What a request's body says about its cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Bytes of the body.
    pub body_bytes: u64,
    /// The longest answer the request asks for, all alternatives together, in tokens.
    pub max_output_tokens: Option<u64>,
    /// Every bound it names.
    pub(crate) output_bounds: OutputBounds,
    /// Members of this reading's interest may stand in it unread: too large, twice, under an escaped name, in UTF-16, or with
    /// a value of a wrong kind.
    pub hides_members: bool,
    /// The tier it asks for.
    pub tier: Option<ServiceTier>,
    /// Whether it asks, at any place, for a tier or a latency that may cost more than the default.
    pub asks_for_more: bool,
    /// Whether it names a guardrail, which AWS bills beside the model.
    pub guardrail: bool,
    /// Whether it asks for latency-optimised inference, if it says.
    pub latency_optimised: Option<bool>,
    /// Whether cache writes may be meant to live for one hour.
    pub one_hour_cache: bool,
    /// Documents to be ranked.
    pub documents: Option<u64>,
    /// Bytes of what they are to be ranked by, the names of its members included.
    pub(crate) query_bytes: u64,
    /// Whether it asks the model to reason, or shows that the model did: what it writes then may be billed and not sent.
    pub mentions_reasoning: bool,
    /// Images to be embedded (at least so many).
    pub input_images: u64,
    /// Whether audio, video or segments are to be embedded, whose length nobody states.
    pub timed_media: bool,
    /// Whether it holds or names, at any place, more input than its bytes tell: pictures, documents, earlier turns,
    /// stored files, tools that AWS runs.
    pub unmeasured_input: bool,
    /// The kind of input a multimodal embedding names (`text`, `image`, …).
    pub input_type: Option<String>,
    /// Size and steps of the images to be made.
    pub image: Option<ImageShape>,
    /// On whose behalf the call is made: `user` (OpenAI), `litellm_metadata.user`, `metadata.user_id` (Anthropic),
    /// `requestMetadata` (Converse: `user`, `user_id` or `end_user`), in this order.
    pub customer: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Settings {
    width: Option<Count>,
    height: Option<Count>,
}

/// Members of metadata that name a customer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    user: Option<String>,
    user_id: Option<String>,
    end_user: Option<String>,
}

#[derive(Deserialize)]
struct PerformanceConfig {
    latency: String,
}

#[derive(Deserialize)]
struct TierObject {
    #[serde(rename = "type")]
    name: String,
}

impl RequestFacts {
    /// Reads the body, all of it, and keeps nothing but small settings: what changes the price may stand behind 20 MiB of
    /// pictures. A body that is no JSON object tells its size only.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut members = JsonMembers::new(&WANTED, MAX_KEPT_BYTES);
        members.feed(body);
        let mentions = Mentions::in_text(body);
        let settings = |name: &str| parse::<Settings>(members.value(name)).unwrap_or_default();
        let output_bounds = OutputBounds::of(&members);
        let present = |name: &str| members.count(name).is_some();
        Self {
            body_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
            max_output_tokens: output_bounds.longest(),
            output_bounds,
            hides_members: hides_members(&members, body),
            tier: tier(&members),
            asks_for_more: asks_for_more(&members),
            guardrail: present("guardrailConfig") || present("amazon-bedrock-guardrailConfig"),
            latency_optimised: parse::<PerformanceConfig>(members.value("performanceConfig"))
                .map(|config| config.latency == "optimized"),
            one_hour_cache: mentions.has(Mentions::ONE_HOUR),
            documents: members.count("documents").max(members.count("sources")),
            query_bytes: ["query", "queries"]
                .into_iter()
                .filter_map(|name| u64::try_from(members.value(name)?.len()).ok())
                .sum(),
            mentions_reasoning: mentions.has(Mentions::REASONING),
            input_images: members.count_held("images").unwrap_or_default()
                + u64::from(members.holds("inputImage"))
                + u64::from(present("singleEmbeddingParams") && mentions.has(Mentions::IMAGE))
                + u64::from(mentions.has(Mentions::IMAGE_URL)),
            timed_media: present("segmentedEmbeddingParams")
                || (present("singleEmbeddingParams") && mentions.has(Mentions::TIMED)),
            unmeasured_input: mentions.has(Mentions::UNMEASURED),
            input_type: parse(members.value("inputType")),
            image: image_shape(&members, &settings("imageGenerationConfig")),
            customer: customer(&members),
        }
    }

    /// Takes in what headers say in place of the body, in the words of [`RequestFacts::of`]. `values` gives all values
    /// of a header (its name in lower case) that goes to AWS.
    pub fn complete_from_headers<'h, I: Iterator<Item = &'h str>>(
        &mut self,
        values: impl Fn(&'static str) -> I,
    ) {
        for tier in values("x-amzn-bedrock-service-tier") {
            self.tier = ServiceTier::from_name(tier).or(self.tier);
            self.asks_for_more |= !is_usual_tier(tier);
        }
        for latency in values("x-amzn-bedrock-performanceconfig-latency") {
            self.latency_optimised = Some(latency == "optimized");
            self.asks_for_more |= latency != "standard";
        }
        self.guardrail |= values("x-amzn-bedrock-guardrailidentifier").next().is_some();
    }

    /// The longest answer that an operation gives to this request, all alternatives together, in tokens; `None`
    /// where only the model bounds it.
    #[must_use]
    pub fn longest_answer(&self, operation: &str) -> Option<u64> {
        self.output_bounds.longest_for(operation)
    }

    /// Queries a reranker charges for: one for every 100 documents begun, and at least one.
    #[must_use]
    pub fn queries(&self) -> Option<u64> {
        self.documents.map(|documents| documents.div_ceil(DOCUMENTS_PER_QUERY).max(1))
    }

    /// The most queries that a reranker may charge for: each document counts as one more for each time that it is longer than
    /// one may be beside the query, and a token is at least one byte. Where some may be hidden, as many as the body has room for.
    #[must_use]
    pub fn most_queries(&self) -> u64 {
        let room = TOKENS_PER_DOCUMENT.saturating_sub(self.query_bytes).max(1);
        let hidden = (self.body_bytes / LEAST_BYTES_OF_DOCUMENT).min(MOST_DOCUMENTS);
        let counted = self.documents.unwrap_or_default();
        let documents = counted.max(if self.hides_members { hidden } else { 0 });
        let documents = documents.saturating_add(self.body_bytes / room);
        documents.div_ceil(DOCUMENTS_PER_QUERY).max(1)
    }

    /// Input tokens as many as there usually are in so many bytes of JSON.
    #[must_use]
    pub fn likely_input_tokens(&self) -> u64 {
        self.body_bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// Input tokens that a text of so many bytes cannot exceed: a token is at least one byte. What the
    /// request refers to without holding it (objects in S3, stored prompts) is not in it, and compressed
    /// documents may hold more text than bytes.
    #[must_use]
    pub fn most_input_tokens(&self) -> u64 {
        self.body_bytes
    }
}

/// The likely number of input tokens of a request, and the longest answer it asks for.
#[must_use]
pub fn request_estimate(body: &[u8]) -> (u64, Option<u64>) {
    let facts = RequestFacts::of(body);
    (facts.likely_input_tokens(), facts.max_output_tokens)
}

fn parse<'a, T: Deserialize<'a>>(text: Option<&'a [u8]>) -> Option<T> {
    serde_json::from_slice(text?).ok()
}

fn tier(members: &JsonMembers) -> Option<ServiceTier> {
    let of_bedrock = parse::<TierObject>(members.value("serviceTier")).map(|tier| tier.name);
    let name = of_bedrock.or_else(|| parse(members.value("service_tier")))?;
    ServiceTier::from_name(&name)
}

/// Whether a member that changes the price may stand in the body and not among these.
fn hides_members(members: &JsonMembers, body: &[u8]) -> bool {
    let is_wide = body.iter().take(2).any(|byte| matches!(byte, 0 | 0xfe | 0xff));
    let is_unreadable = |name: &str| {
        members.value(name).is_some_and(|text| serde_json::from_slice::<Option<Count>>(text).is_err())
    };
    let image = members.value("imageGenerationConfig");
    let image_is_unreadable =
        || image.is_some_and(|text| serde_json::from_slice::<Option<Settings>>(text).is_err());
    // What these hold is looked for at any depth, by names as they are usually written.
    let holds_media = ["singleEmbeddingParams", "segmentedEmbeddingParams", "inputs"];
    let has_media = || holds_media.iter().any(|name| members.count(name).is_some());
    members.overflowed()
        || members.has_twins()
        || members.has_escaped_names()
        || is_wide
        || ["steps", "width", "height"].into_iter().any(is_unreadable)
        || image_is_unreadable()
        || (has_media() && mentions::is_disguised(body))
}

/// Whether a tier costs no more than the default; names that leave the choice to AWS mean the default.
fn is_usual_tier(name: &str) -> bool {
    matches!(name, "" | "auto" | "default" | "standard" | "standard_only" | "flex")
}

fn asks_for_more(members: &JsonMembers) -> bool {
    let is_null = |text: &[u8]| text.trim_ascii() == b"null";
    let says = |name: &str, usual: fn(&[u8]) -> bool| {
        members.value(name).is_some_and(|text| !is_null(text) && !usual(text))
    };
    says("serviceTier", |text| parse::<TierObject>(Some(text)).is_some_and(|tier| is_usual_tier(&tier.name)))
        || says("service_tier", |text| parse::<String>(Some(text)).is_some_and(|name| is_usual_tier(&name)))
        || says("performanceConfig", |text| {
            parse::<PerformanceConfig>(Some(text)).is_some_and(|config| config.latency == "standard")
        })
}

fn customer(members: &JsonMembers) -> Option<String> {
    let metadata = |name: &str| parse::<Metadata>(members.value(name)).unwrap_or_default();
    let named = parse::<String>(members.value("user"))
        .or_else(|| metadata("litellm_metadata").user)
        .or_else(|| metadata("metadata").user_id);
    named.or_else(|| {
        let Metadata { user, user_id, end_user } = metadata("requestMetadata");
        user.or(user_id).or(end_user)
    })
}

fn image_shape(members: &JsonMembers, settings: &Settings) -> Option<ImageShape> {
    let of_member = |name: &str| parse::<Count>(members.value(name));
    let small = |count: Option<Count>| count.map(|count| u32::try_from(count.0).unwrap_or(u32::MAX));
    let width = small(settings.width.or(of_member("width")));
    let height = small(settings.height.or(of_member("height")));
    let steps = small(of_member("steps"));
    let says_something = value(settings.width) > 0 || width.is_some() || height.is_some() || steps.is_some();
    says_something.then_some(ImageShape { width, height, steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_answer_is_found_in_every_family() {
        for (body, expected) in [
            (
                r#"{"inferenceConfig":{"maxTokens":7,"temperature":0.5},"messages":[{"maxTokens":9}]}"#,
                Some(7),
            ),
            (r#"{"inferenceConfig":{"max_new_tokens":8}}"#, Some(8)),
            (r#"{"messages":[{"role":"user","content":"max_tokens\": 3"}],"max_tokens":9}"#, Some(9)),
            (r#"{"prompt":"x","max_gen_len":10}"#, Some(10)),
            (r#"{"inputText":"x","textGenerationConfig":{"maxTokenCount":11}}"#, Some(11)),
            (r#"{"max_completion_tokens":12,"n":2}"#, Some(24)),
            (r#"{"max_output_tokens":13.0}"#, Some(13)),
            (r#"{"maxTokens":14}"#, Some(14)),
            (r#"{"max_tokens_to_sample":15}"#, Some(15)),
            (r#"{"max_tokens":-1}"#, None),
            (r#"{"max_tokens":"#, None),
            (r#"["max_tokens",1]"#, None),
            ("", None),
        ] {
            assert_eq!(RequestFacts::of(body.as_bytes()).max_output_tokens, expected, "{body}");
        }
    }

    #[test]
    fn a_body_that_may_hide_members_says_so() {
        let long = "x".repeat(MAX_KEPT_BYTES + 1);
        for (body, hides) in [
            (r#"{"user":"x","max_tokens":1}"#.to_owned(), false),
            (format!(r#"{{"user":"{long}","max_tokens":1}}"#), true),
            (format!(r#"{{"messages":["{long}"],"max_tokens":1}}"#), false),
            (r#"{"max_tokens":1,"max_tokens":9}"#.to_owned(), true),
            (r#"{"messages":[{"user":1},{"user":1}],"messages":[]}"#.to_owned(), false),
            (r#"{"steps":30,"s\u0074eps":150}"#.to_owned(), true),
            (r#"{"steps":150,"steps":30}"#.to_owned(), true),
            (r#"{"inputText":"a","input\u0049mage":"aaaa"}"#.to_owned(), true),
            (r#"{"inputImage":"aaaa","inputImage":null}"#.to_owned(), true),
            (r#"{"sources":[1],"source\u0073":[1,1,1]}"#.to_owned(), true),
            (r#"{"steps":"150"}"#.to_owned(), true),
            (r#"{"steps":null,"imageGenerationConfig":null}"#.to_owned(), false),
            (r#"{"imageGenerationConfig":{"width":512,"width":1024}}"#.to_owned(), true),
            (r#"{"imageGenerationConfig":{"wid\u0074h":1024}}"#.to_owned(), false),
            (r#"{"singleEmbeddingParams":{"im\u0061ge":{}}}"#.to_owned(), true),
            (r#"{"inputs":[{"content":[{"imag\u0065_url":{}}]}]}"#.to_owned(), true),
            (r#"{"inputs":[{"content":[{"text":"\u00e4 \n \\u0061"}]}]}"#.to_owned(), false),
            (r#"{"texts":["\u0061"],"inputText":"\u0061"}"#.to_owned(), false),
            ("{\0}\0".to_owned(), true),
        ] {
            let shown = body.get(..60).unwrap_or(&body);
            assert_eq!(RequestFacts::of(body.as_bytes()).hides_members, hides, "{shown}");
        }
        let spaces = " ".repeat(MAX_KEPT_BYTES + 1);
        let facts = RequestFacts::of(format!(r#"{{"steps":{spaces}150{spaces}}}"#).as_bytes());
        assert!(!facts.hides_members);
        assert_eq!(facts.image.unwrap().steps, Some(150));
    }

    #[test]
    fn headers_say_what_the_body_may_say() {
        let facts = |body: &str, headers: &[(&str, &str)]| {
            let mut facts = RequestFacts::of(body.as_bytes());
            facts.complete_from_headers(|name| {
                headers.iter().filter(move |(other, _)| *other == name).map(|(_, value)| *value)
            });
            (facts.tier, facts.latency_optimised, facts.asks_for_more, facts.guardrail)
        };
        let (tier, latency) = ("x-amzn-bedrock-service-tier", "x-amzn-bedrock-performanceconfig-latency");
        let flex = Some(ServiceTier::Flex);
        assert_eq!(facts("{}", &[]), (None, None, false, false));
        assert_eq!(facts("{}", &[(tier, "flex")]), (flex, None, false, false));
        assert_eq!(
            facts("{}", &[(tier, "default"), (tier, "priority")]),
            (Some(ServiceTier::Priority), None, true, false)
        );
        assert!(facts("{}", &[(tier, "priority"), (tier, "default")]).2);
        assert_eq!(facts("{}", &[(latency, "optimized")]), (None, Some(true), true, false));
        assert!(facts("{}", &[("x-amzn-bedrock-guardrailidentifier", "g")]).3);
        assert!(facts(r#"{"guardrailConfig":{"guardrailIdentifier":"g"}}"#, &[]).3);
        let two_tiers = r#"{"serviceTier":{"type":"default"},"service_tier":"priority"}"#;
        assert!(facts(two_tiers, &[]).2);
        assert!(facts(r#"{"performanceConfig":{"latency":"optimized"}}"#, &[]).2);
        assert!(!facts(r#"{"service_tier":"auto","performanceConfig":{"latency":"standard"}}"#, &[]).2);
    }

    #[test]
    fn the_estimate_of_the_input_grows_with_the_body() {
        assert_eq!(request_estimate(br#"{"maxTokens":14}"#), (4, Some(14)));
    }

    #[test]
    fn the_customer_is_found_in_every_shape() {
        for (body, expected) in [
            (r#"{"user":"a","metadata":{"user_id":"b"}}"#, Some("a")),
            (r#"{"metadata":{"user_id":"b"},"litellm_metadata":{"user":"c"}}"#, Some("c")),
            (r#"{"messages":[{"user":"x"}],"metadata":{"user_id":"b"}}"#, Some("b")),
            (r#"{"requestMetadata":{"team":"t","end_user":"d"}}"#, Some("d")),
            (r#"{"requestMetadata":{"user":1}}"#, None),
            (r#"{"user":{"id":"a"}}"#, None),
            ("", None),
        ] {
            assert_eq!(RequestFacts::of(body.as_bytes()).customer.as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn documents_make_queries() {
        let facts = |count: usize| {
            let documents = vec![r#"{"text":"a, b"}"#; count].join(",");
            RequestFacts::of(format!(r#"{{"documents":[{documents}],"query":"q"}}"#).as_bytes())
        };
        for (documents, queries) in [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)] {
            assert_eq!(facts(documents).queries(), Some(queries), "{documents}");
        }
        assert_eq!(RequestFacts::of(b"{}").queries(), None);
        // Whoever is asked heeds one of them: the longer list counts.
        for body in [r#"{"documents":[],"sources":[1,2,3]}"#, r#"{"sources":[],"documents":[1,2,3]}"#] {
            assert_eq!(RequestFacts::of(body.as_bytes()).documents, Some(3), "{body}");
        }
    }

    #[test]
    fn long_documents_may_make_more_queries_than_there_are_hundreds_of_them() {
        let most = |documents: usize, text: usize, query: usize| {
            let documents = vec![format!(r#"{{"text":"{}"}}"#, "x".repeat(text)); documents].join(",");
            let query = "q".repeat(query);
            let facts =
                RequestFacts::of(format!(r#"{{"documents":[{documents}],"query":"{query}"}}"#).as_bytes());
            (facts.queries(), facts.most_queries())
        };
        assert_eq!(most(2, 100, 10), (Some(1), 1));
        assert_eq!(most(90, 10, 10), (Some(1), 1));
        assert_eq!(most(99, 1_000, 10), (Some(1), 3), "some 100,000 bytes may be 200 documents more");
        assert_eq!(most(1, 5_000, 500), (Some(1), 6), "beside a long query a document has little room");
        assert_eq!(RequestFacts::of(b"{}").most_queries(), 1);
    }

    #[test]
    fn tier_cache_and_pictures_are_seen() {
        let facts = RequestFacts::of(
            br#"{"serviceTier":{"type":"flex"},"system":[{"cachePoint":{"type":"default","ttl":"1h"}}],"steps":60,"width":512,"height":512}"#,
        );
        assert_eq!(facts.tier, Some(ServiceTier::Flex));
        assert!(facts.one_hour_cache);
        assert_eq!(facts.image, Some(ImageShape { width: Some(512), height: Some(512), steps: Some(60) }));
        assert_eq!(RequestFacts::of(br#"{"service_tier":"priority"}"#).tier, Some(ServiceTier::Priority));
    }

    #[test]
    fn pictures_that_are_there_are_counted_and_words_are_none() {
        let nova = |params: &str| format!(r#"{{"singleEmbeddingParams":{{{params}}}}}"#);
        for (body, images, is_timed) in [
            (r#"{"inputImage":"aGk=","inputText":"x"}"#.to_owned(), 1, false),
            (r#"{"inputText":"x","inputImage":""}"#.to_owned(), 0, false),
            (r#"{"inputImage": null,"inputText":"image"}"#.to_owned(), 0, false),
            (r#"{"images":["data:image/png;base64,aa","data:"]}"#.to_owned(), 2, false),
            (r#"{"texts":["image","image_url","audio"]}"#.to_owned(), 0, false),
            (
                r#"{"inputs":[{"content":[{"type":"image_url","image_url":{"url":"data:"}}]}]}"#.to_owned(),
                1,
                false,
            ),
            (nova(r#""text":{"value":"image"}"#), 0, false),
            (nova(r#""text":{"value":"video"}"#), 0, false),
            (nova(r#""image":{"format":"png"}"#), 1, false),
            (nova(r#""audio" : {}"#), 0, true),
        ] {
            let facts = RequestFacts::of(body.as_bytes());
            assert_eq!((facts.input_images, facts.timed_media), (images, is_timed), "{body}");
        }
    }

    #[test]
    fn what_stands_behind_a_large_member_is_read() {
        let large = "x".repeat(5 << 20);
        let body = format!(
            r#"{{"messages":["{large}"],"inputImage":"{large}","documents":["{large}"],"serviceTier":{{"type":"priority"}},"performanceConfig":{{"latency":"optimized"}},"max_tokens":7}}"#
        );
        let facts = RequestFacts::of(body.as_bytes());
        assert_eq!((facts.tier, facts.latency_optimised), (Some(ServiceTier::Priority), Some(true)));
        assert_eq!((facts.input_images, facts.queries(), facts.max_output_tokens), (1, Some(1), Some(7)));
        assert!(!facts.hides_members && !facts.one_hour_cache && !facts.unmeasured_input);
    }
}
