//! The way from requests to operations: every row of the table there and back, odd paths, and random ones.

use std::collections::HashSet;

use percent_encoding::percent_decode;
use proptest::prelude::*;

use super::table::{label, segments};
use super::*;

const AGENT_ARN: &str = "arn:aws:bedrock:us-west-2:123456789012:agent/ABCDEFGHIJ";
const SESSION_ARN: &str = "arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Asession%2F0a1b";
const RUNTIME_ARN: &str = "arn%3Aaws%3Abedrock-agentcore%3Aus-west-2%3A123456789012%3Aruntime%2Fx";

/// A path of the operation, each label filled with what this says for its name.
fn filled(operation: &Operation, value: impl Fn(&str) -> String) -> String {
    let fill = |segment| label(segment).map_or(str::to_owned(segment), &value);
    format!("/{}", segments(operation.uri).map(fill).collect::<Vec<_>>().join("/"))
}

fn ask<'p>(method: &'p str, path: &'p str) -> Result<Call<'p>, Unresolved> {
    resolve(&RequestLine { method, path, ..RequestLine::default() })
}

fn name_of(method: &str, path: &str) -> String {
    match ask(method, path) {
        Ok(call) => format!("{} {}", call.service.host_prefix(), call.operation.name),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_table_holds_every_operation_of_the_eight_services_and_the_paths_of_other_apis() {
    let of_other_apis = |o: &&Operation| o.name.starts_with("OpenAi") || o.name.starts_with("Anthropic");
    assert_eq!(all().filter(|o| !of_other_apis(o)).count(), 523);
    assert_eq!(all().filter(of_other_apis).count(), 10);
    assert_eq!(table::TABLE.lines().count(), 1 + 523 + 10);
    let names: HashSet<_> = all().map(|o| (o.service, o.name)).collect();
    assert_eq!(names.len(), 523 + 10);
    assert_eq!(all().filter(|o| o.event_stream_out()).count(), 12);
}

#[test]
fn every_row_of_the_table_is_found_by_its_own_path() {
    for operation in all() {
        let arn = match operation.service {
            Service::BedrockAgentRuntime => SESSION_ARN,
            Service::BedrockAgentcoreControl => RUNTIME_ARN,
            _ => AGENT_ARN,
        };
        let is_shared =
            operation.uri == "/tags/{resourceArn}" || operation.uri == "/resourcepolicy/{resourceArn}";
        let plain = |_: &str| "sample-1".to_owned();
        let encoded_arn = |_: &str| if is_shared { arn.replace('/', "%2f") } else { "sample-1".to_owned() };
        let path = if is_shared { filled(operation, encoded_arn) } else { filled(operation, plain) };
        let user_agent = format!("aws-sdk/1 api/{}#1.2", operation.service.host_prefix());
        let request = RequestLine {
            method: operation.method,
            path: &path,
            amz_target: operation.target,
            signing_scope: Some(operation.service.signing_name()),
            user_agent: Some(&user_agent),
            has_body: Some(true),
        };
        let call = resolve(&request).unwrap_or_else(|error| panic!("{}: {error}", operation.name));
        assert!(
            std::ptr::eq(call.operation, operation),
            "{path}: {} is not {}",
            call.operation.name,
            operation.name
        );
        assert_eq!(call.service, operation.service);
    }
}

#[test]
fn only_the_documented_paths_are_shared_between_services() {
    let mut shared: Vec<_> = all()
        .filter(|o| o.target.is_none())
        .filter(|o| all().any(|p| p.method == o.method && !std::ptr::eq(*o, p) && same_shape(o.uri, p.uri)))
        .map(|o| (o.method, o.uri))
        .collect();
    shared.sort_unstable();
    shared.dedup();
    let expected = [
        ("DELETE", "/resourcepolicy/{resourceArn}"),
        ("DELETE", "/tags/{resourceArn}"),
        ("GET", "/resourcepolicy/{resourceArn}"),
        ("GET", "/tags/{resourceArn}"),
        ("POST", "/listTagsForResource"),
        ("POST", "/tagResource"),
        ("POST", "/tags/{resourceArn}"),
        ("POST", "/untagResource"),
        ("PUT", "/resourcepolicy/{resourceArn}"),
    ];
    assert_eq!(shared, expected);
}

#[test]
fn operations_that_share_a_path_need_the_same_permission() {
    for one in all().filter(|o| o.target.is_none()) {
        for other in all().filter(|p| p.method == one.method && same_shape(one.uri, p.uri)) {
            assert_eq!(one.access, other.access, "{} {}", one.method, one.uri);
        }
    }
}

fn same_shape(one: &str, other: &str) -> bool {
    let shape = |uri| segments(uri).map(|s| if label(s).is_some() { "{}" } else { s }).collect::<Vec<_>>();
    shape(one) == shape(other)
}

#[test]
fn a_label_takes_an_encoded_slash_only_where_the_service_model_does() {
    for operation in all().filter(|o| o.target.is_none()) {
        for name in segments(operation.uri).filter_map(label) {
            let path = filled(operation, |this| if this == name { "a%2Fb".into() } else { "a".into() });
            let index = segments(operation.uri).position(|s| label(s) == Some(name)).unwrap();
            let may = operation.slash_segments & table::segment_bit(index) != 0
                || operation.model_label == Some(name);
            let found =
                ask(operation.method, &path).is_ok_and(|call| same_shape(call.operation.uri, operation.uri));
            assert_eq!(found, may, "{path} for {}", operation.name);
        }
    }
}

#[test]
fn model_names_are_taken_from_the_path_with_their_slashes() {
    let arn = "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.amazon.nova-pro-v1:0";
    let encoded = arn.replace(':', "%3A").replace('/', "%2F");
    let cases = [
        ("my-claude", "converse", "Converse"),
        ("team/claude", "converse", "Converse"),
        ("team%2Fclaude", "converse-stream", "ConverseStream"),
        ("a/b/c/d/e", "invoke", "InvokeModel"),
        ("converse", "converse", "Converse"),
        ("a/converse", "converse", "Converse"),
        ("invoke/model", "invoke-with-response-stream", "InvokeModelWithResponseStream"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "count-tokens", "CountTokens"),
        (
            "amazon.nova-sonic-v1%3A0",
            "invoke-with-bidirectional-stream",
            "InvokeModelWithBidirectionalStream",
        ),
        (arn, "converse", "Converse"),
        (&encoded, "invoke", "InvokeModel"),
    ];
    for (name, verb, operation) in cases {
        let path = format!("/model/{name}/{verb}");
        let call = ask("POST", &path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((call.service, call.operation.name), (Service::BedrockRuntime, operation), "{path}");
        let model = call.model.expect("a model");
        assert_eq!((model.raw, &path[model.range()]), (name, name));
    }
    assert_eq!(ask("POST", &format!("/model/{encoded}/invoke")).unwrap().model.unwrap().name(), arn);
}

#[test]
fn replacing_the_model_changes_nothing_else_of_the_path() {
    let check = |path: &str, id: &str, expected: &str| {
        let model = ask("POST", path).unwrap().model.unwrap();
        assert_eq!(model.replaced_in(path, id), expected);
    };
    check("/model/team/claude/converse", "amazon.nova-pro-v1:0", "/model/amazon.nova-pro-v1%3A0/converse");
    check(
        "/model/amazon.nova-pro-v1:0/converse",
        "amazon.nova-pro-v1:0",
        "/model/amazon.nova-pro-v1:0/converse",
    );
    check("/model/x/invoke", "arn:aws:a/../b é", "/model/arn%3Aaws%3Aa%2F..%2Fb%20%C3%A9/invoke");
    check("/model/a/b/invoke", "a/b", "/model/a%2Fb/invoke");
}

#[test]
fn odd_requests_mean_what_aws_means_by_them() {
    let cases = [
        ("GET", "/agents/A/", "bedrock-agent GetAgent"),
        ("POST", "/agents/A/", "bedrock-agent PrepareAgent"),
        ("POST", "/agents/A", "bedrock-agent-runtime InvokeInlineAgent"),
        ("POST", "/agents/A/agentAliases/B/sessions/C/text", "bedrock-agent-runtime InvokeAgent"),
        ("POST", "/agents/A/agentaliases/", "bedrock-agent ListAgentAliases"),
        ("POST", "/flows/validate-definition", "bedrock-agent ValidateFlowDefinition"),
        ("POST", "/rerank", "bedrock-agent-runtime Rerank"),
        ("POST", "/knowledgebases/KB/retrieve", "bedrock-agent-runtime Retrieve"),
        ("GET", "/inference-profiles", "bedrock ListInferenceProfiles"),
        ("GET", "/foundation-models/amazon.nova-pro-v1:0", "bedrock GetFoundationModel"),
        ("GET", "/runtimes/a/invocations/.well-known/agent-card.json", "bedrock-agentcore GetAgentCard"),
        ("GET", "/tags/arn:aws:bedrock:us-west-2:1:session%2Fs", "bedrock-agent-runtime ListTagsForResource"),
        ("GET", "/tags/arn:aws:bedrock:us-west-2:1:flow%2Fs", "bedrock-agent ListTagsForResource"),
        ("GET", "/tags/something", "bedrock-agent ListTagsForResource"),
        ("POST", "/tagResource", "bedrock TagResource"),
        ("POST", "/openai/v1/chat/completions", "bedrock-runtime OpenAiChatCompletions"),
        ("GET", "/openai/v1/responses/resp_1", "bedrock-runtime OpenAiGetResponse"),
        ("POST", "/anthropic/v1/messages/count_tokens", "bedrock-runtime AnthropicCountTokens"),
    ];
    for (method, path, expected) in cases {
        assert_eq!(name_of(method, path), expected, "{method} {path}");
    }
}

#[test]
fn a_request_without_an_operation_is_told_what_to_check() {
    let rows = [
        ("GET", "/model/x/converse"),
        ("POST", "/rerank/"),
        ("DELETE", "/agents/A"),
        ("GET", ""),
        ("HEAD", "/"),
        ("post", "/rerank"),
        ("POST", "//rerank"),
        ("POST", "/model//converse"),
        ("POST", "/model/a//b/converse"),
        ("POST", "/model/converse"),
        ("POST", "/model/x/count_tokens"),
        ("POST", "/knowledgebases//retrieve"),
        ("GET", "/guardrails/arn:aws:bedrock:us-west-2:123456789012:guardrail/abc"),
        ("BREW\r\n\u{7}é", "/coffee"),
    ];
    let answers: Vec<_> = rows.map(|(method, path)| ask(method, path).unwrap_err().to_string()).into();
    insta::assert_snapshot!(answers.join("\n"), @r"
    no Bedrock operation is GET /model/x/converse: this path takes POST
    no Bedrock operation is POST /rerank/: it takes no trailing slash
    no Bedrock operation is DELETE /agents/A: it takes a trailing slash
    no Bedrock operation is GET (none): a POST to the bare address takes an x-amz-target of AmazonBedrockKeystoneRuntimeService
    no Bedrock operation is HEAD /: a POST to the bare address takes an x-amz-target of AmazonBedrockKeystoneRuntimeService
    no Bedrock operation is post /rerank: this path takes POST
    no Bedrock operation is POST //rerank: check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API
    no Bedrock operation is POST /model//converse: check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API
    no Bedrock operation is POST /model/a//b/converse: check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API
    no Bedrock operation is POST /model/converse: check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API
    no Bedrock operation is POST /model/x/count_tokens: check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API
    no Bedrock operation is POST /knowledgebases//retrieve: check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API
    no Bedrock operation is GET /guardrails/arn:aws:bedrock:us-west-2:123456789012:guardrail/abc: an ARN in a path takes %2F for each of its slashes
    no Bedrock operation is BREW???? /coffee: check the method, the path and its trailing slash; what follows /bedrock is the path of the AWS API
    ");
}

#[test]
fn a_path_that_could_mean_another_is_refused() {
    let cases = [
        ("/model/../guardrails", UnsafePath::DotSegment),
        ("/model/x/%2e%2e/converse", UnsafePath::DotSegment),
        ("/model/x%2F..%2Fy/converse", UnsafePath::DotSegment),
        ("/model/%252E%252e/converse", UnsafePath::DotSegment),
        ("/model/x%252f%2e%252e/converse", UnsafePath::DotSegment),
        ("/model/./converse", UnsafePath::DotSegment),
        ("/model/x/..", UnsafePath::DotSegment),
        ("/..", UnsafePath::DotSegment),
        ("/agents/a%2Fb", UnsafePath::EncodedSlash),
        ("/agents/a%252fb", UnsafePath::EncodedSlash),
        ("/model/a b/converse", UnsafePath::ForbiddenCharacter),
        ("/model/a\r\nHost: evil/converse", UnsafePath::ForbiddenCharacter),
        ("/model/a\\..\\b/converse", UnsafePath::ForbiddenCharacter),
        ("/model/é/converse", UnsafePath::ForbiddenCharacter),
        ("/model/a?b/converse", UnsafePath::ForbiddenCharacter),
        ("/model/a#b/converse", UnsafePath::ForbiddenCharacter),
        ("/model/{modelId}/converse", UnsafePath::ForbiddenCharacter),
        ("/model/a%00/converse", UnsafePath::EncodedControl),
        ("/model/a%0d%0aHost:evil/converse", UnsafePath::EncodedControl),
        ("/model/a%250a/converse", UnsafePath::EncodedControl),
        ("/model/a%5Cb/converse", UnsafePath::EncodedControl),
        ("/model/a%C2%85b/converse", UnsafePath::EncodedControl),
        ("/model/a%/converse", UnsafePath::BrokenEscape),
        ("/model/a%2/converse", UnsafePath::BrokenEscape),
        ("/model/a%+2/converse", UnsafePath::BrokenEscape),
        ("/model/a%zz/converse", UnsafePath::BrokenEscape),
        ("/model/%C0%AE%C0%AE/converse", UnsafePath::NotUtf8),
        ("http://evil.example/model/a/converse", UnsafePath::NotAbsolute),
    ];
    for (path, expected) in cases {
        assert_eq!(ask("POST", path).unwrap_err(), Unresolved::UnsafePath(expected), "{path}");
    }
    let long = format!("/model/{}/converse", "a".repeat(MAX_PATH_BYTES));
    assert_eq!(ask("POST", &long).unwrap_err(), Unresolved::UnsafePath(UnsafePath::TooLong));
    for fine in
        ["/model/a..b/converse", "/model/.../converse", "/model/.a/converse", "/model/caf%C3%A9/converse"]
    {
        assert!(ask("POST", fine).is_ok(), "{fine}");
    }
}

#[test]
fn operations_that_share_a_path_are_told_apart() {
    let prepare =
        RequestLine { method: "POST", path: "/agents/A", has_body: Some(false), ..RequestLine::default() };
    assert_eq!(resolve(&prepare).unwrap().operation.name, "PrepareAgent");

    let tags = |user_agent, signing_scope| {
        let request = RequestLine {
            method: "GET",
            path: "/tags/x",
            user_agent,
            signing_scope,
            ..RequestLine::default()
        };
        resolve(&request).unwrap().service
    };
    assert_eq!(tags(None, None), Service::BedrockAgent);
    assert_eq!(tags(None, Some("bedrock-agentcore")), Service::BedrockAgentcoreControl);
    assert_eq!(tags(None, Some("s3")), Service::BedrockAgent);
    assert_eq!(
        tags(Some("aws-sdk-java/2 api/Bedrock_Agent_Runtime#2.3"), None),
        Service::BedrockAgentRuntime
    );
    assert_eq!(
        tags(Some("aws-sdk-rust/1 api/bedrockagentruntime/1.9"), Some("bedrock")),
        Service::BedrockAgentRuntime
    );
    assert_eq!(
        tags(Some("api/bedrock-agent-runtime#3"), Some("bedrock-agentcore")),
        Service::BedrockAgentcoreControl
    );
}

#[test]
fn the_resource_in_the_body_settles_whose_tags_are_meant() {
    let service = |path, body: &str| {
        let call = settle_by_body(ask("POST", path).unwrap(), body.as_bytes());
        assert_eq!(call.service, call.operation.service);
        call.service
    };
    let project = r#"{"resourceARN": "arn:aws:bedrock:us-west-2:1:data-automation-project/x"}"#;
    for path in ["/tagResource", "/untagResource", "/listTagsForResource"] {
        assert_eq!(service(path, project), Service::BedrockDataAutomation);
        assert_eq!(
            service(path, &project.replace("data-automation-project", "blueprint")),
            Service::BedrockDataAutomation
        );
        assert_eq!(service(path, &project.replace("data-automation-project", "guardrail")), Service::Bedrock);
        assert_eq!(service(path, "not json"), Service::Bedrock);
    }
    assert_eq!(service("/rerank", project), Service::BedrockAgentRuntime);
}

#[test]
fn aws_json_calls_are_told_by_their_target() {
    let ask = |method, path, amz_target| {
        let request = RequestLine { method, path, amz_target, ..RequestLine::default() };
        resolve(&request).map(|call| call.operation.name).ok()
    };
    let target = Some("AmazonBedrockKeystoneRuntimeService.InvokeDataAutomationAsync");
    assert_eq!(ask("POST", "", target), Some("InvokeDataAutomationAsync"));
    assert_eq!(ask("POST", "/", target), Some("InvokeDataAutomationAsync"));
    assert_eq!(ask("GET", "/", target), None);
    assert_eq!(ask("POST", "/x", target), None);
    assert_eq!(ask("POST", "", Some("DynamoDB_20120810.GetItem")), None);
    assert_eq!(ask("POST", "", None), None);
}

#[test]
fn what_a_key_may_do_by_default_is_stated_for_the_calls_that_matter() {
    use Access::{Inference, Read, Retrieval, Write};
    let cases = [
        (
            Service::BedrockRuntime,
            "Inference",
            "Converse InvokeModel ApplyGuardrail CountTokens StartAsyncInvoke",
        ),
        (
            Service::BedrockAgentRuntime,
            "Inference",
            "InvokeAgent InvokeFlow InvokeInlineAgent CreateSession EndSession",
        ),
        (Service::BedrockAgentRuntime, "Retrieval", "Retrieve RetrieveAndGenerateStream Rerank"),
        (Service::BedrockAgentRuntime, "Read", "GetAgentMemory ListTagsForResource"),
        (Service::BedrockAgentRuntime, "Write", "DeleteAgentMemory DeleteSession TagResource"),
        (Service::BedrockAgentcore, "Inference", "InvokeAgentRuntime StopRuntimeSession"),
        (
            Service::BedrockAgentcore,
            "Write",
            "GetResourceApiKey GetWorkloadAccessToken ProcessPayment DeleteEvent InvokeAgentRuntimeCommand \
             InvokeCodeInterpreter InvokeBrowser StartBrowserSession StartCodeInterpreterSession StopBrowserSession \
             BatchCreateMemoryRecords CreateEvent IngestData",
        ),
        (Service::Bedrock, "Read", "ListFoundationModels GetGuardrail ListTagsForResource"),
        (
            Service::Bedrock,
            "Write",
            "CreateGuardrail CreateProvisionedModelThroughput CreateModelInvocationJob",
        ),
        (Service::BedrockAgent, "Read", "ListAgents GetKnowledgeBaseDocuments"),
        (Service::BedrockAgent, "Write", "PrepareAgent StartIngestionJob DeleteKnowledgeBaseDocuments"),
        (
            Service::BedrockDataAutomationRuntime,
            "Inference",
            "InvokeDataAutomation InvokeDataAutomationAsync",
        ),
    ];
    for (service, access, names) in cases {
        let access =
            [Inference, Retrieval, Read, Write].into_iter().find(|a| format!("{a:?}") == access).unwrap();
        for name in names.split_ascii_whitespace() {
            assert_eq!(operation_by_name(service, name).unwrap().access, access, "{name}");
        }
    }
    let changes = ["Create", "Update", "Delete", "Tag", "Untag", "Put", "Register", "Associate"];
    let control = [
        Service::Bedrock,
        Service::BedrockAgent,
        Service::BedrockAgentcoreControl,
        Service::BedrockDataAutomation,
    ];
    for operation in all().filter(|o| control.contains(&o.service) || o.name.contains("agResource")) {
        if changes.iter().any(|verb| operation.name.starts_with(verb)) {
            assert_eq!(operation.access, Write, "{}", operation.name);
        }
        assert!(matches!(operation.access, Read | Write), "{}", operation.name);
    }
}

#[test]
fn a_path_that_the_table_does_not_know_passes_only_if_it_can_mean_nothing_that_it_knows() {
    let at = |service, method, path| {
        resolve_at(service, &RequestLine { method, path, ..RequestLine::default() })
            .map(|call| call.operation.name)
            .map_err(|_| "refused")
    };
    let cases = [
        (Service::BedrockRuntime, "POST", "/model/x/%63onverse", Err("refused")),
        (Service::BedrockRuntime, "POST", "/model/x/converse/", Err("refused")),
        (Service::BedrockRuntime, "POST", "/model/x/brand-new", Err("refused")),
        (Service::BedrockRuntime, "POST", "/model", Err("refused")),
        (Service::BedrockRuntime, "POST", "/%6dodel/x/converse", Err("refused")),
        (Service::BedrockRuntime, "POST", "/%256dodel/x/converse", Err("refused")),
        (Service::BedrockRuntime, "POST", "//model/x/converse", Err("refused")),
        (Service::BedrockRuntime, "POST", "/async-invoke/", Err("refused")),
        (Service::BedrockRuntime, "POST", "/%61sync-invoke", Err("refused")),
        (Service::BedrockRuntime, "POST", "/openai/v1/chat/completions/", Err("refused")),
        (Service::BedrockMantle, "POST", "/v1/chat/completions/", Err("refused")),
        (Service::BedrockAgentcore, "POST", "/runtimes/x/%63ommands", Err("refused")),
        (Service::BedrockAgentcore, "POST", "/runtimes/x/commands/", Err("refused")),
        (Service::BedrockRuntime, "POST", "/brand-new/thing", Ok("Unknown")),
        (Service::BedrockRuntime, "POST", "/brand-new/a%3Ab", Ok("Unknown")),
        (Service::BedrockAgentcore, "POST", "/", Ok("Unknown")),
        (Service::BedrockRuntime, "POST", "/model/x%2Dy/converse", Ok("Converse")),
    ];
    for (service, method, path, expected) in cases {
        assert_eq!(at(service, method, path), expected, "{path}");
    }
}

#[test]
fn an_encoded_literal_is_not_taken_for_a_label() {
    assert_eq!(name_of("POST", "/flows/validate-definition"), "bedrock-agent ValidateFlowDefinition");
    assert_eq!(name_of("POST", "/flows/%78/"), "bedrock-agent PrepareFlow");
    assert!(ask("POST", "/flows/%76alidate-definition/").is_err());
}

fn has_dot_segment(bytes: &[u8]) -> bool {
    bytes.split(|b| matches!(b, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b".."))
}

fn path_pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E"),
        Just("%2f"),
        Just("%252e"),
        Just("%252F"),
        Just("%25"),
        Just("%5c"),
        Just("\\"),
        Just("%"),
        Just("%00"),
        Just("%C3%A9"),
        Just("%c0%ae"),
        Just("2e"),
        Just("model"),
        Just("agents"),
        Just("converse"),
        Just("/converse"),
        Just("tags"),
        Just("guardrails"),
        Just("a"),
        Just(":"),
        Just("é"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_accepted_path_has_a_dot_segment_however_often_it_is_decoded(middle in path_pieces(), prefix in "(/model/)?", suffix in "(/converse)?") {
        let path = format!("{prefix}{middle}{suffix}");
        if ask("POST", &path).is_ok() || path::check(&path).is_ok() {
            let once: Vec<u8> = percent_decode(path.as_bytes()).collect();
            let twice: Vec<u8> = percent_decode(&once).collect();
            for reading in [path.as_bytes(), &once, &twice] {
                prop_assert!(!has_dot_segment(reading), "{path}");
                prop_assert!(!reading.iter().any(u8::is_ascii_control), "{path}");
            }
        }
    }

    #[test]
    fn nothing_a_client_sends_makes_it_panic(method in ".{0,8}", path in any::<String>(), hint in any::<String>(), body in any::<Vec<u8>>()) {
        let path = path.as_str();
        for path in [path, &format!("/{path}"), &format!("/model/{path}/converse"), &format!("/tags/{path}")] {
            for method in [method.as_str(), "POST", "GET"] {
                let text = Some(hint.as_str());
                let request = RequestLine { method, path, amz_target: text, signing_scope: text, user_agent: text, has_body: None };
                match resolve(&request) {
                    Ok(call) => prop_assert_eq!(settle_by_body(call, &body).operation.name, call.operation.name),
                    Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
                }
            }
        }
    }

    #[test]
    fn a_found_model_is_what_stands_in_the_path(name in "[a-zA-Z0-9.:_-]{3,20}(/[a-zA-Z0-9:_-]{1,9}){0,3}", id in "\\PC{1,40}") {
        let path = format!("/model/{name}/converse");
        let model = ask("POST", &path).unwrap().model.unwrap();
        prop_assert_eq!(&path[model.range()], &name);
        let replaced = model.replaced_in(&path, &id);
        let again = ask("POST", &replaced).map(|call| call.model.unwrap().name().into_owned());
        if let Ok(again) = again {
            prop_assert_eq!(again, id);
        }
    }
}
