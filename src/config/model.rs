//! `litellm_params.model` in all its forms → the id Bedrock knows and the region it names.
//!
//! | written | id | region |
//! |---|---|---|
//! | `bedrock/us.anthropic.claude…` | `us.anthropic.claude…` | |
//! | `bedrock/converse/X`, `bedrock/invoke/X`, `bedrock_converse/X` | `X` | |
//! | `bedrock/us-west-2/X`, `bedrock/us-west-2/1-month-commitment/X` | `X` | `us-west-2` |
//! | `bedrock/arn:aws:bedrock:us-east-1:…` | the ARN | `us-east-1` |
//! | `bedrock/llama/arn:…` (`deepseek_r1/`, `qwen2/`, …: how LiteLLM talks to an imported model) | the ARN | the ARN's |
//! | `X` with `custom_llm_provider: bedrock`, or where `X` begins with the name of a vendor on Bedrock | `X` | |
//! | `bedrock/*`, `*`, `bedrock/anthropic.*` | a wildcard | |

use percent_encoding::percent_decode_str;

use crate::domain::Region;

/// What `model` and `custom_llm_provider` say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ModelForm {
    /// A model on Bedrock.
    Bedrock(BedrockModel),
    /// Of no use to bedgate, and why: an entry of another provider, or an agent.
    NotServed(String),
}

/// A model on Bedrock.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BedrockModel {
    /// Decoded, without prefixes; may hold `*`.
    pub(super) model_id: String,
    /// The ARN's region, else the path form's.
    pub(super) region: Option<Region>,
}

/// LiteLLM's names for Bedrock, as a provider and as a prefix.
const PROVIDERS: [&str; 3] = ["bedrock", "bedrock_converse", "bedrock_mantle"];

/// Prefixes that pick one of LiteLLM's translations. bedgate does not translate: the client picks the API.
const API_PREFIXES: [&str; 5] = ["converse", "converse_like", "invoke", "async_invoke", "mantle"];

/// Prefixes of what is not a model.
const AGENT_PREFIXES: [&str; 2] = ["agent", "agentcore"];

/// Vendors of models on Bedrock: the word before the first dot of an id, behind a geography if there is one.
const VENDORS: [&str; 20] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "xai",
    "zai",
];

/// Geographies and kinds of cross-region inference profiles.
const GEOGRAPHIES: [&str; 12] =
    ["us", "eu", "apac", "jp", "au", "ca", "sa", "me", "uk", "in", "global", "us-gov"];

/// Longest model id Bedrock takes.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>
const MAX_MODEL_ID_CHARS: usize = 2048;

/// Reads `model` as `provider` would; the error says what is wrong with it.
pub(super) fn parse(model: &str, provider: Option<&str>) -> Result<ModelForm, String> {
    if let Some(other) = provider.filter(|provider| !PROVIDERS.contains(provider)) {
        return Ok(ModelForm::NotServed(format!("provider {other}")));
    }
    let prefixed = model.split_once('/').filter(|(prefix, _)| PROVIDERS.contains(prefix));
    let is_of_bedrock =
        provider.is_some() || prefixed.is_some() || model == "*" || is_arn(model) || names_a_vendor(model);
    if !is_of_bedrock {
        let other = model.split_once('/').map_or("unknown", |(prefix, _)| prefix);
        return Ok(ModelForm::NotServed(format!("provider {other}")));
    }
    let rest = prefixed.map_or(model, |(_, rest)| rest);
    let rest = percent_decode_str(rest).decode_utf8().map_err(|_| "is not UTF-8 once decoded".to_owned())?;
    without_prefixes(&rest)
}

/// Takes API, region, commitment and spec prefixes off, in whichever order they stand.
fn without_prefixes(mut rest: &str) -> Result<ModelForm, String> {
    let mut path_region = None;
    while !is_arn(rest) {
        let Some((prefix, tail)) = rest.split_once('/') else { break };
        if AGENT_PREFIXES.contains(&prefix) {
            return Ok(ModelForm::NotServed(
                "agents are called by their own path, without an entry".to_owned(),
            ));
        }
        let is_known = API_PREFIXES.contains(&prefix) || is_commitment(prefix) || is_arn(tail);
        if is_region_like(prefix) {
            path_region = prefix.parse().ok();
        } else if !is_known {
            return Err(format!(
                "the part {prefix:?} before a slash is not known; write bedrock/<model id> or bedrock/<ARN>"
            ));
        }
        rest = tail;
    }
    let arn_region = if is_arn(rest) { region_of_arn(rest)? } else { None };
    Ok(ModelForm::Bedrock(BedrockModel { model_id: checked_id(rest)?, region: arn_region.or(path_region) }))
}

