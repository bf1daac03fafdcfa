//! The models and inference profiles that the simulated account lists.

use serde_json::json;

use super::super::answer::{Turn, json};
use super::super::wire::Reply;

/// A few foundation models.
pub(in crate::simulator) fn list(turn: &Turn<'_>) -> Reply {
    let region = turn.call.region;
    let summary = |id: &str, provider: &str, output: &str| {
        json!({
            "modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{id}"),
            "modelId": id,
            "modelName": id,
            "providerName": provider,
            "inputModalities": ["TEXT"],
            "outputModalities": [output],
            "responseStreamingSupported": output == "TEXT",
            "customizationsSupported": [],
            "inferenceTypesSupported": ["ON_DEMAND"],
            "modelLifecycle": { "status": "ACTIVE" },
        })
    };
    json(json!({ "modelSummaries": [
        summary("anthropic.claude-sonnet-4-5-20250929-v1:0", "Anthropic", "TEXT"),
        summary("amazon.nova-pro-v1:0", "Amazon", "TEXT"),
        summary("amazon.titan-embed-text-v2:0", "Amazon", "EMBEDDING"),
        summary("meta.llama3-3-70b-instruct-v1:0", "Meta", "TEXT"),
        summary("openai.gpt-oss-120b-1:0", "OpenAI", "TEXT"),
    ] }))
}

/// An inference profile over regions.
pub(in crate::simulator) fn list_profiles(turn: &Turn<'_>) -> Reply {
    let (region, account) = (turn.call.region, turn.call.account_id);
    let id = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let model = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    json(json!({ "inferenceProfileSummaries": [{
        "inferenceProfileId": id,
        "inferenceProfileArn": format!("arn:aws:bedrock:{region}:{account}:inference-profile/{id}"),
        "inferenceProfileName": "US Claude Sonnet 4.5",
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
        "models": [{ "modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{model}") }],
    }] }))
}
