//! What kind of answer a response is: how its bytes are framed, and what it is charged by.

use crate::domain::Service;

/// What is known of a response when its head is there.
#[derive(Clone, Copy, Debug)]
pub struct AnswerFacts<'a> {
    /// The service asked.
    pub service: Service,
    /// The operation's name, such as `ConverseStream`; for the OpenAI and Anthropic paths any name will do.
    pub operation: &'a str,
    /// The model id sent to AWS (or the deployment's base model, where the id is an opaque ARN).
    pub model_id: Option<&'a str>,
    /// Status of the response.
    pub status: u16,
    /// `content-type` of the response.
    pub content_type: Option<&'a str>,
}

/// How an answer is framed and what it is charged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerKind {
    /// How the bytes are framed.
    pub framing: Framing,
    /// What is charged.
    pub charged_by: ChargedBy,
}

/// How the bytes of an answer are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Not looked at.
    Opaque,
    /// One JSON text.
    Json,
    /// Event stream whose `metadata` event states the usage (ConverseStream).
    ConverseFrames,
    /// Event stream whose `chunk` events carry a model's own JSON in base64 (InvokeModelWithResponseStream).
    InvokeFrames,
    /// Event stream whose `chunk` events carry the events of a model that hears and speaks
    /// (InvokeModelWithBidirectionalStream).
    SpeechFrames,
    /// Event stream of another operation: followed for its frames only.
    OtherFrames,
    /// Server-sent events in OpenAI's or Anthropic's shape.
    ServerSentEvents,
}

/// What a call is charged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargedBy {
    /// Tokens, or units, as the answer states them.
    Tokens,
    /// Tokens of text and of speech, which cost differently, as the answer states them while it goes on.
    Speech,
    /// Images in the answer.
    OutputImages,
    /// Input tokens, and images in the request.
    Embedding,
    /// Queries of at most 100 documents.
    Queries,
    /// What a multimodal embedding read, known from the request alone.
    Marengo,
    /// Something AWS charges for and does not report (agents, knowledge bases, video, asynchronous jobs).
    Unreported,
    /// Nothing.
    Nothing,
}

impl AnswerKind {
    /// Nothing to look at, nothing to pay.
    pub const FREE: Self = Self { framing: Framing::Opaque, charged_by: ChargedBy::Nothing };

    /// Decides by operation, status and content type.
    #[must_use]
    pub fn of(facts: &AnswerFacts<'_>) -> Self {
        let framing = Framing::of(facts);
        let succeeded = (200..300).contains(&facts.status);
        // Bytes are followed where they state something, or where a short answer shows by its frames alone.
        let unread = |charged_by| Self {
            framing: if framing.is_frames() { framing } else { Framing::Opaque },
            charged_by,
        };
        if !succeeded || is_free(facts.operation) {
            return unread(ChargedBy::Nothing);
        }
        let charged_by = match (facts.service, facts.operation) {
            (Service::BedrockRuntime, "Converse" | "ConverseStream" | "ApplyGuardrail") => ChargedBy::Tokens,
            (Service::BedrockRuntime, "InvokeModel" | "InvokeModelWithResponseStream") => {
                facts.model_id.map_or(ChargedBy::Tokens, ChargedBy::of_model)
            }
            (Service::BedrockRuntime, BIDIRECTIONAL) => ChargedBy::Speech,
            (Service::BedrockAgentRuntime, "Rerank") => ChargedBy::Queries,
            (Service::BedrockRuntime | Service::BedrockMantle, operation) if is_compatible_api(operation) => {
                ChargedBy::Tokens
            }
            _ => ChargedBy::Unreported,
        };
        match charged_by {
            ChargedBy::Unreported | ChargedBy::Queries => unread(charged_by),
            _ => Self { framing, charged_by },
        }
    }
}

/// The operation whose request is a stream of events, too.
const BIDIRECTIONAL: &str = "InvokeModelWithBidirectionalStream";

impl Framing {
    /// Whether it is an event stream.
    #[must_use]
    pub fn is_frames(self) -> bool {
        match self {
            Self::ConverseFrames | Self::InvokeFrames | Self::SpeechFrames | Self::OtherFrames => true,
            Self::Opaque | Self::Json | Self::ServerSentEvents => false,
        }
    }

    fn of(facts: &AnswerFacts<'_>) -> Self {
        let content_type = facts.content_type.unwrap_or_default();
        let is = |media_type: &str| {
            content_type.get(..media_type.len()).is_some_and(|start| start.eq_ignore_ascii_case(media_type))
        };
        if is("application/vnd.amazon.eventstream") {
            match facts.operation {
                "ConverseStream" => Self::ConverseFrames,
                "InvokeModelWithResponseStream" => Self::InvokeFrames,
                BIDIRECTIONAL => Self::SpeechFrames,
                _ => Self::OtherFrames,
            }
        } else if is("text/event-stream") {
            Self::ServerSentEvents
        } else if is("application/json") || content_type.is_empty() {
            Self::Json
        } else {
            Self::Opaque
        }
    }
}