fn checked_id(model_id: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".:/-_*+=,@".contains(&byte);
    let problem = match model_id {
        id if id.bytes().all(|byte| byte == b'.') => "holds no model id; write bedrock/<model id>".to_owned(),
        id if id.len() > MAX_MODEL_ID_CHARS => format!("is longer than {MAX_MODEL_ID_CHARS} characters"),
        id if !id.bytes().all(is_allowed) => {
            "holds a character that no model id has; write bedrock/<model id>".to_owned()
        }
        id => return Ok(id.to_owned()),
    };
    Err(problem)
}

fn is_arn(text: &str) -> bool {
    text.starts_with("arn:")
}

/// The region of `arn:partition:service:region:account:resource`; a foundation model's may be empty.
fn region_of_arn(arn: &str) -> Result<Option<Region>, String> {
    let mut parts = arn.splitn(6, ':');
    let (Some(region), Some(_account), Some(resource)) = (parts.nth(3), parts.next(), parts.next()) else {
        return Err("is not a whole ARN: expected arn:aws:bedrock:<region>:<account>:<resource>".to_owned());
    };
    if resource.is_empty() {
        return Err("is an ARN without a resource".to_owned());
    }
    if region.is_empty() { Ok(None) } else { region.parse().map(Some).map_err(|error| format!("{error}")) }
}

/// `us-west-2`, `us-gov-east-1`, `ap-southeast-4`: words, then a number.
fn is_region_like(text: &str) -> bool {
    let mut words = text.split('-');
    let number = words.next_back().unwrap_or_default();
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |word: &str| word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    is_number && text.matches('-').count() >= 2 && words.all(is_word)
}

/// `1-month-commitment`, `6-month-commitment`.
fn is_commitment(text: &str) -> bool {
    text.strip_suffix("-month-commitment").is_some_and(|months| months.parse::<u8>().is_ok())
}

fn names_a_vendor(model: &str) -> bool {
    let is_vendor = |id: &str| id.split_once('.').is_some_and(|(vendor, _)| VENDORS.contains(&vendor));
    let behind_geography = model.split_once('.').filter(|(word, _)| GEOGRAPHIES.contains(word));
    is_vendor(model) || behind_geography.is_some_and(|(_, id)| is_vendor(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_model_names_an_id_and_a_region() {
        let claude = "us.anthropic.claude-3-5-sonnet-20240620-v1:0";
        let profile = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123";
        let imported = "arn:aws:bedrock:us-east-1:123456789012:imported-model/r4c4kewx2s0n";
        let cases: &[(&str, Option<&str>, &str, Option<&str>)] = &[
            (&format!("bedrock/{claude}"), None, claude, None),
            (&format!("bedrock/{claude}"), Some("bedrock"), claude, None),
            (&format!("bedrock/converse/{claude}"), None, claude, None),
            (&format!("bedrock/invoke/{claude}"), None, claude, None),
            (&format!("bedrock/converse_like/{claude}"), None, claude, None),
            (&format!("bedrock_converse/{claude}"), None, claude, None),
            (claude, Some("bedrock"), claude, None),
            (claude, Some("bedrock_converse"), claude, None),
            (claude, None, claude, None),
            ("cohere.command-r-v1:0", None, "cohere.command-r-v1:0", None),
            ("us.deepseek.r1-v1:0", None, "us.deepseek.r1-v1:0", None),
            ("global.anthropic.claude-x", None, "global.anthropic.claude-x", None),
            ("my-provisioned", Some("bedrock"), "my-provisioned", None),
            (&format!("bedrock/us-west-2/{claude}"), None, claude, Some("us-west-2")),
            (&format!("bedrock/us-gov-east-1/{claude}"), None, claude, Some("us-gov-east-1")),
            (&format!("bedrock/ap-southeast-2/converse/{claude}"), None, claude, Some("ap-southeast-2")),
            (&format!("bedrock/converse/ap-southeast-2/{claude}"), None, claude, Some("ap-southeast-2")),
            (
                "bedrock/us-east-1/6-month-commitment/cohere.command-text-v14",
                None,
                "cohere.command-text-v14",
                Some("us-east-1"),
            ),
            (&format!("bedrock/{profile}"), None, profile, Some("eu-west-1")),
            (&format!("bedrock/converse/{profile}"), None, profile, Some("eu-west-1")),
            (&format!("bedrock/us-west-2/{profile}"), None, profile, Some("eu-west-1")),
            (profile, None, profile, Some("eu-west-1")),
            (&format!("bedrock/{}", profile.replace('/', "%2F")), None, profile, Some("eu-west-1")),
            (
                &format!("bedrock/{}", profile.replace('/', "%2F").replace(':', "%3A")),
                None,
                profile,
                Some("eu-west-1"),
            ),
            (&format!("bedrock/llama/{imported}"), None, imported, Some("us-east-1")),
            (&format!("bedrock/deepseek_r1/{imported}"), None, imported, Some("us-east-1")),
            (&format!("bedrock/invoke/qwen2/{imported}"), None, imported, Some("us-east-1")),
            (&format!("bedrock/openai/{imported}"), None, imported, Some("us-east-1")),
            (
                "bedrock/arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
                None,
                "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
                Some("us-east-1"),
            ),
            (
                "bedrock/arn:aws-us-gov:bedrock:us-gov-west-1:1:provisioned-model/x",
                None,
                "arn:aws-us-gov:bedrock:us-gov-west-1:1:provisioned-model/x",
                Some("us-gov-west-1"),
            ),
            (
                "bedrock/arn:aws:bedrock:::foundation-model/x",
                None,
                "arn:aws:bedrock:::foundation-model/x",
                None,
            ),
            ("bedrock/*", None, "*", None),
            ("*", None, "*", None),
            ("bedrock/anthropic.*", None, "anthropic.*", None),
            ("bedrock/us-west-2/*", None, "*", Some("us-west-2")),
            ("bedrock_mantle/openai.gpt-oss-120b", None, "openai.gpt-oss-120b", None),
        ];
        for (model, provider, model_id, region) in cases {
            let expected = BedrockModel {
                model_id: (*model_id).to_owned(),
                region: region.map(|region| region.parse().unwrap()),
            };
            assert_eq!(parse(model, *provider), Ok(ModelForm::Bedrock(expected)), "{model} {provider:?}");
        }
    }

    #[test]
    fn entries_of_others_are_not_served() {
        let cases = [
            ("openai/gpt-4o", None),
            ("gpt-4o", None),
            ("gpt-4.1", None),
            ("azure/my-deployment", None),
            ("anthropic/claude-3-5-sonnet", None),
            ("vertex_ai/*", None),
            ("us.anthropic.claude-x", Some("openai")),
            ("bedrock/agent/ABC/DEF", None),
            ("bedrock/agentcore/arn:aws:bedrock-agentcore:us-west-2:1:runtime/x", None),
        ];
        for (model, provider) in cases {
            assert!(matches!(parse(model, provider), Ok(ModelForm::NotServed(_))), "{model}");
        }
    }

    #[test]
    fn what_names_no_model_is_a_fault() {
        let long = format!("bedrock/{}", "x".repeat(2049));
        let cases = [
            "bedrock/",
            "bedrock/converse/",
            "bedrock/foo/bar",
            "bedrock/../../x",
            "bedrock/..",
            "bedrock/%2e%2e",
            "bedrock/arn:aws:bedrock",
            "bedrock/arn:aws:bedrock:us-east-1:1:",
            "bedrock/arn:aws:bedrock:evil.example.com#:1:imported-model/x",
            "bedrock/a b",
            "bedrock/a%0d%0ab",
            "bedrock/a?b",
            "bedrock/%ff",
            &long,
        ];
        for model in cases {
            assert!(parse(model, None).is_err(), "{model}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_becomes_an_id_that_could_leave_its_place(text in "(bedrock/|converse/|us-east-1/|arn:|%[0-9a-f]{2}|[./:*a?# \\PC]){0,12}") {
            if let Ok(ModelForm::Bedrock(model)) = parse(&text, Some("bedrock")) {
                let is_plain = |c: char| c.is_ascii_graphic() && !"?#%\\\"<>".contains(c);
                proptest::prop_assert!(model.model_id.chars().all(is_plain));
                proptest::prop_assert!(model.model_id.contains(|c| c != '.'));
                proptest::prop_assert!(is_arn(&model.model_id) || !model.model_id.contains('/'));
            }
        }
    }
}