impl ChargedBy {
    /// What a model invoked in its own format is charged by, as its id tells.
    #[must_use]
    pub fn of_model(model_id: &str) -> Self {
        let mentions = |name: &str| model_id.contains(name);
        if mentions("stability.") || mentions("amazon.nova-canvas") || mentions("amazon.titan-image") {
            Self::OutputImages
        } else if mentions("amazon.rerank") || mentions("cohere.rerank") {
            Self::Queries
        } else if mentions("twelvelabs.marengo") {
            Self::Marengo
        } else if mentions("twelvelabs.pegasus") || mentions("nova-reel") || mentions("luma.") {
            Self::Unreported
        } else if mentions("embed") {
            Self::Embedding
        } else {
            Self::Tokens
        }
    }
}

/// Operations AWS charges nothing for: reading, tidying up and counting tokens.
fn is_free(operation: &str) -> bool {
    const FREE_VERBS: [&str; 10] =
        ["Get", "List", "Delete", "BatchDelete", "Cancel", "Tag", "Untag", "Stop", "Validate", "CountTokens"];
    let name = own_name(operation);
    FREE_VERBS.iter().any(|verb| name.starts_with(verb))
}

/// Whether an operation is one of the OpenAI or Anthropic APIs that make a model answer.
fn is_compatible_api(operation: &str) -> bool {
    matches!(own_name(operation), "ChatCompletions" | "Responses" | "Messages")
}

/// An operation's name without the name of the API it belongs to.
fn own_name(operation: &str) -> &str {
    let without = |api: &str| operation.strip_prefix(api);
    without("OpenAi").or_else(|| without("Anthropic")).unwrap_or(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(service: Service, operation: &str, model: &str, status: u16, content_type: &str) -> AnswerKind {
        AnswerKind::of(&AnswerFacts {
            service,
            operation,
            model_id: Some(model),
            status,
            content_type: Some(content_type),
        })
    }

    #[test]
    fn an_answer_is_known_by_operation_status_and_content_type() {
        use ChargedBy::*;
        use Framing::*;
        use Service::*;
        let frames = "application/vnd.amazon.eventstream";
        let json = "application/json";
        for (service, operation, model, status, content_type, framing, charged_by) in [
            (BedrockRuntime, "Converse", "x", 200, json, Json, Tokens),
            (BedrockRuntime, "ConverseStream", "x", 200, frames, ConverseFrames, Tokens),
            (BedrockRuntime, "ConverseStream", "x", 429, json, Opaque, Nothing),
            (BedrockRuntime, "InvokeModel", "anthropic.claude-opus-5", 200, json, Json, Tokens),
            (BedrockRuntime, "InvokeModel", "us.stability.sd3", 200, json, Json, OutputImages),
            (
                BedrockRuntime,
                "InvokeModel",
                "cohere.embed-v4:0",
                200,
                "application/json; x=y",
                Json,
                Embedding,
            ),
            (BedrockRuntime, "InvokeModel", "cohere.rerank-v3-5:0", 200, json, Opaque, Queries),
            (BedrockRuntime, "InvokeModel", "us.twelvelabs.pegasus-1-2-v1:0", 200, json, Opaque, Unreported),
            (BedrockRuntime, "InvokeModelWithResponseStream", "m", 200, frames, InvokeFrames, Tokens),
            (BedrockRuntime, "InvokeModelWithBidirectionalStream", "m", 200, frames, SpeechFrames, Speech),
            (BedrockRuntime, "CountTokens", "m", 200, json, Opaque, Nothing),
            (
                BedrockRuntime,
                "OpenAiChatCompletions",
                "m",
                200,
                "text/event-stream",
                ServerSentEvents,
                Tokens,
            ),
            (BedrockRuntime, "OpenAiGetResponse", "m", 200, json, Opaque, Nothing),
            (BedrockRuntime, "AnthropicMessages", "m", 200, json, Json, Tokens),
            (BedrockRuntime, "AnthropicCountTokens", "m", 200, json, Opaque, Nothing),
            (BedrockRuntime, "StartAsyncInvoke", "m", 200, json, Opaque, Unreported),
            (BedrockAgentRuntime, "InvokeAgent", "m", 200, frames, OtherFrames, Unreported),
            (BedrockAgentRuntime, "Rerank", "m", 200, json, Opaque, Queries),
            (BedrockAgentcore, "InvokeAgentRuntime", "", 200, "text/event-stream", Opaque, Unreported),
            (BedrockRuntime, "OpenAiChatCompletions", "m", 500, "text/event-stream", Opaque, Nothing),
            (Bedrock, "ListFoundationModels", "", 200, json, Opaque, Nothing),
            (Bedrock, "CreateModelInvocationJob", "", 200, json, Opaque, Unreported),
        ] {
            let expected = AnswerKind { framing, charged_by };
            assert_eq!(kind(service, operation, model, status, content_type), expected, "{operation}");
        }
    }
}
